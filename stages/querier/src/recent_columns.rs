//! The question for recent data as columns, for a search.
//! Owns: what of an owner's answer and of the log's records is kept, and its bound.
//! Does not own: what is made of the spans (`search`), where recent data is looked for (`recent`).

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use tonic::{Request, Status};
use vivace_block::schema::{START_TIME, TRACE_ID};
use vivace_block::{ASSEMBLE_COLUMNS, Footprint, decode_batches, trace_runs};
use vivace_memory::{Governor, Part, Permit, Short};
use vivace_model::scan::{Projection, TraceRuns};
use vivace_model::{Offset, TenantId};
use vivace_proto::internal::{PartStream, RecentColumnsPart, RecentColumnsRequest, RecentService, Search};
use vivace_traceql::{EvalError, Relevant, ScanPlan, Spans};

use crate::JobError;
use crate::compute::compute;
use crate::recent::{From, Question};
use crate::tail::TailPart;

/// Of so many bytes from the log all spans are kept, so that answers tell of traces as a whole; beyond, only what matches.
const TAIL_WHOLE_BYTES_MAX: usize = 16 << 20;

/// A search of recent data.
#[derive(Debug)]
pub(crate) struct ColumnsQuestion {
    pub(crate) search: Search,
    /// As in the job.
    pub(crate) read_start: u64,
    pub(crate) read_end: u64,
    pub(crate) tenant: TenantId,
    pub(crate) plan: Arc<ScanPlan>,
    /// Memory that the answer may take.
    pub(crate) bytes_max: usize,
    pub(crate) memory: Arc<Governor>,
}

/// Rows of recent data: batches that are sorted by trace and start.
pub(crate) struct Columns {
    pub(crate) batches: Vec<(RecordBatch, Arc<TraceRuns>)>,
    /// Memory of what they hold.
    footprint: Footprint,
    /// Memory of where their traces are.
    runs_bytes: usize,
    /// There is more than may be held.
    pub(crate) too_much: bool,
    /// Reserved for it.
    pub(crate) memory: Permit,
    /// Why no more could be reserved.
    pub(crate) short: Option<Short>,
    /// Spans looked at elsewhere.
    pub(crate) spans: u64,
    pub(crate) bytes_read: u64,
}

impl Columns {
    /// Memory that they take.
    const fn bytes(&self) -> usize {
        self.footprint.bytes() + self.runs_bytes
    }

    fn push(&mut self, batch: RecordBatch, runs: TraceRuns, bytes_max: usize) -> bool {
        if batch.num_rows() == 0 {
            return !self.too_much;
        }
        // Buffers are told apart by their address, so only of batches that stay.
        self.footprint.add(&batch);
        self.runs_bytes += runs.memory_bytes();
        self.too_much |= self.bytes() > bytes_max;
        if !self.too_much {
            let lacking = self.bytes().saturating_sub(self.memory.bytes());
            self.short = self.memory.grow(lacking).err();
        }
        let kept = !self.too_much && self.short.is_none();
        if kept {
            self.batches.push((batch, Arc::new(runs)));
        }
        kept
    }
}

impl Question for ColumnsQuestion {
    type Part = RecentColumnsPart;
    type Answer = Columns;

    fn empty(&self) -> Columns {
        Columns {
            batches: Vec::new(),
            footprint: Footprint::default(),
            runs_bytes: 0,
            too_much: false,
            memory: self.memory.empty(Part::Tail),
            short: None,
            spans: 0,
            bytes_read: 0,
        }
    }

    async fn ask(&self, owner: &RecentService, from: From) -> Result<PartStream<RecentColumnsPart>, Status> {
        let request = RecentColumnsRequest {
            search: Some(self.search.clone()),
            partition: from.partition.0,
            from_offset: from.offset.0,
            read_start: self.read_start,
            read_end: self.read_end,
        };
        Ok(owner.columns(Request::new(request)).await?.into_inner())
    }

    fn through(part: &RecentColumnsPart) -> Offset {
        Offset(part.through_offset)
    }

    async fn take(&self, mut answer: Columns, part: RecentColumnsPart) -> Result<(Columns, bool), Status> {
        answer.spans += part.spans;
        answer.bytes_read += part.arrow.len() as u64;
        if part.arrow.is_empty() {
            return Ok((answer, true));
        }
        let decode = move || {
            let batches = decode_batches(part.arrow).map_err(|error| JobError::Recent(error.to_string()))?;
            let with_runs = batches.into_iter().map(|batch| {
                let runs = trace_runs(&batch).map_err(|error| JobError::Recent(error.to_string()))?;
                Ok((batch, runs))
            });
            with_runs.collect::<Result<Vec<_>, _>>()
        };
        for (batch, runs) in compute(self.plan.budget(), decode).await? {
            if !answer.push(batch, runs, self.bytes_max) {
                return Ok((answer, false));
            }
        }
        Ok((answer, true))
    }

    async fn read(&self, mut answer: Columns, part: TailPart) -> Result<(Columns, bool), JobError> {
        let (tenant, plan, bytes_max) = (self.tenant.clone(), Arc::clone(&self.plan), self.bytes_max);
        let budget = self.plan.budget().clone();
        let work = move || {
            let TailPart { segment, range } = part;
            answer.bytes_read += segment.bytes_of(&range);
            let Some(batch) = segment.scan(&tenant, &range, &columns(&plan)) else {
                return Ok((answer, true));
            };
            let runs = trace_runs(&batch).map_err(|error| JobError::Recent(error.to_string()))?;
            let (batch, runs) = if answer.bytes() < TAIL_WHOLE_BYTES_MAX {
                (batch, runs)
            } else {
                answer.spans += batch.num_rows() as u64;
                relevant(&plan, batch, runs)?
            };
            let more = answer.push(batch, runs, bytes_max);
            Ok((answer, more))
        };
        compute(&budget, work).await
    }
}

/// All columns that a search of recent data looks at.
fn columns(plan: &ScanPlan) -> Projection {
    let mut columns = plan.columns();
    columns.fixed.extend([TRACE_ID, START_TIME]);
    if plan.whole() {
        columns.fixed.extend(ASSEMBLE_COLUMNS);
    }
    columns
}

/// The rows that may matter.
fn relevant(
    plan: &ScanPlan,
    batch: RecordBatch,
    runs: TraceRuns,
) -> Result<(RecordBatch, TraceRuns), JobError> {
    let rows: Vec<u32> = match plan.relevant(&Spans::new(&batch, &runs))? {
        Relevant::All => return Ok((batch, runs)),
        Relevant::Rows(rows) => rows,
        Relevant::Traces(traces) => {
            let rows = traces.iter().flat_map(|trace| runs.rows_of(*trace as usize));
            rows.map(|row| row as u32).collect()
        }
    };
    let taken = take_record_batch(&batch, &UInt32Array::from(rows));
    let taken = taken.map_err(|error| EvalError::Batch(error.to_string()))?;
    let runs = trace_runs(&taken).map_err(|error| JobError::Recent(error.to_string()))?;
    Ok((taken, runs))
}

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Columns").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
