//! What a search for traces must answer.

use vivace_proto::internal::label_value::Value as Wire;
use vivace_proto::internal::{
    FoundRoot, FoundSpan, FoundSpanset, FoundTrace, Label, LabelValue, ServiceStats, TraceSummary,
};
use vivace_traceql::ast::{Attribute, Pipeline, Target};

use crate::lookup::{service, values};
use crate::spansets::{SeveralSpansets, pipeline};
use crate::trace::{Seen, Span, Trace};

/// How the answer is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) pipeline: &'a Pipeline,
    /// Told of each span.
    pub(crate) attributes: &'a [Attribute],
    /// Whether traces are looked at as wholes.
    pub(crate) whole: bool,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) limit: usize,
    pub(crate) spans_max: usize,
}

/// All traces that match, newest first, cut to the limit.
pub(crate) fn traces(traces: &[Trace], ask: &Ask<'_>) -> Result<Vec<FoundTrace>, SeveralSpansets> {
    let mut found = Vec::new();
    for trace in traces {
        let all = 0..trace.spans.len();
        let in_time = |span: usize| (ask.start..ask.end).contains(&trace.spans[span].start);
        let input: Vec<usize> = all.filter(|span| ask.whole || in_time(*span)).collect();
        let sets = pipeline(trace, &input, ask.pipeline)?;
        if !sets.iter().any(|set| set.spans.iter().any(|span| in_time(*span))) {
            continue;
        }
        let spansets = sets.iter().map(|set| FoundSpanset {
            matched: set.spans.len() as u32,
            spans: told(trace, &set.spans, ask),
            attributes: set.attributes.iter().map(|(name, value)| label(name, value.as_ref())).collect(),
        });
        found.push(FoundTrace {
            trace_id: trace.id.to_vec(),
            spansets: spansets.collect(),
            summary: Some(summary(trace)),
        });
    }
    let start = |trace: &FoundTrace| trace.summary.as_ref().unwrap().start;
    found.sort_by(|a, b| (start(b), &b.trace_id).cmp(&(start(a), &a.trace_id)));
    found.truncate(ask.limit);
    Ok(found)
}

fn told(trace: &Trace, spans: &[usize], ask: &Ask<'_>) -> Vec<FoundSpan> {
    let left = |span: usize| trace.nested_sets()[span].0 as i32;
    let mut spans = spans.to_vec();
    spans.sort_by_key(|span| (trace.spans[*span].start, left(*span)));
    spans.truncate(ask.spans_max);
    let told = spans.into_iter().map(|number| {
        let span = &trace.spans[number];
        FoundSpan {
            span_id: span.id.to_vec(),
            name: span.name.clone(),
            start: span.start,
            duration: span.duration,
            attributes: labels(trace, number, ask.attributes),
            nested_set_left: left(number),
        }
    });
    told.collect()
}

fn labels(trace: &Trace, span: usize, attributes: &[Attribute]) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::new();
    for attribute in attributes {
        let name = match &attribute.target {
            Target::Scoped(_, key) | Target::Event(key) | Target::Link(key) | Target::Unscoped(key)
                if !attribute.parent =>
            {
                key
            }
            _ => &attribute.written,
        };
        let Some(value) = values(trace, span, attribute).into_iter().next() else { continue };
        let label = label(name, Some(&value));
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels
}

pub(crate) fn summary(trace: &Trace) -> TraceSummary {
    let mut services: Vec<ServiceStats> = Vec::new();
    for span in &trace.spans {
        let service = service_name(span);
        let errors = u32::from(span.status as i32 == 2);
        match services.iter_mut().find(|stats| stats.service == service) {
            Some(stats) => {
                stats.spans += 1;
                stats.errors += errors;
            }
            None => services.push(ServiceStats { service, spans: 1, errors }),
        }
    }
    services.sort_by(|a, b| a.service.cmp(&b.service));
    let root = trace.root().map(|root| FoundRoot {
        service: service_name(root),
        name: root.name.clone(),
        start: root.start,
        span_id: root.id.to_vec(),
    });
    TraceSummary { start: trace.start(), end: trace.end(), root, services }
}

fn service_name(span: &Span) -> String {
    match service(span) {
        Some(Seen::Text(name)) => name,
        _ => String::new(),
    }
}

pub(crate) fn label(name: &str, value: Option<&Seen>) -> Label {
    Label { name: name.to_owned(), value: value.map(|value| LabelValue { value: Some(wire(value)) }) }
}

pub(crate) fn wire(value: &Seen) -> Wire {
    match value {
        Seen::Text(text) => Wire::Text(text.clone()),
        Seen::Int(value) => Wire::Int(*value),
        Seen::Float(value) => Wire::Float(*value),
        Seen::Bool(value) => Wire::Bool(*value),
        Seen::Duration(nanos) => Wire::Duration(*nanos),
        Seen::Status(status) => Wire::Status(*status as u32),
        Seen::Kind(kind) => Wire::Kind(*kind as u32),
    }
}
