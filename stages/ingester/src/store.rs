//! Turns frozen pieces of one partition into listed blocks:
//! `FrozenSet -> SealedSet -> StoredSet -> ListedSet -> commit`.
//! Owns: the order of these steps, one set after the other, and their retries.
//! Does not own: when a piece is frozen (`fetch`), columns and Parquet (the block), the rules of the chain (the ledger).
//! Guarantee: a ledger entry names only blocks that are stored and rejected records that are on their topic; an offset is
//! committed only after an entry names it; sets are listed in the order of their offsets.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};
use vivace_block::SealedBlock;
use vivace_ledger::{BlockMeta, Chain, EntryBody, LedgerError, PartitionState, Proposal, Rejected};
use vivace_log::NewRecord;
use vivace_memory::Permit;
use vivace_model::{ErrorKind, Offset, OffsetRange, Partition, TenantId};

use crate::blocks::{self, Origin};
use crate::budget::encoding_bytes;
use crate::decode::rows_of;
use crate::error::{PipelineError, SetError, causes};
use crate::fail_points;
use crate::holding::{Holding, Piece, Rows};
use crate::metrics::observe;
use crate::rejected::{self, RejectedRecord};
use crate::retry::Backoff;
use crate::shared::Shared;

/// How long a hint may take. Nothing depends on hints.
const HINT_TIMEOUT: Duration = Duration::from_secs(5);
/// The chain is not asked more often than that on the word of readers.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A piece that takes no more records.
#[derive(Debug)]
pub(crate) struct FrozenSet {
    piece: Arc<Piece>,
    /// Given back when the set is listed.
    slot: OwnedSemaphorePermit,
}

impl FrozenSet {
    pub(crate) const fn new(piece: Arc<Piece>, slot: OwnedSemaphorePermit) -> Self {
        Self { piece, slot }
    }
}

/// A piece whose blocks are sorted.
#[derive(Debug)]
struct SealedSet {
    frozen: FrozenSet,
    offsets: OffsetRange,
    blocks: Vec<(TenantId, Arc<SealedBlock>)>,
    /// Memory for encoding, and for files until they are uploaded.
    memory: Permit,
}

/// A piece whose blocks lie in object storage and whose rejected records are on their topic.
#[derive(Debug)]
struct StoredSet {
    frozen: FrozenSet,
    offsets: OffsetRange,
    blocks: Vec<BlockMeta>,
    rejected: Vec<Rejected>,
}

/// A piece that a ledger entry names.
#[derive(Debug)]
pub(crate) struct ListedSet {
    piece: Arc<Piece>,
    offsets: OffsetRange,
    blocks: Vec<BlockMeta>,
    sequence: u64,
}

impl ListedSet {
    /// The only way to obtain an offset to commit, so that nothing unlisted is ever committed.
    pub(crate) const fn commit_offset(&self) -> Offset {
        self.offsets.end
    }
}

/// Stores and lists what was frozen of one partition.
#[derive(Debug)]
pub(crate) struct Storer {
    shared: Arc<Shared>,
    partition: Partition,
    holding: Arc<Holding>,
    chain: Chain,
    /// The newest state known; its end is the start of the next set.
    state: PartitionState,
    sets: mpsc::Receiver<FrozenSet>,
    checked: Option<Instant>,
}

impl Storer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        partition: Partition,
        holding: Arc<Holding>,
        (chain, state): (Chain, PartitionState),
        sets: mpsc::Receiver<FrozenSet>,
    ) -> Self {
        Self { shared, partition, holding, chain, state, sets, checked: None }
    }

    /// Stores and lists until no more sets come.
    pub(crate) async fn run(mut self) -> Result<(), PipelineError> {
        loop {
            tokio::select! {
                biased; // both are safe to drop
                set = self.sets.recv() => {
                    let Some(frozen) = set else { return Ok(()) };
                    let stored = self.make(frozen).await?;
                    let listed = self.list(stored).await?;
                    self.finish(&listed).await;
                }
                () = self.holding.doubted() => self.check_chain().await?,
            }
        }
    }

    /// Seals and stores a set. What fails although log and store answer may be the fault of one of its records.
    async fn make(&self, frozen: FrozenSet) -> Result<StoredSet, PipelineError> {
        let piece = Arc::clone(&frozen.piece);
        let steps = async {
            let sealed = self.seal(frozen).await;
            fail_points::SEALED.pass().await?;
            self.store(sealed).await
        };
        let source = match vivace_runtime::caught(steps).await {
            Ok(Err(PipelineError::Block { source, .. })) if source.kind() == ErrorKind::Corrupt => {
                SetError::Block(source)
            }
            Ok(made) => return made,
            Err(panicked) => {
                self.shared.metrics().panics.inc();
                SetError::Panicked(panicked)
            }
        };
        let start = piece.offsets().start;
        let set = piece.content.read().failed(start);
        Err(PipelineError::Set { set, source })
    }

    async fn seal(&self, frozen: FrozenSet) -> SealedSet {
        let (bytes, rows) = (frozen.piece.memory_bytes(), rows_of(&frozen.piece.content.read()));
        let mut memory = self.shared.budget.sealing(bytes, rows).await;
        let started = Instant::now();
        let piece = Arc::clone(&frozen.piece);
        let blocks = self.shared.environment.compute.run(move || seal_piece(&piece)).await;
        observe(&self.shared.metrics().seal_seconds, started.elapsed());
        self.holding.sealed();
        // The open columns are gone; the sorted ones count as recent data.
        memory.shrink_to(encoding_bytes(frozen.piece.memory_bytes(), rows));
        SealedSet { offsets: frozen.piece.offsets(), frozen, blocks, memory }
    }

    async fn store(&self, sealed: SealedSet) -> Result<StoredSet, PipelineError> {
        let started = Instant::now();
        let SealedSet { frozen, offsets, blocks, memory } = sealed;
        let spreads = frozen.piece.content.read().spreads.clone();
        let incarnation = self.state.incarnation();
        let origin = Origin { partition: self.partition, incarnation, offsets };
        fail_points::ENCODING.strike(frozen.piece.content.read().struck.encoding);
        let stored = blocks::store(&self.shared, origin, &spreads, blocks).await?;
        fail_points::UPLOADED.pass().await?;
        let records = take_rejected(&frozen.piece);
        rejected::publish(&self.shared, self.partition, &records).await;
        drop(memory);
        observe(&self.shared.metrics().store_seconds, started.elapsed());
        Ok(StoredSet { frozen, offsets, blocks: stored, rejected: rejected::name(&records) })
    }

    /// Appends the entry that makes the blocks visible.
    async fn list(&mut self, stored: StoredSet) -> Result<ListedSet, PipelineError> {
        let started = Instant::now();
        let StoredSet { frozen, offsets, blocks, rejected } = stored;
        let last = frozen.piece.content.read().last;
        let body = EntryBody::Ingested { offsets, blocks: blocks.clone(), rejected, last };
        fail_points::LISTING.pass().await?;
        self.state =
            append(&self.shared, self.partition, &self.chain, &self.state, body, offsets.start).await?;
        fail_points::LISTED.pass().await?;
        observe(&self.shared.metrics().list_seconds, started.elapsed());
        let FrozenSet { piece, slot } = frozen;
        self.holding.listed(&piece);
        drop(slot);
        Ok(ListedSet { piece, offsets, blocks, sequence: self.state.sequence() })
    }

    /// Tells those who wait for it. Nothing depends on any of this.
    async fn finish(&self, listed: &ListedSet) {
        let shared = &self.shared;
        shared.status.progress(self.partition);
        shared.commits.note(self.partition, listed);
        let (mut rows, mut bytes) = (0, 0);
        for block in &listed.blocks {
            rows += block.rows;
            bytes += block.bytes;
        }
        shared.metrics().blocks.inc_by(listed.blocks.len() as u64);
        shared.metrics().block_bytes.inc_by(bytes);
        info!(
            partition = %self.partition, sequence = listed.sequence, offsets = %listed.offsets,
            blocks = listed.blocks.len(), rows, bytes, memory = listed.piece.memory_bytes(), "blocks listed"
        );
        hint(shared, self.partition, listed.sequence).await;
    }

    /// A reader asked from an offset that is no boundary here: perhaps another ingester has listed our offsets.
    async fn check_chain(&mut self) -> Result<(), PipelineError> {
        if self.checked.is_some_and(|checked| checked.elapsed() < CHECK_EVERY) {
            return Ok(());
        }
        self.checked = Some(Instant::now());
        match self.chain.refresh(&self.state).await {
            Ok(state)
                if state.end() == self.state.end() && state.incarnation() == self.state.incarnation() =>
            {
                self.state = state;
                Ok(())
            }
            Ok(state) => Err(PipelineError::Fenced { start: self.state.end(), end: state.end() }),
            Err(error @ LedgerError::Unavailable { .. }) => {
                self.shared.trouble(self.partition, "cannot read the ledger", &error);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Tells readers that there is a new entry. Nothing depends on it.
pub(crate) async fn hint(shared: &Shared, partition: Partition, sequence: u64) {
    let hint = NewRecord {
        partition,
        key: None,
        headers: Vec::new(),
        value: format!(r#"{{"partition":{partition},"sequence":{sequence}}}"#).into(),
    };
    match timeout(HINT_TIMEOUT, shared.log().append(&shared.topics.ledger, vec![hint])).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => warn!(%partition, error = causes(&error), "hint not written"),
        Err(_) => warn!(%partition, "hint not written in time"),
    }
}

/// Appends an entry that starts at the chain's end `start`, on top of whatever others add meanwhile that does not move the
/// end. However long it takes; gives the state with it.
pub(crate) async fn append(
    shared: &Shared,
    partition: Partition,
    chain: &Chain,
    known: &PartitionState,
    body: EntryBody,
    start: Offset,
) -> Result<PartitionState, PipelineError> {
    let mut known = known.clone();
    let mut proposal = Proposal::new(body, shared.random().bytes());
    let mut backoff = Backoff::new();
    loop {
        match chain.append(&known, &proposal).await {
            Ok(state) => return Ok(state),
            // A compactor's or an operator's entry took the number. Ours is surely not in the chain and goes on top.
            Err(LedgerError::Conflict { current, .. })
                if current.end() == start && current.incarnation() == known.incarnation() =>
            {
                known = current;
                proposal = Proposal::new(proposal.body().clone(), shared.random().bytes());
            }
            Err(LedgerError::Conflict { current, .. }) => {
                return Err(PipelineError::Fenced { start, end: current.end() });
            }
            Err(error @ LedgerError::Unavailable { .. }) => {
                shared.trouble(partition, "cannot append to the ledger", &error);
                backoff.wait(shared.random()).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn take_rejected(piece: &Piece) -> Vec<RejectedRecord> {
    let mut content = piece.content.write();
    let records = std::mem::take(&mut content.rejected);
    piece.measure(&content);
    records
}

/// Sorts the blocks of a piece in place. A question that comes meanwhile waits for the block at hand. CPU-bound.
pub(crate) fn seal_piece(piece: &Piece) -> Vec<(TenantId, Arc<SealedBlock>)> {
    let tenants: Vec<TenantId> = piece.content.read().tenants.keys().cloned().collect();
    let mut sealed = Vec::with_capacity(tenants.len());
    for tenant in tenants {
        let mut content = piece.content.write();
        content.changing = true;
        fail_points::SEALING.strike(content.struck.sealing);
        let block = match content.tenants.remove(&tenant) {
            Some(Rows::Open(block)) => Arc::new(block.seal()),
            Some(Rows::Sealed(block)) => block,
            None => unreachable!("tenants of a frozen piece come and go only here"),
        };
        content.tenants.insert(tenant.clone(), Rows::Sealed(Arc::clone(&block)));
        content.changing = false;
        piece.measure(&content);
        sealed.push((tenant, block));
    }
    sealed
}
