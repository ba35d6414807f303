//! A partition with blocks, and compactors that work on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vivace_block::{
    BlockConfig, BlockReader, Description, DuplicateFilter, OpenBlock, ReaderConfig, to_traces_data,
    write_block,
};
use vivace_ledger::faults::{Faults, FaultyStore};
use vivace_ledger::invariants::{ChainCheck, check_chain};
use vivace_ledger::{BlockMeta, Chain, Entry, EntryBody, PartitionState, Proposal};
use vivace_log::memory::MemoryLog;
use vivace_log::{Log, NewRecord, TopicsConfig};
use vivace_model::scan::Projection;
use vivace_model::{BlockId, ByteSize, Clock, Offset, OffsetRange, Partition, Spread, TenantId, UnixNanos};
use vivace_runtime::Readiness;

use crate::testing::{days, spans};
use crate::{
    Compactor, CompactorError, Config, Environment, Metrics, Random, Retention, SetAside, StoreClock,
};

/// The year 2100, so that files made now, by the machine's clock, are old.
const EPOCH: UnixNanos = UnixNanos::from_secs(4_102_444_800);
const PARTITION: Partition = Partition(0);

/// A time of day that goes with tokio's paused time.
#[derive(Debug)]
struct SimulatedClock {
    started: Instant,
    /// How far it has jumped.
    ahead: AtomicU64,
}

impl Clock for SimulatedClock {
    fn now(&self) -> UnixNanos {
        let passed = u64::try_from(self.started.elapsed().as_nanos()).unwrap();
        UnixNanos(EPOCH.0 + passed + self.ahead.load(Ordering::SeqCst))
    }
}

pub(super) struct Fixture {
    pub(super) config: Config,
    pub(super) retention: Retention,
    pub(super) store: FaultyStore,
    pub(super) metrics: Metrics,
    pub(super) store_clock: StoreClock,
    log: Arc<MemoryLog>,
    clock: Arc<SimulatedClock>,
    random: Random,
    topics: TopicsConfig,
    shutdown: CancellationToken,
    running: JoinSet<Result<(), CompactorError>>,
}

/// Runs on one thread, under a clock that jumps to the next timer whenever all tasks wait.
pub(super) fn paused<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(work)
}

impl Fixture {
    pub(super) async fn new(seed: u64) -> Self {
        let clock = Arc::new(SimulatedClock { started: Instant::now(), ahead: AtomicU64::new(0) });
        let log = MemoryLog::with_clock(seed, Arc::<SimulatedClock>::clone(&clock));
        let topics = TopicsConfig { partitions: 1, ..TopicsConfig::default() };
        for spec in topics.specs() {
            log.ensure_topic(&spec).await.unwrap();
        }
        let config = Config {
            inputs_min: 3,
            inputs_max: 6,
            block_bytes_max: ByteSize::mib(64),
            input_rows_max: 20,
            look_every: Duration::from_secs(30),
            grace: Duration::from_secs(300),
            ..Config::default()
        };
        Self {
            config,
            retention: Retention::default(),
            store: FaultyStore::new(seed, Faults::NONE),
            metrics: Metrics::default(),
            store_clock: StoreClock::Ours,
            log,
            clock,
            random: Random::seeded(seed),
            topics,
            shutdown: CancellationToken::new(),
            running: JoinSet::new(),
        }
    }

    pub(super) fn now(&self) -> UnixNanos {
        self.clock.now()
    }

    /// A compactor; of several groups each has the whole partition, as if a zombie had not heard of its loss.
    pub(super) fn compactor(&self, group: &str) -> Compactor {
        let retention = self.retention.clone();
        let environment = Environment {
            log: Arc::<MemoryLog>::clone(&self.log),
            store: Arc::new(self.store.clone()),
            store_clock: self.store_clock,
            clock: Arc::<SimulatedClock>::clone(&self.clock),
            // Drawn anew each time: two proposals of one name would be one.
            random: Arc::new(Random::seeded(u64::from_le_bytes(self.random.bytes()))),
            memory: vivace_memory::Governor::unlimited(),
            retention: Arc::new(move |_| retention.clone()),
            metrics: self.metrics.clone(),
            ledger_metrics: vivace_ledger::Metrics::default(),
        };
        let config = Config { group: group.into(), ..self.config.clone() };
        Compactor::new(config, BlockConfig::default(), self.topics.clone(), environment).unwrap()
    }

    /// Runs a compactor; gives the blocks that it leaves alone.
    pub(super) fn start(&mut self, group: &str) -> SetAside {
        let compactor = self.compactor(group);
        let set_aside = compactor.set_aside();
        let readiness = Readiness::new(CancellationToken::new());
        let (check, shutdown) = (readiness.check("compactor"), self.shutdown.clone());
        self.running.spawn(compactor.run(check, shutdown));
        set_aside
    }

    pub(super) async fn stop(&mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap().unwrap();
        }
        self.shutdown = CancellationToken::new();
    }

    fn chain(&self) -> Chain {
        let store = Arc::clone(self.store.inner());
        Chain::new(store, &self.topics.spans, PARTITION, Arc::<SimulatedClock>::clone(&self.clock))
    }

    pub(super) async fn state(&self) -> PartitionState {
        self.chain().load().await.unwrap()
    }

    /// Stores and lists that many blocks of two spans each; some traces are in several of them.
    pub(super) async fn ingest(&self, blocks: u64) {
        for number in 0..blocks {
            let first = u8::try_from(number % 100 + 1).unwrap();
            let start = self.now().0 + number;
            self.ingest_spans(&[(first, start), (first / 2 + 101, start)]).await;
        }
    }

    /// Stores and lists a block of spans of these traces and starts.
    pub(super) async fn ingest_spans(&self, traces: &[(u8, u64)]) {
        let mut block = OpenBlock::new(TenantId::default(), &BlockConfig::default());
        let appended = block.append(&spans(traces).encode_to_vec(), &mut DuplicateFilter::new(1));
        assert_eq!(appended.spans, traces.len());
        let state = self.state().await;
        let offsets = OffsetRange::new(state.end(), Offset(state.end().0 + 1));
        let (now, sealed) = (self.now(), block.seal());
        let description = Description {
            tenant: TenantId::default(),
            partition: PARTITION,
            spread: Spread::all(1),
            offsets,
            level: 0,
            created: now,
        };
        let file = write_block(&sealed, &description, &BlockConfig::default()).unwrap();
        let meta = BlockMeta {
            id: BlockId::new(now, self.random.bytes()),
            tenant: TenantId::default(),
            date: now.date(),
            partition: PARTITION,
            spread: Spread::all(1),
            incarnation: 0,
            offsets,
            level: 0,
            rows: sealed.stats.rows,
            traces: sealed.stats.traces,
            bytes: file.len() as u64,
            start_min: sealed.stats.start_min,
            end_max: sealed.stats.end_max,
            created: now,
        };
        self.store.inner().put(&meta.path(), file.into()).await.unwrap();
        self.list(EntryBody::Ingested { offsets, blocks: vec![meta], rejected: vec![], last: None }).await;
    }

    /// Appends an entry, whoever else does.
    async fn list(&self, body: EntryBody) {
        let state = self.state().await;
        self.chain().append(&state, &Proposal::new(body, self.random.bytes())).await.unwrap();
    }

    pub(super) async fn hint(&self) {
        let (value, headers) = (b"{}".to_vec().into(), Vec::new());
        let hint = NewRecord { partition: PARTITION, key: None, headers, value };
        self.log.append(&self.topics.ledger, vec![hint]).await.unwrap();
    }

    /// Up to where the group has committed.
    pub(super) fn committed(&self) -> u64 {
        self.log.handle().committed(&self.topics.ledger, "a", PARTITION).map_or(0, |offset| offset.0)
    }

    /// Trace and start of each span in live blocks, sorted.
    pub(super) async fn spans(&self) -> Vec<(u8, u64)> {
        let reader = BlockReader::new(
            Arc::clone(self.store.inner()),
            ReaderConfig::default(),
            vivace_block::Metrics::default(),
        );
        let fixed = [vivace_block::schema::TRACE_ID, "span_id", vivace_block::schema::START_TIME];
        let projection = Projection { fixed: fixed.into(), ..Projection::default() };
        let mut found = Vec::new();
        for block in self.state().await.live() {
            let scan = reader.open(&block.path(), block.bytes).await.unwrap();
            for group in 0..scan.row_groups() {
                let batch = scan.columns(group, &projection, None).await.unwrap();
                for resource in to_traces_data(&[batch]).unwrap().resource_spans {
                    let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                    found.extend(spans.map(|span| (span.trace_id[0], span.start_time_unix_nano)));
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// All files of blocks, sorted.
    pub(super) async fn files(&self) -> Vec<Path> {
        let files = self.store.inner().list(Some(&Path::from("blocks")));
        let mut files: Vec<_> = files.map_ok(|file| file.location).try_collect().await.unwrap();
        files.sort_unstable();
        files
    }

    pub(super) async fn live_files(&self) -> Vec<Path> {
        let mut files: Vec<_> = self.state().await.live().iter().map(|block| block.path()).collect();
        files.sort_unstable();
        files
    }

    /// Blocks that a merge made and a later one replaced.
    pub(super) async fn merged_away(&self) -> usize {
        self.state().await.retired().iter().filter(|retired| retired.block.level > 0).count()
    }

    pub(super) async fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Some(entry) = self.chain().entry(entries.len() as u64 + 1).await.unwrap() {
            entries.push(entry);
        }
        entries
    }

    /// The chain keeps its rules, and all live files are there.
    pub(super) async fn check(&self) {
        let entries = self.entries().await;
        assert_eq!(check_chain(&entries), Ok(()));
        let mut check = ChainCheck::default();
        entries.iter().for_each(|entry| check.push(entry).unwrap());
        check.check_state(&self.state().await).unwrap();
        let files = self.files().await;
        assert!(self.live_files().await.iter().all(|file| files.contains(file)));
    }

    fn entry_path(&self, sequence: u64) -> Path {
        Path::from(format!("ledger/{}/{PARTITION}/{sequence:020}.json", self.topics.spans))
    }

    /// Overwrites an entry; gives what it was.
    pub(super) async fn break_entry(&self, sequence: u64) -> bytes::Bytes {
        let path = self.entry_path(sequence);
        let good = self.store.inner().get(&path).await.unwrap().bytes().await.unwrap();
        self.store.inner().put(&path, "{\"version\":1,".into()).await.unwrap();
        good
    }

    pub(super) async fn mend_entry(&self, sequence: u64, good: bytes::Bytes) {
        self.store.inner().put(&self.entry_path(sequence), good.into()).await.unwrap();
    }

    /// Sets the clock, and nothing else, forward or back.
    pub(super) fn jump(&self, days_ahead: u64) {
        self.clock.ahead.store(u64::try_from(days(days_ahead).as_nanos()).unwrap(), Ordering::SeqCst);
    }

    /// Lets time pass.
    pub(super) async fn pass_days(&self, number: u64) {
        tokio::time::sleep(days(number)).await;
    }
}
