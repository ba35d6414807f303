//! Runs the jobs of one search: newest first, some at the same time.
//! Owns: which job is next, the limits of a search, and planning a partition anew when its View was too old.
//! Does not own: what is made of the answers, and when there are enough of them.
//! Guarantee: all answers of a partition that were not taken back go by one state of its ledger.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use vivace_model::{Partition, TenantId, UnixNanos};
use vivace_proto::internal::SearchJobMetrics;
use vivace_proto::internal::search_job_part::Found;

use super::plan::{Asked, PlannedJob, Purpose, find_jobs};
use super::{Searcher, Totals};
use crate::QueryError;
use crate::budget::Held;
use crate::damage::Damaged;
use crate::dispatch::{JobFailure, SearchAnswer, UnreadableBlock};
use crate::replan::Planned;

/// What happened.
#[derive(Debug)]
pub(crate) enum Step {
    /// A job has its answer.
    Found { shard: usize, purpose: Purpose, found: Vec<Found>, held: Held },
    /// All that a shard found so far is void: it is asked anew.
    Dropped { shard: usize },
}

/// The jobs of a search. Dropping it stops those that run.
pub(crate) struct Run<'a> {
    searcher: &'a Searcher,
    asked: &'a Asked,
    shards: Vec<Shard>,
    /// Newest first.
    waiting: VecDeque<PlannedJob>,
    running: FuturesUnordered<BoxFuture<'a, Ended>>,
    /// Until when the jobs that look for something and run now can find spans.
    reading: HashMap<u64, UnixNanos>,
    jobs_begun: u64,
    /// For questions to queriers at the same time: a job of several blocks asks several.
    turns: Arc<Semaphore>,
    /// Jobs that look into blocks at the same time. It grows with every answer of one, so that a search that is soon done
    /// reads little in vain.
    slots: usize,
    /// Those that run now.
    busy: usize,
    /// Those whose answers are only looked up.
    looked_up: usize,
    /// Partitions that are left out.
    refused: Vec<Arc<Damaged>>,
}

/// A partition of a tenant.
struct Shard {
    tenant: TenantId,
    partition: Partition,
    /// None while its state is read anew.
    planned: Option<Planned>,
    /// Stops its jobs; another one whenever it is planned anew.
    stop: CancellationToken,
    /// How often it was begun anew.
    generation: u64,
    limit: u32,
    totals: Totals,
}

/// Why a shard is planned anew.
enum Outdated {
    View(String),
    /// The store does not have a block that it should.
    Block(UnreadableBlock),
}

enum Ended {
    Job(JobEnd),
    Planned(usize, Box<Result<Planned, QueryError>>),
}

/// What a job asks of queriers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    /// To look into blocks for something.
    Blocks,
    /// Its answer is known from before.
    LookedUp,
    Other,
}

struct JobEnd {
    number: u64,
    generation: u64,
    job: PlannedJob,
    load: Load,
    /// None if it was stopped.
    result: Option<Result<SearchAnswer, JobFailure>>,
}

impl<'a> Run<'a> {
    /// Plans all partitions; `limit` is of traces, `slots` are the jobs that look into blocks at the same time in the
    /// beginning.
    pub(crate) fn new(
        searcher: &'a Searcher,
        asked: &'a Asked,
        limit: u32,
        slots: usize,
    ) -> Result<Self, QueryError> {
        let view = searcher.views.current()?;
        let mut run = Self {
            searcher,
            asked,
            shards: Vec::new(),
            waiting: VecDeque::new(),
            running: FuturesUnordered::new(),
            reading: HashMap::new(),
            jobs_begun: 0,
            turns: Arc::new(Semaphore::new(searcher.config.query_jobs_max.min(Semaphore::MAX_PERMITS))),
            slots,
            busy: 0,
            looked_up: 0,
            refused: Vec::new(),
        };
        let mut states = Vec::new();
        for state in view.partitions() {
            match searcher.views.refused(state.partition()) {
                None => states.push(state),
                Some(error) => run.refused.push(searcher.damage.exclude_partition(state.partition(), error)?),
            }
        }
        for tenant in &asked.tenants {
            for &state in &states {
                run.shards.push(Shard {
                    tenant: tenant.clone(),
                    partition: state.partition(),
                    planned: None,
                    stop: CancellationToken::new(),
                    generation: 0,
                    limit,
                    totals: Totals::default(),
                });
                run.plan(run.shards.len() - 1, Planned::new(state.clone()))?;
            }
        }
        Ok(run)
    }

    pub(crate) const fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The tenant and the partition that a shard is.
    pub(crate) fn place(&self, shard: usize) -> (&TenantId, Partition) {
        (&self.shards[shard].tenant, self.shards[shard].partition)
    }

    /// The tenant and the state that a shard is asked by; no state while it is read anew.
    pub(crate) fn shard(&self, shard: usize) -> (&TenantId, Option<&Planned>) {
        (&self.shards[shard].tenant, self.shards[shard].planned.as_ref())
    }

    /// Runs jobs until one has an answer, or a shard has to be asked anew; none if no job is left that is wanted. Only
    /// jobs that look for something are asked about; if one is not wanted, older ones are not either.
    pub(crate) async fn next(
        &mut self,
        wanted: impl Fn(UnixNanos) -> bool + Send,
    ) -> Result<Option<Step>, QueryError> {
        loop {
            self.start(&wanted);
            match self.running.next().await {
                None => return Ok(None),
                Some(Ended::Planned(shard, planned)) => self.plan(shard, (*planned)?)?,
                Some(Ended::Job(end)) => {
                    if let Some(step) = self.ended(end)? {
                        return Ok(Some(step));
                    }
                }
            }
        }
    }

    /// Whether all jobs of a shard have their answers, so that none of them is taken back any more.
    pub(crate) fn is_finished(&self, shard: usize) -> bool {
        let Shard { planned, totals, .. } = &self.shards[shard];
        planned.is_some() && totals.jobs_completed == totals.jobs
    }

    /// Until when spans can start that were not read yet; none if all were.
    pub(crate) fn unread(&self) -> Option<UnixNanos> {
        let replanned = self.shards.iter().any(|shard| shard.planned.is_none());
        // They are sorted.
        let waiting = self.waiting.iter().find(|job| job.finds()).map(PlannedJob::newest);
        let all = waiting.into_iter().chain(self.reading.values().copied());
        all.chain(replanned.then_some(UnixNanos(u64::MAX))).max()
    }

    /// Runs one more job, before all others.
    pub(crate) fn add(&mut self, job: PlannedJob) {
        self.waiting.push_front(job);
    }

    /// Asks a shard for more traces, from the beginning.
    pub(crate) fn restart(&mut self, shard: usize, limit: u32) -> Result<(), QueryError> {
        self.clear(shard);
        self.shards[shard].limit = limit;
        match self.shards[shard].planned.take() {
            Some(planned) => self.plan(shard, planned),
            None => Ok(()),
        }
    }

    /// What it took so far.
    pub(crate) fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        self.shards.iter().for_each(|shard| sum.add(&shard.totals));
        sum
    }

    fn plan(&mut self, shard: usize, planned: Planned) -> Result<(), QueryError> {
        let Shard { tenant, totals, .. } = &mut self.shards[shard];
        let jobs = find_jobs(self.asked, shard, tenant, &planned, &self.searcher.config);
        let blocks = || jobs.iter().flat_map(|job| &job.blocks);
        totals.blocks = blocks().count() as u64;
        totals.block_bytes = blocks().map(|block| block.bytes).sum();
        totals.jobs = jobs.len() as u64;
        totals.jobs_completed = 0;
        self.shards[shard].planned = Some(planned);
        self.searcher.check(&self.totals())?;
        self.enqueue(jobs);
        Ok(())
    }

    /// Jobs that look for something wait in their order; those added by hand stay in front.
    fn enqueue(&mut self, jobs: Vec<PlannedJob>) {
        let added = self.waiting.iter().filter(|job| !job.finds()).count();
        let mut all: Vec<_> = self.waiting.drain(added..).chain(jobs).collect();
        all.sort_by_key(|job| std::cmp::Reverse(job.newest()));
        self.waiting.extend(all);
    }

    fn start(&mut self, wanted: impl Fn(UnixNanos) -> bool) {
        let searcher = self.searcher;
        while self.running.len() < searcher.config.query_jobs_max {
            let Some(job) = self.waiting.front().filter(|job| !job.finds() || wanted(job.newest())) else {
                return;
            };
            let Shard { tenant, planned: Some(planned), stop, generation, limit, .. } =
                &self.shards[job.shard]
            else {
                self.waiting.pop_front();
                continue; // it was added by a state that is not there any more
            };
            let message = job.message(self.asked, tenant, planned, *limit, searcher.config.trace_slack);
            let load = match job.reads_blocks() {
                true if searcher.cache.knows(job, &message) => Load::LookedUp,
                true => Load::Blocks,
                false => Load::Other,
            };
            // What is known may tell that older blocks are not wanted: a search that is repeated must not begin to read those.
            if load == Load::Blocks && (self.looked_up > 0 || self.busy >= self.slots) {
                return;
            }
            let (number, generation, stop) = (self.jobs_begun, *generation, stop.clone());
            let turns = Arc::clone(&self.turns);
            let Some(job) = self.waiting.pop_front() else { return };
            self.jobs_begun += 1;
            if job.finds() {
                self.reading.insert(number, job.newest());
            }
            self.busy += usize::from(load == Load::Blocks);
            self.looked_up += usize::from(load == Load::LookedUp);
            let run = async move {
                let result = stop.run_until_cancelled(searcher.answer(&job, message, &turns)).await;
                Ended::Job(JobEnd { number, generation, job, load, result })
            };
            self.running.push(run.boxed());
        }
    }

    fn ended(&mut self, end: JobEnd) -> Result<Option<Step>, QueryError> {
        let JobEnd { number, generation, job, load, result } = end;
        let shard = job.shard;
        self.reading.remove(&number);
        self.busy -= usize::from(load == Load::Blocks);
        self.looked_up -= usize::from(load == Load::LookedUp);
        let Some(result) = result.filter(|_| generation == self.shards[shard].generation) else {
            return Ok(None);
        };
        match result {
            Ok(answer) => {
                self.slots += usize::from(load == Load::Blocks);
                self.shards[shard].totals.count(&answer.metrics, job.finds());
                let SearchAnswer { found, held, .. } = answer;
                Ok(Some(Step::Found { shard, purpose: job.purpose, found, held }))
            }
            Err(JobFailure::Query(error)) => Err(told(error)),
            Err(JobFailure::Stale(message)) => Ok(Some(self.replan(shard, Outdated::View(message)))),
            Err(JobFailure::Block(block)) if block.missing => {
                Ok(Some(self.replan(shard, Outdated::Block(block))))
            }
            Err(JobFailure::Block(block)) => self.leave_out(job, &block).map(|()| None),
        }
    }

    /// Asks a shard anew, by its newest state.
    fn replan(&mut self, shard: usize, outdated: Outdated) -> Step {
        self.clear(shard);
        let searcher = self.searcher;
        if let Some(planned) = self.shards[shard].planned.take() {
            let anew = async move {
                let (views, metrics) = (&searcher.views, &searcher.dispatcher.metrics);
                let planned = match outdated {
                    Outdated::View(message) => planned.anew(views, metrics, message).await,
                    Outdated::Block(block) => planned.without(views, metrics, &searcher.damage, block).await,
                };
                Ended::Planned(shard, Box::new(planned))
            };
            self.running.push(anew.boxed());
        }
        Step::Dropped { shard }
    }

    /// Runs a job again without a block that is damaged. What others found stays: the state is the same.
    fn leave_out(&mut self, job: PlannedJob, block: &UnreadableBlock) -> Result<(), QueryError> {
        let Some(planned) = &mut self.shards[job.shard].planned else { return Ok(()) };
        self.searcher.damage.exclude(block, &planned.state, &mut planned.damaged)?;
        let blocks = job.blocks.into_iter().filter(|block| planned.reads(block)).collect();
        let job = PlannedJob { blocks, ..job };
        if job.finds() {
            self.enqueue(vec![job])
        } else {
            self.add(job)
        }
        Ok(())
    }

    /// Blocks and partitions that could not be read, so that what they hold is missing.
    pub(crate) fn damaged(&self) -> Vec<Arc<Damaged>> {
        let mut damaged = self.refused.clone();
        for shard in self.shards.iter().filter_map(|shard| shard.planned.as_ref()) {
            damaged.extend(shard.damaged.iter().cloned());
        }
        damaged
    }

    /// Stops a shard's jobs.
    fn clear(&mut self, shard: usize) {
        let cleared = &mut self.shards[shard];
        cleared.stop.cancel();
        cleared.stop = CancellationToken::new();
        cleared.generation += 1;
        self.waiting.retain(|job| job.shard != shard);
    }
}

impl Totals {
    fn count(&mut self, metrics: &SearchJobMetrics, find: bool) {
        self.jobs_completed += u64::from(find);
        self.bytes_inspected += metrics.bytes_read;
        self.spans_inspected += metrics.spans_inspected;
        self.traces_inspected += metrics.traces_inspected;
    }
}

/// What a querier says of the query, whoever asked should hear.
fn told(error: QueryError) -> QueryError {
    match error {
        QueryError::Job(status) if status.code() == Code::InvalidArgument => {
            QueryError::Invalid(status.message().to_owned())
        }
        other => other,
    }
}
