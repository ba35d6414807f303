use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use prost::Message;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use vivace_block::{BlockReader, ReaderConfig};
use vivace_log::memory::MemoryHandle;
use vivace_log::{MemoryLog, NewRecord, Retention, SharedLog, TopicSpec};
use vivace_memory::Governor;
use vivace_model::{Offset, Partition};
use vivace_proto::internal::querier_server::Querier as _;
use vivace_proto::internal::recent_server::Recent;
use vivace_proto::internal::trace_job::Source;
use vivace_proto::internal::{
    JobMetrics, PartStream, RecentColumnsPart, RecentColumnsRequest, RecentSource, RecentTracePart,
    RecentTraceRequest, SearchJob, SearchJobPart, TraceJob, TraceJobPart,
};
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};
use vivace_proto::owners::Owner;
use vivace_runtime::Readiness;

use crate::{Config, Metrics, Parts, Querier, RecentServices};

pub(super) const SPANS: &str = "vivace.spans";
pub(super) const OWNERS: &str = "vivace.owners";
pub(super) const TRACE: [u8; 16] = [7; 16];
pub(super) const PARTITION: Partition = Partition(3);

type Script = Box<dyn Fn(usize, &RecentTraceRequest) -> Result<Vec<RecentTracePart>, Status> + Send + Sync>;

type ColumnsScript =
    Box<dyn Fn(&RecentColumnsRequest) -> Result<Vec<RecentColumnsPart>, Status> + Send + Sync>;

/// An ingester that answers the n-th question as its script says.
pub(super) struct FakeIngester {
    script: Script,
    /// Answers searches.
    columns: Option<ColumnsScript>,
    pub(super) asked: Mutex<Vec<RecentTraceRequest>>,
    /// Answers come after this time.
    delay: Duration,
}

impl FakeIngester {
    pub(super) fn new(
        script: impl Fn(usize, &RecentTraceRequest) -> Result<Vec<RecentTracePart>, Status>
        + Send
        + Sync
        + 'static,
    ) -> Arc<Self> {
        Self::slow(Duration::ZERO, script)
    }

    pub(super) fn slow(
        delay: Duration,
        script: impl Fn(usize, &RecentTraceRequest) -> Result<Vec<RecentTracePart>, Status>
        + Send
        + Sync
        + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), columns: None, asked: Mutex::default(), delay })
    }

    /// One that answers searches.
    pub(super) fn of_columns(
        script: impl Fn(&RecentColumnsRequest) -> Result<Vec<RecentColumnsPart>, Status> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(|_, _| Err(Status::unimplemented("traces"))),
            columns: Some(Box::new(script)),
            asked: Mutex::default(),
            delay: Duration::ZERO,
        })
    }

    pub(super) fn questions(&self) -> usize {
        self.asked.lock().len()
    }
}

#[tonic::async_trait]
impl Recent for FakeIngester {
    type TraceStream = PartStream<RecentTracePart>;
    type ColumnsStream = PartStream<RecentColumnsPart>;

    async fn columns(
        &self,
        request: Request<RecentColumnsRequest>,
    ) -> Result<Response<Self::ColumnsStream>, Status> {
        let script = self.columns.as_ref().ok_or_else(|| Status::unimplemented("searching"))?;
        let parts = script(request.get_ref())?;
        Ok(Response::new(stream::iter(parts).map(Ok).boxed()))
    }

    async fn trace(
        &self,
        request: Request<RecentTraceRequest>,
    ) -> Result<Response<Self::TraceStream>, Status> {
        let request = request.into_inner();
        let number = {
            let mut asked = self.asked.lock();
            asked.push(request.clone());
            asked.len() - 1
        };
        tokio::time::sleep(self.delay).await;
        let parts = (self.script)(number, &request)?;
        Ok(Response::new(stream::iter(parts).map(Ok).boxed()))
    }
}

pub(super) struct Fixture {
    pub(super) log: SharedLog,
    pub(super) handle: MemoryHandle,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) querier: Querier,
    pub(super) metrics: Metrics,
    _tasks: JoinSet<()>,
}

/// What a job found.
#[derive(Debug, PartialEq)]
pub(super) struct Answered {
    pub(super) names: Vec<String>,
    pub(super) through: u64,
    pub(super) metrics: JobMetrics,
}

impl Fixture {
    pub(super) async fn new(config: Config, ingesters: &[(&str, &Arc<FakeIngester>)]) -> Self {
        Self::within(Governor::unlimited(), config, ingesters).await
    }

    /// With that memory.
    pub(super) async fn within(
        memory: Arc<Governor>,
        config: Config,
        ingesters: &[(&str, &Arc<FakeIngester>)],
    ) -> Self {
        let in_memory = MemoryLog::new(1);
        let handle = in_memory.handle();
        let log: SharedLog = in_memory;
        for (name, partitions, retention) in
            [(SPANS, 4, Retention::Time(Duration::from_secs(3600))), (OWNERS, 1, Retention::Compacted)]
        {
            let spec = TopicSpec { name: name.into(), partitions, replication: 1, retention };
            log.ensure_topic(&spec).await.unwrap();
        }
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let reader =
            BlockReader::new(Arc::clone(&store), ReaderConfig::default(), vivace_block::Metrics::default());
        let recent = ingesters.iter().fold(RecentServices::default(), |services, (address, ingester)| {
            services.with_local(*address, Arc::clone(ingester) as _)
        });
        let metrics = Metrics::new(&mut Registry::default());
        let parts = Parts {
            blocks: Arc::new(reader),
            log: Arc::clone(&log),
            spans_topic: SPANS.into(),
            owners_topic: OWNERS.into(),
            recent,
            memory,
            metrics: metrics.clone(),
        };
        let querier = Querier::new(config, parts);
        let mut tasks = JoinSet::new();
        let (running, ready) = (querier.clone(), Readiness::default().check("querier"));
        tasks.spawn(async move {
            running.run(ready, CancellationToken::new()).await.unwrap();
        });
        Self { log, handle, store, querier, metrics, _tasks: tasks }
    }

    pub(super) async fn announce(&self, address: Option<&str>) {
        let owner = address.map(|address| Owner {
            partition: PARTITION.0,
            address: address.into(),
            instance: address.into(),
            since: 1,
            start: 0,
        });
        let record = NewRecord {
            partition: Partition(0),
            key: Some(Owner::key(SPANS, PARTITION.0).into()),
            headers: vec![],
            value: owner.map(|owner| owner.to_value()).unwrap_or_default().into(),
        };
        self.log.append(OWNERS, vec![record]).await.unwrap();
        // Lets the querier read it.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Appends one record for each list of spans: pairs of the trace's number and a name.
    pub(super) async fn append(&self, records: &[&[(u8, &str)]]) {
        self.append_values(records.iter().map(|spans| encoded(spans))).await;
    }

    /// Appends records.
    pub(super) async fn append_values(&self, values: impl IntoIterator<Item = Bytes>) {
        let record = |value| NewRecord { partition: PARTITION, key: None, headers: vec![], value };
        self.log.append(SPANS, values.into_iter().map(record).collect()).await.unwrap();
    }

    pub(super) async fn recent(&self, from_offset: u64) -> Result<Answered, Status> {
        let source = RecentSource { partition: PARTITION.0, from_offset, log_only: false };
        self.run(Source::Recent(source)).await
    }

    pub(super) async fn run(&self, source: Source) -> Result<Answered, Status> {
        collect(self.start(source).await?).await
    }

    /// All parts of a search job's answer.
    pub(super) async fn search(&self, job: SearchJob) -> Result<Vec<SearchJobPart>, Status> {
        self.querier.search(Request::new(job)).await?.into_inner().try_collect().await
    }

    pub(super) async fn start(&self, source: Source) -> Result<PartStream<TraceJobPart>, Status> {
        let job = TraceJob {
            tenant: "single-tenant".into(),
            trace_id: TRACE.to_vec(),
            bytes_max: 0,
            source: Some(source),
        };
        Ok(self.querier.trace(Request::new(job)).await?.into_inner())
    }
}

async fn collect(stream: PartStream<TraceJobPart>) -> Result<Answered, Status> {
    let parts: Vec<_> = stream.try_collect().await?;
    let last = parts.last().unwrap();
    Ok(Answered {
        names: parts.iter().flat_map(|part| names(&part.traces_data)).collect(),
        through: last.through_offset,
        metrics: last.metrics.unwrap(),
    })
}

pub(super) fn span(trace: u8, name: &str) -> Span {
    Span { trace_id: vec![trace; 16], span_id: vec![1; 8], name: name.into(), ..Span::default() }
}

/// Spans as a record or part holds them.
pub(super) fn encoded(spans: &[(u8, &str)]) -> Bytes {
    let spans = spans.iter().map(|(trace, name)| span(*trace, name)).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    TracesData { resource_spans }.encode_to_vec().into()
}

/// Names of all spans of a part.
fn names(part: &Bytes) -> Vec<String> {
    let traces = TracesData::decode(part.clone()).unwrap();
    let scopes = traces.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect()
}

/// A part of an ingester's answer.
pub(super) fn part(name: &str, through: u64) -> RecentTracePart {
    RecentTracePart { traces_data: encoded(&[(7, name)]), through_offset: through, spans: 1 }
}

/// The whole log as it is now is what an answer must cover.
pub(super) async fn end(fixture: &Fixture) -> Offset {
    fixture.log.watermarks(SPANS, PARTITION).await.unwrap().end
}
