//! Random traces as blocks.

use prost::Message;
use vivace_block::{BlockConfig, DuplicateFilter, OpenBlock};
use vivace_model::TenantId;
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use vivace_proto::otlp::resource::Resource;
use vivace_proto::otlp::trace::span::{Event, Link};
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status, TracesData};

use crate::trace::{Attributes, Held, Span, Trace};

/// A block of some spans, each given with the id of its trace.
pub(crate) fn open<'a>(
    spans: impl IntoIterator<Item = ([u8; 16], &'a Span)>,
    config: &BlockConfig,
) -> OpenBlock {
    let mut block = OpenBlock::new(TenantId::default(), config);
    let mut seen = DuplicateFilter::new(1 << 20);
    for (trace_id, span) in spans {
        let appended = block.append(&otlp(trace_id, span).encode_to_vec(), &mut seen);
        assert_eq!(appended.spans, 1, "{:?}", appended.rejected);
    }
    block
}

/// All spans of the traces.
pub(crate) fn spans(traces: &[Trace]) -> impl Iterator<Item = ([u8; 16], &Span)> {
    traces.iter().flat_map(|trace| trace.spans.iter().map(|span| (trace.id, span)))
}

fn otlp(trace_id: [u8; 16], span: &Span) -> TracesData {
    let events = span.events.iter().map(|event| Event {
        time_unix_nano: event.time,
        name: event.name.clone(),
        attributes: key_values(&event.attributes),
        ..Event::default()
    });
    let links = span.links.iter().map(|link| Link {
        trace_id: link.trace_id.to_vec(),
        span_id: link.span_id.to_vec(),
        attributes: key_values(&link.attributes),
        ..Link::default()
    });
    let otlp = OtlpSpan {
        trace_id: trace_id.to_vec(),
        span_id: span.id.to_vec(),
        parent_span_id: span.parent_id.map(|id| id.to_vec()).unwrap_or_default(),
        name: span.name.clone(),
        kind: span.kind as i32,
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.start + span.duration,
        attributes: key_values(&span.attributes),
        events: events.collect(),
        links: links.collect(),
        status: Some(Status { message: span.status_message.clone(), code: span.status as i32 }),
        ..OtlpSpan::default()
    };
    let scope = InstrumentationScope {
        name: span.scope_name.clone(),
        version: span.scope_version.clone(),
        attributes: key_values(&span.scope),
        ..InstrumentationScope::default()
    };
    let resource = Resource { attributes: key_values(&span.resource), ..Resource::default() };
    TracesData {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans: vec![otlp], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

fn key_values(attributes: &Attributes) -> Vec<KeyValue> {
    let pairs = attributes.iter().map(|(key, held)| KeyValue {
        key: key.clone(),
        value: Some(any_value(held)),
        ..KeyValue::default()
    });
    pairs.collect()
}

fn any_value(held: &Held) -> AnyValue {
    let value = match held {
        Held::Text(text) => Some(Value::StringValue(text.clone())),
        Held::Int(value) => Some(Value::IntValue(*value)),
        Held::Float(value) => Some(Value::DoubleValue(*value)),
        Held::Bool(value) => Some(Value::BoolValue(*value)),
        Held::Empty => None,
        Held::Array(elements) => {
            Some(Value::ArrayValue(ArrayValue { values: elements.iter().map(any_value).collect() }))
        }
    };
    AnyValue { value }
}
