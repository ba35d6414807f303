//! How the ingester fares: what readiness probes and the status page ask.
//! Owns: the state of each partition held and since when something is wrong with it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use vivace_model::{Offset, Partition};
use vivace_runtime::ReadinessCheck;

/// Trouble that lasts longer than this makes the ingester unready.
const TROUBLE_MAX: Duration = Duration::from_secs(30);

/// How the ingester fares.
#[derive(Debug)]
pub(crate) struct Status(Mutex<State>);

#[derive(Debug)]
struct State {
    joined: bool,
    partitions: BTreeMap<Partition, Held>,
    readiness: ReadinessCheck,
}

#[derive(Clone, Debug)]
struct Held {
    condition: Condition,
    /// Since when, and how, work on it fails and starts over without a block being listed.
    panicking: Option<(Instant, String)>,
    /// Records put aside since we have it, and the last of them.
    quarantined: Option<(u64, Offset)>,
}

#[derive(Clone, Debug)]
enum Condition {
    /// Reads the ledger, is not asked for recent data yet.
    Starting,
    /// Answers and goes on.
    Serving,
    /// Something does not answer; it is tried again.
    Trouble { since: Instant, what: String },
    /// Cannot go on without someone's help.
    Refused(String),
}

/// A line for a status page.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.condition {
            Condition::Starting => write!(f, "starting")?,
            Condition::Serving => write!(f, "serving")?,
            Condition::Trouble { what, .. } => write!(f, "trouble: {what}")?,
            Condition::Refused(reason) => write!(f, "refused: {reason}")?,
        }
        if let Some((since, what)) = &self.panicking {
            write!(f, "; starting over for {} s: {what}", since.elapsed().as_secs())?;
        }
        if let Some((records, last)) = &self.quarantined {
            write!(f, "; {records} records quarantined, the last at offset {last}")?;
        }
        Ok(())
    }
}

impl State {
    /// What is wrong, in one line; nothing if the ingester does its work.
    fn problem(&self) -> Option<String> {
        if !self.joined {
            return Some("not a member of the consumer group".into());
        }
        self.partitions.iter().find_map(|(partition, held)| match (&held.condition, &held.panicking) {
            (Condition::Refused(reason), _) => Some(format!("partition {partition}: {reason}")),
            (Condition::Trouble { since, what }, _) | (_, Some((since, what)))
                if since.elapsed() > TROUBLE_MAX =>
            {
                Some(format!("partition {partition}, for {} s: {what}", since.elapsed().as_secs()))
            }
            (Condition::Starting | Condition::Serving | Condition::Trouble { .. }, _) => None,
        })
    }
}

impl Status {
    pub(crate) fn new(readiness: ReadinessCheck) -> Self {
        Self(Mutex::new(State { joined: false, partitions: BTreeMap::new(), readiness }))
    }

    /// The partitions held, each with a line about its condition.
    pub(crate) fn partitions(&self) -> Vec<(Partition, String)> {
        self.0.lock().partitions.iter().map(|(partition, held)| (*partition, held.to_string())).collect()
    }

    pub(crate) fn set_joined(&self, joined: bool) {
        self.update(|state| state.joined = joined);
    }

    pub(crate) fn starting(&self, partition: Partition) {
        self.update(|state| {
            let held = Held { condition: Condition::Starting, panicking: None, quarantined: None };
            state.partitions.insert(partition, held);
        });
    }

    pub(crate) fn serving(&self, partition: Partition) {
        self.change(partition, |held| held.condition = Condition::Serving);
    }

    /// Blocks were listed: what failed before is over.
    pub(crate) fn progress(&self, partition: Partition) {
        self.change(partition, |held| {
            held.condition = Condition::Serving;
            held.panicking = None;
        });
    }

    /// Work goes on without starting over.
    pub(crate) fn recovered(&self, partition: Partition) {
        self.change(partition, |held| held.panicking = None);
    }

    /// Work on the partition failed and starts over; the first of a row counts.
    pub(crate) fn panicked(&self, partition: Partition, what: String) {
        self.change(partition, |held| {
            let since = held.panicking.as_ref().map_or_else(Instant::now, |(since, _)| *since);
            held.panicking = Some((since, what));
        });
    }

    /// A record was put aside.
    pub(crate) fn quarantined(&self, partition: Partition, offset: Offset) {
        self.change(partition, |held| {
            let before = held.quarantined.map_or(0, |(records, _)| records);
            held.quarantined = Some((before + 1, offset));
        });
    }

    /// Looks again whether what is wrong has lasted too long.
    pub(crate) fn look(&self) {
        self.update(|_| {});
    }

    pub(crate) fn refused(&self, partition: Partition, reason: String) {
        self.change(partition, |held| held.condition = Condition::Refused(reason));
    }

    /// Notes a failure that is retried; the first of a row counts. Called again at each retry, so that readiness
    /// follows without a timer.
    pub(crate) fn trouble(&self, partition: Partition, what: String) {
        self.change(partition, |held| {
            let since = match &held.condition {
                Condition::Trouble { since, .. } => *since,
                Condition::Starting | Condition::Serving | Condition::Refused(_) => Instant::now(),
            };
            held.condition = Condition::Trouble { since, what };
        });
    }

    pub(crate) fn gone(&self, partition: Partition) {
        self.update(|state| drop(state.partitions.remove(&partition)));
    }

    /// A partition that was taken away meanwhile stays away.
    fn change(&self, partition: Partition, change: impl FnOnce(&mut Held)) {
        self.update(|state| {
            if let Some(held) = state.partitions.get_mut(&partition) {
                change(held);
            }
        });
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock();
        change(&mut state);
        match state.problem() {
            Some(problem) => state.readiness.not_ready(problem),
            None => state.readiness.ready(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;
    use vivace_runtime::Readiness;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_starts_over_again_and_again_makes_unready_until_it_gets_on() {
        let readiness = Readiness::new(CancellationToken::new());
        let status = Status::new(readiness.check("ingester"));
        status.set_joined(true);
        status.starting(Partition(3));
        for _ in 0..4 {
            assert_eq!(readiness.state(), Ok(()));
            status.serving(Partition(3));
            status.panicked(Partition(3), "panicked: no".into());
            tokio::time::sleep(TROUBLE_MAX / 3).await;
        }
        status.quarantined(Partition(3), Offset(6));
        status.quarantined(Partition(3), Offset(7));
        assert_eq!(readiness.state(), Err("ingester: partition 3, for 40 s: panicked: no\n".into()));
        let line =
            "serving; starting over for 40 s: panicked: no; 2 records quarantined, the last at offset 7";
        assert_eq!(status.partitions(), [(Partition(3), line.to_owned())]);
        status.progress(Partition(3));
        assert_eq!(readiness.state(), Ok(()));
        assert_eq!(status.partitions()[0].1, "serving; 2 records quarantined, the last at offset 7");
    }

    #[tokio::test(start_paused = true)]
    async fn lasting_trouble_makes_unready() {
        let readiness = Readiness::new(CancellationToken::new());
        let status = Status::new(readiness.check("ingester"));
        assert!(readiness.state().is_err());
        status.set_joined(true);
        status.starting(Partition(3));
        status.trouble(Partition(3), "bucket does not answer".into());
        assert_eq!(readiness.state(), Ok(()));
        tokio::time::sleep(TROUBLE_MAX + Duration::from_secs(1)).await;
        status.trouble(Partition(3), "bucket does not answer".into());
        let problem = "ingester: partition 3, for 31 s: bucket does not answer\n";
        assert_eq!(readiness.state(), Err(problem.into()));
        status.serving(Partition(3));
        assert_eq!(readiness.state(), Ok(()));
        status.refused(Partition(3), "topic was recreated?".into());
        assert!(readiness.state().is_err());
        status.gone(Partition(3));
        status.refused(Partition(3), "too late".into());
        assert_eq!(readiness.state(), Ok(()));
    }
}
