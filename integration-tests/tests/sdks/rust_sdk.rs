use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor,
};
use parking_lot::Mutex;
use vivace_integration_tests::Vivace;

use crate::{Sent, by_trace};

/// Keeps finished spans in memory.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Collector {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Makes traces with the Rust SDK, sends them with its exporter, and gives what they are.
pub(crate) async fn send(vivace: &Vivace, protocol: &str) -> anyhow::Result<Vec<Sent>> {
    let mut exporter = if protocol == "grpc" {
        SpanExporter::builder().with_tonic().with_endpoint(vivace.otlp_grpc()).build()?
    } else {
        let endpoint = format!("{}/v1/traces", vivace.otlp_http());
        SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .build()?
    };
    let resource = Resource::builder_empty()
        .with_service_name(format!("rust-{protocol}"))
        .with_schema_url(values(), "https://opentelemetry.io/schemas/1.29.0")
        .build();
    let collector = Collector::default();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_span_processor(collector.clone())
        .with_max_attributes_per_span(48)
        .build();
    make_traces(&provider);
    let spans = std::mem::take(&mut *collector.0.lock());
    exporter.set_resource(&resource);
    for batch in spans.chunks(64) {
        exporter.export(batch.to_vec()).await?;
    }
    let attributes = ResourceAttributesWithSchema::from(&resource);
    let resource_spans = group_spans_by_resource_and_scope(spans, &attributes);
    Ok(by_trace(&format!("the Rust SDK over {protocol}"), TracesData { resource_spans }))
}

/// One value of each type that the SDK has, with the edges of each.
fn values() -> Vec<KeyValue> {
    let pairs: [(&'static str, Value); 18] = [
        ("text", "plain".into()),
        ("text.empty", "".into()),
        ("text.unicode", "ключ 鍵 مفتاح 🔑 \0 \"quoted\" \\ \n".into()),
        ("text.long", "0123456789".repeat(1000).into()),
        ("ключ.🔑", "a key in other letters".into()),
        ("bool", true.into()),
        ("int.zero", 0.into()),
        ("int.min", i64::MIN.into()),
        ("int.max", i64::MAX.into()),
        ("double", 0.1.into()),
        ("double.negative.zero", (-0.0).into()),
        ("double.tiny", 5e-324.into()),
        ("double.infinite", f64::NEG_INFINITY.into()),
        ("double.nan", f64::NAN.into()),
        ("array.text", Value::Array(Array::String(vec!["a".into(), "".into(), "ü".into()]))),
        ("array.bool", Value::Array(Array::Bool(vec![true, false]))),
        ("array.int", Value::Array(Array::I64(vec![1, -2, 1 << 62]))),
        ("array.double", Value::Array(Array::F64(vec![0.5, -0.0, f64::INFINITY]))),
    ];
    pairs.map(|(key, value)| KeyValue::new(key, value)).to_vec()
}

fn make_traces(provider: &SdkTracerProvider) {
    let scope = InstrumentationScope::builder("vivace.tests")
        .with_version("1.2.3")
        .with_schema_url("https://opentelemetry.io/schemas/1.30.0")
        .with_attributes([KeyValue::new("scope.attribute", "of the scope")])
        .build();
    let tracer = provider.tracer_with_scope(scope);
    let elsewhere = elsewhere();
    let long_ago = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
    let mut root = tracer
        .span_builder("everything 🎻")
        .with_kind(SpanKind::Server)
        .with_start_time(long_ago)
        .with_attributes(values())
        .with_links(vec![Link::new(elsewhere.clone(), values(), 3), Link::with_context(elsewhere.clone())])
        .start(&tracer);
    root.add_event_with_timestamp("event with all values", long_ago, values());
    root.add_event("event with none", Vec::new());
    root.add_event("", Vec::new());
    root.set_status(Status::error("beschädigt"));
    let inside = Context::new().with_span(root);
    let kinds =
        [SpanKind::Client, SpanKind::Consumer, SpanKind::Internal, SpanKind::Producer, SpanKind::Server];
    for kind in kinds {
        let name = format!("kind {kind:?}");
        let mut span = tracer.span_builder(name).with_kind(kind.clone()).start_with_context(&tracer, &inside);
        // One key with values of two types: neither may turn into the other.
        let status: Value = if kind == SpanKind::Client { "a text here".into() } else { 200.into() };
        span.set_attribute(KeyValue::new("http.response.status_code", status));
        span.set_status(if kind == SpanKind::Client { Status::Ok } else { Status::Unset });
    }
    let mut limits = tracer.start_with_context("limits", &inside);
    for number in 0..200 {
        limits.set_attribute(KeyValue::new(format!("many.{number}"), number));
        limits.add_event(format!("event {number}"), Vec::new());
    }
    drop(limits);
    drop(inside);

    let plain = provider.tracer("another.scope");
    let outer = Context::new().with_span(plain.start_with_context("outer", &Context::new()));
    for number in 0..100 {
        let mut span = plain.start_with_context("inner", &outer);
        span.set_attribute(KeyValue::new("number", number));
    }
    drop(outer);
    let remote = Context::new().with_remote_span_context(elsewhere);
    drop(plain.start_with_context("child of a remote parent", &remote));
}

/// A span of another process.
fn elsewhere() -> SpanContext {
    let ids = RandomIdGenerator::default();
    let (trace, span): (TraceId, SpanId) = (ids.new_trace_id(), ids.new_span_id());
    let state =
        TraceState::from_key_value([("vendor", "value"), ("other", "1")]).expect("a valid trace state");
    SpanContext::new(trace, span, TraceFlags::SAMPLED, true, state)
}
