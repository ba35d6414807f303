//! Answers searches for recent data with columns.
//! Owns: which rows go out, and the order in which pieces are looked at. Does not own: what matches (TraceQL), what is
//! held (`holding`).
//! Guarantee: as for every question about recent data; besides, an answer holds at most one piece in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use arrow::array::{AsArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::TimestampNanosecondType;
use tonic::Status;
use vivace_block::schema::{START_TIME, TRACE_ID};
use vivace_block::{ASSEMBLE_COLUMNS, encode_batch, trace_runs};
use vivace_model::scan::{Projection, TimeRange, TraceRuns};
use vivace_model::{CancelOnDrop, ErrorKind, Offset, Partition, TenantId, UnixNanos, WorkBudget};
use vivace_proto::internal::{RecentColumnsPart, RecentColumnsRequest};
use vivace_traceql::{EvalError, PlanKind, Relevant, ScanPlan, Spans};

use crate::Compute;
use crate::compute::ended;
use crate::holding::{Piece, Rows};
use crate::recent::{Parts, intact};
use crate::shared::Shared;

/// Size that parts of an answer are cut at.
const PART_BYTES_MAX: usize = 8 << 20;

type TraceKey = [u8; 16];

/// Rows sorted by trace and start, and their traces.
type Batches = Vec<(RecordBatch, Arc<TraceRuns>)>;

/// What is looked for.
struct Scan {
    tenant: TenantId,
    plan: ScanPlan,
    columns: Projection,
    /// Spans that start in that time go out, or traces that have one; none: any time.
    range: Option<TimeRange>,
}

/// Rows that wait to be looked at.
enum Source {
    /// A piece that grows no more.
    Frozen(Arc<Piece>),
    /// The tenant's rows of the last piece as it was.
    Scanned(Batches),
}

/// An answer in work.
pub(crate) struct Columns {
    compute: Compute,
    /// Ends the work for an answer that is dropped.
    _waits: CancelOnDrop,
    scan: Arc<Scan>,
    sources: VecDeque<Source>,
    /// The traces that go out, ascending; none: whatever matches.
    newest: Option<Arc<Vec<TraceKey>>>,
    through: Offset,
    /// The first part tells through where the answer goes, even if there is no span.
    first: bool,
}

impl Columns {
    /// Checks a question and takes the cut of what is held that answers it.
    pub(crate) async fn new(shared: &Shared, request: RecentColumnsRequest) -> Result<Self, Status> {
        let (partition, from) = (Partition(request.partition), Offset(request.from_offset));
        let compute = shared.environment.compute;
        let budget = WorkBudget::new(shared.config.answer_cpu_max);
        let waits = budget.cancel_on_drop();
        let within = budget.clone();
        let scan = Arc::new(compute.answer(&budget, move || Scan::new(request, &within)).await?);
        let holding = shared.holdings.get(partition);
        let holding =
            holding.ok_or_else(|| Status::not_found(format!("partition {partition} is not held here")))?;
        let mut pieces =
            holding.cut(from).map_err(|refused| Status::failed_precondition(refused.to_string()))?;
        // Only the last piece may grow: once it has been looked at, the answer's end is fixed.
        let last = pieces.pop().ok_or_else(|| Status::internal("a cut has no piece"))?;
        let work = Arc::clone(&scan);
        let (rows, through) = compute.answer(&budget, move || work.rows(&last, &work.columns)).await?;
        let frozen = pieces.into_iter().map(Source::Frozen);
        let mut sources: Vec<_> = frozen.chain([Source::Scanned(rows)]).collect();
        let mut newest = None;
        if let PlanKind::Traces { limit, .. } = *scan.plan.kind()
            && !scan.plan.whole()
        {
            let work = Arc::clone(&scan);
            let found = compute.answer(&budget, move || {
                let ids = work.newest(&sources, limit)?;
                Ok::<_, Status>((ids, sources))
            });
            let (ids, kept) = found.await?;
            sources = kept;
            newest = Some(Arc::new(ids));
        }
        Ok(Self { compute, _waits: waits, scan, sources: sources.into(), newest, through, first: true })
    }
}

impl Parts for Columns {
    type Part = RecentColumnsPart;

    async fn next(&mut self) -> Option<Result<Vec<RecentColumnsPart>, Status>> {
        let through_offset = self.through.0;
        let empty = RecentColumnsPart { through_offset, ..RecentColumnsPart::default() };
        loop {
            let Some(source) = self.sources.pop_front() else {
                return std::mem::take(&mut self.first).then(|| Ok(vec![empty]));
            };
            let (scan, newest) = (Arc::clone(&self.scan), self.newest.clone());
            let encode = move || scan.encode(source, newest.as_deref().map(Vec::as_slice));
            match self.compute.answer(self.scan.plan.budget(), encode).await {
                Ok((_, 0)) => {}
                Ok((streams, spans)) => {
                    self.first = false;
                    return Some(Ok(parts(streams, spans, &empty)));
                }
                Err(status) => {
                    // Nothing comes after a failure.
                    self.sources.clear();
                    self.first = false;
                    return Some(Err(status));
                }
            }
        }
    }
}

/// Spans that were looked at are counted on the first part, which is there even if none of them goes out.
fn parts(streams: Vec<bytes::Bytes>, spans: u64, empty: &RecentColumnsPart) -> Vec<RecentColumnsPart> {
    let part = |arrow| RecentColumnsPart { arrow, ..empty.clone() };
    let mut parts: Vec<_> = streams.into_iter().map(part).collect();
    if parts.is_empty() {
        parts.push(empty.clone());
    }
    parts[0].spans = spans;
    parts
}

impl Scan {
    fn new(request: RecentColumnsRequest, budget: &WorkBudget) -> Result<Self, Status> {
        let search = request.search.ok_or_else(|| Status::invalid_argument("no search"))?;
        let tenant =
            search.tenant.parse().map_err(|error| Status::invalid_argument(format!("tenant: {error}")))?;
        let plan = ScanPlan::within(&search, budget).map_err(|error| failed(&error))?;
        let mut columns = plan.columns();
        columns.fixed.extend([TRACE_ID, START_TIME]);
        let range = if plan.whole() {
            columns.fixed.extend(ASSEMBLE_COLUMNS);
            time_range(request.read_start, request.read_end)
        } else if matches!(plan.kind(), PlanKind::Traces { .. } | PlanKind::Summaries { .. }) {
            // Answers tell of all spans of a trace.
            None
        } else {
            time_range(search.start, search.end)
        };
        Ok(Self { tenant, plan, columns, range })
    }

    /// The tenant's rows in a piece, and the offset through which they are complete. CPU-bound.
    fn rows(&self, piece: &Piece, columns: &Projection) -> Result<(Batches, Offset), Status> {
        // Rows and end under one lock: the piece may be growing.
        let content = piece.content.read();
        intact(&content)?;
        let end = content.end;
        let range = self.range.as_ref().filter(|_| !self.plan.whole());
        let batches = match content.tenants.get(&self.tenant) {
            Some(Rows::Open(block)) => block.scan(columns, range).into_iter().collect(),
            Some(Rows::Sealed(block)) => block.scan(columns, range),
            None => Vec::new(),
        };
        drop(content);
        let runs = batches.into_iter().map(|batch| {
            let runs = trace_runs(&batch).map_err(|error| Status::internal(error.to_string()))?;
            Ok((batch, Arc::new(runs)))
        });
        Ok((runs.collect::<Result<_, Status>>()?, end))
    }

    fn source_rows(&self, source: &Source, columns: &Projection) -> Result<Batches, Status> {
        match source {
            Source::Frozen(piece) => Ok(self.rows(piece, columns)?.0),
            Source::Scanned(batches) => Ok(batches.clone()),
        }
    }

    /// The newest traces that match in any of the sources, ascending by id. CPU-bound.
    fn newest(&self, sources: &[Source], limit: usize) -> Result<Vec<TraceKey>, Status> {
        let mut columns = self.plan.first().clone();
        columns.fixed.extend([TRACE_ID, START_TIME]);
        let mut matched: HashMap<TraceKey, u64> = HashMap::new();
        let mut starts = Vec::new();
        for source in sources {
            for (batch, runs) in self.source_rows(source, &columns)? {
                let relevant = self.plan.relevant(&Spans::new(&batch, &runs));
                if let Relevant::Traces(traces) = relevant.map_err(|error| failed(&error))? {
                    let ids = traces.iter().map(|trace| runs.ids()[*trace as usize]);
                    matched.extend(ids.map(|id| (id, u64::MAX)));
                }
                starts.push((first_starts(&batch, &runs)?, runs));
            }
        }
        // A trace starts with its earliest span, whether or not it matches.
        for (id, start) in &mut matched {
            for (starts, runs) in &starts {
                if let Some(trace) = runs.find(id) {
                    *start = starts[trace].min(*start);
                }
            }
        }
        let mut order: Vec<(u64, TraceKey)> = matched.into_iter().map(|(id, start)| (start, id)).collect();
        order.sort_unstable_by(|a, b| b.cmp(a));
        order.truncate(limit);
        let mut ids: Vec<_> = order.into_iter().map(|(_, id)| id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// What goes out of a source, as Arrow, and how many spans were looked at. CPU-bound.
    fn encode(
        &self,
        source: Source,
        newest: Option<&[TraceKey]>,
    ) -> Result<(Vec<bytes::Bytes>, u64), Status> {
        let batches = self.source_rows(&source, &self.columns)?;
        drop(source);
        let (mut streams, mut spans) = (Vec::new(), 0);
        for (batch, runs) in batches {
            spans += batch.num_rows() as u64;
            let relevant = match newest {
                Some(ids) => Relevant::Traces(numbers(&runs, ids)),
                None => self.plan.relevant(&Spans::new(&batch, &runs)).map_err(|error| failed(&error))?,
            };
            let traces = match (relevant, &self.range) {
                (Relevant::Rows(rows), _) => Err(rows),
                (Relevant::Traces(traces), _) => Ok(traces),
                (Relevant::All, Some(range)) => Ok(within(&batch, &runs, range)?),
                (Relevant::All, None) => Ok((0..runs.len() as u32).collect()),
            };
            let rows = traces.map_or_else(
                |rows| rows,
                |traces| {
                    let rows = traces.iter().flat_map(|trace| runs.rows_of(*trace as usize));
                    rows.map(|row| row as u32).collect()
                },
            );
            let kept = if rows.len() == batch.num_rows() {
                batch
            } else {
                let rows = UInt32Array::from(rows);
                take_record_batch(&batch, &rows).map_err(|error| Status::internal(error.to_string()))?
            };
            let encoded = encode_batch(&kept, PART_BYTES_MAX);
            streams.extend(encoded.map_err(|error| Status::internal(error.to_string()))?);
        }
        Ok((streams, spans))
    }
}

/// The traces of these ids that are there.
fn numbers(runs: &TraceRuns, ids: &[TraceKey]) -> Vec<u32> {
    let numbers = ids.iter().filter_map(|id| runs.find(id));
    numbers.map(|number| number as u32).collect()
}

fn starts(batch: &RecordBatch) -> Result<&PrimitiveArray<TimestampNanosecondType>, Status> {
    let column = batch.column_by_name(START_TIME);
    let starts = column.and_then(|column| column.as_primitive_opt());
    starts.ok_or_else(|| Status::internal("rows come without their start"))
}

/// The start of each trace's first span: rows of a trace are sorted by start.
fn first_starts(batch: &RecordBatch, runs: &TraceRuns) -> Result<Vec<u64>, Status> {
    let starts = starts(batch)?;
    Ok((0..runs.len()).map(|trace| starts.value(runs.rows_of(trace).start).cast_unsigned()).collect())
}

/// The traces of which any span starts in the time. All of their spans go out: whoever puts traces together leaves out
/// what is not in the time, everywhere alike.
fn within(batch: &RecordBatch, runs: &TraceRuns, range: &TimeRange) -> Result<Vec<u32>, Status> {
    let starts = starts(batch)?;
    let starts_in = |row| range.contains(&UnixNanos(starts.value(row).cast_unsigned()));
    let traces = (0..runs.len()).filter(|trace| runs.rows_of(*trace).any(starts_in));
    Ok(traces.map(|trace| trace as u32).collect())
}

fn time_range(start: u64, end: u64) -> Option<TimeRange> {
    (start != 0 || end != 0).then_some(UnixNanos(start)..UnixNanos(end))
}

fn failed(error: &EvalError) -> Status {
    if let EvalError::Ended(end) = error {
        return ended(*end);
    }
    match error.kind() {
        ErrorKind::Invalid => Status::invalid_argument(error.to_string()),
        _ => Status::internal(error.to_string()),
    }
}
