//! The question for the spans of one trace in recent data.
//! Owns: which spans of a log's record count, by the same rules as a block takes them in.
//! Does not own: where recent data is looked for (`recent`).

use prost::Message;
use tonic::{Request, Status};
use vivace_log::Record;
use vivace_model::wire::Fields;
use vivace_model::{Offset, SpanId, TenantId, TraceId, WorkBudget};
use vivace_proto::internal::{PartStream, RecentService, RecentTracePart, RecentTraceRequest};
use vivace_proto::otlp::common::InstrumentationScope;
use vivace_proto::otlp::resource::Resource;
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};
use vivace_proto::parts::{self, PART_BYTES_MAX};

use crate::JobError;
use crate::answer::Answer;
use crate::compute::compute;
use crate::recent::{From, Question};
use crate::tail::is_of_tenant;

/// Whose spans of which trace.
#[derive(Clone, Debug)]
pub(crate) struct TraceQuestion {
    pub(crate) tenant: TenantId,
    pub(crate) trace_id: TraceId,
    /// The answer ends with so many bytes.
    pub(crate) bytes_max: usize,
    /// Of the job.
    pub(crate) budget: WorkBudget,
}

impl Question for TraceQuestion {
    type Part = RecentTracePart;
    type Answer = Answer;

    fn empty(&self) -> Answer {
        Answer::new(self.bytes_max)
    }

    async fn ask(&self, owner: &RecentService, from: From) -> Result<PartStream<RecentTracePart>, Status> {
        let request = RecentTraceRequest {
            tenant: self.tenant.as_str().to_owned(),
            trace_id: self.trace_id.as_bytes().to_vec(),
            partition: from.partition.0,
            from_offset: from.offset.0,
        };
        Ok(owner.trace(Request::new(request)).await?.into_inner())
    }

    fn through(part: &RecentTracePart) -> Offset {
        Offset(part.through_offset)
    }

    async fn take(&self, mut answer: Answer, part: RecentTracePart) -> Result<(Answer, bool), Status> {
        answer.metrics.spans += part.spans;
        let more = answer.push(part.traces_data);
        Ok((answer, more))
    }

    async fn read(&self, mut answer: Answer, records: Vec<Record>) -> Result<(Answer, bool), JobError> {
        let question = self.clone();
        let work = move || {
            for record in records {
                answer.metrics.bytes_read += record.value.len() as u64;
                let found = question.spans_in(&record);
                answer.metrics.spans += count(&found);
                for part in parts::split(found, PART_BYTES_MAX) {
                    if !answer.push(part) {
                        return Ok((answer, false));
                    }
                }
            }
            Ok((answer, true))
        };
        compute(&self.budget, work).await
    }
}

fn count(traces: &TracesData) -> u64 {
    let scopes = traces.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.map(|scope| scope.spans.len() as u64).sum()
}

/// A `ResourceSpans` or `ScopeSpans` taken apart: 1 resource or scope, 2 children, 3 schema URL. None if it is
/// malformed; then nothing of it counts.
struct Group<'a> {
    origin: &'a [u8],
    children: Vec<&'a [u8]>,
    schema_url: &'a str,
}

impl<'a> Group<'a> {
    fn read(message: &'a [u8]) -> Option<Self> {
        let mut group = Self { origin: &[], children: Vec::new(), schema_url: "" };
        for field in Fields::new(message) {
            let field = field.ok()?;
            match field.number {
                1 => group.origin = field.bytes().ok()?,
                2 => group.children.push(field.bytes().ok()?),
                3 => group.schema_url = std::str::from_utf8(field.bytes().ok()?).ok()?,
                _ => {}
            }
        }
        Some(group)
    }
}

impl TraceQuestion {
    /// The spans of a record that are asked for. What an ingester would reject is left out here, too.
    fn spans_in(&self, record: &Record) -> TracesData {
        let mut found = TracesData::default();
        if !is_of_tenant(record, &self.tenant) {
            return found;
        }
        for field in Fields::new(&record.value).map_while(Result::ok).filter(|field| field.number == 1) {
            let Ok(message) = field.bytes() else { continue };
            found.resource_spans.extend(self.resource_spans(message));
        }
        found
    }

    fn resource_spans(&self, message: &[u8]) -> Option<ResourceSpans> {
        let group = Group::read(message)?;
        let scope_spans: Vec<_> =
            group.children.into_iter().filter_map(|message| self.scope_spans(message)).collect();
        if scope_spans.is_empty() {
            return None;
        }
        let resource = Some(Resource::decode(group.origin).ok()?);
        Some(ResourceSpans { resource, scope_spans, schema_url: group.schema_url.to_owned() })
    }

    fn scope_spans(&self, message: &[u8]) -> Option<ScopeSpans> {
        let group = Group::read(message)?;
        let spans: Vec<_> = group.children.into_iter().filter_map(|message| self.span(message)).collect();
        if spans.is_empty() {
            return None;
        }
        let scope = Some(InstrumentationScope::decode(group.origin).ok()?);
        Some(ScopeSpans { scope, spans, schema_url: group.schema_url.to_owned() })
    }

    /// The span, if it is one of the trace and valid.
    fn span(&self, message: &[u8]) -> Option<Span> {
        let mut trace_id: &[u8] = &[];
        for field in Fields::new(message) {
            let field = field.ok()?;
            if field.number == 1 {
                trace_id = field.bytes().ok()?;
            }
        }
        if trace_id != self.trace_id.as_bytes() {
            return None;
        }
        let span = Span::decode(message).ok()?;
        SpanId::new(&span.span_id).ok()?;
        matches!(span.parent_span_id.len(), 0 | 8).then_some(span)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use vivace_model::UnixNanos;
    use vivace_model::wire::put_bytes_header;

    use super::*;

    const TRACE: [u8; 16] = [7; 16];

    fn span(trace: u8, number: u8) -> Span {
        Span {
            trace_id: vec![trace; 16],
            span_id: vec![number; 8],
            name: format!("{number}"),
            ..Span::default()
        }
    }

    fn traces(spans: Vec<Span>) -> TracesData {
        let scope_spans = vec![ScopeSpans { spans, schema_url: "scope".into(), ..ScopeSpans::default() }];
        TracesData {
            resource_spans: vec![ResourceSpans {
                resource: None,
                scope_spans,
                schema_url: "resource".into(),
            }],
        }
    }

    fn record(value: Vec<u8>, tenant: Option<&str>) -> Record {
        let header = |tenant: &str| ("X-Scope-OrgID".to_owned(), Bytes::from(tenant.to_owned()));
        Record {
            offset: Offset(0),
            timestamp: UnixNanos(0),
            key: None,
            headers: tenant.map(header).into_iter().collect(),
            value: value.into(),
        }
    }

    fn names(question: &TraceQuestion, record: &Record) -> Vec<String> {
        let found = question.spans_in(record);
        let scopes = found.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans).map(|span| span.name.clone()).collect()
    }

    fn question(tenant: &str) -> TraceQuestion {
        TraceQuestion {
            budget: WorkBudget::unlimited(),
            tenant: tenant.parse().unwrap(),
            trace_id: TraceId::from_bytes(TRACE),
            bytes_max: usize::MAX,
        }
    }

    #[test]
    fn only_spans_of_the_trace_count() {
        let value = traces(vec![span(7, 1), span(8, 2), span(7, 3)]).encode_to_vec();
        let found = question("single-tenant").spans_in(&record(value, None));
        assert_eq!(found.resource_spans[0].schema_url, "resource");
        assert_eq!(found.resource_spans[0].scope_spans[0].schema_url, "scope");
        assert_eq!(found.resource_spans[0].scope_spans[0].spans, [span(7, 1), span(7, 3)]);
        assert_eq!(count(&found), 2);
        let none =
            question("single-tenant").spans_in(&record(traces(vec![span(8, 2)]).encode_to_vec(), None));
        assert_eq!(none, TracesData::default());
    }

    #[test]
    fn only_records_of_the_tenant_count() {
        let value = traces(vec![span(7, 1)]).encode_to_vec();
        for (asked, header, expected) in [
            ("single-tenant", None, 1),
            ("single-tenant", Some("single-tenant"), 1),
            ("single-tenant", Some("a"), 0),
            ("a", Some("a"), 1),
            ("a", None, 0),
            ("a", Some(""), 0),
        ] {
            let found = names(&question(asked), &record(value.clone(), header));
            assert_eq!(found.len(), expected, "{asked} {header:?}");
        }
    }

    #[test]
    fn invalid_spans_are_left_out_and_others_stay() {
        let invalid = [
            Span { span_id: vec![0; 8], ..span(7, 1) },
            Span { span_id: vec![1; 7], ..span(7, 1) },
            Span { parent_span_id: vec![1; 3], ..span(7, 1) },
        ];
        let spans = invalid.into_iter().chain([span(7, 5)]).collect();
        let record = record(traces(spans).encode_to_vec(), None);
        assert_eq!(names(&question("single-tenant"), &record), ["5"]);
    }

    #[test]
    fn a_broken_record_never_fails_the_read() {
        let good = traces(vec![span(7, 1)]).encode_to_vec();
        let mut bad_utf8 = good.clone();
        let at = bad_utf8.windows(3).position(|window| window == [0x2a, 1, b'1']).unwrap();
        bad_utf8[at + 2] = 0xff;
        assert_eq!(names(&question("single-tenant"), &record(bad_utf8, None)), [""; 0]);
        // A broken resource beside a good one.
        let mut mixed = Vec::new();
        put_bytes_header(&mut mixed, 1, 2);
        mixed.extend([0x0a, 0x7f]);
        mixed.extend(&good);
        assert_eq!(names(&question("single-tenant"), &record(mixed, None)), ["1"]);
        for length in 0..good.len() {
            question("single-tenant").spans_in(&record(good[..length].to_vec(), None));
        }
    }
}
