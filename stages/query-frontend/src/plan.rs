//! Which partitions a question about one trace concerns, and which jobs find its answer in one of them.
//! Pure: everything comes from a View, so that blocks and recent data go by the same state of the ledger.

use std::collections::BTreeSet;
use std::ops::Range;

use vivace_ledger::BlockMeta;
use vivace_model::{Partition, Spread, TenantId, TraceId, UnixNanos};
use vivace_proto::internal::trace_job::Source;
use vivace_proto::internal::{BlockRef, BlocksSource, RecentSource};

use crate::replan::Planned;

/// A question about one trace of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) tenant: TenantId,
    pub(crate) trace_id: TraceId,
    /// Only blocks with spans in this time are looked at.
    pub(crate) range: Option<Range<UnixNanos>>,
}

impl Question {
    /// The partitions that the trace hashes to: for each way in which records of the tenant are or were spread, one.
    /// Blocks of unknown spread may hold it wherever they are.
    pub(crate) fn partitions(&self, spreads: &BTreeSet<Spread>) -> BTreeSet<Partition> {
        spreads.iter().filter_map(|spread| spread.partition_of(&self.tenant, &self.trace_id)).collect()
    }

    /// The jobs for one partition. With `pruning`, blocks that the trace's id does not hash to are left out.
    pub(crate) fn jobs(&self, planned: &Planned, pruning: bool, job_blocks_max: usize) -> Vec<Source> {
        let state = &planned.state;
        let blocks: Vec<_> = state
            .blocks(&self.tenant, self.range.clone())
            .filter(|block| !pruning || block.may_hold(&self.trace_id))
            .filter(|block| planned.reads(block))
            .map(|block| block_ref(block))
            .collect();
        let recent = Source::Recent(recent_source(planned));
        let blocks = blocks
            .chunks(job_blocks_max)
            .map(|chunk| Source::Blocks(BlocksSource { blocks: chunk.to_vec() }));
        [recent].into_iter().chain(blocks).collect()
    }
}

/// The data of a partition that no block of its state holds.
pub(crate) fn recent_source(Planned { state, log_only, .. }: &Planned) -> RecentSource {
    RecentSource { partition: state.partition().0, from_offset: state.end().0, log_only: *log_only }
}

pub(crate) fn block_ref(block: &BlockMeta) -> BlockRef {
    BlockRef { path: block.path().to_string(), bytes: block.bytes, rows: block.rows }
}
