//! Sealed blocks on their way into object storage.
//! Owns: fresh names, what a file and the ledger say of a block, uploads and their retries.
//! Does not own: which records a block is made of, the entry that makes it visible.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::time::timeout;
use vivace_block::schema::TRACE_ID;
use vivace_block::{Description, SealedBlock, write_block};
use vivace_ledger::{BlockMeta, PartitionState};
use vivace_model::{BlockId, OffsetRange, Partition, TenantId, partition_of};

use crate::error::PipelineError;
use crate::retry::Backoff;
use crate::shared::Shared;

/// Blocks of one set that are uploaded at once.
const UPLOADS_MAX: usize = 4;
/// One attempt to upload a block; then it is tried again.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the records of a set of blocks come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) partition: Partition,
    /// Which topic of that name.
    pub(crate) incarnation: u32,
    pub(crate) offsets: OffsetRange,
    /// Numbers of partitions that records may have been hashed over, the present one first.
    pub(crate) counts: &'a [u32],
}

/// Encodes and uploads the blocks of one set, however long it takes.
pub(crate) async fn store(
    shared: &Shared,
    origin: Origin<'_>,
    blocks: Vec<(TenantId, Arc<SealedBlock>)>,
) -> Result<Vec<BlockMeta>, PipelineError> {
    let mut stored = Vec::with_capacity(blocks.len());
    let mut uploads = FuturesOrdered::new();
    for (tenant, block) in blocks {
        if uploads.len() == UPLOADS_MAX {
            stored.extend(uploads.next().await);
        }
        let (meta, file) = encode(shared, origin, tenant, block).await?;
        uploads.push_back(upload(shared, meta, file));
    }
    while let Some(meta) = uploads.next().await {
        stored.push(meta);
    }
    Ok(stored)
}

async fn encode(
    shared: &Shared,
    origin: Origin<'_>,
    tenant: TenantId,
    block: Arc<SealedBlock>,
) -> Result<(BlockMeta, Bytes), PipelineError> {
    let Origin { partition, incarnation, offsets, counts } = origin;
    let created = shared.environment.clock.now();
    let description = Description {
        tenant,
        partition,
        partition_count: hashed_over(&block, partition, counts),
        offsets,
        level: 0,
        created,
    };
    let (stats, config) = (block.stats, shared.block.clone());
    let encode = move || (write_block(&block, &description, &config), description);
    let (file, description) = shared.environment.compute.run(encode).await;
    let file = file.map_err(|source| PipelineError::Block { offsets, source })?;
    let meta = BlockMeta {
        id: BlockId::new(created, shared.random().bytes()),
        tenant: description.tenant,
        date: created.date(),
        partition,
        partition_count: description.partition_count,
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

/// The present number of partitions, and those that live blocks were hashed over: where it was raised, records of before
/// may still be in the topic.
pub(crate) fn counts(shared: &Shared, state: &PartitionState) -> Vec<u32> {
    let mut counts = vec![shared.topics.partitions];
    for block in state.live() {
        if block.partition_count != 0 && !counts.contains(&block.partition_count) {
            counts.push(block.partition_count);
        }
    }
    counts
}

/// The first of these numbers by which all traces of the block hash to its partition; 0 if there is none.
fn hashed_over(block: &SealedBlock, partition: Partition, counts: &[u32]) -> u32 {
    let columns = block.batches.iter().filter_map(|batch| batch.column_by_name(TRACE_ID));
    let columns: Vec<_> = columns.filter_map(|column| column.as_fixed_size_binary_opt()).collect();
    let fits = |count: &&u32| {
        let mut last = None;
        columns.iter().flat_map(|ids| (0..ids.len()).map(|row| ids.value(row))).all(|id| {
            let known = last == Some(id);
            last = Some(id);
            known || id.try_into().is_ok_and(|id: &[u8; 16]| partition_of(id, **count) == partition)
        })
    };
    counts.iter().find(fits).copied().unwrap_or(0)
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
