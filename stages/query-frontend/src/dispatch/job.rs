//! The two kinds of jobs, and how their answers are taken.

use std::future::Future;

use bytes::Bytes;
use futures::TryStreamExt;
use prost::Message;
use tonic::{Request, Status};
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{JobMetrics, QuerierService, SearchJob, SearchJobMetrics, TraceJob};

use crate::QueryError;
use crate::budget::{Budget, Held};
use crate::metrics::JobKind;

/// A question that a querier answers.
pub(crate) trait Job: Sync {
    const KIND: JobKind;
    type Answer: Send;

    /// Asks a querier once.
    fn attempt(
        &self,
        querier: &QuerierService,
        budget: &Budget,
    ) -> impl Future<Output = Result<Self::Answer, Attempt>> + Send;
}

/// Why one attempt failed.
pub(crate) enum Attempt {
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

fn cut_off() -> Attempt {
    Attempt::Failed(Status::unavailable("answer was cut off"))
}

/// What was found takes so many times as much memory as its bytes on the wire.
const DECODED: usize = 2;

/// What a job found of a trace.
#[derive(Debug)]
pub(crate) struct JobAnswer {
    /// Encoded `TracesData`.
    pub(crate) parts: Vec<Bytes>,
    pub(crate) through_offset: u64,
    pub(crate) metrics: JobMetrics,
    pub(crate) held: Held,
}

impl Job for TraceJob {
    const KIND: JobKind = JobKind::Trace;
    type Answer = JobAnswer;

    async fn attempt(&self, querier: &QuerierService, budget: &Budget) -> Result<JobAnswer, Attempt> {
        let mut stream = querier.trace(Request::new(self.clone())).await?.into_inner();
        let (mut parts, mut held) = (Vec::new(), Held::default());
        while let Some(part) = stream.try_next().await? {
            if !part.traces_data.is_empty() {
                budget.hold(&mut held, part.traces_data.len(), 1).map_err(Attempt::Refused)?;
                parts.push(part.traces_data);
            }
            if let Some(metrics) = part.metrics {
                return Ok(JobAnswer { parts, through_offset: part.through_offset, metrics, held });
            }
        }
        Err(cut_off())
    }
}

/// What a job of a search found.
#[derive(Debug, Default)]
pub(crate) struct SearchAnswer {
    pub(crate) found: Vec<Found>,
    pub(crate) metrics: SearchJobMetrics,
    /// Bytes of the parts.
    pub(crate) held: Held,
}

impl SearchAnswer {
    /// Adds what was found in other blocks.
    pub(crate) fn merge(&mut self, other: Self) {
        let Self { found, metrics, held } = other;
        self.found.extend(found);
        self.held.merge(held);
        self.metrics.blocks_inspected += metrics.blocks_inspected;
        self.metrics.blocks_skipped += metrics.blocks_skipped;
        self.metrics.row_groups_inspected += metrics.row_groups_inspected;
        self.metrics.row_groups_skipped += metrics.row_groups_skipped;
        self.metrics.bytes_read += metrics.bytes_read;
        self.metrics.spans_inspected += metrics.spans_inspected;
        self.metrics.traces_inspected += metrics.traces_inspected;
        self.metrics.reads += metrics.reads;
    }
}

impl Job for SearchJob {
    const KIND: JobKind = JobKind::Search;
    type Answer = SearchAnswer;

    async fn attempt(&self, querier: &QuerierService, budget: &Budget) -> Result<SearchAnswer, Attempt> {
        let mut stream = querier.search(Request::new(self.clone())).await?.into_inner();
        let (mut found, mut held) = (Vec::new(), Held::default());
        while let Some(part) = stream.try_next().await? {
            budget.hold(&mut held, part.encoded_len(), DECODED).map_err(Attempt::Refused)?;
            found.extend(part.found);
            if let Some(metrics) = part.metrics {
                return Ok(SearchAnswer { found, metrics, held });
            }
        }
        Err(cut_off())
    }
}
