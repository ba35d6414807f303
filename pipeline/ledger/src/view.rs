use std::ops::Range;
use std::sync::Arc;

use vivace_model::{Offset, Partition, TenantId, TraceId, UnixNanos};

use crate::{BlockMeta, PartitionState};

/// What a query goes by: for every partition the ledger entry it has seen, the live blocks, and the committed end
/// from which on recent data is asked. It never changes, however long the query runs; cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    partitions: Arc<[PartitionState]>,
}

impl View {
    /// A view of partitions 0, 1, 2, … in this order.
    ///
    /// # Panics
    /// If the states are of other partitions.
    #[must_use]
    pub fn new(states: Vec<PartitionState>) -> Self {
        for (state, partition) in states.iter().zip((0..).map(Partition)) {
            assert_eq!(state.partition(), partition, "a view holds all partitions in order");
        }
        Self { partitions: states.into() }
    }

    /// All partitions, by number.
    #[must_use]
    pub fn partitions(&self) -> &[PartitionState] {
        &self.partitions
    }

    /// One partition, if the topic has it.
    #[must_use]
    pub fn partition(&self, partition: Partition) -> Option<&PartitionState> {
        self.partitions.get(usize::try_from(partition.0).ok()?)
    }

    /// Where recent data of a partition begins; the start for a partition that the topic does not have.
    #[must_use]
    pub fn end(&self, partition: Partition) -> Offset {
        self.partition(partition).map_or(Offset::ZERO, PartitionState::end)
    }

    /// The live blocks of a tenant that can hold spans of `[range.start, range.end)`, of all partitions together,
    /// newest first; of any time if no range is given.
    pub fn blocks<'a>(
        &'a self,
        tenant: &'a TenantId,
        range: Option<Range<UnixNanos>>,
    ) -> impl Iterator<Item = &'a Arc<BlockMeta>> + 'a {
        newest_first(self.partitions.iter().flat_map(move |state| state.blocks(tenant, range.clone())))
    }

    /// [`Self::blocks`] that can hold spans of that trace: those of its partition, and older ones from when the topic
    /// had another number of partitions.
    pub fn blocks_of_trace<'a>(
        &'a self,
        tenant: &'a TenantId,
        trace_id: &'a TraceId,
        range: Option<Range<UnixNanos>>,
    ) -> impl Iterator<Item = &'a Arc<BlockMeta>> + 'a {
        let of_partition =
            move |state: &'a PartitionState| state.blocks_of_trace(tenant, trace_id, range.clone());
        newest_first(self.partitions.iter().flat_map(of_partition))
    }
}

fn newest_first<'a>(
    blocks: impl Iterator<Item = &'a Arc<BlockMeta>>,
) -> impl Iterator<Item = &'a Arc<BlockMeta>> {
    let mut blocks: Vec<_> = blocks.collect();
    // Each partition's blocks are sorted already, which a stable sort makes use of.
    blocks.sort_by(|a, b| a.newest_first(b));
    blocks.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TOPIC, block, entry, ids, ingested};
    use crate::{Entry, EntryBody};
    use vivace_model::partition_of;

    /// Four partitions with two blocks each; block `n` ends at time `n`.
    fn view() -> View {
        let state = |number: u32| {
            let partition = Partition(number);
            let of = |id: u64| BlockMeta {
                partition,
                start_min: UnixNanos(id),
                end_max: UnixNanos(id),
                ..block(id, 0..10)
            };
            let body: EntryBody = ingested(vec![of(u64::from(number)), of(u64::from(number) + 4)], 0..10);
            PartitionState::empty(TOPIC, partition).apply(&Entry { partition, ..entry(1, body) }).unwrap()
        };
        View::new((0..4).map(state).collect())
    }

    #[test]
    fn blocks_of_all_partitions_come_newest_first() {
        let (view, tenant) = (view(), TenantId::default());
        let found = |range| ids(&view.blocks(&tenant, range).cloned().collect::<Vec<_>>());
        assert_eq!(found(None), [7, 6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(found(Some(UnixNanos(3)..UnixNanos(5))), [4, 3]);
        assert_eq!(view.blocks(&"other".parse().unwrap(), None).count(), 0);
    }

    #[test]
    fn a_trace_is_looked_for_in_its_partition() {
        let (view, tenant) = (view(), TenantId::default());
        for byte in 0..=255 {
            let trace_id = TraceId::from_bytes([byte; 16]);
            let partition = partition_of(trace_id.as_bytes(), 4);
            let found: Vec<_> = view.blocks_of_trace(&tenant, &trace_id, None).cloned().collect();
            assert_eq!(ids(&found), [u64::from(partition.0) + 4, u64::from(partition.0)]);
        }
    }

    #[test]
    fn unknown_partitions_are_empty() {
        assert_eq!(view().end(Partition(3)), Offset(10));
        assert_eq!(view().end(Partition(4)), Offset::ZERO);
        assert!(view().partition(Partition(4)).is_none());
    }

    #[test]
    #[should_panic(expected = "all partitions in order")]
    fn partitions_are_in_order() {
        drop(View::new(vec![PartitionState::empty(TOPIC, Partition(1))]));
    }
}
