use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use prometheus_client::registry::Registry;
use prost::Message;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use vivace_distributor::{Config, Distributor, DistributorError, Metrics};
use vivace_log::{Log, LogError, Membership, NewRecord, Reader, TopicSpec};
use vivace_model::{Offset, OffsetRange, Overrides, Partition, partition_of};
use vivace_runtime::{ConnectionMetrics, Watched};

pub(crate) const PARTITIONS: u32 = 8;

/// What the log answers to an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Willing,
    Full,
    Unavailable,
    TooLarge,
}

/// A log that only takes records, and does as told.
#[derive(Debug)]
pub(crate) struct TestLog {
    pub(crate) mood: Mutex<Mood>,
    records: Mutex<Vec<NewRecord>>,
    /// Each append takes one; none left means it waits.
    pub(crate) gate: Semaphore,
    /// Each append that begins gives one.
    pub(crate) begun: Semaphore,
}

impl TestLog {
    /// From now on appends wait until one of `gate`'s permits is added for each of them.
    pub(crate) fn hold(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Waits until an append has begun that was not waited for yet.
    pub(crate) async fn next_append(&self) {
        self.begun.acquire().await.unwrap().forget();
    }

    pub(crate) async fn records(&self) -> Vec<NewRecord> {
        self.records.lock().await.clone()
    }

    /// All spans in the log with the attribute `id` of their resource, sorted; checks that each is where it belongs.
    pub(crate) async fn spans(&self) -> Vec<(Vec<u8>, Span)> {
        let mut spans = Vec::new();
        for record in self.records().await {
            for resource in TracesData::decode(record.value).expect("a record is OTLP").resource_spans {
                let key = resource.resource.unwrap_or_default().encode_to_vec();
                for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    let trace_id = span.trace_id.as_slice().try_into().unwrap();
                    assert_eq!(partition_of(&trace_id, PARTITIONS), record.partition);
                    spans.push((key.clone(), span));
                }
            }
        }
        sort(spans)
    }
}

#[async_trait]
impl Log for TestLog {
    async fn ensure_topic(&self, _: &TopicSpec) -> Result<(), LogError> {
        Ok(())
    }

    async fn grow_topic(&self, _: &str, _: u32) -> Result<(), LogError> {
        Ok(())
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        assert_eq!(topic, "spans");
        assert!(!records.is_empty(), "nothing is worth no append");
        self.begun.add_permits(1);
        self.gate.acquire().await.expect("never closed").forget();
        match *self.mood.lock().await {
            Mood::Willing => {}
            Mood::Full => return Err(LogError::Full),
            Mood::Unavailable => {
                let source = std::io::Error::from(std::io::ErrorKind::TimedOut).into();
                return Err(LogError::Unavailable { action: "secret broker name".into(), source });
            }
            Mood::TooLarge => return Err(LogError::TooLarge { bytes: 1 }),
        }
        let offsets = records.iter().map(|_| Offset::ZERO).collect();
        self.records.lock().await.extend(records);
        Ok(offsets)
    }

    async fn watermarks(&self, _: &str, _: Partition) -> Result<OffsetRange, LogError> {
        unreachable!("the distributor only appends")
    }

    async fn read(&self, _: &str, _: Partition, _: Offset) -> Result<Box<dyn Reader>, LogError> {
        unreachable!("the distributor only appends")
    }

    async fn join(&self, _: &str, _: &str) -> Result<Box<dyn Membership>, LogError> {
        unreachable!("the distributor only appends")
    }
}

/// A distributor that runs.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) log: Arc<TestLog>,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    registry: Registry,
    task: JoinSet<Result<(), DistributorError>>,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    /// Starts with these settings but on ports of its own.
    pub(crate) async fn start_with(config: Config) -> Self {
        Self::start_as(config, false, Overrides::default()).await
    }

    /// A stage that knows many tenants.
    pub(crate) async fn start_multitenant() -> Self {
        Self::start_overridden(Overrides::default()).await
    }

    /// A stage that knows many tenants, some better than others.
    pub(crate) async fn start_overridden(overrides: Overrides) -> Self {
        Self::start_as(Config::default(), true, overrides).await
    }

    async fn start_as(config: Config, multitenancy: bool, overrides: Overrides) -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config { grpc_listen: any_port, http_listen: any_port, ..config };
        let log = Arc::new(TestLog {
            mood: Mutex::default(),
            records: Mutex::default(),
            gate: Semaphore::new(1_000_000),
            begun: Semaphore::new(0),
        });
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let shared: Arc<dyn Log> = Arc::<TestLog>::clone(&log);
        let distributor = Distributor::new(config, shared, "spans".into(), PARTITIONS, metrics)
            .multitenancy(multitenancy)
            .connections(ConnectionMetrics::new(&mut registry), usize::MAX)
            .overrides(Watched::fixed(overrides));
        let bound = distributor.bind().await.unwrap();
        let (grpc, http) = (bound.grpc_address(), bound.http_address());
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(bound.run(shutdown.clone()));
        Self { log, grpc, http, shutdown, registry, task }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> TraceServiceClient<Channel> {
        TraceServiceClient::new(self.channel().await).max_encoding_message_size(1 << 30)
    }

    /// A POST to the HTTP port, of protobuf unless changed.
    pub(crate) fn post(&self, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        let url = format!("http://{}/v1/traces", self.http);
        reqwest::Client::new().post(url).header("content-type", "application/x-protobuf").body(body)
    }

    /// The value of a metric, with its labels as they are printed; zero if it is not there yet.
    pub(crate) fn metric(&self, name: &str) -> i64 {
        self.metric_of_process(&format!("distributor_{name}"))
    }

    /// Open connections to the HTTP port.
    pub(crate) fn connections(&self) -> i64 {
        self.metric_of_process("connections_open{listener=\"otlp_http\"}")
    }

    fn metric_of_process(&self, name: &str) -> i64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("vivace_{name} ")));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits for the end of a stage that was told to shut down.
    pub(crate) async fn ended(&mut self) {
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}

fn sort(mut spans: Vec<(Vec<u8>, Span)>) -> Vec<(Vec<u8>, Span)> {
    spans.sort_by_cached_key(|(key, span)| (key.clone(), span.encode_to_vec()));
    spans
}

/// The spans of a request as [`TestLog::spans`] gives them.
pub(crate) fn spans_of(request: &ExportTraceServiceRequest) -> Vec<(Vec<u8>, Span)> {
    let mut spans = Vec::new();
    for resource in &request.resource_spans {
        let key = resource.resource.clone().unwrap_or_default().encode_to_vec();
        for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            spans.push((key.clone(), span.clone()));
        }
    }
    sort(spans)
}

pub(crate) fn span(id: u32) -> Span {
    Span {
        trace_id: [[9; 12].as_slice(), &id.to_be_bytes()].concat(),
        span_id: [[9; 4], id.to_be_bytes()].concat(),
        name: format!("GET /{id}"),
        kind: 2,
        start_time_unix_nano: 1_780_000_000_000_000_000,
        end_time_unix_nano: 1_780_000_000_100_000_000,
        ..Span::default()
    }
}

pub(crate) fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let value = Some(AnyValue { value: Some(Value::StringValue("shop".into())) });
    let attribute = KeyValue { key: "service.name".into(), value, ..KeyValue::default() };
    let resource_spans = vec![ResourceSpans {
        resource: Some(Resource { attributes: vec![attribute], ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }
}

/// A request with that many spans, each of a trace of its own.
pub(crate) fn many(spans: u32) -> ExportTraceServiceRequest {
    request((1..=spans).map(span).collect())
}

/// A request of about that many bytes.
pub(crate) fn large(bytes: usize) -> ExportTraceServiceRequest {
    let spans = (1..=10).map(|id| Span { name: noise(bytes / 10, id), ..span(id) });
    request(spans.collect())
}

/// A request of one span of about that many bytes.
pub(crate) fn one_large(bytes: usize) -> ExportTraceServiceRequest {
    request(vec![Span { name: noise(bytes, 1), ..span(1) }])
}

/// Text that does not compress to nothing.
fn noise(bytes: usize, seed: u32) -> String {
    let mut state = seed;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    };
    (0..bytes).map(|_| letter()).collect()
}

pub(crate) fn gzip(plain: &[u8]) -> Bytes {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap().into()
}

/// The fields of `google.rpc.Status` that matter: code, message, seconds of RetryInfo.
pub(crate) fn rpc_status(bytes: &[u8]) -> (i32, String, Option<i64>) {
    #[derive(Clone, PartialEq, Message)]
    struct Status {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(message, repeated, tag = "3")]
        details: Vec<Detail>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Detail {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(message, optional, tag = "2")]
        value: Option<RetryInfo>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<Seconds>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Seconds {
        #[prost(int64, tag = "1")]
        seconds: i64,
    }
    let status = Status::decode(bytes).unwrap();
    let delay = status.details.first().map(|detail| {
        assert_eq!(detail.type_url, "type.googleapis.com/google.rpc.RetryInfo");
        detail.value.as_ref().unwrap().retry_delay.as_ref().unwrap().seconds
    });
    (status.code, status.message, delay)
}
