//! Finds where work on a partition starts: at the end of its chain.
//! Guarantee: records that were deleted from the topic before anyone took them in are noted in the ledger, never skipped
//! in silence; a topic that is not the one that was ingested is refused.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{error, info};
use vivace_ledger::{Chain, EntryBody, PartitionState};
use vivace_log::LogError;
use vivace_model::{Offset, OffsetRange, Partition};

use crate::decode::fingerprint;
use crate::error::PipelineError;
use crate::shared::Shared;
use crate::store;

/// A record that is in the topic comes within that time; asked again else.
const RECORD_WAIT: Duration = Duration::from_secs(15);

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
        return Err(PipelineError::Recreated { partition, end, watermarks });
    }
    if end >= watermarks.start {
        if fit(shared, partition, &state, watermarks).await? == Fit::Other {
            return Err(PipelineError::Replaced { partition, end });
        }
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

/// How a topic and a chain fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The record before the chain's end is the one that was ingested.
    Same,
    /// Nothing speaks against it, but that record is not there any more, or nothing is known of it.
    Unknown,
    /// It is another topic.
    Other,
}

/// Compares the record before the chain's end, if the topic still holds it, with the one that was ingested. A topic that
/// was deleted and made anew may well have grown past the chain's end.
pub(crate) async fn fit(
    shared: &Shared,
    partition: Partition,
    state: &PartitionState,
    watermarks: OffsetRange,
) -> Result<Fit, PipelineError> {
    if state.end() > watermarks.end {
        return Ok(Fit::Other);
    }
    let (Some(known), Some(before)) = (state.last(), state.end().0.checked_sub(1).map(Offset)) else {
        return Ok(Fit::Unknown);
    };
    if before < watermarks.start {
        return Ok(Fit::Unknown);
    }
    let action = "read the last record that was ingested";
    let failed = |source| PipelineError::Log { action, source };
    let mut reader = shared.log().read(&shared.topics.spans, partition, before).await.map_err(failed)?;
    let read = timeout(RECORD_WAIT, reader.next(1)).await.map_err(|elapsed| {
        failed(LogError::Unavailable { action: "no record came in time".into(), source: elapsed.into() })
    })?;
    match read.map(|records| records.into_iter().next()) {
        // Where that record was, another topic may hold a marker that is no record.
        Ok(Some(record)) if record.offset == before && fingerprint(&record) == known => Ok(Fit::Same),
        Ok(_) => Ok(Fit::Other),
        // It was deleted by age meanwhile.
        Err(LogError::OffsetOutOfRange { .. }) => Ok(Fit::Unknown),
        Err(source) => Err(failed(source)),
    }
}
