//! The in-memory log, for tests and simulations: deterministic by its seed, with faults on command.
//! Owns: records, groups, and the dice that decide which faults happen. Does not own: time (delays sleep on tokio's clock,
//! which tests pause). No task, no thread, no real time of its own; nothing survives it.

mod commands;
mod member;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;
use vivace_model::{Clock, ManualClock, Offset, OffsetRange, Partition, UnixNanos};

pub use self::commands::{Faults, MemoryHandle, Moment};
use self::member::MemoryMembership;
use self::reader::MemoryReader;
use crate::coordinator::Coordinator;
use crate::{Log, LogError, Membership, NewRecord, Reader, Record, TopicSpec};

/// Records larger than that are refused, as elsewhere.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// The in-memory log.
#[derive(Debug)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Notified when any partition of any topic changed.
    news: Notify,
}

#[derive(Debug)]
struct State {
    dice: ChaCha8Rng,
    faults: Faults,
    /// What is to happen to the next appends, before chance is asked.
    ordered: VecDeque<Fate>,
    topics: BTreeMap<String, Topic>,
}

/// What happens to one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stored,
    /// Stored twice, as by a producer that got no answer and tried again; answered with the second one's offsets.
    Duplicated,
    Failed(Moment),
    Full,
}

#[derive(Debug)]
struct Topic {
    partitions: Vec<PartitionLog>,
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Default)]
struct PartitionLog {
    start: u64,
    records: VecDeque<Record>,
}

#[derive(Debug)]
struct Group {
    coordinator: Arc<Coordinator>,
    committed: Vec<Option<Offset>>,
}

impl PartitionLog {
    fn watermarks(&self) -> OffsetRange {
        OffsetRange::new(Offset(self.start), Offset(self.start + self.records.len() as u64))
    }
}

impl MemoryLog {
    /// An empty log whose records all bear the same time.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        // Some day in 2026, so that dates look like dates.
        Self::with_clock(seed, Arc::new(ManualClock::new(UnixNanos::from_secs(1_780_000_000))))
    }

    /// An empty log whose records bear the time of that clock.
    #[must_use]
    pub fn with_clock(seed: u64, clock: Arc<dyn Clock>) -> Arc<Self> {
        let state = State {
            dice: ChaCha8Rng::seed_from_u64(seed),
            faults: Faults::default(),
            ordered: VecDeque::new(),
            topics: BTreeMap::new(),
        };
        Arc::new(Self { shared: Arc::new(Shared { clock, state: Mutex::new(state), news: Notify::new() }) })
    }

    /// The handle by which a test commands faults and looks inside.
    #[must_use]
    pub fn handle(&self) -> MemoryHandle {
        MemoryHandle::new(Arc::clone(&self.shared))
    }
}

impl State {
    fn topic(&mut self, name: &str) -> Result<&mut Topic, LogError> {
        self.topics.get_mut(name).ok_or_else(|| LogError::TopicMissing(name.to_owned()))
    }

    fn partition(&mut self, topic: &str, partition: Partition) -> Result<&mut PartitionLog, LogError> {
        let missing = || LogError::PartitionMissing { topic: topic.to_owned(), partition };
        self.topic(topic)?.partitions.get_mut(partition.0 as usize).ok_or_else(missing)
    }

    fn fate(&mut self) -> Fate {
        if let Some(fate) = self.ordered.pop_front() {
            return fate;
        }
        let faults = self.faults;
        // Always the same number of throws, so that changing one chance leaves the rest of a run alike.
        let [refused, unanswered, duplicated] =
            [faults.append_refused, faults.append_unanswered, faults.append_duplicated]
                .map(|chance| self.dice.random_bool(chance));
        match (refused, unanswered, duplicated) {
            (true, ..) => Fate::Failed(Moment::Before),
            (_, true, _) => Fate::Failed(Moment::After),
            (_, _, true) => Fate::Duplicated,
            _ => Fate::Stored,
        }
    }

    fn store(&mut self, topic: &str, records: &[NewRecord], now: UnixNanos) -> Result<Vec<Offset>, LogError> {
        for record in records {
            self.partition(topic, record.partition)?;
        }
        let mut store = |record: &NewRecord| {
            let log = self.partition(topic, record.partition)?;
            let offset = log.watermarks().end;
            let (key, headers, value) = (record.key.clone(), record.headers.clone(), record.value.clone());
            log.records.push_back(Record { offset, timestamp: now, key, headers, value });
            Ok(offset)
        };
        records.iter().map(&mut store).collect()
    }
}

impl Shared {
    /// Sleeps up to `max`; not at all, and without yielding, if that is zero.
    async fn delay(&self, max: impl FnOnce(&Faults) -> Duration) {
        let delay = {
            let mut state = self.state.lock();
            let max = u64::try_from(max(&state.faults).as_nanos()).unwrap_or(u64::MAX);
            if max == 0 {
                return;
            }
            Duration::from_nanos(state.dice.random_range(0..=max))
        };
        tokio::time::sleep(delay).await;
    }

    fn append(&self, topic: &str, records: &[NewRecord]) -> Result<Vec<Offset>, LogError> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.topic(topic)?;
        if let Some(record) = records.iter().find(|record| record.value.len() > RECORD_BYTES_MAX) {
            return Err(LogError::TooLarge { bytes: record.value.len() });
        }
        let fate = state.fate();
        let result = match fate {
            Fate::Full => Err(LogError::Full),
            Fate::Failed(Moment::Before) => Err(unavailable("append")),
            Fate::Failed(Moment::After) => {
                state.store(topic, records, now).and_then(|_| Err(unavailable("append")))
            }
            Fate::Stored => state.store(topic, records, now),
            Fate::Duplicated => {
                state.store(topic, records, now).and_then(|_| state.store(topic, records, now))
            }
        };
        drop(state);
        self.news.notify_waiters();
        result
    }
}

fn unavailable(what: &str) -> LogError {
    LogError::Unavailable { action: format!("{what} failed on command"), source: "commanded fault".into() }
}

#[async_trait]
impl Log for MemoryLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let mut state = self.shared.state.lock();
        let partitions = spec.partitions as usize;
        let topic = state.topics.entry(spec.name.clone()).or_insert_with(|| Topic {
            partitions: (0..partitions).map(|_| PartitionLog::default()).collect(),
            groups: BTreeMap::new(),
        });
        let actual = topic.partitions.len();
        if actual == partitions {
            return Ok(());
        }
        let actual = u32::try_from(actual).unwrap_or(u32::MAX);
        Err(LogError::TopicDiffers { topic: spec.name.clone(), expected: spec.partitions, actual })
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        self.shared.delay(|faults| faults.append_delay_max).await;
        let result = self.shared.append(topic, &records);
        // Stored, but not answered yet: whoever gives up here does not know it.
        self.shared.delay(|faults| faults.append_delay_max).await;
        result
    }

    async fn watermarks(&self, topic: &str, partition: Partition) -> Result<OffsetRange, LogError> {
        let mut state = self.shared.state.lock();
        let chance = state.faults.watermarks_failed;
        // No throw where there is no chance, so that runs without this fault stay as they were.
        if chance > 0.0 && state.dice.random_bool(chance) {
            return Err(unavailable("watermarks"));
        }
        Ok(state.partition(topic, partition)?.watermarks())
    }

    async fn read(
        &self,
        topic: &str,
        partition: Partition,
        from: Offset,
    ) -> Result<Box<dyn Reader>, LogError> {
        self.shared.state.lock().partition(topic, partition)?;
        Ok(Box::new(MemoryReader::new(Arc::clone(&self.shared), topic, partition, from)))
    }

    async fn join(&self, topic: &str, group: &str) -> Result<Box<dyn Membership>, LogError> {
        let place = {
            let mut state = self.shared.state.lock();
            let topic = state.topic(topic)?;
            let partitions = topic.partitions.len();
            let group = topic.groups.entry(group.to_owned()).or_insert_with(|| Group {
                coordinator: Coordinator::new(group, u32::try_from(partitions).unwrap_or(u32::MAX)),
                committed: vec![None; partitions],
            });
            group.coordinator.join()
        };
        Ok(Box::new(MemoryMembership::new(Arc::clone(&self.shared), topic, group, place)))
    }
}
