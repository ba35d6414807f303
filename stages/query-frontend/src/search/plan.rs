//! Which jobs find the answer of a search in one partition.
//! Pure: everything comes from one state of the ledger, so that blocks and recent data fit together.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use vivace_ledger::{BlockMeta, PartitionState};
use vivace_model::{TenantId, UnixNanos};
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::{ScanBlock, Search, SearchJob, SummariesKind, TracesKind};

use crate::Config;
use crate::plan::{block_ref, recent_source};
use crate::replan::Planned;

/// A search, for all tenants that it is about.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Each once.
    pub(crate) tenants: Vec<TenantId>,
    /// What is searched for; its tenant is filled in job by job.
    pub(crate) search: Search,
    pub(crate) blocks: Window,
    /// Traces are looked at as wholes.
    pub(crate) whole: bool,
}

/// Which blocks a search looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// Blocks of any time.
    Any,
    /// Blocks with spans of this time.
    Of(Range<UnixNanos>),
    /// Blocks with spans since then; if a partition has none, its newest.
    Since(UnixNanos),
}

impl Window {
    /// The same, wider on both sides.
    pub(crate) fn widened(&self, by: Duration) -> Self {
        match self {
            Self::Of(range) => Self::Of(widened(range, by)),
            Self::Any | Self::Since(_) => self.clone(),
        }
    }

    /// As the protobuf messages have it: both 0 for any time.
    fn bounds(&self) -> (u64, u64) {
        match self {
            Self::Of(range) => (range.start.0, range.end.0),
            Self::Any | Self::Since(_) => (0, 0),
        }
    }
}

pub(crate) fn widened(range: &Range<UnixNanos>, by: Duration) -> Range<UnixNanos> {
    let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
    UnixNanos(range.start.0.saturating_sub(by))..UnixNanos(range.end.0.saturating_add(by))
}

/// A job that is to be run.
#[derive(Clone, Debug)]
pub(crate) struct PlannedJob {
    /// Number of the shard that it belongs to.
    pub(crate) shard: usize,
    pub(crate) purpose: Purpose,
    /// Newest first.
    pub(crate) blocks: Vec<Arc<BlockMeta>>,
    /// Also what no block holds.
    pub(crate) recent: bool,
}

/// What a job is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Finding what is searched for.
    Find,
    /// Telling what is known of these traces.
    Summaries(Arc<[[u8; 16]]>),
}

impl PlannedJob {
    /// No span that it can find starts later.
    pub(crate) fn newest(&self) -> UnixNanos {
        let blocks = self.blocks.iter().map(|block| block.end_max).max();
        if self.recent { UnixNanos(u64::MAX) } else { blocks.unwrap_or_default() }
    }

    /// Whether it looks into blocks for something.
    pub(crate) fn reads_blocks(&self) -> bool {
        self.finds() && !self.blocks.is_empty()
    }

    pub(crate) fn finds(&self) -> bool {
        self.purpose == Purpose::Find
    }

    /// The job as queriers take it. `limit` is for searches of traces.
    pub(crate) fn message(
        &self,
        asked: &Asked,
        tenant: &TenantId,
        planned: &Planned,
        limit: u32,
        slack: Duration,
    ) -> SearchJob {
        let mut search = Search { tenant: tenant.as_str().to_owned(), ..asked.search.clone() };
        let wide = asked.blocks.widened(slack).bounds();
        match &self.purpose {
            Purpose::Summaries(ids) => {
                let trace_ids = ids.iter().map(|id| id.to_vec()).collect();
                search.kind = Some(Kind::Summaries(SummariesKind { trace_ids }));
                search.query.clear();
                (search.start, search.end) = wide;
            }
            Purpose::Find => {
                if let Some(Kind::Traces(kind)) = &mut search.kind {
                    *kind = TracesKind { limit, ..*kind };
                }
            }
        }
        let block =
            |block: &Arc<BlockMeta>| ScanBlock { block: Some(block_ref(block)), row_groups: Vec::new() };
        let (read_start, read_end) = if asked.whole { wide } else { (0, 0) };
        SearchJob {
            search: Some(search),
            blocks: self.blocks.iter().map(block).collect(),
            recent: self.recent.then(|| recent_source(planned)),
            read_start,
            read_end,
        }
    }
}

/// The jobs of one partition: where spans are looked at one by one, many, newest first; where traces are wholes, one.
pub(crate) fn find_jobs(
    asked: &Asked,
    shard: usize,
    tenant: &TenantId,
    planned: &Planned,
    config: &Config,
) -> Vec<PlannedJob> {
    let job =
        |blocks: Vec<Arc<BlockMeta>>, recent| PlannedJob { shard, purpose: Purpose::Find, blocks, recent };
    let blocks_of = |window: &Window| {
        let blocks = blocks_of(window, tenant, &planned.state, config).into_iter();
        blocks.filter(|block| planned.reads(block))
    };
    if asked.whole {
        let window = asked.blocks.widened(config.trace_slack);
        return vec![job(blocks_of(&window).collect(), true)];
    }
    let mut jobs = vec![job(Vec::new(), true)];
    // The newest traces are most often in the newest block. If answers are kept, a block is a job of its own: one that is too old
    // for the newest traces is left out then, as within a job.
    let newest = matches!(asked.search.kind, Some(Kind::Traces(_)));
    let kept = config.result_cache_bytes.0 > 0;
    let blocks_max = if newest && kept { 1 } else { config.job_blocks_max };
    let mut group = Vec::new();
    let mut rows = 0_u64;
    for block in blocks_of(&asked.blocks) {
        let first = newest && jobs.len() == 1;
        let full = first || rows.saturating_add(block.rows) > config.job_rows_max;
        if !group.is_empty() && (full || group.len() == blocks_max) {
            jobs.push(job(std::mem::take(&mut group), false));
            rows = 0;
        }
        rows = rows.saturating_add(block.rows);
        group.push(block);
    }
    if !group.is_empty() {
        jobs.push(job(group, false));
    }
    jobs
}

fn blocks_of(
    window: &Window,
    tenant: &TenantId,
    state: &PartitionState,
    config: &Config,
) -> Vec<Arc<BlockMeta>> {
    match window {
        Window::Any => state.blocks(tenant, None).cloned().collect(),
        Window::Of(range) => state.blocks(tenant, Some(range.clone())).cloned().collect(),
        Window::Since(start) => {
            let since: Vec<_> = state.blocks(tenant, Some(*start..UnixNanos(u64::MAX))).cloned().collect();
            if since.is_empty() {
                state.blocks(tenant, None).take(config.job_blocks_max).cloned().collect()
            } else {
                since
            }
        }
    }
}

/// A job that tells what all pieces of some traces say; each trace lies within one of the ranges.
pub(crate) fn summaries_job(
    shard: usize,
    traces: &[([u8; 16], Range<UnixNanos>)],
    tenant: &TenantId,
    planned: &Planned,
) -> PlannedJob {
    let start = traces.iter().map(|(_, range)| range.start).min().unwrap_or_default();
    let end = traces.iter().map(|(_, range)| range.end).max().unwrap_or_default();
    let near = |block: &&Arc<BlockMeta>| traces.iter().any(|(_, range)| block.overlaps(range));
    let blocks = planned.state.blocks(tenant, Some(start..end));
    let blocks = blocks.filter(near).filter(|block| planned.reads(block)).cloned().collect();
    let mut ids: Vec<_> = traces.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    PlannedJob { shard, purpose: Purpose::Summaries(ids.into()), blocks, recent: true }
}
