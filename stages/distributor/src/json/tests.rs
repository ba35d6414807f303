use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::prelude::*;
use prost::Message as _;

use super::*;

fn decode(json: &str) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(&to_protobuf(json.as_bytes()).unwrap()[..]).unwrap()
}

fn decode_span(span: &str) -> Span {
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
    decode(&json).resource_spans.remove(0).scope_spans.remove(0).spans.remove(0)
}

fn value(json: &str) -> Option<Value> {
    let span = decode_span(&format!(r#"{{"attributes":[{{"key":"k","value":{json}}}]}}"#));
    span.attributes.into_iter().next().unwrap().value.unwrap().value
}

fn error(span: &str) -> String {
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
    to_protobuf(json.as_bytes()).unwrap_err().to_string()
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[test]
fn what_another_implementation_writes_reads_back_equal() {
    let attributes = vec![
        attribute("text", Value::StringValue("\"\\ü\u{1F600}".into())),
        attribute("int", Value::IntValue(i64::MIN)),
        attribute("double", Value::DoubleValue(-0.25)),
        attribute("bool", Value::BoolValue(false)),
        attribute("bytes", Value::BytesValue(vec![0, 255, 62, 63])),
        attribute("empty list", Value::ArrayValue(ArrayValue::default())),
        attribute(
            "map",
            Value::KvlistValue(KeyValueList { values: vec![attribute("inner", Value::IntValue(-1))] }),
        ),
        KeyValue { key: "nothing".into(), ..KeyValue::default() },
    ];
    let span = Span {
        trace_id: vec![0xab; 16],
        span_id: vec![1; 8],
        parent_span_id: vec![2; 8],
        trace_state: "a=b".into(),
        name: "name".into(),
        kind: 2,
        start_time_unix_nano: u64::MAX,
        end_time_unix_nano: 1,
        attributes: attributes.clone(),
        dropped_attributes_count: 1,
        dropped_events_count: 2,
        dropped_links_count: 3,
        events: vec![Event {
            time_unix_nano: 5,
            name: "event".into(),
            attributes: attributes.clone(),
            dropped_attributes_count: 6,
        }],
        links: vec![Link {
            trace_id: vec![3; 16],
            span_id: vec![4; 8],
            trace_state: "c=d".into(),
            attributes: attributes.clone(),
            dropped_attributes_count: 7,
            flags: 8,
        }],
        status: Some(Status { message: "bad".into(), code: 2 }),
        flags: 0x101,
    };
    let scope_spans = ScopeSpans { spans: vec![span], schema_url: "s".into(), ..ScopeSpans::default() };
    let resource = Resource { attributes, dropped_attributes_count: 9, ..Resource::default() };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![scope_spans],
            schema_url: "r".into(),
        }],
    };
    assert_eq!(decode(&serde_json::to_string(&request).unwrap()), request);
}

#[test]
fn names_may_be_written_either_way() {
    let json = r#"{"resource_spans":[{"schema_url":"u","scope_spans":[{"spans":[{"trace_id":"0A","span_id":"0b",
        "start_time_unix_nano":"5","attributes":[{"key":"k","value":{"string_value":"v"}}]}]}]}]}"#;
    let resource = decode(json).resource_spans.remove(0);
    assert_eq!(resource.schema_url, "u");
    let span = &resource.scope_spans[0].spans[0];
    assert_eq!((&span.trace_id[..], &span.span_id[..], span.start_time_unix_nano), (&[10][..], &[11][..], 5));
    assert_eq!(span.attributes[0].value.as_ref().unwrap().value, Some(Value::StringValue("v".into())));
}

#[test]
fn null_is_absent_and_unknown_fields_are_skipped() {
    let span = decode_span(
        r#"{"parentSpanId":null,"attributes":null,"status":null,"kind":null,"name":"n","new":{"a":[1,{"b":null}]}}"#,
    );
    assert_eq!(span, Span { name: "n".into(), ..Span::default() });
    assert_eq!(decode(r#"{"resourceSpans":null}"#), ExportTraceServiceRequest::default());
    assert_eq!(decode("{}"), ExportTraceServiceRequest::default());
}

#[test]
fn numbers_are_read_in_every_spelling() {
    for json in
        [r#"{"intValue":"-5"}"#, r#"{"intValue":-5}"#, r#"{"intValue":-5.0}"#, r#"{"intValue":"-5e0"}"#]
    {
        assert_eq!(value(json), Some(Value::IntValue(-5)), "{json}");
    }
    for json in [r#"{"doubleValue":2}"#, r#"{"doubleValue":2.0}"#, r#"{"doubleValue":"2"}"#] {
        assert_eq!(value(json), Some(Value::DoubleValue(2.0)), "{json}");
    }
    assert_eq!(value(r#"{"doubleValue":"-Infinity"}"#), Some(Value::DoubleValue(f64::NEG_INFINITY)));
    assert!(matches!(value(r#"{"doubleValue":"NaN"}"#), Some(Value::DoubleValue(number)) if number.is_nan()));
    assert_eq!(decode_span(r#"{"startTimeUnixNano":18446744073709551615}"#).start_time_unix_nano, u64::MAX);
}

#[test]
fn enums_are_numbers_or_names() {
    for kind in ["3", r#""3""#, r#""SPAN_KIND_CLIENT""#] {
        assert_eq!(decode_span(&format!(r#"{{"kind":{kind}}}"#)).kind, 3, "{kind}");
    }
    let status = decode_span(r#"{"status":{"code":"STATUS_CODE_ERROR"}}"#).status.unwrap();
    assert_eq!(status.code, 2);
}

#[test]
fn bytes_are_base64_of_either_alphabet() {
    for text in ["++//", "--__"] {
        assert_eq!(
            value(&format!(r#"{{"bytesValue":"{text}"}}"#)),
            Some(Value::BytesValue(vec![251, 239, 255]))
        );
    }
    assert_eq!(value(r#"{"bytesValue":"AQ"}"#), Some(Value::BytesValue(vec![1])));
    assert_eq!(value(r#"{"bytesValue":"AQ=="}"#), Some(Value::BytesValue(vec![1])));
}

#[test]
fn empty_values_stay_set() {
    assert_eq!(value(r#"{"stringValue":""}"#), Some(Value::StringValue(String::new())));
    assert_eq!(value(r#"{"boolValue":false}"#), Some(Value::BoolValue(false)));
    assert_eq!(value(r#"{"arrayValue":{}}"#), Some(Value::ArrayValue(ArrayValue::default())));
    assert_eq!(value("{}"), None);
}

#[test]
fn wrong_values_are_refused_with_their_place() {
    for (span, message) in [
        (r#"{"traceId":"xyz"}"#, "traceId cannot be \"xyz\": Odd number of digits"),
        (r#"{"name":5}"#, "name cannot be 5"),
        (r#"{"startTimeUnixNano":-1}"#, "startTimeUnixNano cannot be -1"),
        (r#"{"startTimeUnixNano":1.5}"#, "startTimeUnixNano cannot be 1.5"),
        (r#"{"flags":4294967296}"#, "flags cannot be 4294967296"),
        (r#"{"kind":"SPAN_KIND_NEW"}"#, "kind cannot be \"SPAN_KIND_NEW\""),
        (r#"{"name":["a"]}"#, "name cannot be a list"),
        (r#"{"events":{}}"#, "events cannot be an object outside of a list"),
        (r#"{"events":[null]}"#, "events cannot be null"),
        (r#"{"events":[[]]}"#, "events cannot be a list"),
        (r#"{"status":true}"#, "status cannot be true"),
    ] {
        assert!(error(span).starts_with(message), "{span}: {}", error(span));
        assert!(error(span).contains("at line 1 column"));
    }
    assert!(to_protobuf(b"{} {}").is_err());
    assert!(to_protobuf(b"[]").is_err());
    assert!(to_protobuf(b"").is_err());
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    let deep = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(100_000), "]}}".repeat(100_000));
    assert!(
        error(&format!(r#"{{"attributes":[{{"value":{deep}}}]}}"#)).starts_with("recursion limit exceeded")
    );
    // What is skipped is skipped without the stack.
    let unknown = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(decode_span(&format!(r#"{{"new":{unknown}}}"#)), Span::default());
}

proptest! {
    #[test]
    fn no_text_panics_and_output_is_bounded(
        json in r#"[{}\[\]",:a-z0-9.]{0,40}|\{"resourceSpans":\[\{"scopeSpans":\[\{"spans":\[[{}\[\]",:a-zI0-9.-]{0,30}"#,
    ) {
        if let Ok(protobuf) = to_protobuf(json.as_bytes()) {
            prop_assert!(protobuf.len() <= 2 * json.len());
        }
    }
}
