//! Jobs over blocks.

use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use vivace_block::{BlockReader, TraceRows, to_traces_data};
use vivace_model::{TraceId, WorkBudget};
use vivace_proto::internal::BlockRef;
use vivace_proto::parts::{self, PART_BYTES_MAX};

use crate::JobError;
use crate::answer::Answer;
use crate::compute::compute;
use crate::panics::named;

/// Rows that are turned into OTLP within a millisecond, so on the async thread.
const ROWS_INLINE_MAX: usize = 256;

/// The spans of a trace in these blocks. A block that is gone fails the job: the View that names it is too old.
pub(crate) async fn trace(
    reader: &BlockReader,
    budget: &WorkBudget,
    blocks: Vec<BlockRef>,
    trace_id: &TraceId,
    concurrent_max: usize,
    mut answer: Answer,
) -> Result<Answer, JobError> {
    let read = |block: BlockRef| async move {
        let path = Path::parse(&block.path)
            .map_err(|error| JobError::Invalid(format!("block path {:?}: {error}", block.path)))?;
        let rows = async {
            let rows = reader.trace(&path, block.bytes, trace_id).await;
            rows.map_err(|error| JobError::of_block(&block.path, error))
        };
        let rows = named(|| block.path.clone(), Box::pin(rows)).await?;
        Ok::<_, JobError>((block.path, rows))
    };
    let mut all = stream::iter(blocks).map(read).buffer_unordered(concurrent_max);
    while let Some((path, rows)) = all.try_next().await? {
        answer.metrics.blocks_inspected += 1;
        answer.metrics.blocks_skipped += u64::from(rows.skipped);
        answer.metrics.bytes_read += rows.bytes_read;
        answer = named(|| path.clone(), encode(budget, path.clone(), rows, answer)).await?;
        if answer.metrics.truncated || answer.short.is_some() {
            break;
        }
    }
    Ok(answer)
}

async fn encode(
    budget: &WorkBudget,
    path: String,
    rows: TraceRows,
    mut answer: Answer,
) -> Result<Answer, JobError> {
    let count: usize = rows.batches.iter().map(|batch| batch.num_rows()).sum();
    if count == 0 {
        return Ok(answer);
    }
    answer.metrics.spans += count as u64;
    let work = move || {
        let traces = to_traces_data(&rows.batches).map_err(|error| JobError::of_block(&path, error))?;
        for part in parts::split(traces, PART_BYTES_MAX) {
            if !answer.push(part) {
                break;
            }
        }
        Ok(answer)
    };
    if count <= ROWS_INLINE_MAX {
        return work();
    }
    compute(budget, work).await
}
