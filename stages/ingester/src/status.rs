//! How the ingester fares: what readiness probes and the status page ask.
//! Owns: the state of each partition held and since when something is wrong with it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::info;
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
        self.failures().try_for_each(|failure| write!(f, "; {failure}"))
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

impl State {
    /// Notes the partition's condition for the detail of `/ready`.
    fn report(&self, partition: Partition) {
        let Some(held) = self.partitions.get(&partition) else { return };
        let (state, detail) = match &held.condition {
            Condition::Starting => ("starting", None),
            Condition::Serving => ("serving", None),
            Condition::Trouble { since, what } => {
                ("trouble", Some(format!("for {} s: {what}", since.elapsed().as_secs())))
            }
            Condition::Refused(reason) => ("refused", Some(reason.clone())),
        };
        let detail = detail.into_iter().chain(held.failures()).collect::<Vec<_>>().join("; ");
        self.readiness.partition(partition.0, state, Some(detail).filter(|detail| !detail.is_empty()));
    }
}

impl Held {
    fn serve(&mut self, partition: Partition) {
        if let Condition::Trouble { since, .. } = &self.condition {
            let after = Duration::from_secs(since.elapsed().as_secs());
            info!(%partition, ?after, "the partition is worked on again");
        }
        self.condition = Condition::Serving;
    }

    /// What failed of its work, whatever its condition.
    fn failures(&self) -> impl Iterator<Item = String> {
        let panicking = self
            .panicking
            .as_ref()
            .map(|(since, what)| format!("starting over for {} s: {what}", since.elapsed().as_secs()));
        let quarantined = self
            .quarantined
            .map(|(records, last)| format!("{records} records quarantined, the last at offset {last}"));
        panicking.into_iter().chain(quarantined)
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

    /// How many partitions cannot be worked on at the moment.
    pub(crate) fn in_trouble(&self) -> usize {
        let state = self.0.lock();
        let held = state.partitions.values();
        held.filter(|held| matches!(held.condition, Condition::Trouble { .. })).count()
    }

    pub(crate) fn set_joined(&self, joined: bool) {
        self.update(|state| state.joined = joined);
    }

    pub(crate) fn starting(&self, partition: Partition) {
        self.update(|state| {
            let held = Held { condition: Condition::Starting, panicking: None, quarantined: None };
            state.partitions.insert(partition, held);
            state.report(partition);
        });
    }

    pub(crate) fn serving(&self, partition: Partition) {
        self.change(partition, |held| held.serve(partition));
    }

    /// Blocks were listed: what failed before is over.
    pub(crate) fn progress(&self, partition: Partition) {
        self.change(partition, |held| {
            held.serve(partition);
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

    /// Notes a failure that is retried; the first of a row counts, and is said to be it. Called again at each retry, so
    /// that readiness follows without a timer.
    pub(crate) fn trouble(&self, partition: Partition, what: String) -> bool {
        let mut first = false;
        self.change(partition, |held| {
            let since = match &held.condition {
                Condition::Trouble { since, .. } => *since,
                Condition::Starting | Condition::Serving | Condition::Refused(_) => {
                    first = true;
                    Instant::now()
                }
            };
            held.condition = Condition::Trouble { since, what };
        });
        first
    }

    pub(crate) fn gone(&self, partition: Partition) {
        self.update(|state| {
            state.partitions.remove(&partition);
            state.readiness.partition_gone(partition.0);
        });
    }

    /// A partition that was taken away meanwhile stays away.
    fn change(&self, partition: Partition, change: impl FnOnce(&mut Held)) {
        self.update(|state| {
            if let Some(held) = state.partitions.get_mut(&partition) {
                change(held);
                state.report(partition);
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
        assert!(status.trouble(Partition(3), "bucket does not answer".into()));
        assert_eq!(readiness.state(), Ok(()));
        assert_eq!(readiness.report().checks[0].partitions[0].state, "trouble");
        tokio::time::sleep(TROUBLE_MAX + Duration::from_secs(1)).await;
        assert!(!status.trouble(Partition(3), "bucket does not answer".into()), "no news");
        let partition = readiness.report().checks[0].partitions[0].clone();
        assert_eq!(partition.detail.unwrap(), "for 31 s: bucket does not answer");
        let problem = "ingester: partition 3, for 31 s: bucket does not answer\n";
        assert_eq!(readiness.state(), Err(problem.into()));
        status.serving(Partition(3));
        assert_eq!(readiness.state(), Ok(()));
        status.refused(Partition(3), "topic was recreated?".into());
        assert!(readiness.state().is_err());
        status.gone(Partition(3));
        assert!(readiness.report().checks[0].partitions.is_empty());
        status.refused(Partition(3), "too late".into());
        assert_eq!(readiness.state(), Ok(()));
    }
}
