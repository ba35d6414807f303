//! Removes whole traces from live blocks, for privacy requests.
//! Owns: finding the traces and the blocks that hold them, rewriting these, listing the result.
//! Does not own: how blocks are rewritten (`vivace_block::merge`), recent data and the copies in the topic, which it
//! cannot reach.
//! Guarantee: when [`Redactor::remove`] returns, no live block holds a trace that was to go, and no other trace lost a
//! span. An error leaves each block either as it was or without these traces.

mod find;
mod rewrite;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::info;
use vivace_block::{BlockConfig, BlockReader, MergeLimits, Metrics, ReaderConfig};
use vivace_ledger::BlockMeta;
use vivace_model::{Partition, TenantId, TraceId};

use crate::discard::delete;
use crate::{Bucket, OperateError};

/// Compaction may move traces to other blocks meanwhile; so often all blocks are looked at again.
const ROUNDS_MAX: u32 = 10;

/// Which traces are to go.
#[derive(Clone, Debug)]
pub enum Target {
    /// These, of whatever tenant is meant.
    Traces(BTreeSet<TraceId>),
    /// Those of which a block holds spans that the TraceQL filter selects.
    Query(String),
}

/// How much a redaction may do.
#[derive(Clone, Debug)]
pub struct RedactLimits {
    /// Refuse to remove more traces than that at once.
    pub traces_max: usize,
    /// How a block is rewritten.
    pub merge: MergeLimits,
    /// Wait that long before the old files are deleted, so that running queries finish.
    pub grace: Duration,
}

impl Default for RedactLimits {
    fn default() -> Self {
        let merge =
            MergeLimits { input_rows_max: 300_000, trace_rows_max: 100_000, file_bytes_max: u64::MAX };
        Self { traces_max: 100_000, merge, grace: Duration::from_secs(60) }
    }
}

/// Traces that are to go, by their tenant.
pub(crate) type Ids = BTreeMap<TenantId, BTreeSet<[u8; 16]>>;

/// A block that holds some of the traces.
#[derive(Clone, Debug)]
pub struct Affected {
    /// The block.
    pub block: Arc<BlockMeta>,
    /// Traces in it that are to go.
    pub traces: u64,
    /// Their spans in it.
    pub rows: u64,
}

/// What a redaction is about, or was.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    ids: Ids,
    /// The blocks.
    pub affected: Vec<Affected>,
    /// The newest entry of each partition that was changed.
    pub entries: BTreeMap<Partition, u64>,
}

impl Redaction {
    /// The traces.
    #[must_use]
    pub fn traces(&self) -> u64 {
        self.ids.values().map(|ids| ids.len() as u64).sum()
    }

    /// Their spans in blocks.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.affected.iter().map(|affected| affected.rows).sum()
    }
}

/// Removes traces from the blocks of one bucket.
#[derive(Debug)]
pub struct Redactor {
    bucket: Bucket,
    reader: BlockReader,
    config: BlockConfig,
    limits: RedactLimits,
}

impl Redactor {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(bucket: Bucket, config: BlockConfig, limits: RedactLimits) -> Self {
        let reader = BlockReader::new(Arc::clone(&bucket.store), ReaderConfig::default(), Metrics::default());
        Self { bucket, reader, config, limits }
    }

    /// Finds the traces and the blocks that hold them; nothing is changed. Without a tenant, those of all tenants.
    ///
    /// # Errors
    /// [`OperateError::Query`], [`OperateError::Refused`] if there are too many; or what is live could not be read.
    pub async fn find(&self, target: &Target, tenant: Option<&TenantId>) -> Result<Redaction, OperateError> {
        let states = self.bucket.states(None).await?;
        let of_tenant = |block: &&Arc<BlockMeta>| tenant.is_none_or(|tenant| block.tenant == *tenant);
        let blocks: Vec<_> =
            states.iter().flat_map(|state| state.live()).filter(of_tenant).map(Arc::clone).collect();
        let ids = match target {
            Target::Query(query) => self.matching(query, &blocks).await?,
            Target::Traces(traces) => {
                let ids: BTreeSet<[u8; 16]> = traces.iter().map(|id| *id.as_bytes()).collect();
                let tenants: BTreeSet<_> = blocks.iter().map(|block| block.tenant.clone()).collect();
                tenants.into_iter().map(|tenant| (tenant, ids.clone())).collect()
            }
        };
        let affected = self.affected(&ids, &blocks).await?;
        Ok(Redaction { ids, affected, entries: BTreeMap::new() })
    }

    /// Removes the traces that were found, and what compaction or ingest has brought into blocks of them since.
    ///
    /// # Errors
    /// [`OperateError::Refused`] while blocks of earlier generations are kept, for they hold the traces too; else as
    /// [`Self::find`], or a block could not be rewritten or listed. To do it again goes on where it ended.
    pub async fn remove(&self, found: &Redaction, reason: &str) -> Result<Redaction, OperateError> {
        let mut done = Redaction { ids: found.ids.clone(), ..Redaction::default() };
        for _ in 0..ROUNDS_MAX {
            let states = self.bucket.states(None).await?;
            if let Some(state) = states.iter().find(|state| !state.kept().is_empty()) {
                return Err(OperateError::Refused(format!(
                    "partition {} keeps {} blocks of earlier generations, which may hold the traces too: give them up \
                     first by `vivace replay --discard-old`",
                    state.partition(),
                    state.kept().len()
                )));
            }
            let blocks: Vec<_> = states.iter().flat_map(|state| state.live()).map(Arc::clone).collect();
            let affected = self.affected(&done.ids, &blocks).await?;
            if affected.is_empty() {
                self.finish(&done).await;
                return Ok(done);
            }
            for affected in affected {
                let Some(sequence) = self.rewrite(&affected.block, &done.ids, reason).await? else {
                    continue;
                };
                info!(block = %affected.block.id, traces = affected.traces, rows = affected.rows, sequence, "traces removed");
                let newest = done.entries.entry(affected.block.partition).or_default();
                *newest = sequence.max(*newest);
                done.affected.push(affected);
            }
        }
        Err(OperateError::Refused(
            "blocks with these traces come up again and again; is something still sending them?".into(),
        ))
    }

    /// Deletes the old files once running queries have had their time.
    async fn finish(&self, done: &Redaction) {
        if done.affected.is_empty() {
            return;
        }
        tokio::time::sleep(self.limits.grace).await;
        let blocks: Vec<_> = done.affected.iter().map(|affected| Arc::clone(&affected.block)).collect();
        delete(&self.bucket, &blocks).await;
    }
}
