use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span, TracesData};
use serde_json::{Value, json};

/// Every span of a trace with all that OTLP says about it, its resource and its scope, by span id. Two traces are the
/// same when these are equal: neither the grouping of spans nor the order of attributes means anything in OTLP. A
/// span id with more than one entry was given more than once.
pub type Canonical = BTreeMap<String, Vec<Value>>;

/// The plain form of OTLP.
#[must_use]
pub fn canonical(traces: &TracesData) -> Canonical {
    let mut spans = Canonical::new();
    for group in &traces.resource_spans {
        let resource = resource(group);
        for scoped in &group.scope_spans {
            let scope = json!({
                "scope": scope(&scoped.scope.clone().unwrap_or_default()),
                "schema_url": scoped.schema_url,
            });
            for one in &scoped.spans {
                let mut fields = span(one);
                fields["resource"] = resource.clone();
                fields["scope"] = scope.clone();
                spans.entry(hex::encode(&one.span_id)).or_default().push(fields);
            }
        }
    }
    spans.values_mut().for_each(|same| same.sort_by_key(Value::to_string));
    spans
}

fn resource(group: &ResourceSpans) -> Value {
    let Resource { attributes: list, dropped_attributes_count, entity_refs } =
        group.resource.clone().unwrap_or_default();
    json!({
        "attributes": attributes(&list),
        "dropped_attributes_count": dropped_attributes_count,
        "entities": entity_refs.iter().map(|entity| format!("{entity:?}")).collect::<Vec<_>>(),
        "schema_url": group.schema_url,
    })
}

fn scope(scope: &InstrumentationScope) -> Value {
    json!({
        "name": scope.name,
        "version": scope.version,
        "attributes": attributes(&scope.attributes),
        "dropped_attributes_count": scope.dropped_attributes_count,
    })
}

fn span(span: &Span) -> Value {
    let status = span.status.clone().unwrap_or_default();
    let events = span.events.iter().map(|event| {
        json!({
            "time": event.time_unix_nano,
            "name": event.name,
            "attributes": attributes(&event.attributes),
            "dropped_attributes_count": event.dropped_attributes_count,
        })
    });
    let links = span.links.iter().map(|link| {
        json!({
            "trace_id": hex::encode(&link.trace_id),
            "span_id": hex::encode(&link.span_id),
            "trace_state": link.trace_state,
            "flags": link.flags,
            "attributes": attributes(&link.attributes),
            "dropped_attributes_count": link.dropped_attributes_count,
        })
    });
    json!({
        "trace_id": hex::encode(&span.trace_id),
        "span_id": hex::encode(&span.span_id),
        "parent_span_id": hex::encode(&span.parent_span_id),
        "trace_state": span.trace_state,
        "flags": span.flags,
        "name": span.name,
        "kind": span.kind,
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "status": {"code": status.code, "message": status.message},
        "attributes": attributes(&span.attributes),
        "events": events.collect::<Vec<_>>(),
        "links": links.collect::<Vec<_>>(),
        "dropped_attributes_count": span.dropped_attributes_count,
        "dropped_events_count": span.dropped_events_count,
        "dropped_links_count": span.dropped_links_count,
    })
}

/// Sorted by key; a list and not a map, so that a key given twice shows.
fn attributes(list: &[KeyValue]) -> Value {
    let mut pairs: Vec<_> = list.iter().map(|pair| json!([pair.key, any(pair.value.as_ref())])).collect();
    pairs.sort_by_key(Value::to_string);
    Value::Array(pairs)
}

/// A value with its type, so that 1, 1.0, true and "1" differ; a double by its bits.
fn any(value: Option<&AnyValue>) -> Value {
    match value.and_then(|value| value.value.as_ref()) {
        None => json!({"empty": null}),
        Some(Any::StringValue(text)) => json!({"string": text}),
        Some(Any::BoolValue(flag)) => json!({"bool": flag}),
        Some(Any::IntValue(number)) => json!({"int": number.to_string()}),
        Some(Any::DoubleValue(number)) if number.is_nan() => json!({"double": "NaN"}),
        Some(Any::DoubleValue(number)) => {
            json!({"double": format!("{number:?} = {:016x}", number.to_bits())})
        }
        Some(Any::ArrayValue(list)) => {
            json!({"array": list.values.iter().map(|value| any(Some(value))).collect::<Vec<_>>()})
        }
        Some(Any::KvlistValue(map)) => json!({"map": attributes(&map.values)}),
        Some(Any::BytesValue(bytes)) => json!({"bytes": hex::encode(bytes)}),
        Some(Any::StringValueStrindex(index)) => json!({"index of a profile's string": index}),
    }
}
