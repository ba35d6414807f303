//! The traces that the tests ask about: of a shop, its database, and a worker; some with errors.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

pub(crate) const TRACES: u64 = 30;
pub(crate) const SPANS_PER_TRACE: u64 = 4;
const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// All traces; the newest, number 1, began some seconds before `now`, in Unix nanoseconds.
pub(crate) fn requests(now: u64) -> Vec<ExportTraceServiceRequest> {
    (1..=TRACES).map(|number| trace(number, start(now, number))).collect()
}

pub(crate) const fn start(now: u64, number: u64) -> u64 {
    now - 5 * SECOND - number * 10 * SECOND
}

/// Traces with a failing span.
pub(crate) const fn fails(number: u64) -> bool {
    number.is_multiple_of(3)
}

pub(crate) fn trace_id(number: u64) -> Vec<u8> {
    let mut id = vec![0xab; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    id
}

fn trace(number: u64, start: u64) -> ExportTraceServiceRequest {
    let span = |index: u64, name: &str, kind: SpanKind, attributes: Vec<KeyValue>| Span {
        trace_id: trace_id(number),
        span_id: (number << 8 | index).to_be_bytes().to_vec(),
        parent_span_id: if index == 1 { vec![] } else { (number << 8 | (index - 1)).to_be_bytes().to_vec() },
        name: name.into(),
        kind: kind.into(),
        start_time_unix_nano: start + index * MILLISECOND,
        end_time_unix_nano: start + (200 - index) * MILLISECOND,
        attributes,
        status: Some(Status::default()),
        ..Span::default()
    };
    let code = if fails(number) { 500 } else { 200 };
    let root = span(
        1,
        "GET /cart",
        SpanKind::Server,
        vec![int("http.status_code", code), text("http.route", "/cart"), text("odd key/1", "odd")],
    );
    let call = span(2, "SELECT", SpanKind::Client, vec![text("db.system.name", "postgresql")]);
    let mut query = span(3, "query", SpanKind::Server, vec![text("foo", "bar"), int("footag", 1234)]);
    if fails(number) {
        query.status = Some(Status { code: 2, message: "no such table".into() });
        query.events = vec![Event {
            time_unix_nano: query.start_time_unix_nano + 1,
            name: "exception".into(),
            attributes: vec![
                text("exception.message", "m"),
                text("exception.type", "t"),
                text("exception.stacktrace", "at line 1"),
            ],
            ..Event::default()
        }];
    }
    let work = span(4, "work", SpanKind::Consumer, vec![]);
    ExportTraceServiceRequest {
        resource_spans: vec![
            of("shop", vec![root, call]),
            of("database", vec![query]),
            of("worker", vec![work]),
        ],
    }
}

fn of(service: &str, spans: Vec<Span>) -> ResourceSpans {
    let attributes = vec![text("service.name", service), text("cluster", "test")];
    let scope = InstrumentationScope { name: "tests".into(), version: "1".into(), ..Default::default() };
    ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
