use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vivace_model::{Offset, OffsetRange, Partition, TenantId, TraceId, UnixNanos};

use crate::{BlockMeta, Entry, EntryBody, LedgerError, Violation, rules};

/// How long a retired block stays in the state, counted from entry to entry so that every reader folds alike. The
/// grace period in which its file is kept must be shorter, or whoever deletes files never hears of it.
pub const RETIRED_KEEP: Duration = Duration::from_secs(60 * 60);

/// What the chain of one partition says, up to one of its entries. Made only by folding entries, so a state that
/// exists is one that the chain had. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionState(Arc<Folded>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Folded {
    topic: String,
    partition: Partition,
    sequence: u64,
    end: Offset,
    totals: Totals,
    /// Sorted by [`BlockMeta::newest_first`].
    live: Vec<Arc<BlockMeta>>,
    /// In the order in which they were retired.
    retired: Vec<Retired>,
}

/// A block that was replaced or expired. Its file is still readable for the grace period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// The block.
    pub block: Arc<BlockMeta>,
    /// When the entry that retired it was written.
    pub at: UnixNanos,
}

/// What the chain counted from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// `lost` entries.
    pub lost_ranges: u64,
    /// Offsets that they name.
    pub lost_offsets: u64,
    /// Rejections named by `ingested` entries.
    pub rejected_records: u64,
    /// Spans that these name.
    pub rejected_spans: u64,
}

impl PartitionState {
    /// The state of a chain without entries.
    #[must_use]
    pub fn empty(topic: &str, partition: Partition) -> Self {
        Self(Arc::new(Folded {
            topic: topic.to_owned(),
            partition,
            sequence: 0,
            end: Offset::ZERO,
            totals: Totals::default(),
            live: Vec::new(),
            retired: Vec::new(),
        }))
    }

    /// The spans topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.0.partition
    }

    /// Number of the last entry folded; 0 for an empty chain.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// The first offset that no entry names: blocks answer below it, recent data from it on.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.0.end
    }

    /// The blocks that hold everything below the end, newest first.
    #[must_use]
    pub fn live(&self) -> &[Arc<BlockMeta>] {
        &self.0.live
    }

    /// Blocks replaced or expired in the last hour or so, longest retired first.
    #[must_use]
    pub fn retired(&self) -> &[Retired] {
        &self.0.retired
    }

    /// Lost and rejected records from the beginning of the chain.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.0.totals
    }

    /// The live blocks of a tenant that can hold spans of `[range.start, range.end)`, newest first; of any time if no
    /// range is given.
    pub fn blocks<'a>(
        &'a self,
        tenant: &'a TenantId,
        range: Option<Range<UnixNanos>>,
    ) -> impl Iterator<Item = &'a Arc<BlockMeta>> + 'a {
        let range = range.unwrap_or(UnixNanos(0)..UnixNanos(u64::MAX));
        // The list is sorted by `end_max`: behind the first block that ends too early, all do.
        let young = self.live().partition_point(|block| block.end_max >= range.start);
        self.live()[..young].iter().filter(move |block| block.overlaps(&range) && block.tenant == *tenant)
    }

    /// [`Self::blocks`] that can hold spans of that trace.
    pub fn blocks_of_trace<'a>(
        &'a self,
        tenant: &'a TenantId,
        trace_id: &'a TraceId,
        range: Option<Range<UnixNanos>>,
    ) -> impl Iterator<Item = &'a Arc<BlockMeta>> + 'a {
        self.blocks(tenant, range).filter(|block| block.may_hold(trace_id))
    }

    /// The state after one more entry.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`] names the rule that the entry breaks.
    pub fn apply(&self, entry: &Entry) -> Result<Self, LedgerError> {
        let mut next = self.clone();
        next.fold(entry).map_err(|source| LedgerError::Corrupt {
            path: format!("entry {} of {}/{}", entry.sequence, entry.topic, entry.partition),
            source,
        })?;
        Ok(next)
    }

    /// [`Self::apply`] in place; copies the lists only if someone else holds the same state. Unchanged on error.
    pub(crate) fn fold(&mut self, entry: &Entry) -> Result<(), Violation> {
        rules::check(self, entry)?;
        let state = Arc::make_mut(&mut self.0);
        state.sequence = entry.sequence;
        state.retire(entry);
        for block in entry.body.added() {
            state.insert(Arc::new(block.clone()));
        }
        if let Some(offsets) = entry.body.offsets() {
            state.end = offsets.end;
        }
        state.totals.add(&entry.body);
        Ok(())
    }

    pub(crate) fn folded(&self) -> &Folded {
        &self.0
    }

    /// Takes a state that was read from a snapshot, if it can be one of that chain.
    pub(crate) fn restore(
        mut folded: Folded,
        topic: &str,
        partition: Partition,
        sequence: u64,
    ) -> Result<Self, Violation> {
        if folded.topic != topic || folded.partition != partition {
            return Err(Violation::Stranger { topic: folded.topic, partition: folded.partition });
        }
        if folded.sequence != sequence {
            return Err(Violation::Snapshot { sequence, what: "its number" });
        }
        let offsets = OffsetRange { start: Offset::ZERO, end: folded.end };
        let mut ids = HashSet::with_capacity(folded.live.len());
        for block in folded.live.iter().chain(folded.retired.iter().map(|retired| &retired.block)) {
            rules::check_block(block, partition, offsets)?;
            if !ids.insert(block.id) {
                return Err(Violation::RepeatedBlock { id: block.id });
            }
        }
        folded.live.sort_unstable_by(|a, b| a.newest_first(b));
        Ok(Self(Arc::new(folded)))
    }
}

impl Folded {
    fn insert(&mut self, block: Arc<BlockMeta>) {
        let place = self.live.partition_point(|live| live.newest_first(&block).is_lt());
        self.live.insert(place, block);
    }

    fn retire(&mut self, entry: &Entry) {
        self.retired.retain(|retired| entry.written.since(retired.at) <= RETIRED_KEEP);
        let removed: HashSet<_> = entry.body.removed().iter().collect();
        if removed.is_empty() {
            return;
        }
        let retired = &mut self.retired;
        self.live.retain(|block| {
            let stays = !removed.contains(&block.id);
            if !stays {
                retired.push(Retired { block: Arc::clone(block), at: entry.written });
            }
            stays
        });
    }
}

impl Totals {
    pub(crate) fn add(&mut self, body: &EntryBody) {
        match body {
            EntryBody::Ingested { rejected, .. } => {
                let spans = rejected.iter().map(|rejected| rejected.spans).fold(0, u64::saturating_add);
                self.rejected_records += rejected.len() as u64;
                self.rejected_spans = self.rejected_spans.saturating_add(spans);
            }
            EntryBody::Lost { offsets } => {
                self.lost_ranges += 1;
                self.lost_offsets += offsets.len();
            }
            EntryBody::Compacted { .. } | EntryBody::Expired { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rejected;
    use crate::testing::{WRITTEN, block, compacted, entry, expired, ids, ingested, lost, state_of};

    #[test]
    fn entries_fold_into_the_state() {
        let rejected = vec![Rejected { offset: Offset(12), reason: "truncated".into(), spans: 3 }];
        let offsets = OffsetRange::new(Offset(10), Offset(20));
        let state = state_of(&[
            ingested(vec![block(1, 0..10)], 0..10),
            EntryBody::Ingested { offsets, blocks: vec![block(2, 10..20)], rejected },
            lost(20..50),
            ingested(vec![block(3, 50..60)], 50..60),
            compacted(&[1, 2], vec![block(4, 0..20)]),
            expired(&[3]),
        ]);
        assert_eq!(state.sequence(), 6);
        assert_eq!(state.end(), Offset(60));
        assert_eq!(ids(state.live()), [4]);
        let retired: Vec<_> = state.retired().iter().map(|retired| Arc::clone(&retired.block)).collect();
        assert_eq!(ids(&retired), [2, 1, 3]);
        let expected = Totals { lost_ranges: 1, lost_offsets: 30, rejected_records: 1, rejected_spans: 3 };
        assert_eq!(state.totals(), expected);
    }

    #[test]
    fn a_broken_rule_is_corrupt_and_changes_nothing() {
        let state = state_of(&[ingested(vec![block(1, 0..10)], 0..10)]);
        let before = state.clone();
        let error = state.apply(&entry(2, ingested(vec![], 5..15))).unwrap_err();
        assert_eq!(error.kind(), vivace_model::ErrorKind::Corrupt);
        assert!(error.to_string().contains("entry 2 of vivace.spans/0"), "{error}");
        let mut same = state.clone();
        same.fold(&entry(2, ingested(vec![], 5..15))).unwrap_err();
        assert_eq!(same, before);
    }

    #[test]
    fn applying_leaves_the_old_state_as_it_was() {
        let old = state_of(&[ingested(vec![block(1, 0..10)], 0..10)]);
        let new = old.apply(&entry(2, expired(&[1]))).unwrap();
        assert_eq!((old.live().len(), new.live().len()), (1, 0));
        assert_eq!(old.sequence(), 1);
    }

    #[test]
    fn blocks_are_shared_between_states() {
        let old = state_of(&[ingested(vec![block(1, 0..10)], 0..10)]);
        let new = old.apply(&entry(2, lost(10..11))).unwrap();
        assert!(Arc::ptr_eq(&old.live()[0], &new.live()[0]));
    }

    #[test]
    fn retired_blocks_leave_by_the_clock_of_the_entries() {
        let state = state_of(&[ingested(vec![block(1, 0..10)], 0..10), expired(&[1])]);
        let at = |sequence, after: Duration| Entry {
            written: UnixNanos(WRITTEN.0 + u64::try_from(after.as_nanos()).unwrap()),
            ..entry(sequence, lost(sequence + 7..sequence + 8))
        };
        let kept = state.apply(&at(3, RETIRED_KEEP)).unwrap();
        assert_eq!(kept.retired().len(), 1);
        let dropped = kept.apply(&at(4, RETIRED_KEEP + Duration::from_nanos(1))).unwrap();
        assert_eq!(dropped.retired(), []);
        // A clock that lags behind must not drop anything.
        let early = Entry { written: UnixNanos(0), ..entry(3, lost(10..11)) };
        assert_eq!(state.apply(&early).unwrap().retired().len(), 1);
    }

    #[test]
    fn blocks_are_pruned_by_tenant_and_time_and_come_newest_first() {
        let timed = |number: u64, start, end, tenant: &str| BlockMeta {
            start_min: UnixNanos(start),
            end_max: UnixNanos(end),
            tenant: tenant.parse().unwrap(),
            ..block(number, 0..10)
        };
        let blocks = vec![
            timed(1, 0, 100, "a"),
            timed(2, 50, 300, "a"),
            timed(3, 0, 200, "a"),
            timed(4, 0, 300, "a"),
            timed(5, 0, 400, "b"),
        ];
        let state = state_of(&[ingested(blocks, 0..10)]);
        let tenant = "a".parse().unwrap();
        let found = |range: Option<Range<u64>>| {
            let range = range.map(|range| UnixNanos(range.start)..UnixNanos(range.end));
            ids(&state.blocks(&tenant, range).cloned().collect::<Vec<_>>())
        };
        assert_eq!(found(None), [4, 2, 3, 1]);
        assert_eq!(found(Some(150..1000)), [4, 2, 3]);
        assert_eq!(found(Some(0..50)), [4, 3, 1]);
        assert_eq!(found(Some(301..1000)), Vec::<u64>::new());
    }

    #[test]
    fn order_does_not_depend_on_how_blocks_came() {
        let state = |numbers: &[u64]| {
            let blocks = numbers.iter().map(|&number| block(number, 0..10)).collect();
            state_of(&[ingested(blocks, 0..10)])
        };
        assert_eq!(state(&[3, 1, 2]), state(&[1, 2, 3]));
    }
}
