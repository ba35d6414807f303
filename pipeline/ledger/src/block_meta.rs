use std::cmp::Ordering;
use std::ops::Range;

use object_store::path::Path;
use serde::{Deserialize, Serialize};
use vivace_model::{BlockId, OffsetRange, Partition, Spread, TenantId, TraceId, UnixNanos};

/// One block, as the ledger names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockMeta {
    /// Name of the block, fresh for every file ever written.
    pub id: BlockId,
    /// Whose spans it holds.
    pub tenant: TenantId,
    /// UTC day of the ingest time, `yyyy-mm-dd`; part of the path.
    pub date: String,
    /// The partition that its records came from.
    pub partition: Partition,
    /// How its records were spread over partitions: `partition_count`, and `shard_size` for a tenant that has few.
    #[serde(flatten)]
    pub spread: Spread,
    /// The records it was built from; for a merged block the smallest range around those of its inputs.
    pub offsets: OffsetRange,
    /// How often it was merged: 0 from an ingester.
    pub level: u32,
    /// Spans in it.
    pub rows: u64,
    /// Distinct trace ids in it.
    pub traces: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Start of its earliest span.
    pub start_min: UnixNanos,
    /// End of its latest span, inclusive.
    pub end_max: UnixNanos,
    /// When the block was made.
    pub created: UnixNanos,
}

impl BlockMeta {
    /// Where the block's file lies.
    #[must_use]
    pub fn path(&self) -> Path {
        block_path(&self.tenant, &self.date, self.id)
    }

    /// Whether a span of the block can touch the time `[range.start, range.end)`.
    #[must_use]
    pub fn overlaps(&self, range: &Range<UnixNanos>) -> bool {
        self.start_min < range.end && self.end_max >= range.start
    }

    /// Whether spans of that trace can be in the block, by the partition that the trace id hashes to.
    #[must_use]
    pub fn may_hold(&self, trace_id: &TraceId) -> bool {
        self.spread.partition_of(&self.tenant, trace_id).is_none_or(|partition| partition == self.partition)
    }

    /// Order of blocks wherever they are given out: by the end of the latest span, newest first.
    pub(crate) fn newest_first(&self, other: &Self) -> Ordering {
        other.end_max.cmp(&self.end_max).then_with(|| other.id.cmp(&self.id))
    }
}

/// Where the file of a block lies: `blocks/tenant=<tenant>/date=<date>/<id>.parquet`. What a tenant's name may hold but
/// object stores dislike (`*`) is percent-encoded.
#[must_use]
pub fn block_path(tenant: &TenantId, date: &str, id: BlockId) -> Path {
    Path::from_iter([
        "blocks".to_owned(),
        format!("tenant={tenant}"),
        format!("date={date}"),
        format!("{id}.parquet"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::block;

    #[test]
    fn path_names_tenant_date_and_id() {
        let meta = block(7, 0..10);
        assert_eq!(
            meta.path().as_ref(),
            format!("blocks/tenant=single-tenant/date=2026-05-23/{}.parquet", meta.id)
        );
        let odd = block_path(&"a*b".parse().unwrap(), "2026-05-23", meta.id);
        assert!(odd.as_ref().starts_with("blocks/tenant=a%2Ab/"), "{odd}");
    }

    #[test]
    fn time_ranges_are_half_open_and_ends_inclusive() {
        let meta = BlockMeta { start_min: UnixNanos(10), end_max: UnixNanos(20), ..block(1, 0..10) };
        let overlaps = |start, end| meta.overlaps(&(UnixNanos(start)..UnixNanos(end)));
        assert!(overlaps(20, 21));
        assert!(overlaps(0, 11));
        assert!(!overlaps(0, 10));
        assert!(!overlaps(21, 30));
    }

    #[test]
    fn traces_are_found_where_they_hash_to() {
        let holders = |count| {
            (0..count).filter(move |&number| {
                let partition = Partition(number);
                let meta = BlockMeta { partition, spread: Spread::all(count), ..block(1, 0..10) };
                meta.may_hold(&TraceId::from_bytes([7; 16]))
            })
        };
        assert_eq!(holders(4).count(), 1);
        assert_eq!(holders(1).count(), 1);
        let unknown = BlockMeta { spread: Spread::UNKNOWN, ..block(1, 0..10) };
        assert!(unknown.may_hold(&TraceId::from_bytes([7; 16])));
    }
}
