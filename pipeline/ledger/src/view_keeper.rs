//! Holds the newest state of every partition of a topic in memory.
//! Owns: that many callers who want a partition refreshed cost one read of its chain, and that a state never goes
//! back.
//! Does not own: when to refresh (hints of the ledger topic, and readers who find their View too old).

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use object_store::ObjectStore;
use parking_lot::RwLock;
use tokio::sync::{Mutex, Notify};
use vivace_model::{Clock, Partition};

use crate::paths::ChainPaths;
use crate::{Chain, LedgerError, Metrics, PartitionState, View, Violation};

/// So many partitions are read at once.
const PARTITIONS_AT_ONCE: usize = 16;
/// [`ViewKeeper::wait_for`] looks that often by itself, in case that no hint comes.
const WAIT_POLL: Duration = Duration::from_millis(200);
/// It gives up after this time.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The newest [`View`] of a topic. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct ViewKeeper {
    topic: Arc<str>,
    slots: Arc<[Slot]>,
}

#[derive(Debug)]
struct Slot {
    chain: Chain,
    newest: RwLock<PartitionState>,
    /// Notified at each change. No watch channel: that wakes its receivers in random order, and simulations must repeat.
    changes: Notify,
    /// Reads begun so far; whoever comes takes the count along.
    begun: AtomicU64,
    /// Held by the one who reads.
    last: Mutex<LastRead>,
}

/// How the last read ended. It answers everyone who came before it began: what it saw includes all that they ask for.
#[derive(Debug)]
struct LastRead {
    number: u64,
    result: Result<(), LedgerError>,
    loaded: bool,
}

impl ViewKeeper {
    /// A keeper of partitions `0..partitions`. All of them look empty until [`Self::load_all`], or a refresh, has read
    /// them.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, topic: &str, partitions: u32, clock: Arc<dyn Clock>) -> Self {
        Self::with_metrics(store, topic, partitions, clock, Metrics::default())
    }

    /// The same, counting into `metrics`.
    #[must_use]
    pub fn with_metrics(
        store: Arc<dyn ObjectStore>,
        topic: &str,
        partitions: u32,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        let chain = |partition| {
            Chain::new(Arc::clone(&store), topic, partition, Arc::clone(&clock)).with_metrics(metrics.clone())
        };
        let slot = |partition| Slot {
            chain: chain(partition),
            newest: RwLock::new(PartitionState::empty(topic, partition)),
            changes: Notify::new(),
            begun: 0.into(),
            last: Mutex::new(LastRead { number: 0, result: Ok(()), loaded: false }),
        };
        Self { topic: topic.into(), slots: (0..partitions).map(Partition).map(slot).collect() }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The newest view, without asking the store.
    #[must_use]
    pub fn current(&self) -> View {
        View::new(self.slots.iter().map(|slot| slot.newest.read().clone()).collect())
    }

    /// The chain of a partition, to append to.
    #[must_use]
    pub fn chain(&self, partition: Partition) -> Option<&Chain> {
        self.slot(partition).map(|slot| &slot.chain)
    }

    /// Reads the chains of all partitions: what to do at start.
    ///
    /// # Errors
    /// The first error of any partition, once all were tried.
    pub async fn load_all(&self) -> Result<View, LedgerError> {
        self.refresh_all().await
    }

    /// Reads what is new in all partitions.
    ///
    /// # Errors
    /// The first error of any partition; the others are tried nevertheless.
    pub async fn refresh_all(&self) -> Result<View, LedgerError> {
        match self.refresh_each().await.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(self.current()),
        }
    }

    /// Reads what is new in all partitions, and gives those where that failed: they keep the state that they had.
    pub async fn refresh_each(&self) -> Vec<(Partition, LedgerError)> {
        let read =
            async |slot: &Slot| slot.refresh().await.err().map(|error| (slot.chain.partition(), error));
        let reads = self.slots.iter().map(read);
        stream::iter(reads).buffered(PARTITIONS_AT_ONCE).filter_map(std::future::ready).collect().await
    }

    /// Reads what is new in a partition and returns its state, which includes every entry that existed when this was
    /// called. Calls that come while one is reading share the next read. Safe to drop at any await.
    ///
    /// # Errors
    /// As [`Chain::load`]; an error is shared too. [`LedgerError::Invalid`] if the topic does not have the partition.
    pub async fn refresh(&self, partition: Partition) -> Result<PartitionState, LedgerError> {
        self.known_slot(partition)?.refresh().await
    }

    /// Waits until the state of a partition includes entry `sequence`, reading the chain as often as needed.
    ///
    /// # Errors
    /// As [`Self::refresh`]; [`LedgerError::Unavailable`] if the entry does not appear within ten seconds.
    pub async fn wait_for(&self, partition: Partition, sequence: u64) -> Result<PartitionState, LedgerError> {
        let slot = self.known_slot(partition)?;
        let deadline = tokio::time::Instant::now() + WAIT_MAX;
        loop {
            if let Some(state) = slot.reached(sequence) {
                return Ok(state);
            }
            slot.refresh().await?;
            if let Some(state) = slot.reached(sequence) {
                return Ok(state);
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(slot.chain.not_there(sequence));
            }
            // Whether someone else's read or the time ends the wait, the loop looks again.
            drop(tokio::time::timeout(WAIT_POLL, slot.reach(sequence)).await);
        }
    }

    /// Takes a state that was learnt otherwise, from an append in the same process say; an older one is ignored.
    ///
    /// # Panics
    /// If it is not of this topic.
    pub fn offer(&self, state: PartitionState) {
        assert_eq!(state.topic(), &*self.topic, "a keeper keeps one topic");
        if let Some(slot) = self.slot(state.partition()) {
            slot.publish(state);
        }
    }

    fn slot(&self, partition: Partition) -> Option<&Slot> {
        self.slots.get(usize::try_from(partition.0).ok()?)
    }

    /// The partition may come from a hint that someone with other settings wrote.
    fn known_slot(&self, partition: Partition) -> Result<&Slot, LedgerError> {
        self.slot(partition).ok_or_else(|| LedgerError::Invalid {
            path: ChainPaths::new(&self.topic, partition).folder().to_string(),
            source: Violation::Stranger { topic: self.topic.to_string(), partition },
        })
    }
}

impl Slot {
    fn reached(&self, sequence: u64) -> Option<PartitionState> {
        let state = self.newest.read();
        (state.sequence() >= sequence).then(|| state.clone())
    }

    /// Waits until somebody's read has seen the entry.
    async fn reach(&self, sequence: u64) {
        loop {
            let mut changed = pin!(self.changes.notified());
            // From here on no change is missed, not even one before the await.
            changed.as_mut().enable();
            if self.newest.read().sequence() >= sequence {
                return;
            }
            changed.await;
        }
    }

    async fn refresh(&self) -> Result<PartitionState, LedgerError> {
        let came = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if last.number > came {
            last.result.clone()?;
            return Ok(self.newest.read().clone());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let known = self.newest.read().clone();
        // A chain of which nothing is known may be long: begin with its snapshot.
        let read = if last.loaded || known.sequence() > 0 {
            self.chain.refresh(&known).await
        } else {
            self.chain.load().await
        };
        last.number = number;
        match read {
            Ok(state) => {
                last.loaded = true;
                last.result = Ok(());
                self.publish(state);
                Ok(self.newest.read().clone())
            }
            Err(error) => {
                last.result = Err(error.clone());
                Err(error)
            }
        }
    }

    fn publish(&self, state: PartitionState) {
        {
            let mut newest = self.newest.write();
            if state.sequence() <= newest.sequence() {
                return;
            }
            *newest = state;
        }
        self.changes.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
