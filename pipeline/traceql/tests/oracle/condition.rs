//! Rows that a plan's condition rules out are never found.

use vivace_model::scan::{Condition, ScanColumn, Test};
use vivace_model::schema::{self, AttributeScope};
use vivace_traceql::ScanPlan;
use vivace_traceql::ast::{Intrinsic, Target};

use crate::engine::Looked;
use crate::lookup::values;
use crate::queries::attribute;
use crate::trace::{Seen, Trace};

/// Checks it for what was selected of a batch of whole traces.
pub(crate) fn check(plan: &ScanPlan, looked: &Looked, dataset: &[Trace], query: &str) {
    for selected in &looked.selected {
        let mut begin = 0;
        for spanset in &selected.spansets {
            let rows = &selected.rows[begin..spanset.end as usize];
            begin = spanset.end as usize;
            let id = looked.runs.ids()[spanset.trace as usize];
            let first = looked.runs.rows_of(spanset.trace as usize).start;
            let trace = dataset.iter().find(|trace| trace.id == id).expect("it is one of them");
            let meets = |span: usize| meets(plan.condition(), trace, span);
            if plan.whole() {
                assert!((0..trace.spans.len()).any(meets), "no span of the trace meets it: {query}");
            } else {
                let spans = rows.iter().map(|row| *row as usize - first);
                spans.for_each(|span| assert!(meets(span), "a found span does not meet it: {query}"));
            }
        }
    }
}

fn meets(condition: &Condition, trace: &Trace, span: usize) -> bool {
    match condition {
        Condition::Always => true,
        Condition::All(conditions) => conditions.iter().all(|condition| meets(condition, trace, span)),
        Condition::Any(conditions) => conditions.iter().any(|condition| meets(condition, trace, span)),
        Condition::Leaf(column, test) => {
            column_values(column, trace, span).iter().any(|value| holds(test, value))
        }
    }
}

fn holds(test: &Test, value: &Seen) -> bool {
    match (test, value) {
        (Test::Exists, _) => true,
        (Test::Text(wanted), Seen::Text(text)) => wanted == text,
        (Test::TextMatches(matches), Seen::Text(text)) => matches(text),
        (Test::Bool(wanted), Seen::Bool(value)) => wanted == value,
        (Test::Between(low, high), value) => {
            let number = match value {
                Seen::Int(value) | Seen::Duration(value) => *value as f64,
                Seen::Float(value) => *value,
                Seen::Status(status) => f64::from(*status as u8),
                Seen::Kind(kind) => f64::from(*kind as u8),
                Seen::Text(_) | Seen::Bool(_) => return false,
            };
            *low <= number && number <= *high
        }
        _ => false,
    }
}

fn column_values(column: &ScanColumn, trace: &Trace, span: usize) -> Vec<Seen> {
    let intrinsic = match column {
        ScanColumn::Attribute(scope, key) => {
            let target = Target::Scoped(*scope, key.as_str().into());
            return values(trace, span, &attribute(false, target));
        }
        ScanColumn::Fixed(name) => match *name {
            schema::NAME => Intrinsic::Name,
            schema::KIND => Intrinsic::Kind,
            schema::STATUS_CODE => Intrinsic::Status,
            schema::STATUS_MESSAGE => Intrinsic::StatusMessage,
            schema::DURATION_NANOS => Intrinsic::Duration,
            schema::SPAN_ID => Intrinsic::SpanId,
            schema::PARENT_SPAN_ID => Intrinsic::ParentId,
            schema::TRACE_ID => Intrinsic::TraceId,
            schema::ROOT_SPAN_NAME => Intrinsic::RootName,
            schema::ROOT_SERVICE_NAME => Intrinsic::RootServiceName,
            schema::SCOPE_NAME => Intrinsic::InstrumentationName,
            schema::SCOPE_VERSION => Intrinsic::InstrumentationVersion,
            schema::NESTED_SET_LEFT => Intrinsic::NestedSetLeft,
            schema::NESTED_SET_RIGHT => Intrinsic::NestedSetRight,
            schema::NESTED_SET_PARENT => Intrinsic::NestedSetParent,
            schema::EVENTS => Intrinsic::EventName,
            schema::LINKS => Intrinsic::LinkSpanId,
            schema::START_TIME => return vec![Seen::Int(trace.spans[span].start as i64)],
            schema::SPAN_ATTRIBUTES => return held(trace, span, AttributeScope::Span),
            schema::RESOURCE_ATTRIBUTES => return held(trace, span, AttributeScope::Resource),
            schema::INSTRUMENTATION_ATTRIBUTES => {
                return held(trace, span, AttributeScope::Instrumentation);
            }
            other => panic!("a test of column {other}"),
        },
    };
    values(trace, span, &attribute(false, Target::Intrinsic(intrinsic)))
}

/// Something, if the span has any attribute of the scope.
fn held(trace: &Trace, span: usize, scope: AttributeScope) -> Vec<Seen> {
    let span = &trace.spans[span];
    let attributes = match scope {
        AttributeScope::Span => &span.attributes,
        AttributeScope::Resource => &span.resource,
        AttributeScope::Instrumentation => &span.scope,
    };
    attributes.values().map(|_| Seen::Bool(true)).collect()
}
