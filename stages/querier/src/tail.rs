//! Recent data from the log itself, where no owner answers: exact, and independent of any ingester.
//! Owns: the tails that questions share, how long they are kept, and what is read of the log beside them.
//! Does not own: what is made of the spans (a [`Question`]), when the log has to be read (`recent`).
//! Memory: shared tails have one limit together. What does not fit is read segment by segment for each question that needs
//! it, a few at a time, and dropped when the question has looked into it.

mod segment;
mod shared;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use vivace_block::DuplicateFilter;
use vivace_log::{LogError, Reader, Record, SharedLog};
use vivace_memory::{Governor, Part};
use vivace_model::{Offset, OffsetRange, Partition};

pub(crate) use self::segment::Segment;
use self::shared::{Room, SharedTail};
use crate::JobError;
use crate::recent::Question;

/// Read about that much at once.
const FETCH_BYTES: usize = 1 << 20;
/// A fetch is tried that often, with pauses.
const FETCH_ATTEMPTS_MAX: usize = 5;
const FETCH_PAUSE: Duration = Duration::from_millis(50);
/// The log has the records that are asked for; when it gives none of them for that long, something is wrong with it.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A shared tail that nobody asked for this long is given up.
const IDLE_MAX: Duration = Duration::from_secs(10);
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// Questions that read beside the shared tails at the same time.
const PASSING_MAX: usize = 2;
/// What one of them takes: records that were fetched, and decoded.
const PASSING_BYTES: usize = 4 * FETCH_BYTES;
/// How long it waits for that memory.
const PASSING_WAIT_MAX: Duration = Duration::from_secs(5);

/// Where the records of a partition are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartitionLog<'a> {
    pub(crate) log: &'a SharedLog,
    pub(crate) topic: &'a str,
    pub(crate) partition: Partition,
}

/// The part of a segment that a question is about.
#[derive(Clone, Debug)]
pub(crate) struct TailPart {
    pub(crate) segment: Arc<Segment>,
    pub(crate) range: OffsetRange,
}

/// The tails that questions share, by partition.
#[derive(Debug)]
pub(crate) struct Tails {
    tails: Mutex<HashMap<Partition, Arc<SharedTail>>>,
    room: Arc<Room>,
    passing: Semaphore,
}

impl Tails {
    /// None yet; `bytes_max` is for all together.
    pub(crate) fn new(bytes_max: usize, memory: Arc<Governor>) -> Self {
        let room = Arc::new(Room { held: AtomicUsize::new(0), bytes_max, memory });
        Self { tails: Mutex::default(), room, passing: Semaphore::new(PASSING_MAX) }
    }

    /// Adds what all records in `range` hold to the answer; gives the bytes that were read of the log, too.
    pub(crate) async fn read<Q: Question>(
        &self,
        log: PartitionLog<'_>,
        range: OffsetRange,
        question: &Q,
        mut answer: Q::Answer,
    ) -> Result<(Q::Answer, u64), JobError> {
        if range.is_empty() {
            return Ok((answer, 0));
        }
        let (mut next, mut more, mut bytes) = (range.start, true, 0);
        let (tail, grown) = loop {
            let tail = self.tail(log.partition, next);
            if next < tail.start() {
                // By an older View than that of the question that was first.
                let before = OffsetRange::new(next, tail.start().min(range.end));
                next = before.end;
                let read;
                (answer, more, read) = self.pass(log, before, None, question, answer).await?;
                bytes += read;
            }
            if !more || next >= range.end {
                return Ok((answer, bytes));
            }
            match tail.grown(&log, range.end).await {
                // The log was truncated behind what the tail has, so the tail never grows again. That concerns only questions
                // about what is gone: this one gets a tail that begins later.
                Err(JobError::Truncated { offset, .. }) if offset < next => {
                    self.give_up(log.partition, &tail)
                }
                grown => break (tail, grown?),
            }
        };
        bytes += grown.bytes_read;
        for segment in grown.segments {
            let held = segment.range();
            let part =
                OffsetRange::new(held.start.max(next), held.end.min(range.end).max(held.start.max(next)));
            if part.is_empty() {
                continue;
            }
            next = part.end;
            (answer, more) = question.read(answer, TailPart { segment, range: part }).await?;
            if !more {
                return Ok((answer, bytes));
            }
        }
        if next < range.end {
            let rest = OffsetRange::new(next, range.end);
            let read;
            (answer, _, read) = self.pass(log, rest, grown.full, question, answer).await?;
            bytes += read;
        }
        tail.touch();
        Ok((answer, bytes))
    }

    /// An owner answers: the tail is of no more use.
    pub(crate) fn forget(&self, partition: Partition) {
        self.tails.lock().remove(&partition);
    }

    /// A tail that is of no more use to new questions, unless another one has its place already.
    fn give_up(&self, partition: Partition, tail: &Arc<SharedTail>) {
        let mut tails = self.tails.lock();
        if tails.get(&partition).is_some_and(|current| Arc::ptr_eq(current, tail)) {
            tails.remove(&partition);
        }
    }

    /// Gives up tails that nobody asks for, for ever.
    pub(crate) async fn expire(&self) {
        loop {
            tokio::time::sleep(EXPIRE_EVERY).await;
            self.expire_once(Instant::now());
        }
    }

    fn expire_once(&self, now: Instant) {
        let idle = |tail: &Arc<SharedTail>| now.duration_since(tail.used()) > IDLE_MAX;
        // Questions that still look into one keep it until they are done.
        self.tails.lock().retain(|_, tail| !idle(tail));
    }

    /// The tail of a partition; one that begins at `from` if there is none of use.
    fn tail(&self, partition: Partition, from: Offset) -> Arc<SharedTail> {
        let mut tails = self.tails.lock();
        if let Some(tail) = tails.get(&partition).filter(|tail| !tail.is_outdated(from)) {
            tail.touch();
            return Arc::clone(tail);
        }
        let tail = Arc::new(SharedTail::new(from, &self.room));
        tails.insert(partition, Arc::clone(&tail));
        tail
    }

    /// Reads records for one question alone; `known` are spans of records before. False when no more is wanted.
    async fn pass<Q: Question>(
        &self,
        log: PartitionLog<'_>,
        range: OffsetRange,
        known: Option<Arc<DuplicateFilter>>,
        question: &Q,
        mut answer: Q::Answer,
    ) -> Result<(Q::Answer, bool, u64), JobError> {
        let _turn = self.passing.acquire().await.map_err(|_| JobError::Stopped)?;
        let memory = &self.room.memory;
        let permit = memory.reserve_waiting(Part::Tail, PASSING_BYTES, PASSING_WAIT_MAX).await?;
        let permit = Arc::new(permit);
        // Random, so that nobody can prepare spans that collide.
        let mut seen = known.map_or_else(
            || DuplicateFilter::new(RandomState::new().hash_one(0)),
            |known| DuplicateFilter::above(&known),
        );
        let (mut next, mut bytes) = (range.start, 0);
        let mut reader = log.read(next).await?;
        while next < range.end {
            let records = timeout(SILENCE_MAX, fetch(reader.as_mut())).await;
            let silent = JobError::LogSilent { partition: log.partition, offset: next };
            let records = records.map_err(|_| silent)?.map_err(|error| log.failed(error))?;
            let Some(last) = records.last() else { continue };
            let part = OffsetRange::new(next, last.offset.next().min(range.end));
            next = part.end;
            bytes += records.iter().map(|record| record.value.len() as u64).sum::<u64>();
            let held = Arc::clone(&permit);
            let decode = move || {
                let (segment, _held) = (Segment::new(part.start), held);
                segment.append(&records, &mut seen);
                (Arc::new(segment), seen)
            };
            let segment;
            (segment, seen) = vivace_runtime::compute(decode).await.map_err(|_| JobError::Stopped)?;
            let more;
            (answer, more) = question.read(answer, TailPart { segment, range: part }).await?;
            if !more {
                return Ok((answer, false, bytes));
            }
        }
        Ok((answer, true, bytes))
    }
}

impl PartitionLog<'_> {
    async fn read(&self, from: Offset) -> Result<Box<dyn Reader>, JobError> {
        self.log.read(self.topic, self.partition, from).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: LogError) -> JobError {
        let partition = self.partition;
        match error {
            LogError::OffsetOutOfRange { offset, .. } => JobError::Truncated { partition, offset },
            source => JobError::Log { partition, source },
        }
    }
}

/// The next records; a log that does not answer is asked again.
async fn fetch(reader: &mut dyn Reader) -> Result<Vec<Record>, LogError> {
    for _ in 1..FETCH_ATTEMPTS_MAX {
        match reader.next(FETCH_BYTES).await {
            Err(LogError::Unavailable { .. }) => tokio::time::sleep(FETCH_PAUSE).await,
            result => return result,
        }
    }
    reader.next(FETCH_BYTES).await
}

/// The part of `range` that the log is asked for: nothing when the asker is ahead of it.
pub(crate) fn range(from: Offset, end: Offset) -> OffsetRange {
    OffsetRange::new(from, end.max(from))
}
