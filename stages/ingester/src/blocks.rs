//! Sealed blocks on their way into object storage.
//! Owns: fresh names, what a file and the ledger say of a block, uploads and their retries.
//! Does not own: which records a block is made of, the entry that makes it visible.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::time::timeout;
use vivace_block::{Description, SealedBlock, write_block};
use vivace_ledger::BlockMeta;
use vivace_model::{BlockId, OffsetRange, Partition, Spread, TenantId};

use crate::error::PipelineError;
use crate::fail_points;
use crate::retry::Backoff;
use crate::shared::Shared;

/// Blocks of one set that are uploaded at once.
const UPLOADS_MAX: usize = 4;
/// One attempt to upload a block; then it is tried again.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the records of a set of blocks come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) partition: Partition,
    /// Which topic of that name.
    pub(crate) incarnation: u32,
    pub(crate) offsets: OffsetRange,
}

/// Encodes and uploads the blocks of one set, however long it takes.
pub(crate) async fn store(
    shared: &Shared,
    origin: Origin,
    spreads: &BTreeMap<TenantId, Spread>,
    blocks: Vec<(TenantId, Arc<SealedBlock>)>,
) -> Result<Vec<BlockMeta>, PipelineError> {
    let mut stored = Vec::with_capacity(blocks.len());
    let mut uploads = FuturesOrdered::new();
    for (tenant, block) in blocks {
        if uploads.len() == UPLOADS_MAX {
            stored.extend(uploads.next().await);
        }
        let spread = spreads.get(&tenant).copied().unwrap_or(Spread::UNKNOWN);
        let (meta, file) = encode(shared, origin, (tenant, spread), block).await?;
        fail_points::UPLOADING.pass().await?;
        uploads.push_back(upload(shared, meta, file));
    }
    while let Some(meta) = uploads.next().await {
        stored.push(meta);
    }
    Ok(stored)
}

async fn encode(
    shared: &Shared,
    origin: Origin,
    (tenant, spread): (TenantId, Spread),
    block: Arc<SealedBlock>,
) -> Result<(BlockMeta, Bytes), PipelineError> {
    let Origin { partition, incarnation, offsets } = origin;
    let created = shared.environment.clock.now();
    let description = Description { tenant, partition, spread, offsets, level: 0, created };
    let (stats, config) = (block.stats, shared.block.clone());
    let encode = move || (write_block(&block, &description, &config), description);
    let (file, description) = shared.environment.compute.run(encode).await;
    let file = file.map_err(|source| PipelineError::Block { offsets, source })?;
    let meta = BlockMeta {
        id: BlockId::new(created, shared.random().bytes()),
        tenant: description.tenant,
        date: created.date(),
        partition,
        spread: description.spread,
        incarnation,
        offsets,
        level: description.level,
        rows: stats.rows,
        traces: stats.traces,
        bytes: file.len() as u64,
        start_min: stats.start_min,
        end_max: stats.end_max,
        created,
    };
    Ok((meta, file))
}

/// Puts a block under its fresh name, however long it takes: to put it twice does no harm.
async fn upload(shared: &Shared, meta: BlockMeta, file: Bytes) -> BlockMeta {
    let path = meta.path();
    let mut backoff = Backoff::new();
    loop {
        let put = shared.environment.store.put(&path, PutPayload::from_bytes(file.clone()));
        let what = "cannot upload a block";
        match timeout(UPLOAD_TIMEOUT, put).await {
            Ok(Ok(_)) => return meta,
            Ok(Err(error)) => shared.trouble(meta.partition, what, &error),
            Err(error) => shared.trouble(meta.partition, what, &error),
        }
        backoff.wait(shared.random()).await;
    }
}
