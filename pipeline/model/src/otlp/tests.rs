mod random;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use prost::Message;

use self::random::assert_same_spans;
use super::check::NESTING_MAX;
use super::*;
use crate::partition_of;
use crate::wire::put_bytes_header;

const NO_LIMITS: Limits = Limits { record_bytes_max: usize::MAX, output_bytes_max: usize::MAX };

fn one_span() -> Span {
    Span { trace_id: vec![7; 16], span_id: vec![8; 8], name: "one".into(), ..Span::default() }
}

fn request_of(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource_spans = vec![ResourceSpans {
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }
}

fn walk_spans(spans: Vec<Span>, limits: Limits) -> Result<Walked, WalkError> {
    walk(Bytes::from(request_of(spans).encode_to_vec()), TenantSpread::all(4), limits)
}

#[test]
fn empty_requests_make_no_records() {
    let no_spans = request_of(Vec::new()).encode_to_vec();
    for bytes in [Vec::new(), no_spans] {
        let walked = walk(Bytes::from(bytes), TenantSpread::all(4), NO_LIMITS).unwrap();
        assert_eq!((walked.records.len(), walked.rejected.len()), (0, 0));
    }
}

#[test]
fn a_request_that_is_one_record_is_not_copied() {
    let request = Bytes::from(request_of(vec![one_span(), one_span()]).encode_to_vec());
    let walked = walk(request.clone(), TenantSpread::all(4), NO_LIMITS).unwrap();
    assert_eq!(walked.records.len(), 1);
    assert_eq!(walked.records[0].value.as_ptr(), request.as_ptr());
    assert_eq!(walked.records[0].spans, 2);
}

#[test]
fn bad_ids_refuse_the_request() {
    let message = |change: fn(&mut Span)| {
        let mut bad = one_span();
        change(&mut bad);
        walk_spans(vec![one_span(), bad], NO_LIMITS).unwrap_err().to_string()
    };
    assert_eq!(message(|span| span.trace_id.clear()), "span 1: trace id must be 16 bytes, got 0");
    assert_eq!(message(|span| span.trace_id.fill(0)), "span 1: trace id must not be all zero");
    assert_eq!(message(|span| span.span_id.truncate(7)), "span 1: span id must be 8 bytes, got 7");
    assert_eq!(message(|span| span.span_id.fill(0)), "span 1: span id must not be all zero");
    let parent = message(|span| span.parent_span_id = vec![1; 16]);
    assert_eq!(parent, "span 1: parent span id must be 8 bytes, got 16");
}

#[test]
fn a_root_may_have_a_parent_id_of_zeros() {
    let span = Span { parent_span_id: vec![0; 8], ..one_span() };
    assert_eq!(walk_spans(vec![span], NO_LIMITS).unwrap().records.len(), 1);
}

#[test]
fn of_ids_given_twice_the_last_counts() {
    let mut message = Vec::new();
    put_bytes_header(&mut message, 1, 3);
    message.extend([1; 3]);
    message.extend(one_span().encode_to_vec());
    let request = nest(1, &nest(2, &nest(2, &message)));
    let walked = walk(Bytes::from(request), TenantSpread::all(64), NO_LIMITS).unwrap();
    assert_eq!(walked.records[0].partition, partition_of(&[7; 16], 64));
}

#[test]
fn headers_are_copied_from_wherever_they_stand() {
    let resource = |key: &str| {
        let attribute = KeyValue { key: key.into(), ..KeyValue::default() };
        nest(1, &Resource { attributes: vec![attribute], ..Resource::default() }.encode_to_vec())
    };
    let spans = |id: u8| nest(2, &nest(2, &Span { trace_id: vec![id; 16], ..one_span() }.encode_to_vec()));
    let unknown = [0x98, 0x06, 0x01]; // field 99, a varint
    let message =
        [&resource("a"), &spans(1)[..], &resource("b"), &unknown, &spans(2), &nest(3, b"url")].concat();
    let request = Bytes::from(nest(1, &message));
    let walked = walk(request.clone(), TenantSpread::all(64), NO_LIMITS).unwrap();
    assert_eq!(walked.records.len(), 2, "two partitions");
    let decoded = TracesData::decode(request).unwrap();
    assert_eq!(
        decoded.resource_spans[0].resource.as_ref().unwrap().attributes.len(),
        2,
        "a decoder merges them"
    );
    assert_same_spans(&decoded, &walked, 64);
    for record in walked.records {
        assert!(record.value.windows(3).any(|bytes| bytes == unknown), "fields of a newer OTLP pass through");
    }
}

#[test]
fn a_span_too_large_for_a_record_is_rejected_alone() {
    let large = Span { trace_id: vec![5; 16], name: "x".repeat(500), ..one_span() };
    let size = request_of(vec![large.clone()]).encoded_len();
    let limits = Limits { record_bytes_max: size - 1, output_bytes_max: usize::MAX };
    let walked = walk_spans(vec![one_span(), large.clone(), one_span()], limits).unwrap();
    let trace_id = TraceId::from_bytes([5; 16]);
    assert_eq!(walked.rejected, [RejectedSpan { index: 1, trace_id, bytes: size }]);
    assert_eq!(walked.records.iter().map(|record| record.spans).sum::<usize>(), 2);

    let limits = Limits { record_bytes_max: size, ..limits };
    let walked = walk_spans(vec![one_span(), large, one_span()], limits).unwrap();
    assert!(walked.rejected.is_empty(), "exactly the limit fits");
}

#[test]
fn a_large_resource_cannot_blow_up_the_output() {
    let mut request = request_of((1..=100).map(|id| Span { trace_id: vec![id; 16], ..one_span() }).collect());
    let value = AnyValue { value: Some(Value::StringValue("x".repeat(10_000))) };
    let attribute = KeyValue { key: "big".into(), value: Some(value), ..KeyValue::default() };
    request.resource_spans[0].resource =
        Some(Resource { attributes: vec![attribute], ..Resource::default() });
    let request = Bytes::from(request.encode_to_vec());
    let limits = Limits { record_bytes_max: 10_200, output_bytes_max: 50_000 };
    assert_eq!(walk(request, TenantSpread::all(4), limits), Err(WalkError::OutputTooLarge { max: 50_000 }));
}

#[test]
fn wrong_structure_refuses_the_request() {
    let span_field = |field: &[u8]| {
        let message = [&one_span().encode_to_vec(), field].concat();
        walk(Bytes::from(nest(1, &nest(2, &nest(2, &message)))), TenantSpread::all(4), NO_LIMITS)
    };
    for (field, message) in [
        (&[0x28, 1][..], "malformed OTLP Span: protobuf field 5 has the wrong wire type"), // name as a number
        (&[0x4a, 2, 0x0a, 9], "malformed OTLP KeyValue: protobuf message ends inside a field"),
        (&[0x5a, 2, 0x10, 1], "malformed OTLP Span.Event: protobuf field 2 has the wrong wire type"),
        (&[0x6a, 1, 0xff], "malformed OTLP Span.Link: protobuf message ends inside a field"),
        (&[0x0b], "malformed OTLP Span: protobuf wire type 3 is not supported"),
        (&[0x3a], "malformed OTLP Span: protobuf message ends inside a field"),
    ] {
        assert_eq!(span_field(field).unwrap_err().to_string(), message);
    }
    assert!(span_field(&[0x98, 0x06, 0x01]).is_ok(), "unknown fields are kept");
}

#[test]
fn nesting_is_limited_to_what_decoders_follow() {
    // Each level of arrays is two messages: AnyValue and ArrayValue.
    let nested = |levels: u32| {
        let mut value = AnyValue { value: Some(Value::BoolValue(true)) };
        for _ in 0..levels {
            value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
        }
        let attribute = KeyValue { key: "deep".into(), value: Some(value), ..KeyValue::default() };
        walk_spans(vec![Span { attributes: vec![attribute], ..one_span() }], NO_LIMITS)
    };
    let fits = (NESTING_MAX - 2) / 2;
    let walked = nested(fits).unwrap();
    TracesData::decode(walked.records[0].value.clone()).expect("decoders follow what is accepted");
    assert_eq!(nested(fits + 1), Err(WalkError::TooDeep { max: NESTING_MAX }));
}

/// The field of a message.
fn nest(field: u32, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes_header(&mut out, field, message.len());
    out.extend_from_slice(message);
    out
}
