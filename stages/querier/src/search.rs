//! Runs jobs of searches: over row groups of blocks and over recent data.
//! Owns: which pieces a job looks at, and in which way: spans one by one, traces as wholes, or given traces.
//! Does not own: what a query means (TraceQL), how a block is read (vivace-block), where recent data is (`recent`).
//! Guarantee: each span of the job's blocks and recent data is looked at once; the answer does not depend on timing.

mod condition;
mod evaluation;
mod memory;
mod names;
mod parts;
mod piece;
mod read_rows;
mod summaries;
mod wholes;

use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use vivace_block::BlockReader;
use vivace_memory::{Governor, Part, Permit};
use vivace_model::scan::TimeRange;
use vivace_model::{Offset, Partition, TenantId, UnixNanos, WorkBudget};
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{RecentSource, ScanBlock, SearchJob, SearchJobMetrics};
use vivace_traceql::{Collector, GroupLimit, PlanKind, ScanPlan};

use self::evaluation::{Evaluation, Looked, Task};
use self::memory::JobMemory;
pub(crate) use self::parts::SearchAnswer;
use self::piece::{Block, Piece};
use crate::compute::compute;
use crate::recent::{From, Recent};
use crate::recent_columns::ColumnsQuestion;
use crate::{Config, JobError};

/// What searches work with.
#[derive(Debug)]
pub(crate) struct Searcher {
    blocks: Arc<BlockReader>,
    config: Config,
    /// Pieces in work of all jobs together.
    permits: Arc<Semaphore>,
    memory: Arc<Governor>,
}

/// One job in work.
struct Work<'a> {
    searcher: &'a Searcher,
    plan: Arc<ScanPlan>,
    tenant: TenantId,
    /// Spans that make up traces, where these are wholes; none: all.
    read: Option<TimeRange>,
    memory: Arc<JobMemory>,
}

impl Searcher {
    pub(crate) fn new(blocks: Arc<BlockReader>, config: Config, memory: Arc<Governor>) -> Self {
        let permits = Arc::new(Semaphore::new(config.search_pieces_max));
        Self { blocks, config, permits, memory }
    }

    pub(crate) async fn run(
        &self,
        recent: &Recent,
        job: SearchJob,
        budget: &WorkBudget,
    ) -> Result<SearchAnswer, JobError> {
        let search = job.search.ok_or_else(|| JobError::Invalid("job has no search".into()))?;
        let tenant = search.tenant.parse().map_err(|error| JobError::Invalid(format!("{error}")))?;
        let within = budget.clone();
        let planned = compute(budget, move || Ok((ScanPlan::within(&search, &within)?, search))).await?;
        let (plan, search) = (Arc::new(planned.0), planned.1);
        let any_time = job.read_start == 0 && job.read_end == 0;
        let read = (!any_time).then_some(UnixNanos(job.read_start)..UnixNanos(job.read_end));
        let (mut held, mut through, mut metrics) = (Vec::new(), Offset::ZERO, SearchJobMetrics::default());
        let mut held_memory = self.memory.empty(Part::Tail);
        if let Some(source) = job.recent {
            let question = ColumnsQuestion {
                search,
                read_start: job.read_start,
                read_end: job.read_end,
                tenant: TenantId::clone(&tenant),
                plan: Arc::clone(&plan),
                bytes_max: self.config.search_recent_bytes_max.as_usize(),
                memory: Arc::clone(&self.memory),
            };
            (held, held_memory, through) = self.recent_pieces(recent, question, source, &mut metrics).await?;
        }
        let memory = JobMemory::new(&self.memory, held_memory);
        let work = Work { searcher: self, plan, tenant, read, memory: Arc::clone(&memory) };
        let (found, of_pieces) = work.run(job.blocks, held).await?;
        add(&mut metrics, &of_pieces);
        Ok(SearchAnswer { found, through, metrics, memory })
    }

    async fn recent_pieces(
        &self,
        recent: &Recent,
        question: ColumnsQuestion,
        source: RecentSource,
        metrics: &mut SearchJobMetrics,
    ) -> Result<(Vec<Piece>, Permit, Offset), JobError> {
        let from = From {
            partition: Partition(source.partition),
            offset: Offset(source.from_offset),
            log_only: source.log_only,
        };
        let found = recent.find(&question, from).await?;
        let columns = found.answer;
        if let Some(short) = columns.short {
            return Err(short.into());
        }
        if columns.too_much {
            return Err(JobError::TooMuch { bytes_max: question.bytes_max });
        }
        metrics.bytes_read += columns.bytes_read;
        // Of these, what came here is looked at again.
        let rows: usize = columns.batches.iter().map(|(batch, _)| batch.num_rows()).sum();
        metrics.spans_inspected += columns.spans.saturating_sub(rows as u64);
        let pieces = columns.batches.into_iter().map(|(batch, runs)| Piece::Held(batch, runs));
        Ok((pieces.collect(), columns.memory, found.through))
    }
}

impl Work<'_> {
    async fn run(
        &self,
        blocks: Vec<ScanBlock>,
        held: Vec<Piece>,
    ) -> Result<(Found, SearchJobMetrics), JobError> {
        let evaluation = self.evaluation(&self.plan);
        let mut opened = Vec::new();
        match self.plan.kind() {
            PlanKind::Summaries { ids } => {
                opened = self.open(blocks).try_collect().await?;
                let looked = pieces(&opened, held).map(|piece| Looked { piece, told: Vec::new() });
                let tasks = summaries::tasks(looked.collect(), ids).await?;
                evaluation.run(stream::iter(tasks).map(Ok).boxed()).await?;
            }
            _ if self.plan.whole() => {
                opened = self.open(blocks).try_collect().await?;
                let limits = wholes::Limits {
                    rows_max: self.searcher.config.search_rows_max,
                    concurrent: self.searcher.config.search_job_pieces_max,
                };
                let all = pieces(&opened, held).collect();
                wholes::wholes(&evaluation, all, self.read.clone(), limits).await?;
            }
            _ => {
                let seen = Arc::new(Mutex::new(Vec::new()));
                let keep = Arc::clone(&seen);
                let stored = self.open(blocks).inspect_ok(move |block| keep.lock().push(Arc::clone(block)));
                let stored = stored.map_ok(|block| stream::iter(block.pieces().map(Ok))).try_flatten();
                let all = stream::iter(held).map(Ok).chain(stored);
                let tasks = all.map_ok(|piece| Task { prune: true, ..Task::whole(piece) });
                evaluation.run(tasks.boxed()).await?;
                opened.append(&mut seen.lock());
            }
        }
        let (mut found, mut metrics, looked) = evaluation.finish().await?;
        if let Found::Traces(traces) = &mut found
            && !self.plan.whole()
            && looked.len() > 1
        {
            let evaluation = |plan: &Arc<ScanPlan>| self.evaluation(plan);
            let of = (self.tenant.as_str(), self.plan.budget());
            let more = summaries::complete(of, traces, looked, evaluation).await?;
            metrics.spans_inspected += more.spans_inspected;
        }
        for block in &opened {
            block.count(&mut metrics);
        }
        Ok((found, metrics))
    }

    fn evaluation(&self, plan: &Arc<ScanPlan>) -> Arc<Evaluation> {
        let Searcher { permits, config, .. } = self.searcher;
        let groups = GroupLimit {
            bytes_max: config.search_group_bytes_max.as_usize(),
            setting: "VIVACE_QUERIER_SEARCH_GROUP_BYTES_MAX",
        };
        let collector = Collector::new(plan).limited(groups);
        Evaluation::new(plan, collector, permits, config.search_job_pieces_max, &self.memory)
    }

    /// Blocks in their order, some of them opened ahead.
    fn open(&self, blocks: Vec<ScanBlock>) -> BoxStream<'static, Result<Arc<Block>, JobError>> {
        let reader = Arc::clone(&self.searcher.blocks);
        let open = move |block| Block::open(Arc::clone(&reader), block);
        stream::iter(blocks).map(open).buffered(self.searcher.config.blocks_concurrent_max).boxed()
    }
}

/// Recent data first: it is the newest.
fn pieces(blocks: &[Arc<Block>], held: Vec<Piece>) -> impl Iterator<Item = Piece> {
    held.into_iter().chain(blocks.iter().flat_map(Block::pieces))
}

fn add(sum: &mut SearchJobMetrics, more: &SearchJobMetrics) {
    sum.blocks_inspected += more.blocks_inspected;
    sum.blocks_skipped += more.blocks_skipped;
    sum.row_groups_inspected += more.row_groups_inspected;
    sum.row_groups_skipped += more.row_groups_skipped;
    sum.bytes_read += more.bytes_read;
    sum.spans_inspected += more.spans_inspected;
    sum.traces_inspected += more.traces_inspected;
    sum.reads += more.reads;
}
