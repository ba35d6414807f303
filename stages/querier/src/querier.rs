//! The querier itself: takes jobs, a bounded number at a time, and gives out what they find.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::{debug, error};
use vivace_block::BlockReader;
use vivace_log::SharedLog;
use vivace_memory::Governor;
use vivace_model::{Offset, Partition, TenantId, TraceId, WorkBudget};
use vivace_proto::internal::querier_server::{self, QuerierServer};
use vivace_proto::internal::trace_job::Source as JobSource;
use vivace_proto::internal::{PartStream, QuerierService, SearchJob, SearchJobPart, TraceJob, TraceJobPart};
use vivace_runtime::ReadinessCheck;

use crate::answer::Answer;
use crate::metrics::Source;
use crate::owners::Owners;
use crate::panics::named;
use crate::recent::{Found, From, Outages, Recent};
use crate::recent_trace::TraceQuestion;
use crate::search::{SearchAnswer, Searcher};
use crate::tail::Tails;
use crate::{Config, JobError, Metrics, RecentServices, blocks, fail_points};

/// What a querier works with.
#[derive(Debug)]
pub struct Parts {
    /// Reads blocks.
    pub blocks: Arc<BlockReader>,
    /// Where owners are announced, and recent data is read when nobody serves it.
    pub log: SharedLog,
    /// Topic of spans.
    pub spans_topic: String,
    /// Topic of owners.
    pub owners_topic: String,
    /// The ingesters of this process; all others are connected to by their address.
    pub recent: RecentServices,
    /// Where memory is reserved.
    pub memory: Arc<Governor>,
    /// What is counted.
    pub metrics: Metrics,
}

/// Of the memory for recent data of searches, one part in so many is for tails of the log that they share.
const TAILS_ONE_IN: usize = 2;

/// How long a job waits for its turn.
const JOB_WAIT_MAX: Duration = Duration::from_secs(10);

/// Runs jobs. Cheap to clone; all clones are one querier.
#[derive(Clone)]
pub struct Querier(Arc<Inner>);

struct Inner {
    config: Config,
    owners_topic: String,
    blocks: Arc<BlockReader>,
    recent: Recent,
    searcher: Searcher,
    memory: Arc<Governor>,
    metrics: Metrics,
    /// Jobs that run or wait.
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// Held until a job's answer has gone out or is no longer wanted.
struct Slot {
    _admitted: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
    metrics: Metrics,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.metrics.jobs_running.dec();
    }
}

impl Querier {
    /// A querier that knows no owner yet: [`Querier::run`] learns them.
    #[must_use]
    pub fn new(config: Config, parts: Parts) -> Self {
        let recent = Recent {
            config: config.clone(),
            log: parts.log,
            topic: parts.spans_topic.clone(),
            owners: Arc::new(Owners::new(parts.spans_topic)),
            services: parts.recent,
            metrics: parts.metrics.clone(),
            outages: Outages::default(),
            tails: Tails::new(
                config.search_recent_bytes_max.as_usize() / TAILS_ONE_IN,
                Arc::clone(&parts.memory),
            ),
        };
        Self(Arc::new(Inner {
            owners_topic: parts.owners_topic,
            searcher: Searcher::new(Arc::clone(&parts.blocks), config.clone(), Arc::clone(&parts.memory)),
            memory: parts.memory,
            blocks: parts.blocks,
            recent,
            metrics: parts.metrics,
            admitted: Arc::new(Semaphore::new(config.jobs_max + config.jobs_waiting_max)),
            running: Arc::new(Semaphore::new(config.jobs_max)),
            config,
        }))
    }

    /// Follows who owns the partitions, until shutdown. Jobs are answered meanwhile and before, slower at first.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub async fn run(
        self,
        ready: ReadinessCheck,
        shutdown: CancellationToken,
    ) -> Result<(), std::convert::Infallible> {
        let Recent { owners, log, tails, .. } = &self.0.recent;
        let follow = owners.follow(log, &self.0.owners_topic, &shutdown);
        let announce = async {
            owners.loaded().await;
            ready.ready();
        };
        let until_shutdown = async {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                ((), ()) = async { tokio::join!(announce, tails.expire()) } => {}
            }
        };
        tokio::join!(follow, until_shutdown);
        Ok(())
    }

    /// The querier for others in this process.
    #[must_use]
    pub fn service(&self) -> QuerierService {
        Arc::new(self.clone())
    }

    /// The querier for a gRPC server.
    #[must_use]
    pub fn server(&self) -> QuerierServer<Self> {
        QuerierServer::new(self.clone())
    }

    /// Jobs that panicked, and those that run.
    #[cfg(test)]
    pub(crate) fn panics_and_running(&self) -> (u64, i64) {
        (self.0.metrics.panics.get(), self.0.metrics.jobs_running.get())
    }

    async fn admit(&self) -> Result<Slot, JobError> {
        let admitted = Arc::clone(&self.0.admitted).try_acquire_owned().map_err(|_| JobError::Busy)?;
        let running = timeout(JOB_WAIT_MAX, Arc::clone(&self.0.running).acquire_owned()).await;
        let running = running.map_err(|_| JobError::Waited(JOB_WAIT_MAX))?.map_err(|_| JobError::Stopped)?;
        self.0.metrics.jobs_running.inc();
        Ok(Slot { _admitted: admitted, _running: running, metrics: self.0.metrics.clone() })
    }

    async fn answer(&self, job: TraceJob, source: JobSource) -> Result<(Answer, Slot), JobError> {
        let slot = self.admit().await?;
        fail_points::STARTED.pass().await?;
        let tenant: TenantId = job.tenant.parse().map_err(|error| JobError::Invalid(format!("{error}")))?;
        let bytes: [u8; 16] = job
            .trace_id
            .as_slice()
            .try_into()
            .map_err(|_| JobError::Invalid(format!("trace id of {} bytes", job.trace_id.len())))?;
        let trace_id = TraceId::from_bytes(bytes);
        let budget = WorkBudget::new(self.0.config.job_cpu_max);
        let _waits = budget.cancel_on_drop();
        let own_max = self.0.config.job_bytes_max.as_usize();
        let bytes_max = match usize::try_from(job.bytes_max) {
            Ok(0) | Err(_) => own_max,
            Ok(asked) => asked.min(own_max),
        };
        let memory = &self.0.memory;
        let mut answer = match source {
            JobSource::Blocks(source) => {
                let concurrent = self.0.config.blocks_concurrent_max;
                let empty = Answer::new(bytes_max, memory);
                blocks::trace(&self.0.blocks, &budget, source.blocks, &trace_id, concurrent, empty).await?
            }
            JobSource::Recent(source) => {
                let from = From {
                    partition: Partition(source.partition),
                    offset: Offset(source.from_offset),
                    log_only: source.log_only,
                };
                let memory = Arc::clone(memory);
                let question = TraceQuestion { tenant, trace_id, bytes_max, memory, budget };
                let Found { mut answer, through } = self.0.recent.find(&question, from).await?;
                answer.through = through;
                answer
            }
        };
        if let Some(short) = answer.short.take() {
            return Err(short.into());
        }
        fail_points::ANSWERED.pass().await?;
        Ok((answer, slot))
    }

    async fn found(&self, job: SearchJob) -> Result<(SearchAnswer, Slot), JobError> {
        let slot = self.admit().await?;
        fail_points::STARTED.pass().await?;
        let budget = WorkBudget::new(self.0.config.job_cpu_max);
        let _waits = budget.cancel_on_drop();
        let answer = Box::pin(self.0.searcher.run(&self.0.recent, job, &budget)).await?;
        fail_points::ANSWERED.pass().await?;
        Ok((answer, slot))
    }
}

#[tonic::async_trait]
impl querier_server::Querier for Querier {
    type TraceStream = PartStream<TraceJobPart>;
    type SearchStream = PartStream<SearchJobPart>;

    async fn search(&self, request: Request<SearchJob>) -> Result<Response<Self::SearchStream>, Status> {
        let started = Instant::now();
        // Boxed: its state is large.
        let result = Box::pin(named(|| "several blocks".into(), self.found(request.into_inner()))).await;
        self.0.metrics.job(Source::Search, started, &result);
        if let Err(error) = &result {
            note(Source::Search, error);
        }
        let (answer, slot) = result?;
        Ok(Response::new(answer.into_stream(slot)))
    }

    async fn trace(&self, request: Request<TraceJob>) -> Result<Response<Self::TraceStream>, Status> {
        let mut job = request.into_inner();
        let source = job.source.take().ok_or_else(|| Status::invalid_argument("job has no source"))?;
        let label = match source {
            JobSource::Blocks(_) => Source::Blocks,
            JobSource::Recent(_) => Source::Recent,
        };
        let started = Instant::now();
        let result = Box::pin(named(|| "several blocks".into(), self.answer(job, source))).await;
        self.0.metrics.job(label, started, &result);
        if let Err(error) = &result {
            note(label, error);
        }
        let (answer, slot) = result?;
        Ok(Response::new(answer.into_stream(slot)))
    }
}

fn note(source: Source, error: &JobError) {
    match error {
        JobError::Panicked { what, source: panicked } => {
            error!(?source, what, error = %panicked, "a job panicked")
        }
        error => debug!(?source, %error, "job has no answer"),
    }
}

impl fmt::Debug for Querier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Querier").field("recent", &self.0.recent).finish_non_exhaustive()
    }
}
