//! What an ingester holds of one partition in memory: pieces that follow each other without gap or overlap.
//! Owns: the pieces, from the oldest retained one to the open one, and the consistent cut that readers take.
//! Does not own: when a piece is frozen, stored or let go.
//! Guarantee: an answer from a boundary `E` on covers exactly the records `[E, through)`: a record is in one piece, its
//! spans become visible together with its offset, and freezing, sealing and listing move no span.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio::time::Instant;
use vivace_block::{OpenBlock, SealedBlock};
use vivace_ledger::Fingerprint;
use vivace_model::{Offset, OffsetRange, Partition, Spread, TenantId};

use crate::quarantine::FailedSet;
use crate::rejected::RejectedRecord;

/// Spans of one tenant in a piece.
#[derive(Debug)]
pub(crate) enum Rows {
    /// Still growing, or waiting to be sealed.
    Open(Box<OpenBlock>),
    /// Sorted.
    Sealed(Arc<SealedBlock>),
}

impl Rows {
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Open(block) => block.memory_bytes(),
            Self::Sealed(block) => block.memory_bytes(),
        }
    }
}

/// What a piece holds.
#[derive(Debug)]
pub(crate) struct Content {
    /// The offset after the last record taken in.
    pub(crate) end: Offset,
    /// Records taken in that are not put aside, and the last of them.
    pub(crate) records: usize,
    pub(crate) last_record: Offset,
    /// It is being changed; who sees that under the lock knows that the change panicked half-way.
    pub(crate) changing: bool,
    /// A test wants it to fail at these steps.
    pub(crate) struck: Struck,
    /// Spans by tenant.
    pub(crate) tenants: BTreeMap<TenantId, Rows>,
    /// How the records of each of these tenants were spread over the partitions.
    pub(crate) spreads: BTreeMap<TenantId, Spread>,
    /// Records, or spans of them, that could not be taken in; until they are on their topic.
    pub(crate) rejected: Vec<RejectedRecord>,
    /// By what the last record taken in is known again.
    pub(crate) last: Option<Fingerprint>,
    /// When the first record was taken in.
    pub(crate) opened: Option<Instant>,
}

/// Steps at which a record of the piece makes work fail, in tests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Struck {
    pub(crate) sealing: bool,
    pub(crate) encoding: bool,
}

/// The spans of a run of records: one set of blocks, named by one ledger entry.
#[derive(Debug)]
pub(crate) struct Piece {
    start: Offset,
    pub(crate) content: RwLock<Content>,
    /// Memory of the content, as of the last change.
    bytes: AtomicUsize,
    /// When the ledger named it.
    listed: OnceLock<Instant>,
}

impl Content {
    /// What is known of the records if no blocks can be made of them.
    pub(crate) const fn failed(&self, start: Offset) -> FailedSet {
        let offsets = OffsetRange { start, end: self.end };
        FailedSet { offsets, records: self.records, last: self.last_record }
    }
}

impl Piece {
    pub(crate) fn new(start: Offset) -> Arc<Self> {
        let content = Content {
            end: start,
            records: 0,
            last_record: start,
            changing: false,
            struck: Struck::default(),
            tenants: BTreeMap::new(),
            spreads: BTreeMap::new(),
            rejected: Vec::new(),
            last: None,
            opened: None,
        };
        Arc::new(Self {
            start,
            content: RwLock::new(content),
            bytes: AtomicUsize::new(0),
            listed: OnceLock::new(),
        })
    }

    /// The offsets taken in so far.
    pub(crate) fn offsets(&self) -> OffsetRange {
        OffsetRange::new(self.start, self.content.read().end)
    }

    /// Memory of its spans and rejected records.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Measures the memory again, after a change of the content.
    pub(crate) fn measure(&self, content: &Content) {
        let spans: usize = content.tenants.values().map(Rows::memory_bytes).sum();
        let rejected: usize = content.rejected.iter().map(RejectedRecord::memory_bytes).sum();
        self.bytes.store(spans + rejected, Ordering::Relaxed);
    }
}

/// Why a question for recent data cannot be answered from what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotHeld {
    #[error("offset {asked} is older than what is held, from {oldest} on")]
    TooOld { asked: Offset, oldest: Offset },
    #[error("offset {asked} is no boundary of what is held, which ends at {consumed}")]
    NoBoundary { asked: Offset, consumed: Offset },
}

/// What is held of one partition.
#[derive(Debug)]
pub(crate) struct Holding {
    /// Oldest first; each starts where the one before ends; the last is open. Never empty.
    pieces: RwLock<VecDeque<Arc<Piece>>>,
    /// Someone asked from an offset that only a newer chain than ours can have told.
    doubt: Notify,
    /// A piece was sealed or listed.
    stored: Notify,
}

impl Holding {
    /// Nothing yet, from `start` on.
    pub(crate) fn new(start: Offset) -> Arc<Self> {
        Arc::new(Self {
            pieces: RwLock::new([Piece::new(start)].into()),
            doubt: Notify::new(),
            stored: Notify::new(),
        })
    }

    /// The pieces that hold exactly the records from `offset` on. The last one may grow until it is read, whose `end`
    /// then says through where the answer goes.
    pub(crate) fn cut(&self, offset: Offset) -> Result<Vec<Arc<Piece>>, NotHeld> {
        let pieces = self.pieces.read();
        let oldest = pieces.front().map_or(offset, |piece| piece.start);
        if offset < oldest {
            return Err(NotHeld::TooOld { asked: offset, oldest });
        }
        match pieces.iter().position(|piece| piece.start == offset) {
            Some(index) => Ok(pieces.range(index..).map(Arc::clone).collect()),
            None => {
                self.doubt.notify_one();
                let consumed = pieces.back().map_or(oldest, |piece| piece.offsets().end);
                Err(NotHeld::NoBoundary { asked: offset, consumed })
            }
        }
    }

    /// Waits until someone asks from an offset that is no boundary here. Safe to drop.
    pub(crate) async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// The piece that grows.
    pub(crate) fn open(&self) -> Arc<Piece> {
        Arc::clone(self.pieces.read().back().expect("there is always an open piece"))
    }

    /// Ends the open piece and opens the next one. Its caller is the only one who adds records.
    ///
    /// # Panics
    /// If the open piece holds no offset: two pieces would start at one boundary.
    pub(crate) fn freeze(&self) -> Arc<Piece> {
        let mut pieces = self.pieces.write();
        let frozen = Arc::clone(pieces.back().expect("there is always an open piece"));
        let offsets = frozen.offsets();
        assert!(!offsets.is_empty(), "froze an empty piece at {}", offsets.start);
        pieces.push_back(Piece::new(offsets.end));
        frozen
    }

    /// Notes that the ledger names the piece: from now on it is only kept for readers with an older View.
    pub(crate) fn listed(&self, piece: &Piece) {
        let noted = piece.listed.set(Instant::now());
        assert!(noted.is_ok(), "piece {} was listed twice", piece.offsets());
        self.stored.notify_one();
    }

    /// Notes that a piece takes another amount of memory now.
    pub(crate) fn sealed(&self) {
        self.stored.notify_one();
    }

    /// Waits until a piece was sealed or listed. Safe to drop. For one who waits.
    pub(crate) async fn stored(&self) {
        self.stored.notified().await;
    }

    /// Lets go of the oldest piece if it was listed at least `retention` ago; tells whether it did.
    pub(crate) fn forget(&self, retention: Duration) -> bool {
        let mut pieces = self.pieces.write();
        let oldest = pieces.front().and_then(|piece| piece.listed.get());
        let due = oldest.is_some_and(|listed| listed.elapsed() >= retention);
        if due {
            pieces.pop_front();
        }
        due
    }

    /// When [`forget`](Self::forget) will have something to do; none while nothing is listed.
    pub(crate) fn forget_at(&self, retention: Duration) -> Option<Instant> {
        self.pieces.read().front()?.listed.get().map(|listed| *listed + retention)
    }

    /// Memory of all pieces, and of the listed ones among them.
    pub(crate) fn memory_bytes(&self) -> Memory {
        let mut memory = Memory::default();
        for piece in self.pieces.read().iter() {
            let bytes = piece.memory_bytes();
            memory.total += bytes;
            if piece.listed.get().is_some() {
                memory.listed += bytes;
            }
        }
        memory
    }
}

/// Memory of what is held of a partition, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: usize,
    /// The part of it that could be let go at once.
    pub(crate) listed: usize,
}

/// All that this ingester answers for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holdings(Arc<RwLock<BTreeMap<Partition, Arc<Holding>>>>);

impl Holdings {
    pub(crate) fn get(&self, partition: Partition) -> Option<Arc<Holding>> {
        self.0.read().get(&partition).map(Arc::clone)
    }

    /// Answers for the partition until the guard is dropped.
    pub(crate) fn serve(&self, partition: Partition, holding: &Arc<Holding>) -> Serving {
        self.0.write().insert(partition, Arc::clone(holding));
        Serving { holdings: self.clone(), partition, holding: Arc::clone(holding), kept: false }
    }

    /// Stops answering for the partition at once.
    pub(crate) fn remove(&self, partition: Partition) {
        self.0.write().remove(&partition);
    }
}

/// As long as it lives, questions are answered from a holding.
#[derive(Debug)]
pub(crate) struct Serving {
    holdings: Holdings,
    partition: Partition,
    holding: Arc<Holding>,
    kept: bool,
}

impl Serving {
    /// Answers go on until [`Holdings::remove`], although nothing more is taken in: what came later is read from the log.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let mut holdings = self.holdings.0.write();
        // The partition may have been taken away and given back meanwhile: then another holding is in the place.
        if holdings.get(&self.partition).is_some_and(|current| Arc::ptr_eq(current, &self.holding)) {
            holdings.remove(&self.partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consume(holding: &Holding, end: u64) {
        holding.open().content.write().end = Offset(end);
    }

    fn starts(pieces: &[Arc<Piece>]) -> Vec<u64> {
        pieces.iter().map(|piece| piece.start.0).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn only_boundaries_are_answered_from() {
        let holding = Holding::new(Offset(5));
        consume(&holding, 8);
        holding.freeze();
        consume(&holding, 10);
        assert_eq!(starts(&holding.cut(Offset(5)).unwrap()), [5, 8]);
        assert_eq!(starts(&holding.cut(Offset(8)).unwrap()), [8]);
        assert_eq!(
            holding.cut(Offset(4)).unwrap_err(),
            NotHeld::TooOld { asked: Offset(4), oldest: Offset(5) }
        );
        assert!(
            futures::poll!(Box::pin(holding.doubted())).is_pending(),
            "an old View is no reason to doubt"
        );
        for asked in [6, 9, 10, 11] {
            let refused = NotHeld::NoBoundary { asked: Offset(asked), consumed: Offset(10) };
            assert_eq!(holding.cut(Offset(asked)).unwrap_err(), refused);
        }
        assert!(futures::poll!(Box::pin(holding.doubted())).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn listed_pieces_stay_for_the_retention_and_go_in_order() {
        let retention = Duration::from_secs(30);
        let holding = Holding::new(Offset(0));
        consume(&holding, 3);
        let first = holding.freeze();
        consume(&holding, 6);
        let second = holding.freeze();
        assert_eq!((holding.forget_at(retention), holding.forget(Duration::ZERO)), (None, false));
        holding.listed(&first);
        tokio::time::sleep(Duration::from_secs(20)).await;
        holding.listed(&second);
        assert!(!holding.forget(retention));
        tokio::time::sleep_until(holding.forget_at(retention).unwrap()).await;
        assert!(holding.forget(retention));
        assert!(holding.cut(Offset(0)).is_err());
        assert!(!holding.forget(retention), "the second was listed later");
        assert!(holding.forget(Duration::ZERO));
        assert!(!holding.forget(Duration::ZERO), "the open piece stays");
        assert_eq!(starts(&holding.cut(Offset(6)).unwrap()), [6]);
    }

    #[test]
    fn what_is_kept_is_served_until_it_is_removed() {
        let (holdings, partition, holding) = (Holdings::default(), Partition(1), Holding::new(Offset(7)));
        holdings.serve(partition, &holding).keep();
        assert!(Arc::ptr_eq(&holdings.get(partition).unwrap(), &holding));
        holdings.remove(partition);
        assert!(holdings.get(partition).is_none());
    }

    #[test]
    fn serving_ends_with_its_guard_but_not_a_later_one() {
        let holdings = Holdings::default();
        let partition = Partition(1);
        let old = holdings.serve(partition, &Holding::new(Offset(0)));
        let new_holding = Holding::new(Offset(9));
        let new = holdings.serve(partition, &new_holding);
        drop(old);
        assert!(Arc::ptr_eq(&holdings.get(partition).unwrap(), &new_holding));
        drop(new);
        assert!(holdings.get(partition).is_none());
    }
}
