//! The traces that are sent, and how one is told from its answer.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use vivace_model::{TraceId, UnixNanos};

/// The service that all traces are of.
pub(crate) const SERVICE: &str = "vivace-probe";
/// Attribute of each span: its trace's id, which no other trace has.
const ID: &str = "probe.id";
/// Attribute of each span: the number of its round.
const ROUND: &str = "probe.round";
/// Each span takes that long.
const SPAN_NANOS: u64 = 1_000_000;
/// Spans start so many seconds around the moment of sending at most.
pub(crate) const SLACK_SECONDS: u64 = 5;

/// A trace that was sent, or is about to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) id: TraceId,
    pub(crate) round: u64,
    pub(crate) spans: u32,
    pub(crate) started: UnixNanos,
}

/// What an answer by id says about a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) missing: u32,
    pub(crate) twice: u32,
    pub(crate) strange: u32,
}

impl Sent {
    /// The request that sends it, for that instance of the prober.
    pub(crate) fn request(&self, instance: &str) -> ExportTraceServiceRequest {
        let text = |key: &str, value: String| attribute(key, Value::StringValue(value));
        let resource = Resource {
            attributes: vec![
                text("service.name", SERVICE.into()),
                text("service.instance.id", instance.into()),
            ],
            ..Resource::default()
        };
        let round = i64::try_from(self.round).unwrap_or(i64::MAX);
        let span = |number: u32| Span {
            trace_id: self.id.as_bytes().to_vec(),
            span_id: span_id(number).to_vec(),
            parent_span_id: if number == 1 { Vec::new() } else { span_id(1).to_vec() },
            name: if number == 1 { "probe".into() } else { "probe step".into() },
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: self.started.0 + u64::from(number),
            end_time_unix_nano: self.started.0 + u64::from(number) + SPAN_NANOS,
            attributes: vec![text(ID, self.id.to_string()), attribute(ROUND, Value::IntValue(round))],
            ..Span::default()
        };
        let scope = InstrumentationScope { name: SERVICE.into(), ..InstrumentationScope::default() };
        let spans = (1..=self.spans).map(span).collect();
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        let resource_spans =
            ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
    }

    /// The search that finds it and nothing else.
    pub(crate) fn query(&self) -> String {
        format!(r#"{{ resource.service.name = "{SERVICE}" && span.{ID} = "{}" }}"#, self.id)
    }

    /// Seconds around its start.
    pub(crate) fn seconds(&self) -> std::ops::Range<u64> {
        let second = self.started.as_secs();
        second.saturating_sub(SLACK_SECONDS)..second + SLACK_SECONDS
    }

    /// Compares an answer by id with what was sent.
    pub(crate) fn compare(&self, found: &TracesData) -> Seen {
        let mut times: HashMap<&[u8], u32> = HashMap::new();
        for group in &found.resource_spans {
            for span in group.scope_spans.iter().flat_map(|scoped| &scoped.spans) {
                *times.entry(&span.span_id).or_default() += 1;
            }
        }
        let mut seen = Seen::default();
        for number in 1..=self.spans {
            match times.remove(&span_id(number)[..]) {
                None => seen.missing += 1,
                Some(1) => {}
                Some(_) => seen.twice += 1,
            }
        }
        seen.strange = u32::try_from(times.len()).unwrap_or(u32::MAX);
        seen
    }
}

/// Counts the spans of an instance from a round on.
pub(crate) fn count_query(instance: &str, since: u64) -> String {
    format!(
        r#"{{ resource.service.name = "{SERVICE}" && resource.service.instance.id = "{instance}" && span.{ROUND} >= {since} }} | count_over_time()"#
    )
}

/// Spans of a trace have the numbers from 1 on as their ids.
fn span_id(number: u32) -> [u8; 8] {
    u64::from(number).to_be_bytes()
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_span_by_span() {
        let sent = Sent {
            id: TraceId::from_bytes([7; 16]),
            round: 3,
            spans: 3,
            started: UnixNanos::from_secs(1_767_225_600),
        };
        let request = sent.request("i");
        let mut found = TracesData { resource_spans: request.resource_spans };
        assert_eq!(sent.compare(&found), Seen::default());
        let spans = &mut found.resource_spans[0].scope_spans[0].spans;
        spans[1].span_id = vec![9; 8];
        let again = spans[0].clone();
        spans.push(again);
        assert_eq!(sent.compare(&found), Seen { missing: 1, twice: 1, strange: 1 });
        assert_eq!(sent.compare(&TracesData::default()).missing, 3);
    }
}
