//! One job, from blocks to an entry of the ledger: `inputs -> outputs in the store -> Compacted`, or `Expired`.
//! Owns: the order of these steps, and what becomes of outputs that no entry names.
//! Does not own: which job (`plan`), merging itself (the block), the rules of the chain (the ledger).
//! Guarantee: a file is deleted only if it is certain that no entry names it. Where that is not known it stays, and is
//! found as an orphan one day.

use std::sync::Arc;

use futures::{StreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::time::{Duration, Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use vivace_block::{
    BlockConfig, Description, KeepTraces, Merge, MergeInput, MergeOutcome, MergedBlock, merge,
};
use vivace_ledger::{BlockMeta, Chain, EntryBody, LedgerError, PartitionState, Proposal, block_path};
use vivace_model::{BlockId, OffsetRange, UnixNanos};
use vivace_runtime::caught;

use crate::error::{JobError, causes};
use crate::fail_points;
use crate::memory::{self, Fitted};
use crate::metrics::Outcome;
use crate::plan::Job;
use crate::retention::Judge;
use crate::shared::{Backoff, Shared};

/// Files that are deleted at once.
const DELETES_AT_ONCE: usize = 8;
/// How long dropping the outputs of a job may take; what is left is found as orphans.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

/// A job that is being done.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) shared: Arc<Shared>,
    pub(crate) chain: Chain,
    /// Asks to come to an end.
    pub(crate) stop: CancellationToken,
}

/// How appending went.
enum Appended {
    Done(PartitionState),
    /// Others replaced the inputs.
    Lost(PartitionState),
    /// Given up; whether it was appended is not known if `unknown`.
    Stopped {
        unknown: bool,
    },
}

impl Work {
    /// Does a job on top of a state; gives the newest state known.
    pub(crate) async fn run(&self, state: &PartitionState, job: &Job) -> Result<PartitionState, JobError> {
        let done = match job {
            Job::Expire(blocks) => self.expire(state, blocks).await,
            Job::Merge(blocks) => {
                let fitted = self.fitted(blocks);
                // The others are merged next.
                self.merge(state, &blocks[..fitted.inputs], fitted).await
            }
        };
        let (outcome, state) = match done {
            Ok((outcome, state)) => (outcome, Ok(state)),
            Err(error) => (Outcome::Failed, Err(error)),
        };
        self.shared.metrics().ended(outcome);
        state
    }

    /// How much of a merge is done at once.
    fn fitted(&self, inputs: &[Arc<BlockMeta>]) -> Fitted {
        let (block, config) = (&self.shared.block, &self.shared.config);
        memory::fit(&self.shared.environment.memory, inputs, block.row_group_rows_max, config.input_rows_max)
    }

    async fn expire(
        &self,
        state: &PartitionState,
        blocks: &[Arc<BlockMeta>],
    ) -> Result<(Outcome, PartitionState), JobError> {
        let body = EntryBody::Expired { blocks: blocks.iter().map(|block| block.id).collect() };
        Ok(match self.append(state, body).await.map_err(|(error, _)| error)? {
            Appended::Done(state) => {
                let rows = blocks.iter().map(|block| block.rows).sum();
                self.shared.metrics().expired_blocks.inc_by(blocks.len() as u64);
                self.shared.metrics().expired_rows.inc_by(rows);
                info!(partition = %state.partition(), sequence = state.sequence(), blocks = blocks.len(), rows, "blocks expired");
                (Outcome::Done, state)
            }
            Appended::Lost(state) => (Outcome::Lost, state),
            Appended::Stopped { .. } => (Outcome::Stopped, state.clone()),
        })
    }

    async fn merge(
        &self,
        state: &PartitionState,
        inputs: &[Arc<BlockMeta>],
        fitted: Fitted,
    ) -> Result<(Outcome, PartitionState), JobError> {
        let now = self.shared.environment.clock.now();
        let started = Instant::now();
        let mut named = Vec::new();
        let merged = {
            let work = async {
                fail_points::MERGING.pass().await?;
                let merged = self.write(inputs, fitted, now, &mut named).await;
                let merged = merged.map_err(|source| JobError::Merge { inputs: inputs.len(), source })?;
                fail_points::MERGED.pass().await?;
                Ok(merged)
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => None,
                merged = caught(work) => Some(merged.unwrap_or_else(|panicked| Err(panicked.into()))),
            }
        };
        let files = |named: &[BlockId]| -> Vec<Path> {
            named
                .iter()
                .filter_map(|id| Some(block_path(&inputs.first()?.tenant, &inputs.first()?.date, *id)))
                .collect()
        };
        let outcome = match merged {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => {
                self.drop_files(files(&named)).await;
                return Err(error);
            }
            None => {
                self.drop_files(files(&named)).await;
                return Ok((Outcome::Stopped, state.clone()));
            }
        };
        self.shared.metrics().merge_seconds.observe(started.elapsed().as_secs_f64());
        let outputs = outputs(inputs, now, &named, &outcome.outputs);
        let body = EntryBody::Compacted {
            inputs: inputs.iter().map(|block| block.id).collect(),
            outputs: outputs.clone(),
            duplicates: outcome.duplicates,
            expired: outcome.dropped,
        };
        match self.append(state, body).await {
            Ok(Appended::Done(state)) => {
                fail_points::LISTED.pass().await?;
                self.count(&state, inputs, &outputs, &outcome, started);
                Ok((Outcome::Done, state))
            }
            Ok(Appended::Lost(current)) => {
                info!(partition = %state.partition(), blocks = inputs.len(), "another compactor was faster, its work counts and ours is dropped");
                self.drop_files(files(&named)).await;
                Ok((Outcome::Lost, current))
            }
            Ok(Appended::Stopped { unknown }) => {
                if !unknown {
                    self.drop_files(files(&named)).await;
                }
                Ok((Outcome::Stopped, state.clone()))
            }
            Err((error, unknown)) => {
                if !unknown {
                    self.drop_files(files(&named)).await;
                }
                Err(error)
            }
        }
    }

    /// Writes the outputs; their ids are in `named` before there is anything of them in the store.
    async fn write(
        &self,
        inputs: &[Arc<BlockMeta>],
        fitted: Fitted,
        now: UnixNanos,
        named: &mut Vec<BlockId>,
    ) -> Result<MergeOutcome, vivace_block::BlockError> {
        let shared = &self.shared;
        let poisons = |block: &Arc<BlockMeta>| fail_points::MERGING.poisons(block.id.to_string().as_bytes());
        fail_points::MERGING.strike(inputs.iter().any(poisons));
        let Some(first) = inputs.first() else {
            return Ok(MergeOutcome::default());
        };
        let _memory = fitted.reserve(&shared.environment.memory).await;
        let retention = (shared.environment.retention)(&first.tenant);
        let keep = Judge::of(retention, inputs, now).map(|judge| -> Arc<dyn KeepTraces> { judge });
        let description = Description {
            tenant: first.tenant.clone(),
            partition: first.partition,
            spread: first.spread,
            offsets: hull(inputs),
            level: level(inputs),
            created: now,
        };
        let input = |block: &Arc<BlockMeta>| MergeInput { path: block.path(), file_bytes: block.bytes };
        let job = Merge {
            inputs: inputs.iter().map(input).collect(),
            description,
            config: BlockConfig { row_group_rows_max: fitted.group_rows, ..shared.block.clone() },
            limits: shared.config.limits(),
            keep,
        };
        let name = || {
            let id = BlockId::new(now, shared.random().bytes());
            named.push(id);
            block_path(&first.tenant, &first.date, id)
        };
        merge(&shared.reader, &shared.environment.store, job, name).await
    }

    /// Appends an entry on top of whatever others add meanwhile, as long as what it replaces is live. Besides the error says
    /// whether the entry may be there nevertheless.
    async fn append(&self, known: &PartitionState, body: EntryBody) -> Result<Appended, (JobError, bool)> {
        let mut known = known.clone();
        let mut proposal = Proposal::new(body, self.shared.random().bytes());
        let mut backoff = Backoff::new();
        let mut unknown = false;
        loop {
            match self.chain.append(&known, &proposal).await {
                Ok(state) => return Ok(Appended::Done(state)),
                Err(LedgerError::Conflict { current, .. }) => {
                    // Ours is certainly not in the chain.
                    unknown = false;
                    let live = |id: &BlockId| current.live().iter().any(|block| block.id == *id);
                    if !proposal.body().removed().iter().all(live) {
                        return Ok(Appended::Lost(current));
                    }
                    known = current;
                    proposal = Proposal::new(proposal.body().clone(), self.shared.random().bytes());
                }
                Err(error @ LedgerError::Unavailable { .. }) => {
                    unknown = true;
                    warn!(partition = %known.partition(), error = causes(&error), "cannot append to the ledger, trying again");
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => return Ok(Appended::Stopped { unknown }),
                        () = backoff.wait(&self.shared) => {}
                    }
                }
                Err(error) => return Err((error.into(), unknown)),
            }
        }
    }

    fn count(
        &self,
        state: &PartitionState,
        inputs: &[Arc<BlockMeta>],
        outputs: &[BlockMeta],
        outcome: &MergeOutcome,
        started: Instant,
    ) {
        let metrics = self.shared.metrics();
        let bytes_in = inputs.iter().map(|block| block.bytes).sum();
        let bytes_out = outputs.iter().map(|block| block.bytes).sum();
        let rows_out = outputs.iter().map(|block| block.rows).sum();
        metrics.blocks_in.inc_by(inputs.len() as u64);
        metrics.blocks_out.inc_by(outputs.len() as u64);
        metrics.bytes_in.inc_by(bytes_in);
        metrics.bytes_out.inc_by(bytes_out);
        metrics.rows_in.inc_by(outcome.rows_in);
        metrics.rows_out.inc_by(rows_out);
        metrics.duplicates.inc_by(outcome.duplicates);
        metrics.expired_rows.inc_by(outcome.dropped);
        info!(
            partition = %state.partition(), sequence = state.sequence(), inputs = inputs.len(),
            outputs = outputs.len(), level = level(inputs), rows = outcome.rows_in, bytes_in, bytes_out,
            duplicates = outcome.duplicates, expired = outcome.dropped,
            seconds = started.elapsed().as_secs_f64(), "blocks merged"
        );
    }

    /// Deletes files that nobody names.
    async fn drop_files(&self, files: Vec<Path>) {
        if timeout(DROP_TIMEOUT, delete(&self.shared, files)).await.is_err() {
            warn!("not all outputs of a job were deleted in time; they are found as orphans");
        }
    }
}

/// Deletes files; gives back those that are gone.
pub(crate) async fn delete(shared: &Shared, files: Vec<Path>) -> Vec<Path> {
    let deletes = files.into_iter().map(|path| {
        let store = Arc::clone(&shared.environment.store);
        async move {
            match store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Some(path),
                Err(error) => {
                    warn!(%path, error = causes(&error), "file not deleted");
                    None
                }
            }
        }
    });
    stream::iter(deletes).buffer_unordered(DELETES_AT_ONCE).filter_map(std::future::ready).collect().await
}

fn outputs(
    inputs: &[Arc<BlockMeta>],
    now: UnixNanos,
    named: &[BlockId],
    files: &[MergedBlock],
) -> Vec<BlockMeta> {
    let Some(first) = inputs.first() else {
        return Vec::new();
    };
    let block = |(id, file): (&BlockId, &MergedBlock)| BlockMeta {
        id: *id,
        tenant: first.tenant.clone(),
        date: first.date.clone(),
        partition: first.partition,
        spread: first.spread,
        incarnation: first.incarnation,
        offsets: hull(inputs),
        level: level(inputs),
        rows: file.stats.rows,
        traces: file.stats.traces,
        bytes: file.bytes,
        start_min: file.stats.start_min,
        end_max: file.stats.end_max,
        created: now,
    };
    named.iter().zip(files).map(block).collect()
}

/// The smallest range around the inputs' offsets.
fn hull(inputs: &[Arc<BlockMeta>]) -> OffsetRange {
    let start = inputs.iter().map(|block| block.offsets.start).min().unwrap_or_default();
    let end = inputs.iter().map(|block| block.offsets.end).max().unwrap_or_default();
    OffsetRange::new(start, end)
}

fn level(inputs: &[Arc<BlockMeta>]) -> u32 {
    inputs.iter().map(|block| block.level).max().unwrap_or(0).saturating_add(1)
}
