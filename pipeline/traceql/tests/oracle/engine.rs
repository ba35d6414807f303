//! The engine over blocks, step by step as those who search them take them.

use std::ops::Range;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use vivace_block::{ASSEMBLE_COLUMNS, OpenBlock, SealedBlock, assemble};
use vivace_model::scan::{Projection, TraceRuns};
use vivace_model::schema::TRACE_ID;
use vivace_proto::internal::search_job_part::Found;
use vivace_traceql::{Collector, EvalError, ScanPlan, Selected, Spans};

/// Where spans are.
#[allow(clippy::large_enum_variant, reason = "there are a few")]
pub(crate) enum Block {
    Open(OpenBlock),
    Sealed(SealedBlock),
}

impl Block {
    fn scan(&self, projection: &Projection) -> Vec<RecordBatch> {
        match self {
            Self::Open(block) => block.scan(projection, None).into_iter().collect(),
            Self::Sealed(block) => block.scan(projection, None),
        }
    }
}

/// A batch of a block, with what was selected of it.
pub(crate) struct Looked {
    pub(crate) runs: TraceRuns,
    pub(crate) selected: Vec<Selected>,
}

/// Collects what the blocks hold, reading no column that the plan does not ask for.
pub(crate) fn collect(plan: &ScanPlan, blocks: &[Block]) -> Result<(Found, Vec<Looked>), EvalError> {
    let mut collector = Collector::new(plan);
    let mut looked = Vec::new();
    for block in blocks {
        let ids = block.scan(&Projection { fixed: [TRACE_ID].into(), ..Projection::default() });
        let (first, second) = (block.scan(plan.first()), block.scan(plan.second()));
        for (number, (ids, (first, second))) in ids.iter().zip(first.iter().zip(second)).enumerate() {
            let runs = runs(ids);
            let spans = Spans::new(first, &runs);
            let selected = plan.select(&spans)?;
            let rows = collector.wanted(&selected, &spans)?;
            let second = take(&second, &rows);
            collector.take(&selected, &spans, &rows, &Spans::picked(&second))?;
            let (rows, third) = (collector.nameless(), block.scan(plan.third()));
            if !rows.is_empty() {
                collector.name(&rows, &Spans::picked(&take(&third[number], &rows)))?;
            }
            looked.push(Looked { runs, selected });
        }
    }
    Ok((collector.finish(), looked))
}

/// Collects what the blocks hold of whole traces: their pieces are put together first.
pub(crate) fn collect_wholes(plan: &ScanPlan, blocks: &[Block]) -> Result<Found, EvalError> {
    let mut columns = plan.columns();
    columns.fixed.extend(ASSEMBLE_COLUMNS);
    let batches: Vec<RecordBatch> = blocks.iter().flat_map(|block| block.scan(&columns)).collect();
    let rows: Vec<Range<usize>> = batches.iter().map(|batch| 0..batch.num_rows()).collect();
    let pieces = batches.iter().zip(&rows).map(|(batch, rows)| (batch, std::slice::from_ref(rows)));
    let (batch, runs) = assemble(&pieces.collect::<Vec<_>>()).unwrap();
    let mut collector = Collector::new(plan);
    let spans = Spans::new(&batch, &runs);
    let selected = plan.select(&spans)?;
    let rows = collector.wanted(&selected, &spans)?;
    collector.take(&selected, &spans, &rows, &Spans::picked(&take(&batch, &rows)))?;
    Ok(collector.finish())
}

fn runs(batch: &RecordBatch) -> TraceRuns {
    let ids = batch.column_by_name(TRACE_ID).expect("asked for").as_fixed_size_binary();
    let ids: Vec<[u8; 16]> = ids.iter().map(|id| id.unwrap().try_into().unwrap()).collect();
    TraceRuns::new(&ids)
}

fn take(batch: &RecordBatch, rows: &[u32]) -> RecordBatch {
    let indices = UInt32Array::from(rows.to_vec());
    let columns = batch.columns().iter().map(|column| arrow::compute::take(column, &indices, None).unwrap());
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &options).unwrap()
}
