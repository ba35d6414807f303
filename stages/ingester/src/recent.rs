//! Answers questions for recent data: what is held of a partition from a boundary of the ledger on.
//! Owns: the checks of a question, the shape of its answer. Does not own: what is held (`holding`).
//! Guarantee: an answer covers exactly the records from the asked offset through `through_offset`, or it is refused.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use tonic::{Request, Response, Status};
use tracing::error;
use vivace_block::{RecordBatch, to_traces_data};
use vivace_model::{CancelOnDrop, Offset, Partition, TenantId, TraceId, WorkBudget};
use vivace_proto::internal::recent_server::Recent;
use vivace_proto::internal::{
    PartStream, RecentColumnsPart, RecentColumnsRequest, RecentTracePart, RecentTraceRequest,
};
use vivace_proto::parts;
use vivace_runtime::caught;

use crate::holding::{Content, Piece, Rows};
use crate::recent_columns::Columns;
use crate::shared::Shared;

/// Rows turned into OTLP at once: bounds the memory of an answer, whatever the size of the trace.
const SLICE_ROWS: usize = 2048;

/// Recent data of an ingester, for readers in this process or elsewhere.
#[derive(Clone, Debug)]
pub struct RecentData {
    shared: Arc<Shared>,
}

/// A question that was checked.
struct Question {
    tenant: TenantId,
    trace_id: TraceId,
    partition: Partition,
    from: Offset,
}

/// Rows that wait to be turned into an answer.
struct Answer {
    compute: crate::Compute,
    budget: WorkBudget,
    /// Ends the work for an answer that is dropped.
    _waits: CancelOnDrop,
    rows: VecDeque<RecordBatch>,
    through: Offset,
    /// The first part tells through where the answer goes, even if there is no span.
    first: bool,
}

impl RecentData {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Counts a refusal.
    fn counted<T>(&self, answer: Result<T, Status>) -> Result<T, Status> {
        answer.inspect_err(|_| {
            self.shared.metrics().recent_refused.inc();
        })
    }

    /// An answer that begins at once: whoever asked sees that somebody works for it, however long that takes.
    fn begun<P: Parts>(
        &self,
        answer: impl Future<Output = Result<P, Status>> + Send + 'static,
    ) -> PartStream<P::Part> {
        let shared = Arc::clone(&self.shared);
        let parts = stream::once(answer).map_ok(move |answer| parts_of(Arc::clone(&shared), answer));
        flat(parts.try_flatten())
    }

    async fn answer(&self, question: Question) -> Result<Answer, Status> {
        let Question { tenant, trace_id, partition, from } = question;
        let holding = self.shared.holdings.get(partition);
        let holding =
            holding.ok_or_else(|| Status::not_found(format!("partition {partition} is not held here")))?;
        let pieces = holding.cut(from).map_err(|refused| Status::failed_precondition(refused.to_string()))?;
        let compute = self.shared.environment.compute;
        let budget = WorkBudget::new(self.shared.config.answer_cpu_max);
        let waits = budget.cancel_on_drop();
        let work = move || find(&pieces, &tenant, &trace_id);
        let (rows, through) = compute.answer(&budget, work).await?;
        Ok(Answer { compute, budget, _waits: waits, rows, through, first: true })
    }
}

/// An answer that is made part by part.
pub(crate) trait Parts: Send + 'static {
    /// What goes out at once.
    type Part: Send + 'static;

    /// The next parts, or nothing at the end.
    fn next(&mut self) -> impl Future<Output = Option<Result<Vec<Self::Part>, Status>>> + Send;
}

impl Parts for Answer {
    type Part = RecentTracePart;

    async fn next(&mut self) -> Option<Result<Vec<RecentTracePart>, Status>> {
        let through_offset = self.through.0;
        let Some(batch) = self.rows.pop_front() else {
            let empty = RecentTracePart { through_offset, ..RecentTracePart::default() };
            return std::mem::take(&mut self.first).then(|| Ok(vec![empty]));
        };
        self.first = false;
        let parts = self.compute.answer(&self.budget, move || {
            let mut spans = batch.num_rows() as u64;
            let traces = to_traces_data(&[batch]).map_err(|error| Status::internal(error.to_string()))?;
            let parts = parts::split(traces, parts::PART_BYTES_MAX);
            // All spans of a slice are counted on its first part.
            let mut count = || std::mem::take(&mut spans);
            let part = |traces_data| RecentTracePart { traces_data, through_offset, spans: count() };
            Ok(parts.map(part).collect())
        });
        Some(parts.await)
    }
}

#[tonic::async_trait]
impl Recent for RecentData {
    type TraceStream = PartStream<RecentTracePart>;
    type ColumnsStream = PartStream<RecentColumnsPart>;

    async fn columns(
        &self,
        request: Request<RecentColumnsRequest>,
    ) -> Result<Response<Self::ColumnsStream>, Status> {
        self.shared.metrics().recent_questions.inc();
        let (this, request) = (self.clone(), request.into_inner());
        let columns = async move {
            let columns = Columns::new(&this.shared, request);
            this.counted(counted_panic(&this.shared, columns).await)
        };
        Ok(Response::new(self.begun(columns)))
    }

    async fn trace(
        &self,
        request: Request<RecentTraceRequest>,
    ) -> Result<Response<Self::TraceStream>, Status> {
        self.shared.metrics().recent_questions.inc();
        let (this, request) = (self.clone(), request.into_inner());
        let answer = async move {
            let answer = match check(request) {
                Ok(question) => counted_panic(&this.shared, this.answer(question)).await,
                Err(status) => Err(status),
            };
            this.counted(answer)
        };
        Ok(Response::new(self.begun(answer)))
    }
}

/// Parts one by one.
fn flat<T: Send + 'static>(
    parts: impl Stream<Item = Result<Vec<T>, Status>> + Send + 'static,
) -> PartStream<T> {
    let parts = parts.flat_map(|parts| match parts {
        Ok(parts) => stream::iter(parts.into_iter().map(Ok).collect::<Vec<_>>()),
        Err(status) => stream::iter(vec![Err(status)]),
    });
    parts.boxed()
}

fn check(request: RecentTraceRequest) -> Result<Question, Status> {
    let tenant =
        request.tenant.parse().map_err(|error| Status::invalid_argument(format!("tenant: {error}")))?;
    let trace_id =
        TraceId::new(&request.trace_id).map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(Question {
        tenant,
        trace_id,
        partition: Partition(request.partition),
        from: Offset(request.from_offset),
    })
}

/// The rows of a trace in pieces that follow each other, and the offset through which they are complete. CPU-bound.
fn find(
    pieces: &[Arc<Piece>],
    tenant: &TenantId,
    trace_id: &TraceId,
) -> Result<(VecDeque<RecordBatch>, Offset), Status> {
    let mut rows = VecDeque::new();
    let mut through = Offset::ZERO;
    for piece in pieces {
        // Rows and end under one lock: the open piece may be growing.
        let content = piece.content.read();
        intact(&content)?;
        through = content.end;
        let batches = match content.tenants.get(tenant) {
            Some(Rows::Open(block)) => block.trace(trace_id).into_iter().collect(),
            Some(Rows::Sealed(block)) => block.trace(trace_id),
            None => Vec::new(),
        };
        for batch in batches {
            let slices = (0..batch.num_rows()).step_by(SLICE_ROWS);
            rows.extend(slices.map(|start| batch.slice(start, SLICE_ROWS.min(batch.num_rows() - start))));
        }
    }
    Ok((rows, through))
}

/// What was left half done by a panic has no answer. The partition is about to start over; until then the log has one.
pub(crate) fn intact(content: &Content) -> Result<(), Status> {
    match content.changing {
        true => Err(Status::unavailable("records are being taken in again after a failure")),
        false => Ok(()),
    }
}

/// Ends a question that panics with an error, which is all that comes of it.
async fn counted_panic<T>(
    shared: &Shared,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    caught(work).await.unwrap_or_else(|panicked| {
        shared.metrics().panics.inc();
        error!(error = %panicked, "a question for recent data panicked");
        Err(Status::internal(panicked.to_string()))
    })
}

/// The parts one by one, until there are no more or making them panics.
fn parts_of<P: Parts>(
    shared: Arc<Shared>,
    parts: P,
) -> impl Stream<Item = Result<Vec<P::Part>, Status>> + Send + 'static {
    stream::unfold(Some(parts), move |parts| {
        let shared = Arc::clone(&shared);
        async move {
            let mut parts = parts?;
            let next = async { Ok(parts.next().await) };
            match counted_panic(&shared, next).await {
                Ok(next) => Some((next?, Some(parts))),
                Err(status) => Some((Err(status), None)),
            }
        }
    })
}
