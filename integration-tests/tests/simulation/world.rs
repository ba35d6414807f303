//! What all parts of a run share.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use vivace_ledger::Chain;
use vivace_ledger::faults::{Faults, FaultyStore};
use vivace_log::memory::{MemoryHandle, MemoryLog};
use vivace_log::{Log, TopicsConfig};
use vivace_model::{Clock, Offset, Partition, Random, UnixNanos};
use vivace_operate::Bucket;

use crate::dated::DatedStore;
use crate::journal::Journal;
use crate::model::Model;
use crate::orphans::Strays;
use crate::plan::Plan;
use crate::sabotage::{OverwritingStore, Sabotage};

/// The time of day at the start of every run.
const EPOCH: UnixNanos = UnixNanos::from_secs(1_780_000_000);

/// A time of day that goes with tokio's paused time.
#[derive(Debug)]
pub(crate) struct SimulatedClock {
    started: Instant,
    /// Nanoseconds that went by without anyone doing anything.
    skipped: AtomicU64,
}

impl SimulatedClock {
    /// Time goes by while nobody does anything.
    pub(crate) fn skip(&self, time: Duration) {
        self.skipped.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> UnixNanos {
        let passed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        UnixNanos(EPOCH.0 + passed + self.skipped.load(Ordering::Relaxed))
    }
}

/// The clock of one machine, which may be wrong, and jump.
#[derive(Debug)]
pub(crate) struct MachineClock {
    right: Arc<SimulatedClock>,
    /// Nanoseconds by which it is ahead.
    ahead: AtomicI64,
}

impl MachineClock {
    pub(crate) fn new(right: &Arc<SimulatedClock>) -> Arc<Self> {
        Arc::new(Self { right: Arc::clone(right), ahead: AtomicI64::new(0) })
    }

    /// Sets it that many seconds ahead of the right time, or behind.
    pub(crate) fn jump(&self, seconds: i64) {
        self.ahead.store(seconds * 1_000_000_000, Ordering::Relaxed);
    }
}

impl Clock for MachineClock {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.right.now().0.saturating_add_signed(self.ahead.load(Ordering::Relaxed)))
    }
}

/// Log, store, clock, what is known to be true, and what happened.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) handle: MemoryHandle,
    pub(crate) store: FaultyStore,
    pub(crate) clock: Arc<SimulatedClock>,
    pub(crate) topics: TopicsConfig,
    pub(crate) model: Model,
    pub(crate) journal: Journal,
    /// Files in the store that nobody here has put there.
    pub(crate) strays: Strays,
    /// Of all ingesters together.
    pub(crate) metrics: vivace_ingester::Metrics,
    /// Of all compactors together.
    pub(crate) compactor_metrics: vivace_compactor::Metrics,
    registry: Registry,
}

impl World {
    pub(crate) async fn new(plan: Plan) -> Arc<Self> {
        let clock = Arc::new(SimulatedClock { started: Instant::now(), skipped: AtomicU64::new(0) });
        let log = MemoryLog::with_clock(plan.seed, Arc::<SimulatedClock>::clone(&clock));
        let topics = TopicsConfig { partitions: plan.partitions, ..TopicsConfig::default() };
        for spec in topics.specs() {
            log.ensure_topic(&spec).await.expect("topics can be made");
        }
        let inner = match plan.sabotage {
            Some(Sabotage::StoreOverwrites) => OverwritingStore::shared(),
            _ => Arc::new(InMemory::new()),
        };
        let dated = DatedStore::new(inner, Arc::<SimulatedClock>::clone(&clock), plan.sabotage);
        let strays = Strays::lay(&dated, &plan, &clock).await;
        let mut registry = Registry::default();
        let metrics = vivace_ingester::Metrics::new(&mut registry);
        let compactor_metrics = vivace_compactor::Metrics::new(&mut registry);
        Arc::new(Self {
            metrics,
            compactor_metrics,
            registry,
            handle: log.handle(),
            log,
            store: FaultyStore::around(Arc::new(dated), plan.seed, Faults::NONE),
            clock,
            topics,
            model: Model::new(&plan),
            strays,
            journal: Journal::new(),
            plan,
        })
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..self.plan.partitions).map(Partition)
    }

    pub(crate) fn shared_log(&self) -> Arc<dyn Log> {
        Arc::<MemoryLog>::clone(&self.log)
    }

    pub(crate) fn shared_store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.store.clone())
    }

    /// The chain of a partition as it truly is.
    pub(crate) fn true_chain(&self, partition: Partition) -> Chain {
        let clock = Arc::<SimulatedClock>::clone(&self.clock);
        Chain::new(Arc::clone(self.store.inner()), &self.topics.spans, partition, clock)
    }

    /// Where the chain of a partition truly ends.
    pub(crate) async fn true_end(&self, partition: Partition) -> Offset {
        self.true_chain(partition).load().await.expect("the true chain is whole").end()
    }

    /// The bucket in the eyes of an operator who gives his command with that number.
    pub(crate) fn bucket(&self, command: u64) -> Bucket {
        let random = Arc::new(Random::seeded(self.plan.seed ^ (command << 44)));
        let clock = Arc::<SimulatedClock>::clone(&self.clock);
        Bucket { store: self.shared_store(), topic: self.topics.spans.clone(), clock, random }
    }

    /// The bucket as it truly is.
    pub(crate) fn true_bucket(&self) -> Bucket {
        Bucket { store: Arc::clone(self.store.inner()), ..self.bucket(0) }
    }

    /// Learns what was appended to the log since the last look.
    pub(crate) fn look_at_log(&self) {
        for partition in self.partitions() {
            self.model.learn(partition, self.handle.records(&self.topics.spans, partition));
        }
    }

    /// Learns what was appended to log and chains since the last look.
    pub(crate) async fn look(&self) {
        self.look_at_log();
        for partition in self.partitions() {
            let chain = self.true_chain(partition);
            while let Some(entry) =
                chain.entry(self.model.sequence(partition) + 1).await.expect("the true chain is whole")
            {
                if let Err(wrong) = self.model.hear(&entry) {
                    self.fail(format_args!("partition {partition}: {wrong}"));
                }
            }
        }
    }

    /// What the ingesters counted, summed over labels: `conflicts` for `vivace_ingester_conflicts_total`.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.summed(&format!("vivace_ingester_{name}_total"))
    }

    /// How many jobs of compactors ended so.
    pub(crate) fn jobs(&self, outcome: &str) -> u64 {
        self.summed(&format!("vivace_compactor_jobs_total{{outcome=\"{outcome}\"}}"))
    }

    fn summed(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("a string takes it");
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        values.sum()
    }

    /// Ends the run with a message and what happened last.
    pub(crate) fn fail(&self, what: std::fmt::Arguments<'_>) -> ! {
        panic!("{what}\n{:#?}\n{}", self.plan, self.journal.tail());
    }
}
