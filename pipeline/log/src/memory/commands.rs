//! What a test may command of the in-memory log.
//! Owns: the handle. Does not own: what the commands do to appends and reads (the log and its readers look them up).

use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use vivace_model::{Offset, OffsetRange, Partition};

use super::{Fate, Shared, Topic};
use crate::Record;
use crate::coordinator::Coordinator;

/// Faults that happen by chance; none by default. Chances go from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Appends wait up to that long before they are stored, and again before they are answered.
    pub append_delay_max: Duration,
    /// Reads wait up to that long.
    pub read_delay_max: Duration,
    /// Chance of an append that is not stored and fails.
    pub append_refused: f64,
    /// Chance of an append that is stored and fails.
    pub append_unanswered: f64,
    /// Chance of an append that is stored twice.
    pub append_duplicated: f64,
    /// Chance of a read that fails.
    pub read_failed: f64,
    /// Chance of a question for the watermarks that fails.
    pub watermarks_failed: f64,
}

/// When an append fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before it was stored.
    Before,
    /// After it was stored: the answer got lost.
    After,
}

/// Commands faults of a [`MemoryLog`](super::MemoryLog) and looks inside it. Topics and groups that do not exist are left
/// alone.
#[derive(Clone, Debug)]
pub struct MemoryHandle {
    shared: Arc<Shared>,
}

impl MemoryHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Sets the faults that happen by chance from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.state.lock().faults = faults;
    }

    /// Lets the next append (after those ordered before) fail.
    pub fn fail_next_append(&self, moment: Moment) {
        self.order(Fate::Failed(moment));
    }

    /// Lets the next append be stored twice.
    pub fn duplicate_next_append(&self) {
        self.order(Fate::Duplicated);
    }

    /// Lets the next append be refused as too much.
    pub fn refuse_next_append(&self) {
        self.order(Fate::Full);
    }

    /// Lets the next append be stored once and answered; for orders like "the second one fails".
    pub fn pass_next_append(&self) {
        self.order(Fate::Stored);
    }

    fn order(&self, fate: Fate) {
        self.shared.state.lock().ordered.push_back(fate);
    }

    /// Deletes the records below an offset, up to the end of the partition.
    pub fn truncate(&self, topic: &str, partition: Partition, below: Offset) {
        {
            let mut state = self.shared.state.lock();
            let Ok(log) = state.partition(topic, partition) else { return };
            while log.start < below.0 && log.records.pop_front().is_some() {
                log.start += 1;
            }
        }
        self.shared.news.notify_waiters();
    }

    /// Deals all partitions out anew among the members of a group. Every member loses what it has, and may regain some.
    pub fn rebalance(&self, topic: &str, group: &str) {
        let mut state = self.shared.state.lock();
        let partitions = state.topics.get(topic).map_or(0, |topic| topic.partitions.len());
        let mut order: Vec<_> = (0..partitions).collect();
        order.shuffle(&mut state.dice);
        if let Some(coordinator) = state.topics.get(topic).and_then(|topic| coordinator(topic, group)) {
            coordinator.reassign(&order);
        }
    }

    /// Takes a member for dead, as a broker does after a session timeout: others get its partitions at once, it learns of
    /// that when it asks next, and joins again then. Members count from 0 in the order of joining, without those that
    /// left or are dead. False if there is no such member.
    #[must_use]
    pub fn drop_member(&self, topic: &str, group: &str, index: usize) -> bool {
        self.with_group(topic, group, |coordinator| coordinator.expel(index))
    }

    /// Throws a member out for good: it gets [`LogError::Fenced`](crate::LogError::Fenced). Counts as
    /// [`Self::drop_member`].
    #[must_use]
    pub fn fence_member(&self, topic: &str, group: &str, index: usize) -> bool {
        self.with_group(topic, group, |coordinator| coordinator.fence(index))
    }

    fn with_group(&self, topic: &str, group: &str, act: impl FnOnce(&Coordinator) -> bool) -> bool {
        let state = self.shared.state.lock();
        state.topics.get(topic).and_then(|topic| coordinator(topic, group)).is_some_and(act)
    }

    /// The offsets that a partition holds, whatever fails on command.
    #[must_use]
    pub fn watermarks(&self, topic: &str, partition: Partition) -> OffsetRange {
        let mut state = self.shared.state.lock();
        let missing = OffsetRange::new(Offset::ZERO, Offset::ZERO);
        state.partition(topic, partition).map_or(missing, |log| log.watermarks())
    }

    /// The records that a partition holds.
    #[must_use]
    pub fn records(&self, topic: &str, partition: Partition) -> Vec<Record> {
        let mut state = self.shared.state.lock();
        state
            .partition(topic, partition)
            .map_or_else(|_| Vec::new(), |log| log.records.iter().cloned().collect())
    }

    /// What a group committed last for a partition.
    #[must_use]
    pub fn committed(&self, topic: &str, group: &str, partition: Partition) -> Option<Offset> {
        let state = self.shared.state.lock();
        let group = state.topics.get(topic)?.groups.get(group)?;
        group.committed.get(partition.0 as usize).copied().flatten()
    }
}

fn coordinator<'a>(topic: &'a Topic, group: &str) -> Option<&'a Coordinator> {
    topic.groups.get(group).map(|group| &*group.coordinator)
}
