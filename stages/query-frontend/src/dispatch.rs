//! Gives jobs to queriers, and to others when they fail.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use tonic::{Code, Request, Status};
use tracing::debug;
use vivace_proto::internal::{JobMetrics, TraceJob};

use crate::QueryError;
use crate::budget::{Budget, Held};
use crate::metrics::{JobLabels, JobOutcome, Metrics};
use crate::queriers::{Load, Member, Queriers};

/// A job is tried again that often.
const RETRIES_MAX: usize = 3;
/// Pause before the first repetition at a querier that was tried already; it doubles each time.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What a job found.
#[derive(Debug)]
pub(crate) struct JobAnswer {
    /// Encoded `TracesData`.
    pub(crate) parts: Vec<Bytes>,
    pub(crate) through_offset: u64,
    pub(crate) metrics: JobMetrics,
    pub(crate) held: Held,
}

/// Why a job has no answer.
#[derive(Debug)]
pub(crate) enum JobFailure {
    /// The View that it was planned by is too old.
    Stale(String),
    /// Anything else.
    Query(QueryError),
}

/// Gives jobs to queriers.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    pub(crate) queriers: Queriers,
    pub(crate) budget: Budget,
    pub(crate) metrics: Metrics,
}

impl Dispatcher {
    /// Runs a job, wherever it succeeds first.
    pub(crate) async fn run(&self, job: &TraceJob) -> Result<JobAnswer, JobFailure> {
        let result = self.try_members(job).await;
        let outcome = match &result {
            Ok(_) => JobOutcome::Done,
            Err(JobFailure::Stale(_)) => JobOutcome::Stale,
            Err(JobFailure::Query(_)) => JobOutcome::Failed,
        };
        self.metrics.jobs.get_or_create(&JobLabels { outcome }).inc();
        result
    }

    async fn try_members(&self, job: &TraceJob) -> Result<JobAnswer, JobFailure> {
        let mut tried: Vec<Arc<Member>> = Vec::new();
        loop {
            let Some(member) = self.queriers.choose(&tried) else {
                return Err(JobFailure::Query(QueryError::Job(Status::unavailable("no querier is known"))));
            };
            if tried.iter().any(|tried| Arc::ptr_eq(tried, &member)) {
                tokio::time::sleep(RETRY_PAUSE * (1 << (tried.len() - 1))).await;
            }
            let failure = match self.attempt(&member, job).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let status = match failure {
                Attempt::Refused(error) => return Err(JobFailure::Query(error)),
                Attempt::Failed(status) => status,
            };
            match status.code() {
                Code::FailedPrecondition => return Err(JobFailure::Stale(status.message().to_owned())),
                // The same everywhere, and each time.
                Code::InvalidArgument | Code::DataLoss | Code::Unimplemented | Code::OutOfRange => {
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

    async fn attempt(&self, member: &Arc<Member>, job: &TraceJob) -> Result<JobAnswer, Attempt> {
        let _load = Load::on(member);
        let mut stream = member.service.trace(Request::new(job.clone())).await?.into_inner();
        let (mut parts, mut held) = (Vec::new(), Held::default());
        while let Some(part) = stream.try_next().await? {
            if !part.traces_data.is_empty() {
                self.budget.hold(&mut held, part.traces_data.len()).map_err(Attempt::Refused)?;
                parts.push(part.traces_data);
            }
            if let Some(metrics) = part.metrics {
                return Ok(JobAnswer { parts, through_offset: part.through_offset, metrics, held });
            }
        }
        Err(Attempt::Failed(Status::unavailable("answer was cut off")))
    }
}

/// Why one attempt failed.
enum Attempt {
    /// We ourselves cannot take the answer.
    Refused(QueryError),
    /// The querier said so.
    Failed(Status),
}

impl From<Status> for Attempt {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}
