//! Random requests, compared with what a decoder makes of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use super::super::*;
use crate::partition_of;

/// A span with all that it is under, as encoded text to compare by.
type Row = (Vec<u8>, String, Vec<u8>, String, Vec<u8>);

/// Every span of a request, in order, and the partition of its trace.
fn rows(request: &TracesData, partitions: u32) -> Vec<(Partition, Row)> {
    let mut rows = Vec::new();
    for resource in &request.resource_spans {
        for scope in &resource.scope_spans {
            for span in &scope.spans {
                let trace_id = span.trace_id.as_slice().try_into().unwrap();
                let row = (
                    resource
                        .resource
                        .as_ref()
                        .map(Message::encode_length_delimited_to_vec)
                        .unwrap_or_default(),
                    resource.schema_url.clone(),
                    scope.scope.as_ref().map(Message::encode_length_delimited_to_vec).unwrap_or_default(),
                    scope.schema_url.clone(),
                    span.encode_to_vec(),
                );
                rows.push((partition_of(&trace_id, partitions), row));
            }
        }
    }
    rows
}

/// Size of a record of only this span.
fn alone(row: &Row) -> usize {
    let (resource, resource_url, scope, scope_url, span) = row;
    let decode = |bytes: &Vec<u8>| (!bytes.is_empty()).then_some(bytes.clone());
    TracesData {
        resource_spans: vec![ResourceSpans {
            resource: decode(resource).map(|bytes| Resource::decode_length_delimited(&bytes[..]).unwrap()),
            schema_url: resource_url.clone(),
            scope_spans: vec![ScopeSpans {
                scope: decode(scope)
                    .map(|bytes| InstrumentationScope::decode_length_delimited(&bytes[..]).unwrap()),
                schema_url: scope_url.clone(),
                spans: vec![Span::decode(&span[..]).unwrap()],
            }],
        }],
    }
    .encoded_len()
}

/// Compares what was walked with what a decoder makes of the request.
pub(super) fn assert_same_spans(request: &TracesData, walked: &Walked, partitions: u32) {
    let mut expected: BTreeMap<u32, Vec<Row>> = BTreeMap::new();
    let rejected: Vec<_> = walked.rejected.iter().map(|span| span.index).collect();
    for (index, (partition, row)) in rows(request, partitions).into_iter().enumerate() {
        if !rejected.contains(&index) {
            expected.entry(partition.0).or_default().push(row);
        }
    }
    let mut actual: BTreeMap<u32, Vec<Row>> = BTreeMap::new();
    for record in &walked.records {
        let decoded = TracesData::decode(record.value.clone()).expect("a record is OTLP");
        let found = rows(&decoded, partitions);
        assert_eq!(found.len(), record.spans);
        assert!(record.spans > 0, "a record holds a span");
        for (partition, row) in found {
            assert_eq!(partition, record.partition);
            actual.entry(partition.0).or_default().push(row);
        }
    }
    // Order within a partition is kept, so lists may be compared.
    assert_eq!(actual, expected);
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        ".{0,12}".prop_map(|text| Some(Value::StringValue(text))),
        any::<bool>().prop_map(|value| Some(Value::BoolValue(value))),
        any::<i64>().prop_map(|value| Some(Value::IntValue(value))),
        (-1e9..1e9).prop_map(|value| Some(Value::DoubleValue(value))),
        vec(any::<u8>(), 0..9).prop_map(|bytes| Some(Value::BytesValue(bytes))),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3)
                .prop_map(|values| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) }),
            vec(("[a-c]{1,3}", inner), 0..3).prop_map(|pairs| {
                let key_value = |(key, value)| KeyValue { key, value: Some(value), ..KeyValue::default() };
                let values = pairs.into_iter().map(key_value).collect();
                AnyValue { value: Some(Value::KvlistValue(KeyValueList { values })) }
            }),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = ("[a-z.]{0,8}", option::of(any_value()));
    vec(pair.prop_map(|(key, value)| KeyValue { key, value, ..KeyValue::default() }), 0..4)
}

fn span() -> impl Strategy<Value = Span> {
    let event = (any::<u64>(), "[a-z]{0,5}", attributes()).prop_map(|(time_unix_nano, name, attributes)| {
        Event { time_unix_nano, name, attributes, dropped_attributes_count: 1 }
    });
    let link =
        (vec(any::<u8>(), 16), attributes(), any::<u32>()).prop_map(|(trace_id, attributes, flags)| Link {
            trace_id,
            span_id: vec![1; 8],
            attributes,
            flags,
            ..Link::default()
        });
    // Few different trace ids, so that partitions and traces repeat.
    let ids = (0_u8..6, 1..=u64::MAX, option::of(any::<u64>()));
    let more = ("[a-z /]{0,40}", 0..6_i32, any::<u64>(), option::of(".{0,5}"));
    (ids, more, attributes(), vec(event, 0..3), vec(link, 0..2)).prop_map(
        |(ids, more, attributes, events, links)| Span {
            trace_id: [[ids.0; 15].as_slice(), &[9]].concat(),
            span_id: ids.1.to_be_bytes().to_vec(),
            parent_span_id: ids.2.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
            name: more.0,
            kind: more.1,
            start_time_unix_nano: more.2,
            status: more.3.map(|message| Status { message, code: 2 }),
            flags: 0x101,
            attributes,
            events,
            links,
            ..Span::default()
        },
    )
}

fn request() -> impl Strategy<Value = TracesData> {
    let scope = ("[a-z]{0,6}", attributes()).prop_map(|(name, attributes)| InstrumentationScope {
        name,
        attributes,
        ..InstrumentationScope::default()
    });
    let scope_spans = (option::of(scope), vec(span(), 0..6), "[a-z]{0,4}")
        .prop_map(|(scope, spans, schema_url)| ScopeSpans { scope, spans, schema_url });
    let resource = attributes().prop_map(|attributes| Resource { attributes, ..Resource::default() });
    let resource_spans = (option::of(resource), vec(scope_spans, 0..4), "[a-z]{0,4}")
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url });
    vec(resource_spans, 0..4).prop_map(|resource_spans| TracesData { resource_spans })
}

fn limits() -> impl Strategy<Value = Limits> {
    (prop_oneof![60_usize..2000, Just(1 << 20)])
        .prop_map(|record_bytes_max| Limits { record_bytes_max, output_bytes_max: 1 << 20 })
}

/// Changes bytes, repeats and cuts pieces: what fuzzers do to find a length that is believed too early.
fn mutate(bytes: &mut Vec<u8>, changes: Vec<(u8, prop::sample::Index, prop::sample::Index, u8)>) {
    for (how, from, to, byte) in changes {
        if bytes.is_empty() {
            return;
        }
        let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
        let range = from.min(to)..from.max(to);
        match how % 4 {
            0 => bytes[from] = byte,
            1 => bytes[from] = bytes[from].wrapping_add(1),
            2 => drop(bytes.drain(range)),
            _ => {
                let piece = bytes[range].to_vec();
                bytes.splice(to..to, piece);
            }
        }
    }
}

fn assert_bounded(walked: &Walked, limits: Limits) {
    assert!(walked.records.iter().all(|record| record.value.len() <= limits.record_bytes_max));
    let total: usize = walked.records.iter().map(|record| record.value.len()).sum();
    assert!(total <= limits.output_bytes_max);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn walking_regroups_as_decoding_does(request in request(), partitions in 1_u32..9, limits in limits()) {
        let bytes = Bytes::from(request.encode_to_vec());
        let walked = walk(bytes, TenantSpread::all(partitions), limits).unwrap();
        assert_bounded(&walked, limits);
        assert_same_spans(&request, &walked, partitions);

        let rows = rows(&request, partitions);
        for rejected in &walked.rejected {
            let (_, row) = &rows[rejected.index];
            prop_assert_eq!(rejected.bytes, alone(row));
            prop_assert!(rejected.bytes > limits.record_bytes_max);
        }
        // As few records as the limit allows: no span would have fitted into the record before its own.
        for pair in walked.records.windows(2).filter(|pair| pair[0].partition == pair[1].partition) {
            let mut grown = TracesData::decode(pair[0].value.clone()).unwrap();
            let mut next = TracesData::decode(pair[1].value.clone()).unwrap().resource_spans.swap_remove(0);
            let mut scope = next.scope_spans.swap_remove(0);
            scope.spans.truncate(1);
            // Merged with the last scope if it is the same one; otherwise this only overstates the size a little.
            let last = grown.resource_spans.last_mut().unwrap();
            if last.resource == next.resource && last.schema_url == next.schema_url {
                let last = last.scope_spans.last_mut().unwrap();
                if last.scope == scope.scope && last.schema_url == scope.schema_url {
                    last.spans.append(&mut scope.spans);
                }
            }
            if scope.spans.is_empty() {
                prop_assert!(grown.encoded_len() > limits.record_bytes_max);
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_bounded(bytes: Vec<u8>, partitions in 1_u32..9, limits in limits()) {
        if let Ok(walked) = walk(Bytes::from(bytes), TenantSpread::all(partitions), limits) {
            assert_bounded(&walked, limits);
        }
    }

    #[test]
    fn mutated_requests_are_refused_or_equal_to_what_a_decoder_reads(
        request in request(),
        changes in vec(any::<(u8, prop::sample::Index, prop::sample::Index, u8)>(), 1..4),
        partitions in 1_u32..9,
        limits in limits(),
    ) {
        let mut bytes = request.encode_to_vec();
        mutate(&mut bytes, changes);
        if let Ok(walked) = walk(Bytes::from(bytes.clone()), TenantSpread::all(partitions), limits) {
            assert_bounded(&walked, limits);
            // A decoder also checks UTF-8 and so may refuse what the walk takes.
            if let Ok(request) = TracesData::decode(&bytes[..]) {
                assert_same_spans(&request, &walked, partitions);
            }
        }
    }
}
