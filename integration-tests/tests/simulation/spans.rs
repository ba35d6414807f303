//! The spans that writers send, and how they are known again.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use vivace_log::Record;
use vivace_model::{Partition, TenantId, TraceId, partition_of};
use vivace_proto::otlp::common::{AnyValue, KeyValue, any_value};
use vivace_proto::otlp::resource::Resource;
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};

/// Header that names a record's tenant.
pub(crate) const TENANT_HEADER: &str = "x-scope-orgid";

/// When spans start, about: seconds since 1970.
pub(crate) const START_SECONDS: u64 = 1_780_000_000;

/// A trace of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TraceKey {
    pub(crate) tenant: TenantId,
    pub(crate) id: TraceId,
}

impl TraceKey {
    pub(crate) fn partition(&self, partitions: u32) -> Partition {
        partition_of(self.id.as_bytes(), partitions)
    }
}

/// Spans by trace; each by the number that is its id.
pub(crate) type Numbers = BTreeMap<TraceId, Vec<u64>>;

/// A record's value with these spans. The same number always makes the same span.
pub(crate) fn value(spans: &[(TraceId, u64)]) -> Bytes {
    let mut resource_spans: Vec<ResourceSpans> = Vec::new();
    for (service, chunk) in spans.chunks(2).enumerate() {
        let spans = chunk.iter().map(|(trace, number)| span(trace, *number)).collect();
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let attributes = vec![attribute("service.name", format!("service {service}"))];
        let resource = Some(Resource { attributes, ..Resource::default() });
        resource_spans.push(ResourceSpans { resource, scope_spans, ..ResourceSpans::default() });
    }
    TracesData { resource_spans }.encode_to_vec().into()
}

fn span(trace: &TraceId, number: u64) -> Span {
    let start = START_SECONDS * 1_000_000_000 + number * 1_000;
    Span {
        trace_id: trace.as_bytes().to_vec(),
        span_id: number.to_be_bytes().to_vec(),
        name: format!("operation {}", number % 7),
        start_time_unix_nano: start,
        end_time_unix_nano: start + number % 5 * 1_000_000,
        attributes: vec![attribute("number", number.to_string())],
        ..Span::default()
    }
}

fn attribute(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

/// The spans in OTLP.
pub(crate) fn numbers_in(resource_spans: Vec<ResourceSpans>) -> Numbers {
    let mut numbers = Numbers::new();
    let scopes = resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    for span in scopes.flat_map(|scope| scope.spans) {
        let trace = TraceId::new(&span.trace_id).expect("trace ids are valid");
        let number = u64::from_be_bytes(span.span_id.try_into().expect("span ids are 8 bytes"));
        numbers.entry(trace).or_default().push(number);
    }
    numbers
}

/// What a record of the log holds; none if it cannot be stored.
pub(crate) fn parse(record: &Record) -> Option<(TenantId, Numbers)> {
    let tenant = match record.header(TENANT_HEADER) {
        Some(name) => std::str::from_utf8(name).ok()?.parse().ok()?,
        None => TenantId::default(),
    };
    let traces = TracesData::decode(record.value.clone()).ok()?;
    Some((tenant, numbers_in(traces.resource_spans)))
}
