//! Blocks that are left alone for a while, because work on them failed again and again.
//! Owns: which blocks, for how long, and what a status page says of them.
//! Does not own: what counts as a failure (`partition`), planning without these blocks (`plan`).
//! Guarantee: blocks are set aside after two failures in a row, for longer each time, up to an hour; then they are tried
//! once more, for somebody may have mended what was wrong. What is known is in memory only.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use vivace_model::{BlockId, Partition};

/// Failures in a row after which blocks are set aside.
const FAILURES: u32 = 2;
/// For how long, the first time; twice as long each time that follows.
const ASIDE_MIN: Duration = Duration::from_secs(5 * 60);
const ASIDE_MAX: Duration = Duration::from_secs(60 * 60);
/// Blocks that a status page names of a partition.
const NAMED_MAX: usize = 5;

#[derive(Clone, Copy, Debug)]
struct Failed {
    failures: u32,
    until: Option<Instant>,
}

/// What became of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// The same is tried once more.
    TryAgain,
    /// Blocks are set aside, of which so many for the first time.
    SetAside {
        /// Blocks that were not set aside before.
        fresh: usize,
    },
}

/// The blocks of one partition that work failed on.
#[derive(Debug)]
pub(crate) struct Aside {
    partition: Partition,
    failed: HashMap<BlockId, Failed>,
    told: SetAside,
}

impl Aside {
    pub(crate) fn new(partition: Partition, told: SetAside) -> Self {
        Self { partition, failed: HashMap::new(), told }
    }

    /// Work on these blocks failed.
    pub(crate) fn failed(&mut self, blocks: &[BlockId], reason: &str) -> Judged {
        let now = Instant::now();
        let (mut aside, mut fresh) = (Vec::new(), 0);
        for id in blocks {
            let known = self.failed.entry(*id).or_insert(Failed { failures: 0, until: None });
            known.failures += 1;
            let Some(times) = known.failures.checked_sub(FAILURES) else { continue };
            let wait = ASIDE_MIN.saturating_mul(1 << times.min(10)).min(ASIDE_MAX);
            known.until = Some(now + wait);
            fresh += usize::from(times == 0);
            aside.push(*id);
        }
        if aside.is_empty() {
            return Judged::TryAgain;
        }
        self.told.set(self.partition, aside, reason);
        Judged::SetAside { fresh }
    }

    /// The blocks that nothing is to be done with now; forgets those that are not live any more.
    pub(crate) fn now(&mut self, live: impl Iterator<Item = BlockId>) -> HashSet<BlockId> {
        if self.failed.is_empty() {
            return HashSet::new();
        }
        let live: HashSet<BlockId> = live.collect();
        self.failed.retain(|id, _| live.contains(id));
        let now = Instant::now();
        let aside = self.failed.iter().filter(|(_, failed)| failed.until.is_some_and(|until| until > now));
        let aside: HashSet<BlockId> = aside.map(|(id, _)| *id).collect();
        self.told.keep(self.partition, &aside);
        aside
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.told.keep(self.partition, &HashSet::new());
    }
}

/// The blocks that a compactor leaves alone, for a status page. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SetAside {
    blocks: Arc<Mutex<BTreeMap<Partition, BTreeMap<BlockId, String>>>>,
    /// How many there are.
    count: Gauge,
}

impl SetAside {
    pub(crate) fn counted_by(count: Gauge) -> Self {
        Self { blocks: Arc::default(), count }
    }

    /// A line for each partition that has such blocks.
    #[must_use]
    pub fn partitions(&self) -> Vec<(Partition, String)> {
        let line = |blocks: &BTreeMap<BlockId, String>| {
            let named: Vec<_> = blocks.keys().take(NAMED_MAX).map(BlockId::to_string).collect();
            let more = if blocks.len() > NAMED_MAX { ", …" } else { "" };
            let reason = blocks.values().next().map_or("", String::as_str);
            format!("{} blocks set aside ({}{more}): {reason}", blocks.len(), named.join(", "))
        };
        self.blocks.lock().iter().map(|(partition, blocks)| (*partition, line(blocks))).collect()
    }

    fn set(&self, partition: Partition, blocks: Vec<BlockId>, reason: &str) {
        let blocks = blocks.into_iter().map(|id| (id, reason.to_owned()));
        let mut all = self.blocks.lock();
        all.entry(partition).or_default().extend(blocks);
        self.recount(&all);
    }

    fn keep(&self, partition: Partition, aside: &HashSet<BlockId>) {
        let mut all = self.blocks.lock();
        if let Some(blocks) = all.get_mut(&partition) {
            blocks.retain(|id, _| aside.contains(id));
            if blocks.is_empty() {
                all.remove(&partition);
            }
            self.recount(&all);
        }
    }

    fn recount(&self, all: &BTreeMap<Partition, BTreeMap<BlockId, String>>) {
        let count: usize = all.values().map(BTreeMap::len).sum();
        self.count.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::block;

    #[tokio::test(start_paused = true)]
    async fn blocks_are_set_aside_after_two_failures_for_longer_each_time() {
        let told = SetAside::default();
        let mut aside = Aside::new(Partition(3), told.clone());
        let (a, b) = (block(1).id, block(2).id);
        let live = || [a, b].into_iter();
        assert_eq!(aside.failed(&[a], "bad"), Judged::TryAgain);
        assert!(aside.now(live()).is_empty());
        for (times, minutes) in [5, 10, 20, 40, 60, 60].into_iter().enumerate() {
            assert_eq!(aside.failed(&[a, b], "bad"), Judged::SetAside { fresh: usize::from(times < 2) });
            assert!(aside.now(live()).contains(&a), "{minutes}");
            tokio::time::sleep(Duration::from_secs(minutes * 60 - 1)).await;
            assert!(aside.now(live()).contains(&a), "{minutes}");
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(!aside.now(live()).contains(&a), "{minutes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_page_names_them_while_they_are_set_aside() {
        let told = SetAside::default();
        let mut aside = Aside::new(Partition(3), told.clone());
        let (a, b) = (block(1).id, block(2).id);
        aside.failed(&[a, b], "panicked: no");
        assert_eq!((told.partitions(), told.count.get()), (vec![], 0));
        aside.failed(&[a, b], "panicked: no");
        let line = format!("2 blocks set aside ({a}, {b}): panicked: no");
        assert_eq!((told.partitions(), told.count.get()), (vec![(Partition(3), line)], 2));
        aside.now([b].into_iter());
        assert_eq!(told.count.get(), 1, "the other one is not live any more");
        drop(aside);
        assert_eq!(told.count.get(), 0, "another compactor has the partition");
    }
}
