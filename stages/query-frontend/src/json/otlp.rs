//! OTLP traces and the answers about them in the dialect of JSON that Tempo's clients read.

use std::io::{self, Write};

use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, EntityRef, InstrumentationScope, KeyValue};
use vivace_proto::otlp::resource::Resource;
use vivace_proto::otlp::trace::span::{Event, Link, SpanKind};
use vivace_proto::otlp::trace::status::StatusCode;
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, Status};
use vivace_proto::tempopb::{PartialStatus, TraceByIdResponse};

use super::{Object, bytes, double, string};

/// `/api/traces/{id}`: a trace whose list is called `batches`.
pub(crate) fn trace_v1<W: Write>(out: &mut W, batches: &[ResourceSpans]) -> io::Result<()> {
    Object::write(out, |object| object.list("batches", batches, resource_spans))
}

/// `/api/v2/traces/{id}`: trace and metrics are there even when they are empty.
pub(crate) fn trace_by_id_response<W: Write>(out: &mut W, response: &TraceByIdResponse) -> io::Result<()> {
    Object::write(out, |object| {
        let trace = response.trace.as_ref().map(|trace| trace.resource_spans.as_slice()).unwrap_or_default();
        Object::write(object.field("trace")?, |object| object.list("resourceSpans", trace, resource_spans))?;
        let inspected = response.metrics.map_or(0, |metrics| metrics.inspected_bytes);
        Object::write(object.field("metrics")?, |object| object.u64("inspectedBytes", inspected))?;
        partial(object, response.status, &response.message)
    })
}

/// Whether an answer holds everything, and why not.
pub(super) fn partial<W: Write>(object: &mut Object<'_, W>, status: i32, message: &str) -> io::Result<()> {
    let status_name = PartialStatus::try_from(status).ok().map(|status| match status {
        PartialStatus::Complete => "COMPLETE",
        PartialStatus::Partial => "PARTIAL",
    });
    object.choice("status", status, status_name)?;
    object.string("message", message)
}

fn resource_spans<W: Write>(out: &mut W, value: &ResourceSpans) -> io::Result<()> {
    Object::write(out, |object| {
        // Clients look into resource, scope and status without asking whether they are there.
        let empty = Resource::default();
        resource(object.field("resource")?, value.resource.as_ref().unwrap_or(&empty))?;
        object.list("scopeSpans", &value.scope_spans, scope_spans)?;
        object.string("schemaUrl", &value.schema_url)
    })
}

fn resource<W: Write>(out: &mut W, value: &Resource) -> io::Result<()> {
    Object::write(out, |object| {
        object.list("attributes", &value.attributes, key_value)?;
        object.u32("droppedAttributesCount", value.dropped_attributes_count)?;
        object.list("entityRefs", &value.entity_refs, entity_ref)
    })
}

fn entity_ref<W: Write>(out: &mut W, value: &EntityRef) -> io::Result<()> {
    Object::write(out, |object| {
        object.string("schemaUrl", &value.schema_url)?;
        object.string("type", &value.r#type)?;
        object.list("idKeys", &value.id_keys, |out, key| string(out, key))?;
        object.list("descriptionKeys", &value.description_keys, |out, key| string(out, key))
    })
}

fn scope_spans<W: Write>(out: &mut W, value: &ScopeSpans) -> io::Result<()> {
    Object::write(out, |object| {
        let empty = InstrumentationScope::default();
        scope(object.field("scope")?, value.scope.as_ref().unwrap_or(&empty))?;
        object.list("spans", &value.spans, span)?;
        object.string("schemaUrl", &value.schema_url)
    })
}

fn scope<W: Write>(out: &mut W, value: &InstrumentationScope) -> io::Result<()> {
    Object::write(out, |object| {
        object.string("name", &value.name)?;
        object.string("version", &value.version)?;
        object.list("attributes", &value.attributes, key_value)?;
        object.u32("droppedAttributesCount", value.dropped_attributes_count)
    })
}

fn span<W: Write>(out: &mut W, value: &Span) -> io::Result<()> {
    Object::write(out, |object| {
        object.bytes("traceId", &value.trace_id)?;
        object.bytes("spanId", &value.span_id)?;
        object.string("traceState", &value.trace_state)?;
        object.bytes("parentSpanId", &value.parent_span_id)?;
        object.u32("flags", value.flags)?;
        object.string("name", &value.name)?;
        let kind = SpanKind::try_from(value.kind).ok();
        object.choice("kind", value.kind, kind.as_ref().map(SpanKind::as_str_name))?;
        object.u64("startTimeUnixNano", value.start_time_unix_nano)?;
        object.u64("endTimeUnixNano", value.end_time_unix_nano)?;
        object.list("attributes", &value.attributes, key_value)?;
        object.u32("droppedAttributesCount", value.dropped_attributes_count)?;
        object.list("events", &value.events, event)?;
        object.u32("droppedEventsCount", value.dropped_events_count)?;
        object.list("links", &value.links, link)?;
        object.u32("droppedLinksCount", value.dropped_links_count)?;
        let empty = Status::default();
        status(object.field("status")?, value.status.as_ref().unwrap_or(&empty))
    })
}

fn event<W: Write>(out: &mut W, value: &Event) -> io::Result<()> {
    Object::write(out, |object| {
        object.u64("timeUnixNano", value.time_unix_nano)?;
        object.string("name", &value.name)?;
        object.list("attributes", &value.attributes, key_value)?;
        object.u32("droppedAttributesCount", value.dropped_attributes_count)
    })
}

fn link<W: Write>(out: &mut W, value: &Link) -> io::Result<()> {
    Object::write(out, |object| {
        object.bytes("traceId", &value.trace_id)?;
        object.bytes("spanId", &value.span_id)?;
        object.string("traceState", &value.trace_state)?;
        object.list("attributes", &value.attributes, key_value)?;
        object.u32("droppedAttributesCount", value.dropped_attributes_count)?;
        object.u32("flags", value.flags)
    })
}

fn status<W: Write>(out: &mut W, value: &Status) -> io::Result<()> {
    Object::write(out, |object| {
        object.string("message", &value.message)?;
        let code = StatusCode::try_from(value.code).ok();
        object.choice("code", value.code, code.as_ref().map(StatusCode::as_str_name))
    })
}

pub(super) fn key_value<W: Write>(out: &mut W, value: &KeyValue) -> io::Result<()> {
    Object::write(out, |object| {
        object.string("key", &value.key)?;
        match &value.value {
            Some(value) => any_value(object.field("value")?, value),
            None => Ok(()),
        }
    })
}

/// A value is one of several, so it is written even when it is empty. An `AnyValue` without one is `{}`.
fn any_value<W: Write>(out: &mut W, value: &AnyValue) -> io::Result<()> {
    Object::write(out, |object| match &value.value {
        None => Ok(()),
        Some(Value::StringValue(value)) => string(object.field("stringValue")?, value),
        Some(Value::BoolValue(value)) => write!(object.field("boolValue")?, "{value}"),
        Some(Value::IntValue(value)) => write!(object.field("intValue")?, "\"{value}\""),
        Some(Value::DoubleValue(value)) => double(object.field("doubleValue")?, *value),
        Some(Value::BytesValue(value)) => bytes(object.field("bytesValue")?, value),
        Some(Value::StringValueStrindex(value)) => write!(object.field("stringValueStrindex")?, "{value}"),
        Some(Value::ArrayValue(array)) => Object::write(object.field("arrayValue")?, |object| {
            object.list("values", &array.values, any_value)
        }),
        Some(Value::KvlistValue(list)) => Object::write(object.field("kvlistValue")?, |object| {
            object.list("values", &list.values, key_value)
        }),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use vivace_proto::otlp::common::{ArrayValue, KeyValueList};
    use vivace_proto::tempopb::{Trace, TraceByIdMetrics};

    use super::*;

    fn v1(batches: &[ResourceSpans]) -> Json {
        let mut out = Vec::new();
        trace_v1(&mut out, batches).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.into(), value: Some(any(value)), key_strindex: 0 }
    }

    fn values() -> Vec<KeyValue> {
        vec![
            attribute("string", Value::StringValue("a\"\u{1}ü<".into())),
            attribute("empty", Value::StringValue(String::new())),
            attribute("bool", Value::BoolValue(false)),
            attribute("int", Value::IntValue(-9_007_199_254_740_993)),
            attribute("zero", Value::IntValue(0)),
            attribute("double", Value::DoubleValue(1.5)),
            attribute("nan", Value::DoubleValue(f64::NAN)),
            attribute("inf", Value::DoubleValue(f64::INFINITY)),
            attribute("-inf", Value::DoubleValue(f64::NEG_INFINITY)),
            attribute("bytes", Value::BytesValue(vec![0xfb, 0xff])),
            attribute(
                "array",
                Value::ArrayValue(ArrayValue {
                    values: vec![
                        any(Value::BoolValue(true)),
                        AnyValue { value: None },
                        any(Value::IntValue(1)),
                    ],
                }),
            ),
            attribute("empty array", Value::ArrayValue(ArrayValue::default())),
            attribute(
                "map",
                Value::KvlistValue(KeyValueList { values: vec![attribute("k", Value::DoubleValue(0.0))] }),
            ),
            KeyValue { key: "none".into(), ..KeyValue::default() },
            KeyValue { value: Some(AnyValue { value: None }), ..KeyValue::default() },
        ]
    }

    fn values_json() -> Json {
        json!([
            {"key": "string", "value": {"stringValue": "a\"\u{1}ü<"}},
            {"key": "empty", "value": {"stringValue": ""}},
            {"key": "bool", "value": {"boolValue": false}},
            {"key": "int", "value": {"intValue": "-9007199254740993"}},
            {"key": "zero", "value": {"intValue": "0"}},
            {"key": "double", "value": {"doubleValue": 1.5}},
            {"key": "nan", "value": {"doubleValue": "NaN"}},
            {"key": "inf", "value": {"doubleValue": "Infinity"}},
            {"key": "-inf", "value": {"doubleValue": "-Infinity"}},
            {"key": "bytes", "value": {"bytesValue": "+/8="}},
            {"key": "array", "value": {"arrayValue": {"values": [{"boolValue": true}, {}, {"intValue": "1"}]}}},
            {"key": "empty array", "value": {"arrayValue": {}}},
            {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"doubleValue": 0.0}}]}}},
            {"key": "none"},
            {"value": {}},
        ])
    }

    fn one() -> Vec<KeyValue> {
        vec![attribute("k", Value::IntValue(1))]
    }

    fn one_json() -> Json {
        json!([{"key": "k", "value": {"intValue": "1"}}])
    }

    /// A span with something in every field.
    fn full_span() -> Span {
        let event =
            Event { time_unix_nano: 3, name: "e".into(), attributes: one(), dropped_attributes_count: 4 };
        let link = Link {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            trace_state: "l=1".into(),
            attributes: one(),
            dropped_attributes_count: 5,
            flags: 6,
        };
        Span {
            trace_id: (0..16).collect(),
            span_id: vec![0xff; 8],
            trace_state: "a=b".into(),
            parent_span_id: vec![1; 8],
            flags: 257,
            name: "n".into(),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: u64::MAX,
            end_time_unix_nano: 2,
            attributes: values(),
            dropped_attributes_count: 7,
            events: vec![event],
            dropped_events_count: 8,
            links: vec![link],
            dropped_links_count: 9,
            status: Some(Status { message: "bad".into(), code: StatusCode::Error.into() }),
        }
    }

    fn full_span_json() -> Json {
        json!({
            "traceId": "AAECAwQFBgcICQoLDA0ODw==",
            "spanId": "//////////8=",
            "traceState": "a=b",
            "parentSpanId": "AQEBAQEBAQE=",
            "flags": 257,
            "name": "n",
            "kind": "SPAN_KIND_SERVER",
            "startTimeUnixNano": "18446744073709551615",
            "endTimeUnixNano": "2",
            "attributes": values_json(),
            "droppedAttributesCount": 7,
            "events": [{
                "timeUnixNano": "3", "name": "e", "attributes": one_json(), "droppedAttributesCount": 4,
            }],
            "droppedEventsCount": 8,
            "links": [{
                "traceId": "AQEBAQEBAQEBAQEBAQEBAQ==",
                "spanId": "AgICAgICAgI=",
                "traceState": "l=1",
                "attributes": one_json(),
                "droppedAttributesCount": 5,
                "flags": 6,
            }],
            "droppedLinksCount": 9,
            "status": {"message": "bad", "code": "STATUS_CODE_ERROR"},
        })
    }

    #[test]
    fn every_field_is_written_in_the_dialect() {
        let scope = InstrumentationScope {
            name: "lib".into(),
            version: "1".into(),
            attributes: one(),
            dropped_attributes_count: 2,
        };
        let entity = EntityRef {
            schema_url: "e".into(),
            r#type: "t".into(),
            id_keys: vec!["i".into()],
            description_keys: vec!["d".into()],
        };
        let resource = Resource { attributes: one(), dropped_attributes_count: 1, entity_refs: vec![entity] };
        let batch = ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: vec![full_span()],
                schema_url: "s".into(),
            }],
            schema_url: "r".into(),
        };
        let expected = json!({"batches": [{
            "resource": {
                "attributes": one_json(),
                "droppedAttributesCount": 1,
                "entityRefs": [{"schemaUrl": "e", "type": "t", "idKeys": ["i"], "descriptionKeys": ["d"]}],
            },
            "scopeSpans": [{
                "scope": {"name": "lib", "version": "1", "attributes": one_json(), "droppedAttributesCount": 2},
                "spans": [full_span_json()],
                "schemaUrl": "s",
            }],
            "schemaUrl": "r",
        }]});
        assert_eq!(v1(&[batch]), expected);
    }

    #[test]
    fn empty_fields_are_left_out_but_three_messages_are_always_there() {
        let scope_spans = vec![ScopeSpans { spans: vec![Span::default()], ..ScopeSpans::default() }];
        let batch = ResourceSpans { scope_spans, ..ResourceSpans::default() };
        let expected = json!({"batches": [
            {"resource": {}, "scopeSpans": [{"scope": {}, "spans": [{"status": {}}]}]}
        ]});
        assert_eq!(v1(&[batch]), expected);
    }

    #[test]
    fn enums_without_a_name_are_numbers() {
        let mut out = Vec::new();
        let value =
            Span { kind: 99, status: Some(Status { code: -1, ..Status::default() }), ..Span::default() };
        span(&mut out, &value).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"kind":99,"status":{"code":-1}}"#);
    }

    #[test]
    fn the_second_version_has_trace_and_metrics_even_when_empty() {
        let written = |response: &TraceByIdResponse| {
            let mut out = Vec::new();
            trace_by_id_response(&mut out, response).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(&TraceByIdResponse::default()), r#"{"trace":{},"metrics":{}}"#);
        let full = TraceByIdResponse {
            trace: Some(Trace { resource_spans: vec![ResourceSpans::default()] }),
            metrics: Some(TraceByIdMetrics { inspected_bytes: 12 }),
            status: PartialStatus::Partial.into(),
            message: "too \"large\"".into(),
        };
        assert_eq!(
            written(&full),
            r#"{"trace":{"resourceSpans":[{"resource":{}}]},"metrics":{"inspectedBytes":"12"},"status":"PARTIAL","message":"too \"large\""}"#
        );
    }
}
