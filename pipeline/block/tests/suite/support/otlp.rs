//! Arbitrary OTLP messages, and a form of them in which equal ones are identical.

use proptest::prelude::*;
use prost::Message;
use vivace_block::schema::LARGE_VALUE_BYTES;
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use vivace_proto::otlp::resource::Resource;
use vivace_proto::otlp::trace::span::{Event, Link};
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, Status, TracesData};

/// Messages of some resources, scopes and spans, of few traces. No two spans share an id.
pub(crate) fn traces_data() -> impl Strategy<Value = TracesData> {
    prop::collection::vec(resource_spans(), 1..5).prop_map(|resource_spans| {
        let mut data = TracesData { resource_spans };
        let spans = data.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
        for (number, span) in spans.flat_map(|group| &mut group.spans).enumerate() {
            span.span_id = (number as u64 + 1).to_be_bytes().to_vec();
        }
        data
    })
}

fn resource_spans() -> impl Strategy<Value = ResourceSpans> {
    let resource = (attributes(), count()).prop_map(|(attributes, dropped_attributes_count)| Resource {
        attributes,
        dropped_attributes_count,
        entity_refs: Vec::new(),
    });
    (prop::option::of(resource), prop::collection::vec(scope_spans(), 1..3), text())
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url })
}

fn scope_spans() -> impl Strategy<Value = ScopeSpans> {
    let scope = (text(), text(), attributes(), count()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    );
    (prop::option::of(scope), prop::collection::vec(span(), 1..6), text())
        .prop_map(|(scope, spans, schema_url)| ScopeSpans { scope, spans, schema_url })
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (0_u8..4, prop::option::of(any::<u64>()));
    let texts = (text(), text());
    let numbers = (any::<i32>(), any::<u32>(), time(), time(), count(), count(), count());
    let lists = (attributes(), prop::collection::vec(event(), 0..3), prop::collection::vec(link(), 0..3));
    let status = prop::option::of((0_i32..4, text()));
    (ids, texts, numbers, lists, status).prop_map(|(ids, texts, numbers, lists, status)| Span {
        trace_id: vec![ids.0 + 1; 16],
        parent_span_id: ids.1.map_or_else(Vec::new, |parent| parent.to_be_bytes().to_vec()),
        name: texts.0,
        trace_state: texts.1,
        kind: numbers.0,
        flags: numbers.1,
        start_time_unix_nano: numbers.2,
        end_time_unix_nano: numbers.3,
        dropped_attributes_count: numbers.4,
        dropped_events_count: numbers.5,
        dropped_links_count: numbers.6,
        attributes: lists.0,
        events: lists.1,
        links: lists.2,
        status: status.map(|(code, message)| Status { code, message }),
        ..Span::default()
    })
}

fn event() -> impl Strategy<Value = Event> {
    (time(), text(), attributes(), count()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    )
}

fn link() -> impl Strategy<Value = Link> {
    let id = || prop::collection::vec(any::<u8>(), 0..20);
    (id(), id(), text(), attributes(), count(), any::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count,
            flags,
        },
    )
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    prop::collection::vec(attribute(), 0..6)
}

fn attribute() -> impl Strategy<Value = KeyValue> {
    (key(), prop::option::weighted(0.95, any_value())).prop_map(|(key, value)| KeyValue {
        key,
        value,
        key_strindex: 0,
    })
}

/// Few, so that they come with several types, and twice in a list.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c", "service.name", "größe", "", "resource.a"])
            .prop_map(str::to_owned),
        1 => ".{1,8}",
    ]
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        1 => Just(AnyValue { value: None }),
        4 => text().prop_map(|text| some(Value::StringValue(text))),
        1 => large().prop_map(|text| some(Value::StringValue(text))),
        2 => any::<bool>().prop_map(|flag| some(Value::BoolValue(flag))),
        2 => any::<i64>().prop_map(|number| some(Value::IntValue(number))),
        2 => double().prop_map(|number| some(Value::DoubleValue(number))),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| some(Value::BytesValue(bytes))),
        1 => large().prop_map(|text| some(Value::BytesValue(text.into_bytes()))),
    ];
    leaf.prop_recursive(4, 12, 4, |inner| {
        let values = prop::collection::vec(inner.clone(), 0..4);
        let attribute = (key(), prop::option::weighted(0.9, inner));
        let pairs = attribute.prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 });
        prop_oneof![
            values.prop_map(|values| some(Value::ArrayValue(ArrayValue { values }))),
            prop::collection::vec(pairs, 0..4)
                .prop_map(|values| some(Value::KvlistValue(KeyValueList { values }))),
        ]
    })
}

fn some(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        prop::sample::select(vec![0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5]),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        prop::sample::select(vec!["x", "GET /", "日本語 🦀"]).prop_map(str::to_owned),
        ".{0,12}",
    ]
}

/// Around the size from which values are kept apart.
fn large() -> impl Strategy<Value = String> {
    (LARGE_VALUE_BYTES - 1..LARGE_VALUE_BYTES + 3).prop_map(|length| "l".repeat(length))
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 1_700_000_000_000_000_000..1_700_000_000_000_001_000_u64, Just(0)]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), any::<u32>()]
}

/// Each span with its resource and scope as bytes, in an order that does not depend on grouping; attributes sorted,
/// nothing absent that an empty message says as well.
pub(crate) fn normal(data: &TracesData) -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let mut spans = Vec::new();
    for group in &data.resource_spans {
        let mut resource = group.resource.clone().unwrap_or_default();
        normalise(&mut resource.attributes);
        let schema_url = group.schema_url.clone();
        let resource = ResourceSpans { resource: Some(resource), schema_url, scope_spans: Vec::new() };
        for group in &group.scope_spans {
            let mut scope = group.scope.clone().unwrap_or_default();
            normalise(&mut scope.attributes);
            let schema_url = group.schema_url.clone();
            let scope = ScopeSpans { scope: Some(scope), schema_url, spans: Vec::new() };
            for span in &group.spans {
                let span = normal_span(span.clone()).encode_to_vec();
                spans.push((span, scope.encode_to_vec(), resource.encode_to_vec()));
            }
        }
    }
    spans.sort();
    spans
}

fn normal_span(mut span: Span) -> Span {
    normalise(&mut span.attributes);
    span.events.iter_mut().for_each(|event| normalise(&mut event.attributes));
    span.links.iter_mut().for_each(|link| normalise(&mut link.attributes));
    span.status.get_or_insert_default();
    span
}

fn normalise(attributes: &mut [KeyValue]) {
    for attribute in attributes.iter_mut() {
        attribute.value.get_or_insert_default();
    }
    attributes.sort_by_cached_key(|attribute| (attribute.key.clone(), attribute.encode_to_vec()));
}
