//! Which blocks are live.

use std::ops::Range;
use std::sync::Arc;

use vivace_ledger::{BlockMeta, PartitionState};
use vivace_model::{TenantId, UnixNanos};

/// Which blocks are asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// Only those that can hold spans of `[start, end)`.
    pub range: Option<Range<UnixNanos>>,
}

/// The live blocks, by the end of their latest span, newest first.
#[must_use]
pub fn live_blocks(states: &[PartitionState], wanted: &Wanted) -> Vec<Arc<BlockMeta>> {
    let all = states.iter().flat_map(PartitionState::live);
    let of_tenant = all.filter(|block| wanted.tenant.as_ref().is_none_or(|tenant| block.tenant == *tenant));
    let in_time = of_tenant.filter(|block| wanted.range.as_ref().is_none_or(|range| block.overlaps(range)));
    let mut blocks: Vec<_> = in_time.map(Arc::clone).collect();
    blocks.sort_by(|a, b| b.end_max.cmp(&a.end_max).then_with(|| b.id.cmp(&a.id)));
    blocks
}

/// Where the blocks' files lie, below the URL or folder of the bucket.
pub fn files<'a>(base: &'a str, blocks: &'a [Arc<BlockMeta>]) -> impl Iterator<Item = String> + 'a {
    let base = base.trim_end_matches('/');
    blocks.iter().map(move |block| format!("{base}/{}", block.path()))
}

/// What DuckDB reads all of these blocks by; nothing without blocks, for an empty list is an error there.
#[must_use]
pub fn duckdb(base: &str, blocks: &[Arc<BlockMeta>]) -> Option<String> {
    let quoted: Vec<_> = files(base, blocks).map(|file| format!("'{}'", file.replace('\'', "''"))).collect();
    (!quoted.is_empty()).then(|| format!("read_parquet([{}], union_by_name = true)", quoted.join(", ")))
}
