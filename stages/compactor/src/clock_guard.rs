//! Whether our clock can be believed: a clock that is far ahead would make everything old and delete it.
//! Owns: comparing it with what others say of time, and the alert. Does not own: what is not done meanwhile.
//! Guarantee: while the clock is suspect, or nobody could be asked yet, nothing is merged, expired or deleted.
//!
//! A store with a clock of its own tells the time by an object that is written for that. Where the store's time is ours (a
//! folder), the object's content tells when the clock was believed last; a long gap may be a long stop, too, which is why an
//! operator can decide. Between two looks the monotonic clock tells of jumps.

use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{error, info, warn};
use vivace_ledger::PartitionState;
use vivace_model::UnixNanos;

use crate::Config;
use crate::shared::Environment;

/// Where the object lies.
const PATH: &str = "compactor/clock.json";
/// Our clock may be that much ahead of the store's.
const AHEAD_MAX: Duration = Duration::from_secs(60 * 60);
/// Where nobody else knows the time: as long as that nothing may have happened, because the process was stopped.
const GAP_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A clock that was believed is asked about that often.
const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);
/// One that was not, that often.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Between two looks the clock may go that much faster than the monotonic one.
const DRIFT_MAX: Duration = Duration::from_secs(60);

/// What is wrong then, and what helps.
pub(crate) const SUSPECT: &str = "our clock is far ahead of all that the store says of time: nothing is merged, expired or \
    deleted until they agree. If the clock is right, start with VIVACE_COMPACTOR_CLOCK_TRUSTED=true";

/// Whose clock the store's times come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreClock {
    /// Its own: a service elsewhere.
    Own,
    /// Ours: a folder of this machine, or memory.
    Ours,
}

/// What the object says.
#[derive(Serialize, Deserialize)]
struct Believed {
    /// When the clock was believed, by itself, Unix nanoseconds.
    believed: UnixNanos,
}

/// Looks at our clock now and then.
#[derive(Debug)]
pub(crate) struct ClockGuard {
    trusted: bool,
    last: Mutex<Option<Look>>,
}

/// What was found, and when by both clocks.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    time: UnixNanos,
    agrees: bool,
}

impl Look {
    /// Whether it still counts.
    fn holds(&self, now: UnixNanos) -> bool {
        let (passed, moved) = (self.at.elapsed(), now.since(self.time));
        let every = if self.agrees { LOOK_EVERY } else { LOOK_AGAIN };
        passed < every && moved <= passed + DRIFT_MAX
    }
}

impl ClockGuard {
    pub(crate) fn new(config: &Config) -> Self {
        Self { trusted: config.clock_trusted, last: Mutex::default() }
    }

    /// Whether work may go by our clock. `state`, if there is one, tells when blocks were made.
    pub(crate) async fn agrees(&self, environment: &Environment, state: Option<&PartitionState>) -> bool {
        let mut last = self.last.lock().await;
        let now = environment.clock.now();
        if let Some(look) = last.filter(|look| look.holds(now)) {
            return look.agrees;
        }
        let known = match others(environment, state, now).await {
            Ok(known) => known,
            Err(error) => {
                warn!(
                    error = crate::error::causes(&error),
                    "cannot compare the clock with the store's, trying again"
                );
                return false;
            }
        };
        let ahead = known.map_or(Duration::ZERO, |known| now.since(known));
        let agrees = self.trusted || ahead <= ahead_max(environment.store_clock);
        if agrees && let Err(error) = believe(environment, now).await {
            // The next look finds an older one.
            warn!(%error, "cannot note that the clock was believed");
        }
        let before = last.is_none_or(|look| look.agrees);
        *last = Some(Look { at: Instant::now(), time: now, agrees });
        tell(environment, before, agrees, ahead);
        agrees
    }
}

fn tell(environment: &Environment, before: bool, agrees: bool, ahead: Duration) {
    environment.metrics.clock_suspect.set(i64::from(!agrees));
    if before && !agrees {
        let ahead = humantime::format_duration(Duration::from_secs(ahead.as_secs()));
        error!(%ahead, "{SUSPECT}");
    } else if !before && agrees {
        info!("our clock agrees with the store again");
    }
}

const fn ahead_max(store_clock: StoreClock) -> Duration {
    match store_clock {
        StoreClock::Own => AHEAD_MAX,
        StoreClock::Ours => GAP_MAX,
    }
}

/// The latest time that somebody else tells; none if nobody knows.
async fn others(
    environment: &Environment,
    state: Option<&PartitionState>,
    now: UnixNanos,
) -> Result<Option<UnixNanos>, object_store::Error> {
    let path = Path::from(PATH);
    match environment.store_clock {
        StoreClock::Own => {
            believe(environment, now).await?;
            let written = environment.store.head(&path).await?.last_modified.timestamp_nanos_opt();
            Ok(written.and_then(|nanos| u64::try_from(nanos).ok()).map(UnixNanos))
        }
        StoreClock::Ours => {
            let content = match environment.store.get(&path).await {
                Ok(found) => found.bytes().await?,
                Err(object_store::Error::NotFound { .. }) => return Ok(newest(state)),
                Err(error) => return Err(error),
            };
            let believed = serde_json::from_slice::<Believed>(&content);
            Ok(believed.ok().map(|content| content.believed).or_else(|| newest(state)))
        }
    }
}

/// When the newest block was made.
fn newest(state: Option<&PartitionState>) -> Option<UnixNanos> {
    state?.live().iter().map(|block| block.created).max()
}

async fn believe(environment: &Environment, now: UnixNanos) -> Result<(), object_store::Error> {
    let content = serde_json::to_vec(&Believed { believed: now });
    let content =
        content.map_err(|source| object_store::Error::Generic { store: "clock", source: source.into() })?;
    environment.store.put(&Path::from(PATH), PutPayload::from(content)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn later(by: Duration) -> UnixNanos {
        UnixNanos(UnixNanos::from_secs(1_780_000_000).0 + u64::try_from(by.as_nanos()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_counts_until_it_is_old_or_the_clock_jumps() {
        let look = |agrees| Look { at: Instant::now(), time: later(Duration::ZERO), agrees };
        let (good, bad) = (look(true), look(false));
        assert!(good.holds(later(Duration::ZERO)) && bad.holds(later(Duration::ZERO)));
        assert!(!good.holds(later(HOUR)), "the clock jumped");
        tokio::time::advance(LOOK_AGAIN).await;
        assert!(good.holds(later(LOOK_AGAIN)) && !bad.holds(later(LOOK_AGAIN)));
        tokio::time::advance(LOOK_EVERY).await;
        assert!(!good.holds(later(LOOK_EVERY + LOOK_AGAIN)));
    }

    #[test]
    fn a_store_elsewhere_is_believed_sooner() {
        assert!(ahead_max(StoreClock::Own) < ahead_max(StoreClock::Ours));
    }
}
