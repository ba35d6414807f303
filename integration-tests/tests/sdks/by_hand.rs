use std::sync::Arc;

use anyhow::ensure;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::transport::Endpoint;
use vivace_integration_tests::{Acknowledged, Sender, Vivace};

use crate::{Sent, by_trace};

/// Sends what OTLP allows but no SDK makes, in every encoding that a receiver must take.
pub(crate) async fn send(vivace: &Vivace) -> anyhow::Result<Vec<Sent>> {
    let mut sent = Vec::new();
    let noted = Arc::new(Acknowledged::default());
    Sender::new(&vivace.otlp_grpc(), &noted)?.send(request(1, true)).await?;
    sent.extend(by_trace("a plain gRPC client", traces(1, true)));

    for (number, encoding) in [(2, CompressionEncoding::Gzip), (3, CompressionEncoding::Zstd)] {
        let channel = Endpoint::from_shared(vivace.otlp_grpc())?.connect().await?;
        let mut client = TraceServiceClient::new(channel).send_compressed(encoding);
        client.export(request(number, true)).await?;
        sent.extend(by_trace(&format!("a gRPC client with {encoding}"), traces(number, true)));
    }

    let protobuf = request(4, true).encode_to_vec();
    post(vivace, "application/x-protobuf", protobuf).await?;
    sent.extend(by_trace("a client of HTTP with protobuf", traces(4, true)));

    // JSON has no way to write NaN that all agree on.
    post(vivace, "application/json", serde_json::to_vec(&request(5, false))?).await?;
    sent.extend(by_trace("a client of HTTP with JSON", traces(5, false)));
    Ok(sent)
}

async fn post(vivace: &Vivace, kind: &str, body: Vec<u8>) -> anyhow::Result<()> {
    let address = format!("{}/v1/traces", vivace.otlp_http());
    let answer = reqwest::Client::new().post(address).header("content-type", kind).body(body).send().await?;
    let status = answer.status();
    ensure!(status.is_success(), "{kind}: {status}: {}", answer.text().await?);
    ensure!(answer.headers()["content-type"].to_str()?.starts_with(kind), "answered in another form");
    Ok(())
}

fn request(number: u8, with_nan: bool) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest { resource_spans: traces(number, with_nan).resource_spans }
}

/// A trace full of oddities; the number tells it from its siblings.
fn traces(number: u8, with_nan: bool) -> TracesData {
    let trace_id = trace_id(number);
    let root = root(trace_id.clone(), with_nan);
    let bare = Span { trace_id, span_id: vec![2; 8], parent_span_id: vec![1; 8], ..Span::default() };
    let orphan =
        Span { span_id: vec![3; 8], parent_span_id: vec![0xee; 8], name: "orphan".into(), ..bare.clone() };
    let resource =
        Resource { attributes: values(with_nan), dropped_attributes_count: 6, entity_refs: Vec::new() };
    let scope = InstrumentationScope {
        name: "scope".into(),
        version: "0".into(),
        attributes: values(with_nan),
        dropped_attributes_count: 7,
    };
    let full = ScopeSpans { scope: Some(scope), spans: vec![root], schema_url: "urn:scope".into() };
    let plain = ScopeSpans { spans: vec![bare], ..ScopeSpans::default() };
    let alone = ScopeSpans { spans: vec![orphan], ..ScopeSpans::default() };
    TracesData {
        resource_spans: vec![
            ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![full, plain],
                schema_url: "urn:resource".into(),
            },
            // No resource, no scope, no name of a service.
            ResourceSpans { scope_spans: vec![alone], ..ResourceSpans::default() },
        ],
    }
}

/// Has something in each field, and ends before it starts.
fn root(trace_id: Vec<u8>, with_nan: bool) -> Span {
    let event = Event {
        time_unix_nano: 1_700_000_000_000_000_002,
        name: "event".into(),
        attributes: values(with_nan),
        dropped_attributes_count: 2,
    };
    let link = Link {
        trace_id: vec![9; 16],
        span_id: vec![9; 8],
        trace_state: "a=b".into(),
        attributes: values(with_nan),
        dropped_attributes_count: 4,
        flags: 0x101,
    };
    Span {
        trace_id,
        span_id: vec![1; 8],
        trace_state: "vendor=value,ot=th:8".into(),
        flags: 0x301,
        name: "everything".into(),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_001,
        end_time_unix_nano: 1_700_000_000_000_000_000,
        attributes: values(with_nan),
        dropped_attributes_count: 1,
        events: vec![event, Event::default()],
        dropped_events_count: 3,
        links: vec![link],
        dropped_links_count: 5,
        status: Some(Status { code: 2, message: "ошибка".into() }),
        ..Span::default()
    }
}

fn trace_id(number: u8) -> Vec<u8> {
    let mut id = vec![0xb0; 16];
    id[15] = number;
    id
}

/// Values of every type, nested, empty and absent ones too.
fn values(with_nan: bool) -> Vec<KeyValue> {
    let inner = vec![
        pair("text", Any::StringValue("inner".into())),
        pair("bytes", Any::BytesValue(vec![0, 255])),
        pair("deep", Any::KvlistValue(KeyValueList { values: vec![pair("deeper", Any::IntValue(-1))] })),
    ];
    let mixed = vec![
        value(Any::StringValue("1".into())),
        value(Any::IntValue(1)),
        value(Any::BoolValue(true)),
        value(Any::DoubleValue(1.0)),
        AnyValue::default(),
        value(Any::ArrayValue(ArrayValue { values: vec![value(Any::IntValue(2))] })),
        value(Any::KvlistValue(KeyValueList { values: inner.clone() })),
    ];
    let mut values = vec![
        pair("text", Any::StringValue("текст 🔑".into())),
        pair("text.empty", Any::StringValue(String::new())),
        pair("bool.false", Any::BoolValue(false)),
        pair("int.min", Any::IntValue(i64::MIN)),
        pair("int.max", Any::IntValue(i64::MAX)),
        pair("double.whole", Any::DoubleValue(3.0)),
        pair("double.pi", Any::DoubleValue(std::f64::consts::PI)),
        pair("bytes", Any::BytesValue((0..=255).collect())),
        pair("bytes.empty", Any::BytesValue(Vec::new())),
        pair("array", Any::ArrayValue(ArrayValue { values: mixed })),
        pair("array.empty", Any::ArrayValue(ArrayValue::default())),
        pair("map", Any::KvlistValue(KeyValueList { values: inner })),
        pair("map.empty", Any::KvlistValue(KeyValueList::default())),
        KeyValue { key: "value.empty".into(), value: Some(AnyValue::default()), ..KeyValue::default() },
        pair("large", Any::StringValue("x".repeat(20_000))),
        pair("a key with \"quotes\", dots. and spaces", Any::IntValue(1)),
        pair("", Any::StringValue("an empty key".into())),
    ];
    if with_nan {
        values.push(pair("double.nan", Any::DoubleValue(f64::NAN)));
        values.push(pair("double.infinite", Any::DoubleValue(f64::INFINITY)));
        values.push(KeyValue { key: "value.absent".into(), ..KeyValue::default() });
    }
    values
}

fn pair(key: &str, of: Any) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value(of)), ..KeyValue::default() }
}

const fn value(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}
