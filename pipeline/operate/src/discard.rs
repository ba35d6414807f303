//! Gives up the blocks that a replay replaced.

use std::sync::Arc;

use futures::{StreamExt, stream};
use object_store::{Error, ObjectStoreExt};
use tracing::warn;
use vivace_ledger::{BlockMeta, EntryBody, LedgerError, Proposal};
use vivace_model::Partition;

use crate::{Bucket, OperateError};

/// Files that are deleted at once.
const DELETED_AT_ONCE: usize = 8;
/// Others may append at the same time; each time they do, it is tried again.
const ATTEMPTS_MAX: u32 = 20;

/// Notes in the ledger that the blocks kept of earlier generations are given up, and deletes their files. Gives the
/// blocks; files that could not be deleted are orphans from then on.
///
/// # Errors
/// [`OperateError::Ledger`]; nothing was deleted then.
pub async fn discard(bucket: &Bucket, partition: Partition) -> Result<Vec<Arc<BlockMeta>>, OperateError> {
    let chain = bucket.chain(partition);
    let mut state = chain.load().await?;
    let mut attempts = 0;
    let kept = loop {
        let kept = state.kept().to_vec();
        if kept.is_empty() {
            return Ok(kept);
        }
        let body = EntryBody::Discarded { blocks: kept.iter().map(|block| block.id).collect() };
        match chain.append(&state, &Proposal::new(body, bucket.random.bytes())).await {
            Ok(_) => break kept,
            Err(LedgerError::Conflict { current, .. }) if attempts < ATTEMPTS_MAX => state = current,
            Err(error) => return Err(error.into()),
        }
        attempts += 1;
    };
    delete(bucket, &kept).await;
    Ok(kept)
}

/// Deletes files that no entry names as live any more.
pub(crate) async fn delete(bucket: &Bucket, blocks: &[Arc<BlockMeta>]) {
    let delete = |block: &Arc<BlockMeta>| {
        let path = block.path();
        async move {
            match bucket.store.delete(&path).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => warn!(%path, %error, "file not deleted, it is an orphan now"),
            }
        }
    };
    stream::iter(blocks).map(delete).buffer_unordered(DELETED_AT_ONCE).collect::<()>().await;
}
