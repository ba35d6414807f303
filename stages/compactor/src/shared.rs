//! What all partitions of a compactor share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use vivace_block::{BlockConfig, BlockReader, ReaderConfig};
use vivace_ledger::{Chain, PartitionState};
use vivace_log::{SharedLog, TopicsConfig};
use vivace_memory::Governor;
use vivace_model::{ByteSize, Clock, Offset, Partition};

use crate::clock_guard::{ClockGuard, StoreClock};
use crate::{Config, Metrics, Random, RetentionOf, SetAside};

/// First wait after a failure.
const WAIT_MIN: Duration = Duration::from_millis(200);
/// Longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What a compactor works with but does not own. All of it can be replaced in tests.
#[derive(Clone)]
pub struct Environment {
    /// The message log.
    pub log: SharedLog,
    /// Where blocks and the ledger lie.
    pub store: Arc<dyn ObjectStore>,
    /// Whose clock the store's times come from.
    pub store_clock: StoreClock,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Random numbers.
    pub random: Arc<Random>,
    /// The memory of the process.
    pub memory: Arc<Governor>,
    /// How long each tenant's traces are kept.
    pub retention: RetentionOf,
    /// What is counted and measured.
    pub metrics: Metrics,
    /// What is counted of the ledger.
    pub ledger_metrics: vivace_ledger::Metrics,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("log", &self.log)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// What all partitions of a compactor share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) block: BlockConfig,
    pub(crate) topics: TopicsConfig,
    pub(crate) environment: Environment,
    pub(crate) reader: BlockReader,
    pub(crate) clock_guard: ClockGuard,
    /// Merges that may run.
    pub(crate) merges: Semaphore,
    /// Blocks that are left alone.
    pub(crate) set_aside: SetAside,
    /// Up to where hints were dealt with and may be committed.
    commits: Mutex<BTreeMap<Partition, Offset>>,
    committed: Notify,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        block: BlockConfig,
        topics: TopicsConfig,
        environment: Environment,
    ) -> Self {
        // Each block is read once: nothing is worth remembering. (A small cache drops what it has at times of its own, and
        // a simulation would not repeat.)
        let none = ByteSize(0);
        let reader = ReaderConfig {
            filter_cache_bytes: none,
            index_cache_bytes: none,
            runs_cache_bytes: none,
            facts_cache_bytes: none,
            small_file_cache_bytes: none,
            ..ReaderConfig::default()
        };
        let reader =
            BlockReader::new(Arc::clone(&environment.store), reader, vivace_block::Metrics::default());
        let merges = Semaphore::new(config.merges_max);
        let (commits, committed) = (Mutex::default(), Notify::new());
        let set_aside = SetAside::counted_by(environment.metrics.set_aside.clone());
        let clock_guard = ClockGuard::new(&config);
        Self {
            config,
            block,
            topics,
            environment,
            reader,
            clock_guard,
            merges,
            set_aside,
            commits,
            committed,
        }
    }

    /// Whether work may go by our clock.
    pub(crate) async fn clock_agrees(&self, state: Option<&PartitionState>) -> bool {
        self.clock_guard.agrees(&self.environment, state).await
    }

    pub(crate) const fn metrics(&self) -> &Metrics {
        &self.environment.metrics
    }

    pub(crate) fn random(&self) -> &Random {
        &self.environment.random
    }

    pub(crate) fn chain(&self, partition: Partition) -> Chain {
        let Environment { store, clock, ledger_metrics, .. } = &self.environment;
        Chain::new(Arc::clone(store), &self.topics.spans, partition, Arc::clone(clock))
            .with_metrics(ledger_metrics.clone())
    }

    /// Notes that the hints below `offset` were dealt with.
    pub(crate) fn dealt_with(&self, partition: Partition, offset: Offset) {
        self.commits.lock().insert(partition, offset);
        self.committed.notify_one();
    }

    /// Waits until there is something to commit. Safe to drop.
    pub(crate) async fn commits(&self) {
        loop {
            let notified = self.committed.notified();
            if !self.commits.lock().is_empty() {
                return;
            }
            notified.await;
        }
    }

    pub(crate) fn take_commits(&self) -> BTreeMap<Partition, Offset> {
        std::mem::take(&mut self.commits.lock())
    }
}

/// Waits that double, each cut by a random part.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { next: WAIT_MIN }
    }

    /// Waits after one more failure.
    pub(crate) async fn wait(&mut self, shared: &Shared) {
        let wait = shared.random().jitter(self.next);
        self.next = (self.next * 2).min(WAIT_MAX);
        shared.metrics().retries.inc();
        tokio::time::sleep(wait).await;
    }
}
