//! Builds the blocks of a partition anew from the topic, and opens a new generation with them, for `vivace replay`.
//! Owns: which blocks are replaced, reading and building, the entry that switches readers, and the same for a topic that
//! was made anew.
//! Does not own: decoding, sealing, storing (the same code as in the pipeline), rules of the entry (the ledger).
//! Guarantee: readers see the old blocks or the new ones, never both and never neither. Ingest goes on meanwhile. What
//! fails leaves the chain as it was, and no files but when nobody knows whether the entry was written.

mod plan;
mod rebuild;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{Error as StoreError, ObjectStoreExt};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use vivace_block::BlockConfig;
use vivace_ledger::{BlockMeta, Chain, EntryBody, LedgerError, PartitionState, Proposal};
use vivace_log::{LogError, TopicsConfig};
use vivace_model::{BlockId, ErrorKind, Offset, OffsetRange, Partition};
use vivace_runtime::Readiness;

use self::plan::Asked;
pub use self::plan::ReplayPlan;
use self::rebuild::Built;
use crate::budget::Budget;
use crate::commits::Commits;
use crate::error::PipelineError;
use crate::holding::Holdings;
use crate::shared::Shared;
use crate::start::{Fit, find_start, fit};
use crate::status::Status;
use crate::store::hint;
use crate::{Config, Environment, IngesterError};

/// Ingesters and compactors append meanwhile; so often the plan is made anew.
const ROUNDS_MAX: u32 = 50;
/// A store that does not say whether it took the entry is asked again that often.
const ATTEMPTS_MAX: u32 = 5;
/// Pause before it is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// Files that are looked for at once.
const FILES_AT_ONCE: usize = 8;

/// Why a replay was not done.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It makes no sense, or would do harm.
    #[error("{0}")]
    Refused(String),
    /// The topic does not answer, or not with these records.
    #[error("failed to {action}")]
    Log {
        /// What was tried.
        action: &'static str,
        /// What the log said.
        source: LogError,
    },
    /// The ledger cannot be read, or did not take the entry.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A block's file could not be looked for.
    #[error("failed to look for the file of block {id}")]
    Store {
        /// The block.
        id: BlockId,
        /// What the store said.
        source: StoreError,
    },
    /// Work on the partition failed as it would in an ingester.
    #[error("failed to build blocks")]
    Build(#[source] Box<dyn std::error::Error + Send + Sync>, ErrorKind),
}

impl ReplayError {
    /// What the caller should do.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(_) => ErrorKind::Invalid,
            Self::Log { source, .. } => source.kind(),
            Self::Ledger(source) => source.kind(),
            Self::Store { .. } => ErrorKind::Unavailable,
            Self::Build(_, kind) => *kind,
        }
    }
}

impl From<PipelineError> for ReplayError {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Log { action, source } => Self::Log { action, source },
            PipelineError::Ledger(source) => Self::Ledger(source),
            error @ (PipelineError::Recreated { .. } | PipelineError::Replaced { .. }) => {
                Self::Refused(error.to_string())
            }
            error @ (PipelineError::Fenced { .. }
            | PipelineError::Block { .. }
            | PipelineError::Record { .. }
            | PipelineError::Set { .. }
            | PipelineError::Injected(_)) => {
                let kind = error.kind();
                Self::Build(Box::new(error), kind)
            }
        }
    }
}

/// What is to be replayed.
#[derive(Clone, Debug)]
pub struct ReplayRequest {
    /// The partition.
    pub partition: Partition,
    /// These offsets at least; the range grows to whole blocks. What lies beyond the chain's end is left to ingesters,
    /// unless the chain has no blocks.
    pub offsets: OffsetRange,
    /// Where the topic no longer has the records, keep the blocks as they are; blocks whose files are gone, too, are
    /// given up.
    pub keep_missing: bool,
    /// Blocks to be given up if the topic no longer has their records, with [`Self::keep_missing`]: damaged ones.
    pub abandon: Vec<BlockId>,
    /// Go on although traces were removed from these offsets, which the topic may still hold.
    pub with_redacted: bool,
    /// Why, for the ledger.
    pub reason: String,
}

/// What a replay did.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// What was replaced.
    pub plan: ReplayPlan,
    /// What stands for it.
    pub blocks: Vec<BlockMeta>,
    /// Records that could not be stored, or not wholly.
    pub rejected: u64,
    /// Number of the entry.
    pub sequence: u64,
}

/// Builds blocks outside of any consumer group.
#[derive(Debug)]
pub struct Replayer {
    shared: Arc<Shared>,
}

impl Replayer {
    /// Nothing is read or written yet.
    ///
    /// # Errors
    /// [`IngesterError::Config`] if settings do not make sense.
    pub fn new(
        config: Config,
        block: BlockConfig,
        topics: TopicsConfig,
        environment: Environment,
    ) -> Result<Self, IngesterError> {
        config.validate().and_then(|()| block.validate()).map_err(IngesterError::Config)?;
        let readiness = Readiness::new(CancellationToken::new());
        let shared = Shared {
            budget: Budget::new(
                Arc::clone(&environment.memory),
                config.memory_bytes_max.as_usize(),
                config.fetch_bytes_max.as_usize(),
            ),
            holdings: Holdings::default(),
            commits: Commits::default(),
            status: Status::new(readiness.check("replay")),
            config,
            block,
            topics,
            environment,
            address: String::new(),
            instance: "replay".into(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What a replay would do; nothing is changed.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn plan(&self, request: &ReplayRequest) -> Result<ReplayPlan, ReplayError> {
        let state = self.shared.chain(request.partition).load().await?;
        self.plan_on(&state, request, request.offsets).await
    }

    /// Builds the blocks anew, and switches to them. May be dropped at any await; then files may be left over.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn replay(&self, request: &ReplayRequest) -> Result<Replayed, ReplayError> {
        let (chain, state) = find_start(&self.shared, request.partition).await?;
        let mut built = Built::default();
        let done = self.run(&chain, state, request, &mut built).await;
        match &done {
            Ok(done) => {
                info!(
                    partition = %request.partition, sequence = done.sequence, offsets = %done.plan.offsets,
                    replaced = done.plan.inputs.len(), blocks = done.blocks.len(), "blocks replaced"
                );
                hint(&self.shared, request.partition, done.sequence).await;
            }
            // Whether the entry that names the files is there is not known.
            Err(ReplayError::Ledger(LedgerError::Unavailable { .. })) if built.proposed => {}
            Err(_) => self.delete(&built.blocks).await,
        }
        done
    }

    async fn run(
        &self,
        chain: &Chain,
        mut state: PartitionState,
        request: &ReplayRequest,
        built: &mut Built,
    ) -> Result<Replayed, ReplayError> {
        let generation = state.generation();
        for _ in 0..ROUNDS_MAX {
            if state.generation() != generation {
                return Err(ReplayError::Refused("another operator replays this partition, too".into()));
            }
            let wanted = built.offsets.map_or(request.offsets, |done| OffsetRange {
                start: done.start.min(request.offsets.start),
                end: done.end.max(request.offsets.end),
            });
            let plan = self.plan_on(&state, request, wanted).await?;
            if built
                .offsets
                .is_some_and(|done| done.start < plan.offsets.start || plan.offsets.end < done.end)
            {
                // The topic no longer has all of it.
                self.delete(&built.blocks).await;
                *built = Built::default();
            }
            self.extend(built, &state, plan.offsets).await?;
            let body = body(&plan, built, &request.reason);
            built.proposed = true;
            match self.append(chain, &state, body).await {
                Ok(state) => {
                    let blocks = std::mem::take(&mut built.blocks);
                    let (rejected, sequence) = (built.rejected_records, state.sequence());
                    return Ok(Replayed { plan, blocks, rejected, sequence });
                }
                Err(LedgerError::Conflict { current, .. }) => {
                    built.proposed = false;
                    state = current;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(ReplayError::Refused("the chain goes on faster than it can be replayed".into()))
    }

    /// Opens the chain for a topic of the same name that was made anew: it goes on at the first offset that the topic
    /// has, and all blocks stay. Gives the number of the entry and that offset. Where nobody can tell that it is another
    /// topic, only by `force`.
    ///
    /// # Errors
    /// See [`ReplayError`]; [`ReplayError::Refused`] if it surely is the topic that was ingested.
    pub async fn new_topic(
        &self,
        partition: Partition,
        reason: &str,
        force: bool,
    ) -> Result<(u64, Offset), ReplayError> {
        let chain = self.shared.chain(partition);
        let mut state = chain.load().await?;
        for _ in 0..ROUNDS_MAX {
            let log = self.watermarks(partition).await?;
            let refused = match fit(&self.shared, partition, &state, log).await? {
                _ if state.sequence() == 0 => "nothing was ingested of it yet",
                Fit::Same => "the topic holds the last record that was ingested: it is the same topic",
                Fit::Unknown if !force => "nothing says that it is another topic; if you know, use --force",
                Fit::Other | Fit::Unknown => "",
            };
            if !refused.is_empty() {
                return Err(ReplayError::Refused(format!("partition {partition}: {refused}")));
            }
            let (generation, end) = (state.generation() + 1, log.start);
            let body = EntryBody::Recreated { generation, end, reason: reason.to_owned() };
            match self.append(&chain, &state, body).await {
                Ok(state) => {
                    info!(%partition, sequence = state.sequence(), %end, "goes on with the new topic");
                    hint(&self.shared, partition, state.sequence()).await;
                    return Ok((state.sequence(), end));
                }
                Err(LedgerError::Conflict { current, .. }) => state = current,
                Err(error) => return Err(error.into()),
            }
        }
        Err(ReplayError::Refused("the chain goes on; is the topic really another one?".into()))
    }

    /// The offset of the first record that the log took at that time or later.
    ///
    /// # Errors
    /// [`ReplayError::Log`].
    pub async fn offset_at(
        &self,
        partition: Partition,
        time: vivace_model::UnixNanos,
    ) -> Result<Offset, ReplayError> {
        rebuild::offset_at(&self.shared, partition, time, self.watermarks(partition).await?).await
    }

    async fn watermarks(&self, partition: Partition) -> Result<OffsetRange, ReplayError> {
        let watermarks = self.shared.log().watermarks(&self.shared.topics.spans, partition).await;
        watermarks.map_err(|source| ReplayError::Log { action: "ask for watermarks", source })
    }

    async fn plan_on(
        &self,
        state: &PartitionState,
        request: &ReplayRequest,
        offsets: OffsetRange,
    ) -> Result<ReplayPlan, ReplayError> {
        let log = self.watermarks(request.partition).await?;
        let mut gone: HashSet<BlockId> = request.abandon.iter().copied().collect();
        if request.keep_missing {
            gone.extend(self.without_file(state).await?);
        }
        let (keep_missing, with_redacted) = (request.keep_missing, request.with_redacted);
        plan::plan(state, log, &Asked { offsets, keep_missing, with_redacted, gone })
    }

    async fn without_file(&self, state: &PartitionState) -> Result<Vec<BlockId>, ReplayError> {
        let store = &self.shared.environment.store;
        let looks = stream::iter(state.live().to_vec()).map(|block| {
            let store = Arc::clone(store);
            async move {
                match store.head(&block.path()).await {
                    Ok(_) => Ok(None),
                    Err(StoreError::NotFound { .. }) => Ok(Some(block.id)),
                    Err(source) => Err(ReplayError::Store { id: block.id, source }),
                }
            }
        });
        let looked: Vec<_> = looks.buffered(FILES_AT_ONCE).try_collect().await?;
        Ok(looked.into_iter().flatten().collect())
    }

    async fn append(
        &self,
        chain: &Chain,
        state: &PartitionState,
        body: EntryBody,
    ) -> Result<PartitionState, LedgerError> {
        let proposal = Proposal::new(body, self.shared.random().bytes());
        let mut attempts = 0;
        loop {
            match chain.append(state, &proposal).await {
                Err(error @ LedgerError::Unavailable { .. }) if attempts < ATTEMPTS_MAX => {
                    self.shared.trouble(chain.partition(), "cannot append to the ledger", &error);
                    attempts += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                ended => return ended,
            }
        }
    }

    /// Deletes files that no entry names; what is left of them is found as orphans.
    async fn delete(&self, blocks: &[BlockMeta]) {
        for path in blocks.iter().map(BlockMeta::path) {
            match self.shared.environment.store.delete(&path).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => warn!(%path, %error, "file not deleted, it is an orphan"),
            }
        }
    }
}

fn body(plan: &ReplayPlan, built: &Built, reason: &str) -> EntryBody {
    let abandoned: Vec<BlockId> = plan.abandoned.iter().map(|block| block.id).collect();
    let inputs = plan.inputs.iter().map(|block| block.id).chain(abandoned.iter().copied());
    EntryBody::Replayed {
        generation: plan.generation,
        offsets: plan.offsets,
        inputs: inputs.collect(),
        outputs: built.blocks.clone(),
        abandoned,
        rejected: built.rejected.clone(),
        last: built.last,
        reason: reason.to_owned(),
    }
}
