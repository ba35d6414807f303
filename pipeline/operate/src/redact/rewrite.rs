//! Rewrites one block without some of its traces, and lists the result in its place.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use tracing::warn;
use vivace_block::{
    Description, KeepTraces, Merge, MergeInput, MergeOutcome, MergedBlock, RecordBatch, merge,
};
use vivace_ledger::{BlockMeta, EntryBody, LedgerError, PartitionState, Proposal, block_path};
use vivace_model::scan::TraceRuns;
use vivace_model::{BlockId, UnixNanos};

use super::{Ids, Redactor};
use crate::OperateError;

/// A store that does not say whether it took the entry is asked again that often.
const ATTEMPTS_MAX: u32 = 5;
/// Pause before it is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps all traces but these.
#[derive(Debug)]
struct Without(BTreeSet<[u8; 16]>);

impl KeepTraces for Without {
    fn keep(
        &self,
        _batch: &RecordBatch,
        traces: &TraceRuns,
    ) -> Result<Vec<bool>, Box<dyn Error + Send + Sync>> {
        Ok(traces.ids().iter().map(|id| !self.0.contains(id)).collect())
    }
}

/// Files of a rewritten block, by the order in which they were named.
#[derive(Debug, Default)]
struct Named(Vec<(BlockId, Path)>);

impl Redactor {
    /// The number of the entry that lists the rewritten block; none if it was replaced by others meanwhile.
    pub(super) async fn rewrite(
        &self,
        block: &Arc<BlockMeta>,
        ids: &Ids,
        reason: &str,
    ) -> Result<Option<u64>, OperateError> {
        let without = ids.get(&block.tenant).cloned().unwrap_or_default();
        let created = self.bucket.clock.now();
        let job = Merge {
            inputs: vec![MergeInput { path: block.path(), file_bytes: block.bytes }],
            description: Description {
                tenant: block.tenant.clone(),
                partition: block.partition,
                spread: block.spread,
                offsets: block.offsets,
                level: block.level,
                created,
            },
            config: self.config.clone(),
            limits: self.limits.merge.clone(),
            keep: Some(Arc::new(Without(without))),
        };
        let mut named = Named::default();
        let merged = merge(&self.reader, &self.bucket.store, job, || {
            let id = BlockId::new(created, self.bucket.random.bytes());
            let path = block_path(&block.tenant, &block.date, id);
            named.0.push((id, path.clone()));
            path
        });
        let outcome = match merged.await {
            Ok(outcome) => outcome,
            Err(error) => {
                self.drop_files(&named).await;
                return Err(error.into());
            }
        };
        let body = body(block, created, &named, &outcome, reason);
        self.list(block, body, &named).await
    }

    async fn list(
        &self,
        block: &BlockMeta,
        body: EntryBody,
        named: &Named,
    ) -> Result<Option<u64>, OperateError> {
        let chain = self.bucket.chain(block.partition);
        let mut state = match chain.load().await {
            Ok(state) => state,
            Err(error) => {
                self.drop_files(named).await;
                return Err(error.into());
            }
        };
        let mut proposal = Proposal::new(body, self.bucket.random.bytes());
        let mut unanswered = 0;
        loop {
            if !is_live(&state, block) {
                self.drop_files(named).await;
                return Ok(None);
            }
            match chain.append(&state, &proposal).await {
                Ok(state) => return Ok(Some(state.sequence())),
                Err(LedgerError::Conflict { current, .. }) => {
                    state = current;
                    proposal = Proposal::new(proposal.body().clone(), self.bucket.random.bytes());
                }
                // Whether it is in the chain is not known, so its files must stay.
                Err(error @ LedgerError::Unavailable { .. }) if unanswered == ATTEMPTS_MAX => {
                    return Err(error.into());
                }
                Err(LedgerError::Unavailable { .. }) => {
                    unanswered += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    self.drop_files(named).await;
                    return Err(error.into());
                }
            }
        }
    }

    /// Files that no entry names; what is left of them is found as orphans.
    async fn drop_files(&self, named: &Named) {
        for (_, path) in &named.0 {
            match self.bucket.store.delete(path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => warn!(%path, %error, "file not deleted, it is an orphan"),
            }
        }
    }
}

fn is_live(state: &PartitionState, block: &BlockMeta) -> bool {
    state.live().iter().any(|live| live.id == block.id)
}

fn body(
    block: &BlockMeta,
    created: UnixNanos,
    named: &Named,
    outcome: &MergeOutcome,
    reason: &str,
) -> EntryBody {
    let output = |merged: &MergedBlock| {
        let (id, _) = named.0.iter().find(|(_, path)| *path == merged.path)?;
        let stats = merged.stats;
        Some(BlockMeta {
            id: *id,
            rows: stats.rows,
            traces: stats.traces,
            bytes: merged.bytes,
            start_min: stats.start_min,
            end_max: stats.end_max,
            created,
            ..block.clone()
        })
    };
    EntryBody::Redacted {
        inputs: vec![block.id],
        outputs: outcome.outputs.iter().filter_map(output).collect(),
        removed: outcome.dropped,
        duplicates: outcome.duplicates,
        reason: reason.to_owned(),
    }
}
