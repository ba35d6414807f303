//! Properties of spans.

use vivace_model::schema::AttributeScope;
use vivace_traceql::ast::{Attribute, Intrinsic, Target};

use crate::trace::{Attributes, Seen, Span, Trace};

/// All values of a property; none where it is missing.
pub(crate) fn values(trace: &Trace, span: usize, attribute: &Attribute) -> Vec<Seen> {
    if !attribute.parent {
        return target(trace, span, &attribute.target);
    }
    trace.parent(span).map_or_else(Vec::new, |parent| target(trace, parent, &attribute.target))
}

fn target(trace: &Trace, number: usize, target: &Target) -> Vec<Seen> {
    let span = &trace.spans[number];
    match target {
        Target::Intrinsic(what) => intrinsic(trace, number, *what),
        Target::Scoped(AttributeScope::Span, key) => of(&span.attributes, key),
        Target::Scoped(AttributeScope::Resource, key) => of(&span.resource, key),
        Target::Scoped(AttributeScope::Instrumentation, key) => of(&span.scope, key),
        Target::Event(key) => span.events.iter().flat_map(|event| of(&event.attributes, key)).collect(),
        Target::Link(key) => span.links.iter().flat_map(|link| of(&link.attributes, key)).collect(),
        Target::Unscoped(key) => {
            let places = [
                of(&span.attributes, key),
                of(&span.resource, key),
                span.events.iter().flat_map(|event| of(&event.attributes, key)).collect(),
                span.links.iter().flat_map(|link| of(&link.attributes, key)).collect(),
                of(&span.scope, key),
            ];
            places.into_iter().find(|values| !values.is_empty()).unwrap_or_default()
        }
    }
}

fn of(attributes: &Attributes, key: &str) -> Vec<Seen> {
    attributes.get(key).map_or_else(Vec::new, |held| held.seen())
}

pub(crate) fn service(span: &Span) -> Option<Seen> {
    of(&span.resource, "service.name").into_iter().next()
}

fn intrinsic(trace: &Trace, number: usize, what: Intrinsic) -> Vec<Seen> {
    let span = &trace.spans[number];
    let (left, right) = trace.nested_sets()[number];
    match what {
        Intrinsic::Duration => vec![Seen::Duration(span.duration as i64)],
        Intrinsic::Name => vec![Seen::Text(span.name.clone())],
        Intrinsic::Kind => vec![Seen::Kind(span.kind)],
        Intrinsic::Status => vec![Seen::Status(span.status)],
        Intrinsic::StatusMessage => filled(&span.status_message),
        Intrinsic::SpanId => vec![Seen::Text(hex(&span.id))],
        Intrinsic::ParentId => span.parent_id.iter().map(|id| Seen::Text(hex(id))).collect(),
        Intrinsic::ChildCount => vec![Seen::Int(trace.children(number).len() as i64)],
        Intrinsic::TraceId => vec![Seen::Text(hex(&trace.id))],
        Intrinsic::TraceDuration => vec![Seen::Duration((trace.end() - trace.start()) as i64)],
        Intrinsic::RootName => trace.root().iter().map(|root| Seen::Text(root.name.clone())).collect(),
        Intrinsic::RootServiceName => trace.root().and_then(service).into_iter().collect(),
        Intrinsic::NestedSetLeft => vec![Seen::Int(left)],
        Intrinsic::NestedSetRight => vec![Seen::Int(right)],
        Intrinsic::NestedSetParent => vec![Seen::Int(match (trace.parent(number), span.parent_id) {
            (Some(parent), _) => trace.nested_sets()[parent].0,
            (None, Some(_)) => 0,
            (None, None) => -1,
        })],
        Intrinsic::EventName => span.events.iter().map(|event| Seen::Text(event.name.clone())).collect(),
        Intrinsic::EventTimeSinceStart => {
            let since = |time: u64| Seen::Duration(time as i64 - span.start as i64);
            span.events.iter().map(|event| since(event.time)).collect()
        }
        Intrinsic::LinkTraceId => span.links.iter().map(|link| Seen::Text(hex(&link.trace_id))).collect(),
        Intrinsic::LinkSpanId => span.links.iter().map(|link| Seen::Text(hex(&link.span_id))).collect(),
        Intrinsic::InstrumentationName => filled(&span.scope_name),
        Intrinsic::InstrumentationVersion => filled(&span.scope_version),
        Intrinsic::Parent => Vec::new(),
    }
}

fn filled(text: &str) -> Vec<Seen> {
    if text.is_empty() { Vec::new() } else { vec![Seen::Text(text.to_owned())] }
}

pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
