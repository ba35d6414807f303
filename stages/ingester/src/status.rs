//! How the ingester fares: what readiness probes and the status page ask.
//! Owns: the state of each partition held and since when something is wrong with it.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::info;
use vivace_model::Partition;
use vivace_runtime::ReadinessCheck;

/// Trouble that lasts longer than this makes the ingester unready.
const TROUBLE_MAX: Duration = Duration::from_secs(30);

/// How the ingester fares.
#[derive(Debug)]
pub(crate) struct Status(Mutex<State>);

#[derive(Debug)]
struct State {
    joined: bool,
    partitions: BTreeMap<Partition, Condition>,
    readiness: ReadinessCheck,
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

impl State {
    /// What is wrong, in one line; nothing if the ingester does its work.
    fn problem(&self) -> Option<String> {
        if !self.joined {
            return Some("not a member of the consumer group".into());
        }
        self.partitions.iter().find_map(|(partition, condition)| match condition {
            Condition::Refused(reason) => Some(format!("partition {partition}: {reason}")),
            Condition::Trouble { since, what } if since.elapsed() > TROUBLE_MAX => {
                Some(format!("partition {partition}, for {} s: {what}", since.elapsed().as_secs()))
            }
            Condition::Starting | Condition::Serving | Condition::Trouble { .. } => None,
        })
    }
}

impl State {
    /// Notes the partition's condition for the detail of `/ready`.
    fn report(&self, partition: Partition) {
        let Some(condition) = self.partitions.get(&partition) else { return };
        let (state, detail) = match condition {
            Condition::Starting => ("starting", None),
            Condition::Serving => ("serving", None),
            Condition::Trouble { since, what } => {
                ("trouble", Some(format!("for {} s: {what}", since.elapsed().as_secs())))
            }
            Condition::Refused(reason) => ("refused", Some(reason.clone())),
        };
        self.readiness.partition(partition.0, state, detail);
    }
}

impl Status {
    pub(crate) fn new(readiness: ReadinessCheck) -> Self {
        Self(Mutex::new(State { joined: false, partitions: BTreeMap::new(), readiness }))
    }

    /// The partitions held, each with a line about its condition.
    pub(crate) fn partitions(&self) -> Vec<(Partition, String)> {
        let show = |condition: &Condition| match condition {
            Condition::Starting => "starting".into(),
            Condition::Serving => "serving".into(),
            Condition::Trouble { what, .. } => format!("trouble: {what}"),
            Condition::Refused(reason) => format!("refused: {reason}"),
        };
        self.0.lock().partitions.iter().map(|(partition, condition)| (*partition, show(condition))).collect()
    }

    /// How many partitions cannot be worked on at the moment.
    pub(crate) fn in_trouble(&self) -> usize {
        let state = self.0.lock();
        state.partitions.values().filter(|condition| matches!(condition, Condition::Trouble { .. })).count()
    }

    pub(crate) fn set_joined(&self, joined: bool) {
        self.update(|state| state.joined = joined);
    }

    pub(crate) fn starting(&self, partition: Partition) {
        self.update(|state| {
            state.partitions.insert(partition, Condition::Starting);
            state.report(partition);
        });
    }

    pub(crate) fn serving(&self, partition: Partition) {
        self.change(partition, |condition| {
            if let Condition::Trouble { since, .. } = condition {
                let after = Duration::from_secs(since.elapsed().as_secs());
                info!(%partition, ?after, "the partition is worked on again");
            }
            *condition = Condition::Serving;
        });
    }

    pub(crate) fn refused(&self, partition: Partition, reason: String) {
        self.change(partition, |condition| *condition = Condition::Refused(reason));
    }

    /// Notes a failure that is retried; the first of a row counts, and is said to be it. Called again at each retry, so
    /// that readiness follows without a timer.
    pub(crate) fn trouble(&self, partition: Partition, what: String) -> bool {
        let mut first = false;
        self.change(partition, |condition| {
            let since = match condition {
                Condition::Trouble { since, .. } => *since,
                Condition::Starting | Condition::Serving | Condition::Refused(_) => {
                    first = true;
                    Instant::now()
                }
            };
            *condition = Condition::Trouble { since, what };
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
    fn change(&self, partition: Partition, change: impl FnOnce(&mut Condition)) {
        self.update(|state| {
            if let Some(condition) = state.partitions.get_mut(&partition) {
                change(condition);
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
