use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use prost::Message;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};
use tower::ServiceExt;
use vivace_block::{
    BlockConfig, BlockReader, Description, DuplicateFilter, OpenBlock, ReaderConfig, write_block,
};
use vivace_ledger::{BlockMeta, Chain, EntryBody, Proposal, ViewKeeper};
use vivace_log::memory::MemoryHandle;
use vivace_log::{MemoryLog, NewRecord, Retention, SharedLog, TopicSpec};
use vivace_memory::Governor;
use vivace_model::{
    BlockId, ByteSize, Clock, ManualClock, Offset, OffsetRange, Overrides, Partition, Spread, TenantId,
    UnixNanos, partition_of,
};
use vivace_proto::internal::recent_server::Recent;
use vivace_proto::internal::{PartStream, QuerierService, RecentTracePart, RecentTraceRequest};
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, KeyValue};
use vivace_proto::otlp::resource::Resource;
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};
use vivace_proto::owners::Owner;
use vivace_proto::tempopb::Trace;
use vivace_querier::{Querier, RecentServices};
use vivace_runtime::{BuildInfo, Readiness, Watched};

use crate::{Config, Metrics, Parts, QueryFrontend, StreamingApi};

pub(super) const SPANS: &str = "vivace.spans";
pub(super) const LEDGER: &str = "vivace.ledger";
pub(super) const OWNERS: &str = "vivace.owners";
pub(super) const PARTITIONS: u32 = 4;
pub(super) const TRACE: [u8; 16] = [1; 16];
/// The trace in a path.
pub(super) const TRACE_HEX: &str = "01010101010101010101010101010101";
/// When blocks were made.
pub(super) const NOW: UnixNanos = UnixNanos::from_secs(1_780_000_000);

/// What an ingester answers from an offset on.
type Script = Box<dyn Fn(u64) -> Result<RecentTracePart, Status> + Send + Sync>;

/// An ingester that answers as its script says, and hangs while it has none.
#[derive(Default)]
pub(super) struct FakeIngester {
    script: Mutex<Option<Script>>,
    /// The offsets that it was asked from.
    pub(super) asked: Mutex<Vec<u64>>,
}

impl FakeIngester {
    pub(super) fn answer(
        &self,
        script: impl Fn(u64) -> Result<RecentTracePart, Status> + Send + Sync + 'static,
    ) {
        *self.script.lock() = Some(Box::new(script));
    }
}

#[tonic::async_trait]
impl Recent for FakeIngester {
    type TraceStream = PartStream<RecentTracePart>;
    type ColumnsStream = PartStream<vivace_proto::internal::RecentColumnsPart>;

    async fn columns(
        &self,
        _request: tonic::Request<vivace_proto::internal::RecentColumnsRequest>,
    ) -> Result<Response<Self::ColumnsStream>, Status> {
        Err(Status::unimplemented("searching"))
    }

    async fn trace(
        &self,
        request: tonic::Request<RecentTraceRequest>,
    ) -> Result<Response<Self::TraceStream>, Status> {
        let from = request.into_inner().from_offset;
        self.asked.lock().push(from);
        let answer = self.script.lock().as_ref().map(|script| script(from));
        match answer {
            Some(answer) => Ok(Response::new(stream::iter([answer?]).map(Ok).boxed())),
            None => std::future::pending().await,
        }
    }
}

pub(super) struct Fixture {
    pub(super) log: SharedLog,
    pub(super) handle: MemoryHandle,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) views: ViewKeeper,
    pub(super) ingester: Arc<FakeIngester>,
    pub(super) querier: Querier,
    pub(super) metrics: Metrics,
    pub(super) router: Router,
    pub(super) streaming: StreamingApi,
    pub(super) tasks: JoinSet<()>,
    clock: Arc<dyn Clock>,
    blocks: AtomicU64,
}

/// Settings of a fixture.
#[derive(Default)]
pub(super) struct Options {
    pub(super) config: Config,
    pub(super) querier: vivace_querier::Config,
    /// Answers the jobs instead of a real querier.
    pub(super) fake: Option<QuerierService>,
    pub(super) multitenancy: bool,
    /// The memory of the query-frontend and its querier, if it has a limit.
    pub(super) memory: Option<Arc<Governor>>,
    pub(super) overrides: Overrides,
    /// Leaves the query-frontend as it is before its ledger was read.
    pub(super) not_started: bool,
    /// Where blocks and ledger are; none: a new store.
    pub(super) store: Option<Arc<dyn ObjectStore>>,
    /// How blocks are read.
    pub(super) reader: Option<ReaderConfig>,
}

async fn make_topics(log: &SharedLog) {
    for (name, partitions) in [(SPANS, PARTITIONS), (LEDGER, PARTITIONS), (OWNERS, 1)] {
        let retention = Retention::Time(Duration::from_secs(3600));
        let spec = TopicSpec { name: name.into(), partitions, replication: 1, retention };
        log.ensure_topic(&spec).await.unwrap();
    }
}

impl Fixture {
    pub(super) async fn new(options: Options) -> Self {
        let in_memory = MemoryLog::new(1);
        let handle = in_memory.handle();
        let log: SharedLog = in_memory;
        let memory = options.memory.unwrap_or_else(Governor::unlimited);
        make_topics(&log).await;
        let store = options.store.unwrap_or_else(|| Arc::new(InMemory::new()));
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
        let ingester = Arc::new(FakeIngester::default());
        // Kept whole, small files would be read for the first question only, and others tell of no bytes.
        let nothing_kept = ReaderConfig { small_file_cache_bytes: ByteSize(0), ..ReaderConfig::default() };
        let config = options.reader.unwrap_or(nothing_kept);
        let reader = BlockReader::new(Arc::clone(&store), config, vivace_block::Metrics::default());
        let parts = vivace_querier::Parts {
            blocks: Arc::new(reader),
            log: Arc::clone(&log),
            spans_topic: SPANS.into(),
            owners_topic: OWNERS.into(),
            recent: RecentServices::default().with_local("local", Arc::clone(&ingester) as _),
            memory: Arc::clone(&memory),
            metrics: vivace_querier::Metrics::new(&mut Registry::default()),
        };
        let querier = Querier::new(options.querier, parts);
        let views = ViewKeeper::new(Arc::clone(&store), SPANS, PARTITIONS, Arc::clone(&clock));
        let metrics = Metrics::new(&mut Registry::default());
        let parts = Parts {
            views: views.clone(),
            log: Arc::clone(&log),
            overrides: Watched::fixed(options.overrides),
            ledger_topic: LEDGER.into(),
            querier: Some(options.fake.unwrap_or_else(|| querier.service())),
            clock: Arc::clone(&clock),
            multitenancy_enabled: options.multitenancy,
            build: BuildInfo::new("1.2.3"),
            services: Arc::new(|| "querier running\n".into()),
            memory,
            metrics: metrics.clone(),
        };
        let frontend = QueryFrontend::new(options.config, parts);
        let router = frontend.router();
        let streaming = frontend.streaming_api();
        let mut tasks = JoinSet::new();
        let readiness = Readiness::default();
        let (running, ready) = (querier.clone(), readiness.check("querier"));
        tasks.spawn(async move { running.run(ready, CancellationToken::new()).await.unwrap() });
        if !options.not_started {
            let ready = readiness.check("query-frontend");
            tasks.spawn(async move { frontend.run(ready, CancellationToken::new()).await.unwrap() });
            while readiness.state().is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let blocks = AtomicU64::new(0);
        Self {
            log,
            handle,
            store,
            views,
            ingester,
            querier,
            metrics,
            router,
            streaming,
            tasks,
            clock,
            blocks,
        }
    }

    /// Makes the fake ingester the owner of a partition.
    pub(super) async fn own(&self, partition: Partition) {
        let owner = Owner {
            partition: partition.0,
            address: "local".into(),
            instance: "fake".into(),
            since: 1,
            start: 0,
        };
        let record = NewRecord {
            partition: Partition(0),
            key: Some(Owner::key(SPANS, partition.0).into()),
            headers: vec![],
            value: owner.to_value().into(),
        };
        self.log.append(OWNERS, vec![record]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Appends records to the spans topic.
    pub(super) async fn append(&self, partition: Partition, records: &[TracesData]) {
        let record = |traces: &TracesData| NewRecord {
            partition,
            key: None,
            headers: vec![],
            value: traces.encode_to_vec().into(),
        };
        self.log.append(SPANS, records.iter().map(record).collect()).await.unwrap();
    }

    /// Stores a block and lists it: it takes the place of the next `offsets` records. Gives the block.
    pub(super) async fn ingest(&self, partition: Partition, offsets: u64, traces: &TracesData) -> BlockMeta {
        self.ingest_as(partition, PARTITIONS, &TenantId::default(), offsets, traces).await
    }

    pub(super) async fn ingest_as(
        &self,
        partition: Partition,
        partition_count: u32,
        tenant: &TenantId,
        offsets: u64,
        traces: &TracesData,
    ) -> BlockMeta {
        let chain = self.chain(partition);
        let state = chain.load().await.unwrap();
        let offsets = OffsetRange::new(state.end(), Offset(state.end().0 + offsets));
        let config = BlockConfig::default();
        let mut open = OpenBlock::new(tenant.clone(), &config);
        open.append(&traces.encode_to_vec(), &mut DuplicateFilter::new(1));
        let sealed = open.seal();
        let tenant = tenant.clone();
        let description = Description {
            tenant: tenant.clone(),
            partition,
            spread: Spread::all(partition_count),
            offsets,
            level: 0,
            created: NOW,
        };
        let file: Bytes = write_block(&sealed, &description, &config).unwrap();
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.blocks.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let block = BlockMeta {
            id: BlockId::new(NOW, random),
            tenant,
            date: NOW.date(),
            partition,
            spread: Spread::all(partition_count),
            incarnation: 0,
            offsets,
            level: 0,
            rows: sealed.stats.rows,
            traces: sealed.stats.traces,
            bytes: file.len() as u64,
            start_min: sealed.stats.start_min,
            end_max: sealed.stats.end_max,
            created: NOW,
        };
        self.store.put(&block.path(), PutPayload::from(file)).await.unwrap();
        let body = EntryBody::Ingested { offsets, blocks: vec![block.clone()], rejected: vec![], last: None };
        chain.append(&state, &Proposal::new(body, rand_bytes(&block))).await.unwrap();
        block
    }

    pub(super) fn chain(&self, partition: Partition) -> Chain {
        Chain::new(Arc::clone(&self.store), SPANS, partition, Arc::clone(&self.clock))
    }

    /// Reads the ledger as a query-frontend does now and then.
    pub(super) async fn refresh(&self) {
        self.views.refresh_all().await.unwrap();
    }

    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, headers).await
    }

    pub(super) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Names of the trace's spans, by the first version of the API, in order of their start.
    pub(super) async fn names(&self) -> Vec<String> {
        let answer =
            self.get(&format!("/api/traces/{TRACE_HEX}"), &[("accept", "application/protobuf")]).await;
        if answer.status == StatusCode::NOT_FOUND {
            return vec![];
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
        names(&Trace::decode(answer.body).unwrap())
    }
}

fn rand_bytes(block: &BlockMeta) -> [u8; 16] {
    let mut bytes = [0; 16];
    let name = block.id.to_string();
    bytes.copy_from_slice(&name.as_bytes()[name.len() - 16..]);
    bytes
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The partition of the trace.
pub(super) fn home() -> Partition {
    partition_of(&TRACE, PARTITIONS)
}

/// A span of the trace; `start` in seconds.
pub(super) fn span(name: &str, start: u64) -> Span {
    let mut span_id = [1; 8];
    span_id[..name.len().min(8)].copy_from_slice(&name.as_bytes()[..name.len().min(8)]);
    Span {
        trace_id: TRACE.to_vec(),
        span_id: span_id.to_vec(),
        name: name.into(),
        start_time_unix_nano: start * 1_000_000_000,
        end_time_unix_nano: start * 1_000_000_000 + 1,
        ..Span::default()
    }
}

pub(super) fn traces(spans: Vec<Span>) -> TracesData {
    let value = Some(AnyValue { value: Some(Value::StringValue("shop".into())) });
    let attributes = vec![KeyValue { key: "service.name".into(), value, ..KeyValue::default() }];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    TracesData { resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }] }
}

pub(super) fn names(trace: &Trace) -> Vec<String> {
    let scopes = trace.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| &scope.spans).map(|span| span.name.clone()).collect()
}

/// A part of an ingester's answer.
pub(super) fn part(spans: Vec<Span>, through_offset: u64) -> RecentTracePart {
    RecentTracePart { traces_data: traces(spans).encode_to_vec().into(), through_offset, spans: 0 }
}
