//! The tail of one partition that all questions share: read once, by one reader, and extended as the log grows.
//! Owns: its segments and their memory. Does not own: when it is given up, what does not fit into memory (`tail`).
//! Guarantee: its segments follow each other without gap or overlap, from its start on.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use vivace_block::DuplicateFilter;
use vivace_log::{Reader, Record};
use vivace_memory::{Governor, Part, Permit};
use vivace_model::Offset;

use super::segment::Segment;
use super::{FETCH_BYTES, PartitionLog, SILENCE_MAX, fetch};
use crate::JobError;

/// Records of a segment, in bytes, before the next one begins: as much as a question looks at in one go.
const SEGMENT_BYTES: u64 = 4 << 20;

/// What a fetch and what it is decoded into take: reserved before the log is asked.
const GROWTH_BYTES: usize = 2 * FETCH_BYTES;

/// Memory that all shared tails together may take.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) held: AtomicUsize,
    pub(super) bytes_max: usize,
    pub(super) memory: Arc<Governor>,
}

/// The tail of a partition.
#[derive(Debug)]
pub(super) struct SharedTail {
    start: Offset,
    growth: Arc<tokio::sync::Mutex<Growth>>,
    used: Mutex<Instant>,
}

/// What is there of a tail.
#[derive(Debug, Clone)]
pub(super) struct Grown {
    pub(super) segments: Vec<Arc<Segment>>,
    /// Where it holds no more: the spans that it has.
    pub(super) full: Option<Arc<DuplicateFilter>>,
    /// Bytes that were read for it now.
    pub(super) bytes_read: u64,
}

/// What grows. Whoever has it reads the log; all others wait.
#[derive(Debug)]
struct Growth {
    room: Arc<Room>,
    reader: Option<Box<dyn Reader>>,
    next: Offset,
    seen: DuplicateFilter,
    segments: Vec<Arc<Segment>>,
    full: Option<Arc<DuplicateFilter>>,
    /// Records are being added; still so when that panicked, and then the last segment has some of them.
    adding: bool,
    /// Memory of the segments but the last.
    closed_bytes: usize,
    /// Memory that is counted in `room`.
    held: usize,
    permit: Permit,
}

impl SharedTail {
    pub(super) fn new(start: Offset, room: &Arc<Room>) -> Self {
        let growth = Growth {
            room: Arc::clone(room),
            reader: None,
            next: start,
            seen: empty_filter(),
            segments: Vec::new(),
            full: None,
            adding: false,
            closed_bytes: 0,
            held: 0,
            permit: room.memory.empty(Part::Tail),
        };
        Self { start, growth: Arc::new(tokio::sync::Mutex::new(growth)), used: Mutex::new(Instant::now()) }
    }

    pub(super) const fn start(&self) -> Offset {
        self.start
    }

    /// When it was last asked for.
    pub(super) fn used(&self) -> Instant {
        *self.used.lock()
    }

    pub(super) fn touch(&self) {
        *self.used.lock() = Instant::now();
    }

    /// Whether it is full, and its first segment is of no use for questions from `from` on.
    pub(super) fn is_outdated(&self, from: Offset) -> bool {
        // Whoever grows it now finds it of use.
        let Ok(growth) = self.growth.try_lock() else { return false };
        growth.full.is_some() && growth.segments.first().is_none_or(|first| first.range().end <= from)
    }

    /// Reads on until all below `end` is there, or no more is held. Safe to drop.
    pub(super) async fn grown(&self, log: &PartitionLog<'_>, end: Offset) -> Result<Grown, JobError> {
        let silent = |offset| JobError::LogSilent { partition: log.partition, offset };
        let growth = timeout(SILENCE_MAX, Arc::clone(&self.growth).lock_owned()).await;
        let mut growth = growth.map_err(|_| silent(self.start))?;
        if growth.adding {
            growth.begin_again(self.start);
        }
        let mut bytes_read = 0;
        while growth.next < end && growth.full.is_none() {
            let next = growth.next;
            let Ok(fetched) = growth.room.memory.reserve(Part::Tail, GROWTH_BYTES) else {
                growth.fill();
                break;
            };
            // The reader is put back only with what it gave, so that whoever is next never misses records: of a question that
            // is gone, or fails, another reader begins where the segments end.
            let mut reader = match growth.reader.take() {
                Some(reader) => reader,
                None => log.read(next).await?,
            };
            let records = timeout(SILENCE_MAX, fetch(reader.as_mut())).await;
            let records = records.map_err(|_| silent(next))?.map_err(|error| log.failed(error))?;
            bytes_read += records.iter().map(|record| record.value.len() as u64).sum::<u64>();
            // The lock goes with the work: nobody sees a segment to which some of the records were added.
            let take = move || {
                growth.take(&records, reader, fetched);
                growth
            };
            // For all who ask: no query pays for it alone.
            growth = vivace_runtime::compute(take).await.map_err(|_| JobError::Stopped)?;
        }
        self.touch();
        Ok(Grown { segments: growth.segments.clone(), full: growth.full.clone(), bytes_read })
    }
}

impl Growth {
    fn begin_again(&mut self, start: Offset) {
        self.segments.clear();
        (self.reader, self.next, self.seen, self.full) = (None, start, empty_filter(), None);
        (self.adding, self.closed_bytes) = (false, 0);
    }

    /// Holds no more than it has.
    fn fill(&mut self) {
        self.reader = None;
        self.full = Some(Arc::new(std::mem::replace(&mut self.seen, DuplicateFilter::new(0))));
    }

    /// Adds records, and keeps who read them for the next ones; `fetched` is the memory that was reserved for them. CPU-bound.
    fn take(&mut self, records: &[Record], reader: Box<dyn Reader>, fetched: Permit) {
        self.reader = Some(reader);
        let Some(last) = records.last() else { return };
        let segment = match self.segments.last() {
            Some(segment) if segment.bytes() < SEGMENT_BYTES => Arc::clone(segment),
            full => {
                self.closed_bytes += full.map_or(0, |segment| segment.memory_bytes());
                let segment = Arc::new(Segment::new(self.next));
                self.segments.push(Arc::clone(&segment));
                segment
            }
        };
        self.adding = true;
        segment.append(records, &mut self.seen);
        self.adding = false;
        self.next = last.offset.next();
        let bytes = self.closed_bytes + segment.memory_bytes() + self.seen.memory_bytes();
        let held = self.room.held.fetch_add(bytes.saturating_sub(self.held), Ordering::Relaxed);
        let all = held + bytes.saturating_sub(self.held);
        self.held = self.held.max(bytes);
        drop(fetched);
        // What was read is there already, so it counts in any case, even where it is larger than was reserved.
        let short = self.permit.resize(self.held).is_err();
        self.permit.settle(self.held);
        if short || all > self.room.bytes_max {
            self.fill();
        }
    }
}

/// Random, so that nobody can prepare spans that collide.
fn empty_filter() -> DuplicateFilter {
    DuplicateFilter::new(RandomState::new().hash_one(0))
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.room.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}
