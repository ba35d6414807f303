//! Gives jobs to queriers, and to others when they fail.
//! Owns: where a job is tried and how often, how many run at the same time.
//! Does not own: what a job's answer is made of (`dispatch/job`), planning anew (`replan`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tonic::{Code, Status};
use tracing::debug;
use vivace_proto::internal::BLOCK_METADATA;

use crate::QueryError;
use crate::budget::Budget;
use crate::metrics::{JobLabels, JobOutcome, Metrics};
use crate::queriers::{Load, Queriers};

mod job;

pub(crate) use job::{Attempt, Job, JobAnswer, SearchAnswer};

/// A job is tried again that often.
const RETRIES_MAX: usize = 3;
/// Pause before the first repetition at a querier that was tried already; it doubles each time.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Why a job has no answer.
#[derive(Debug)]
pub(crate) enum JobFailure {
    /// The View that it was planned by is too old.
    Stale(String),
    /// A block cannot be read.
    Block(UnreadableBlock),
    /// Anything else.
    Query(QueryError),
}

/// A block that a querier could not read because of what the store holds, or does not hold.
#[derive(Debug)]
pub(crate) struct UnreadableBlock {
    pub(crate) path: String,
    /// What the querier said.
    pub(crate) message: String,
    /// The store has no such file. That is damage only if a fresh View still names it.
    pub(crate) missing: bool,
}

impl UnreadableBlock {
    fn of(status: &Status) -> Option<Self> {
        let missing = match status.code() {
            Code::FailedPrecondition => true,
            Code::DataLoss => false,
            _ => return None,
        };
        let path = status.metadata().get_bin(BLOCK_METADATA)?.to_bytes().ok()?;
        let path = String::from_utf8(path.to_vec()).ok()?;
        Some(Self { path, message: status.message().to_owned(), missing })
    }
}

/// Gives jobs to queriers.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    pub(crate) queriers: Queriers,
    pub(crate) budget: Budget,
    pub(crate) metrics: Metrics,
    /// Jobs of all queries at the same time.
    slots: Semaphore,
}

impl Dispatcher {
    pub(crate) fn new(queriers: Queriers, budget: Budget, metrics: Metrics, jobs_max: usize) -> Self {
        let slots = Semaphore::new(jobs_max.min(Semaphore::MAX_PERMITS));
        Self { queriers, budget, metrics, slots }
    }

    /// Runs a job, wherever it succeeds first.
    pub(crate) async fn run<J: Job>(&self, job: &J) -> Result<J::Answer, JobFailure> {
        let _slot = self.slots.acquire().await.map_err(|_| JobFailure::Query(QueryError::Stopped))?;
        let result = self.try_members(job).await;
        let outcome = match &result {
            Ok(_) => JobOutcome::Done,
            Err(JobFailure::Stale(_)) => JobOutcome::Stale,
            Err(JobFailure::Block(_)) => JobOutcome::Unreadable,
            Err(JobFailure::Query(_)) => JobOutcome::Failed,
        };
        self.metrics.jobs.get_or_create(&JobLabels { outcome, kind: J::KIND }).inc();
        result
    }

    async fn try_members<J: Job>(&self, job: &J) -> Result<J::Answer, JobFailure> {
        let mut tried = Vec::new();
        loop {
            let Some(member) = self.queriers.choose(&tried) else {
                return Err(JobFailure::Query(QueryError::Job(Status::unavailable("no querier is known"))));
            };
            if tried.iter().any(|tried| Arc::ptr_eq(tried, &member)) {
                tokio::time::sleep(RETRY_PAUSE * (1 << (tried.len() - 1))).await;
            }
            let load = Load::on(&member);
            let failure = match job.attempt(&member.service, &self.budget).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            drop(load);
            let status = match failure {
                Attempt::Refused(error) => return Err(JobFailure::Query(error)),
                Attempt::Failed(status) => status,
            };
            if let Some(block) = UnreadableBlock::of(&status) {
                return Err(JobFailure::Block(block));
            }
            match status.code() {
                Code::FailedPrecondition => return Err(JobFailure::Stale(status.message().to_owned())),
                // The job needs more of a querier than it may have, wherever it runs.
                Code::OutOfRange => {
                    return Err(JobFailure::Query(QueryError::TooLarge(status.message().to_owned())));
                }
                // The same everywhere, and each time.
                Code::InvalidArgument | Code::DataLoss | Code::Unimplemented => {
                    return Err(JobFailure::Query(QueryError::Job(status)));
                }
                // It panicked, most likely on data that others would panic on, too.
                Code::Internal if !tried.is_empty() => {
                    return Err(JobFailure::Query(QueryError::Job(status)));
                }
                _ if tried.len() == RETRIES_MAX => return Err(JobFailure::Query(QueryError::Job(status))),
                _ => {}
            }
            debug!(querier = member.address, code = ?status.code(), message = status.message(), "job failed; trying again");
            self.metrics.retries.inc();
            tried.push(member);
        }
    }
}
