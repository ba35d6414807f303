//! What the accounting says of an ingester's memory, beside what the allocator holds. A program of its own, for it sets the
//! allocator and nothing else may run in it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failing test should panic, and the figures are worth seeing"
)]

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use vivace_block::BlockConfig;
use vivace_ingester::{Compute, Config, Environment, Ingester, Metrics, Random, RecentData};
use vivace_log::memory::{MemoryHandle, MemoryLog};
use vivace_log::{Log, NewRecord, TopicsConfig};
use vivace_memory::{Governor, Part};
use vivace_model::{ByteSize, ManualClock, Offset, Partition, UnixNanos};
use vivace_proto::internal::RecentTraceRequest;
use vivace_proto::internal::recent_server::Recent;
use vivace_runtime::Readiness;
use vivace_sample::{Options, Shop};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const PARTITION: Partition = Partition(0);
/// Requests of 300 spans.
const REQUESTS: usize = 200;
/// The accounting may be that far off, in percent of what the allocator holds.
const OFF_MAX_PERCENT: usize = 25;

fn allocated() -> usize {
    tikv_jemalloc_ctl::epoch::advance().unwrap();
    tikv_jemalloc_ctl::stats::allocated::read().unwrap()
}

struct Rig {
    memory: Arc<Governor>,
    store: Arc<InMemory>,
    handle: MemoryHandle,
    topics: TopicsConfig,
    recent: Arc<RecentData>,
    end: u64,
    /// What the allocator held with the log, but without anything taken from it.
    before: usize,
    _tasks: JoinSet<()>,
}

impl Rig {
    async fn start(config: Config) -> Self {
        let log = MemoryLog::new(1);
        let topics = TopicsConfig { partitions: 1, ..TopicsConfig::default() };
        for spec in topics.specs() {
            log.ensure_topic(&spec).await.unwrap();
        }
        let mut shop = Shop::new(Options::default());
        for _ in 0..REQUESTS {
            let value = shop.next_request_bytes();
            let record = NewRecord { partition: PARTITION, key: None, headers: Vec::new(), value };
            log.append(&topics.spans, vec![record]).await.unwrap();
        }
        drop(shop);
        let before = allocated();
        let (memory, store) = (Governor::unlimited(), Arc::new(InMemory::new()));
        let environment = Environment {
            log: Arc::<MemoryLog>::clone(&log),
            store: Arc::<InMemory>::clone(&store),
            clock: Arc::new(ManualClock::new(UnixNanos::from_secs(1_780_000_000))),
            random: Arc::new(Random::seeded(1)),
            compute: Compute::Inline,
            memory: Arc::clone(&memory),
            metrics: Metrics::default(),
            ledger_metrics: vivace_ledger::Metrics::default(),
        };
        let check = Readiness::new(CancellationToken::new()).check("ingester");
        let block = BlockConfig::default();
        let ingester =
            Ingester::new(config, block, topics.clone(), environment, "here:1".into(), check).unwrap();
        let recent = ingester.recent();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { ingester.run(CancellationToken::new()).await.unwrap() });
        let (handle, end) = (log.handle(), REQUESTS as u64);
        Self { memory, store, handle, topics, recent, end, before, _tasks: tasks }
    }

    async fn consumed(&self) {
        let ask = || RecentTraceRequest {
            tenant: "single-tenant".into(),
            trace_id: vec![7; 16],
            partition: PARTITION.0,
            from_offset: 0,
        };
        loop {
            if let Ok(parts) = self.recent.trace(Request::new(ask())).await {
                // It may not be served yet, which the answer itself says.
                let parts: Result<Vec<_>, _> = parts.into_inner().try_collect().await;
                if parts.is_ok_and(|parts| parts.first().is_some_and(|part| part.through_offset == self.end))
                {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn listed(&self) {
        let group = Config::default().group;
        while self.handle.committed(&self.topics.spans, &group, PARTITION) != Some(Offset(self.end)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // What is given back after listing is.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// Compares what is reserved with what the allocator holds beside what is not the ingester's.
    async fn compare(&self, what: &str) {
        let files: Vec<_> = self.store.list(None).try_collect().await.unwrap();
        let stored: usize = files.iter().map(|file| usize::try_from(file.size).unwrap()).sum();
        let reserved = self.memory.total();
        let held = allocated().saturating_sub(self.before + stored);
        let off = reserved.abs_diff(held) * 100 / held;
        println!("{what}: {reserved} bytes reserved, {held} held, {off} % off");
        assert!(held > 10 << 20, "{what}: {held} bytes are too few to tell");
        assert!(off <= OFF_MAX_PERCENT, "{what}: {reserved} bytes are reserved, {held} are held");
    }
}

fn config() -> Config {
    Config {
        memory_bytes_max: ByteSize::gib(1),
        rows_max: 10_000_000,
        block_age_max: Duration::from_secs(10_000),
        recent_retention: Duration::from_secs(10_000),
        ..Config::default()
    }
}

#[tokio::test(start_paused = true)]
async fn the_accounting_agrees_with_the_allocator_within_a_quarter() {
    let rig = Rig::start(config()).await;
    rig.consumed().await;
    rig.compare("open columns").await;
    drop(rig);
    // Its tasks end, and give their memory back, when the runtime gets to it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sealed = Config { rows_max: 25_000, block_age_max: Duration::from_secs(1), ..config() };
    let rig = Rig::start(sealed).await;
    rig.listed().await;
    assert_eq!(rig.memory.used(Part::Encode), 0, "everything is uploaded");
    assert!(rig.memory.peak(Part::Encode) > 0, "it was reserved for");
    rig.compare("sealed and listed columns").await;
}
