//! Finds where work on a partition starts: at the end of its chain.
//! Guarantee: records that were deleted from the topic before anyone took them in are noted in the ledger, never skipped
//! in silence; a topic whose offsets do not fit the ledger is refused.

use tracing::{error, info};
use vivace_ledger::{Chain, EntryBody, PartitionState};
use vivace_model::{OffsetRange, Partition};

use crate::error::PipelineError;
use crate::shared::Shared;
use crate::store;

/// Loads the chain of a partition and compares its end with what the topic holds.
pub(crate) async fn find_start(
    shared: &Shared,
    partition: Partition,
) -> Result<(Chain, PartitionState), PipelineError> {
    let chain = shared.chain(partition);
    let state = chain.load().await?;
    let end = state.end();
    let topic = &shared.topics.spans;
    let watermarks = shared.log().watermarks(topic, partition).await;
    let watermarks =
        watermarks.map_err(|source| PipelineError::Log { action: "ask for watermarks", source })?;
    if end > watermarks.end {
        return Err(PipelineError::Recreated { end, watermarks });
    }
    if end >= watermarks.start {
        info!(%partition, sequence = state.sequence(), start = %end, lag = watermarks.end.0 - end.0, "partition starts");
        return Ok((chain, state));
    }
    let lost = OffsetRange::new(end, watermarks.start);
    error!(topic, %partition, offsets = %lost, "records were deleted from the topic before they were stored: they are lost");
    let body = EntryBody::Lost { offsets: lost };
    let state = store::append(shared, partition, &chain, &state, body, end).await?;
    shared.metrics().lost_offsets.inc_by(lost.len());
    Ok((chain, state))
}
