//! An ingester on the in-memory log and store under paused time, for the tests of this crate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use prost::Message;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};
use vivace_block::{BlockConfig, BlockReader, ReaderConfig, to_traces_data};
use vivace_ledger::faults::{Faults, FaultyStore};
use vivace_ledger::{Chain, Entry, PartitionState};
use vivace_log::memory::{MemoryHandle, MemoryLog};
use vivace_log::{Log, NewRecord, Record, TopicsConfig};
use vivace_memory::Governor;
use vivace_model::{ByteSize, ManualClock, Offset, Partition, TraceId, UnixNanos};
use vivace_proto::internal::RecentTraceRequest;
use vivace_proto::internal::recent_server::Recent;
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};
use vivace_runtime::Readiness;

use crate::shared::Shared;
use crate::{Compute, Config, Environment, Ingester, IngesterError, Metrics, Random, RecentData, Replayer};

/// The partition that tests work on.
pub(crate) const P: Partition = Partition(0);
/// Waiting for something ends after that much paused time. Partitions that panic again and again back off for minutes.
const PATIENCE: Duration = Duration::from_secs(1800);

/// An ingester and its surroundings.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) handle: MemoryHandle,
    pub(crate) store: FaultyStore,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) topics: TopicsConfig,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) memory: Arc<Governor>,
    pub(crate) recent: Arc<RecentData>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: JoinSet<Result<(), IngesterError>>,
    config: Config,
    compute: Compute,
    shared: Arc<Shared>,
}

/// Small limits, so that tests reach them.
pub(crate) fn config() -> Config {
    Config {
        rows_max: 10,
        memory_bytes_max: ByteSize::mib(64),
        fetch_bytes_max: ByteSize::kib(4),
        record_bytes_max: ByteSize::kib(64),
        ..Config::default()
    }
}

impl Rig {
    /// Topics of one partition, nothing in them, and an ingester that runs.
    pub(crate) async fn start(config: Config) -> Self {
        let mut rig = Self::prepare(config).await;
        rig.run();
        rig
    }

    /// The same, but nothing runs yet.
    pub(crate) async fn prepare(config: Config) -> Self {
        Self::prepare_with(config, Compute::Inline).await
    }

    /// The same, with CPU-heavy steps where `compute` says.
    pub(crate) async fn prepare_with(config: Config, compute: Compute) -> Self {
        let log = MemoryLog::new(1);
        let topics = TopicsConfig { partitions: 1, ..TopicsConfig::default() };
        for spec in topics.specs() {
            log.ensure_topic(&spec).await.unwrap();
        }
        let clock = Arc::new(ManualClock::new(UnixNanos::from_secs(1_780_000_000)));
        let store = FaultyStore::new(1, Faults::NONE);
        let metrics = Metrics::default();
        let shutdown = CancellationToken::new();
        let readiness = Readiness::new(CancellationToken::new());
        let memory = Governor::unlimited();
        let rig = RigParts {
            log: &log,
            store: &store,
            clock: &clock,
            topics: &topics,
            metrics: &metrics,
            memory: &memory,
            compute,
        };
        let ingester = rig.ingester(&config, &readiness);
        let (recent, shared) = (ingester.recent(), Arc::clone(&ingester.shared));
        Self {
            shared,
            handle: log.handle(),
            log,
            store,
            clock,
            topics,
            metrics,
            readiness,
            memory,
            recent,
            shutdown,
            tasks: JoinSet::new(),
            config,
            compute,
        }
    }

    /// Starts an ingester; one that ran before is dropped, as if it crashed.
    pub(crate) fn run(&mut self) {
        self.tasks = JoinSet::new();
        self.shutdown = CancellationToken::new();
        self.readiness = Readiness::new(CancellationToken::new());
        let ingester = self.parts().ingester(&self.config, &self.readiness);
        (self.recent, self.shared) = (ingester.recent(), Arc::clone(&ingester.shared));
        self.tasks.spawn(ingester.run(self.shutdown.clone()));
    }

    /// Asks the ingester to stop and waits until it has.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
    }

    /// What all partitions of the ingester share.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// What an operator replays with.
    pub(crate) fn replayer(&self) -> Replayer {
        let (config, topics) = (self.config.clone(), self.topics.clone());
        Replayer::new(config, BlockConfig::default(), topics, self.parts().environment()).unwrap()
    }

    fn parts(&self) -> RigParts<'_> {
        let Self { log, store, clock, topics, metrics, memory, compute, .. } = self;
        RigParts { log, store, clock, topics, metrics, memory, compute: *compute }
    }

    /// The numbers of all spans in live blocks, ascending.
    pub(crate) async fn stored(&self) -> Vec<u64> {
        let store = Arc::clone(self.store.inner());
        let reader = BlockReader::new(store, ReaderConfig::default(), vivace_block::Metrics::default());
        let mut numbers = Vec::new();
        for block in self.state().await.live() {
            let id = TraceId::from_bytes(TRACE);
            let rows = reader.trace(&block.path(), block.bytes, &id).await.unwrap();
            let found = to_traces_data(&rows.batches).unwrap();
            numbers.extend(numbers_in(&found.encode_to_vec()));
        }
        numbers.sort_unstable();
        numbers
    }

    /// Appends records and gives the offset after them.
    pub(crate) async fn append(&self, records: Vec<NewRecord>) -> u64 {
        let offsets = self.log.append(&self.topics.spans, records).await.unwrap();
        offsets.last().unwrap().next().0
    }

    /// Appends one record for each span.
    pub(crate) async fn append_spans(&self, numbers: std::ops::Range<u64>) -> u64 {
        self.append(numbers.map(|number| record(&[number])).collect()).await
    }

    pub(crate) fn chain(&self) -> Chain {
        let store = Arc::clone(self.store.inner());
        Chain::new(store, &self.topics.spans, P, Arc::<ManualClock>::clone(&self.clock))
    }

    pub(crate) async fn state(&self) -> PartitionState {
        self.chain().load().await.unwrap()
    }

    pub(crate) async fn entries(&self) -> Vec<Entry> {
        let chain = self.chain();
        let mut entries = Vec::new();
        while let Some(entry) = chain.entry(entries.len() as u64 + 1).await.unwrap() {
            entries.push(entry);
        }
        vivace_ledger::invariants::check_chain(&entries).unwrap();
        entries
    }

    /// Offsets of the records that the topic of rejected records holds, each once, and the reasons.
    pub(crate) fn quarantined(&self) -> BTreeMap<u64, String> {
        let text = |record: &Record, name| String::from_utf8(record.header(name).unwrap().to_vec()).unwrap();
        let records = self.rejected();
        records
            .iter()
            .map(|record| (text(record, "offset").parse().unwrap(), text(record, "reason")))
            .collect()
    }

    /// Waits until the ledger ends there.
    pub(crate) async fn listed(&self, end: u64) -> PartitionState {
        wait_for("the ledger's end", async || {
            let state = self.state().await;
            (state.end() == Offset(end)).then_some(state)
        })
        .await
    }

    /// Spans of the trace from an offset on, as numbers, and the offset through which they are complete.
    pub(crate) async fn ask(&self, from: u64) -> Result<(Vec<u64>, u64), Status> {
        self.ask_for("single-tenant", from).await
    }

    pub(crate) async fn ask_for(&self, tenant: &str, from: u64) -> Result<(Vec<u64>, u64), Status> {
        let request = RecentTraceRequest {
            tenant: tenant.into(),
            trace_id: TRACE.to_vec(),
            partition: P.0,
            from_offset: from,
        };
        let parts: Vec<_> =
            self.recent.trace(Request::new(request)).await?.into_inner().try_collect().await?;
        let mut numbers = Vec::new();
        for part in &parts {
            assert_eq!(part.through_offset, parts[0].through_offset);
            numbers.extend(numbers_in(&part.traces_data));
        }
        assert_eq!(numbers.len() as u64, parts.iter().map(|part| part.spans).sum::<u64>());
        numbers.sort_unstable();
        Ok((numbers, parts.first().expect("there is always a part").through_offset))
    }

    /// Waits until everything below that offset can be asked for from `from` on.
    pub(crate) async fn consumed(&self, from: u64, end: u64) -> Vec<u64> {
        wait_for("recent data", async || match self.ask(from).await {
            Ok((numbers, through)) if through == end => Some(numbers),
            _ => None,
        })
        .await
    }

    pub(crate) fn rejected(&self) -> Vec<Record> {
        self.handle.records(&self.topics.rejected, Partition(0))
    }

    pub(crate) fn committed(&self) -> Option<Offset> {
        self.handle.committed(&self.topics.spans, &self.config.group, P)
    }
}

struct RigParts<'a> {
    log: &'a Arc<MemoryLog>,
    store: &'a FaultyStore,
    clock: &'a Arc<ManualClock>,
    topics: &'a TopicsConfig,
    metrics: &'a Metrics,
    memory: &'a Arc<Governor>,
    compute: Compute,
}

/// Each has random numbers of its own, or two of them would give their blocks the same ids.
static PROCESSES: AtomicU64 = AtomicU64::new(7);

impl RigParts<'_> {
    fn environment(&self) -> Environment {
        Environment {
            log: Arc::<MemoryLog>::clone(self.log),
            store: Arc::new(self.store.clone()),
            clock: Arc::<ManualClock>::clone(self.clock),
            random: Arc::new(Random::seeded(PROCESSES.fetch_add(1, Ordering::Relaxed))),
            compute: self.compute,
            memory: Arc::clone(self.memory),
            metrics: self.metrics.clone(),
            ledger_metrics: vivace_ledger::Metrics::default(),
        }
    }

    fn ingester(&self, config: &Config, readiness: &Readiness) -> Ingester {
        let environment = self.environment();
        let check = readiness.check("ingester");
        let topics = self.topics.clone();
        Ingester::new(config.clone(), BlockConfig::default(), topics, environment, "here:1".into(), check)
            .unwrap()
    }
}

/// The trace of all spans of these tests.
pub(crate) const TRACE: [u8; 16] = [7; 16];

pub(crate) fn span(number: u64) -> Span {
    Span {
        trace_id: TRACE.to_vec(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        name: format!("span {number}"),
        start_time_unix_nano: 1_780_000_000_000_000_000 + number,
        end_time_unix_nano: 1_780_000_000_000_000_100 + number,
        ..Span::default()
    }
}

pub(crate) fn value(spans: Vec<Span>) -> Bytes {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    TracesData { resource_spans }.encode_to_vec().into()
}

/// A record of these spans, without a tenant.
pub(crate) fn record(numbers: &[u64]) -> NewRecord {
    record_of(value(numbers.iter().copied().map(span).collect()), None)
}

pub(crate) fn record_of(value: Bytes, tenant: Option<&str>) -> NewRecord {
    let header = |tenant: &str| ("X-Scope-OrgID".to_owned(), Bytes::from(tenant.to_owned()));
    NewRecord { partition: P, key: None, headers: tenant.map(header).into_iter().collect(), value }
}

/// The numbers of the spans in a part.
pub(crate) fn numbers_in(traces_data: &[u8]) -> Vec<u64> {
    let traces = TracesData::decode(traces_data).unwrap();
    let scopes = traces.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    let number = |span: Span| u64::from_be_bytes(span.span_id.try_into().unwrap()) - 1;
    scopes.flat_map(|scope| scope.spans).map(number).collect()
}

/// Waits, in paused time, until `look` finds something.
pub(crate) async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
