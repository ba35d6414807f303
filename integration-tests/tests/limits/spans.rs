//! Requests that take far more memory than they look like.

use std::iter::repeat_n;
use std::ops::Range;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use vivace_integration_tests::SHOP_SECONDS;

/// Attribute of the resource with a text that all its spans share.
pub(crate) const FAT: &str = "fat";
/// Attribute of which each span has another value.
pub(crate) const MANY: &str = "many.values";

const SECOND: u64 = 1_000_000_000;
/// The time over which spans with many values are spread: within that of the sample shop's spans, so that queries for
/// these find them.
pub(crate) const OWN_SECONDS: Range<u64> = SHOP_SECONDS.start + 1_000..SHOP_SECONDS.start + 1_600;
const SPANS_PER_TRACE: usize = 10;

/// One trace whose resource is nearly as large as a record of the log may be.
pub(crate) fn fat_request() -> ExportTraceServiceRequest {
    let id: [u8; 16] = rand::random();
    let spans = (0..2_600).map(|index| span(id, index, 0, Vec::new())).collect();
    request(vec![text(FAT, repeat_n('R', 890_000).collect())], spans)
}

/// A request of a service whose resource is as large as those of some agents are.
pub(crate) fn fat_service(count: usize) -> ExportTraceServiceRequest {
    request(vec![text(FAT, repeat_n('S', 18_000).collect())], spans(count, |_| (0, Vec::new())))
}

/// Spans with that many values from `first` on.
pub(crate) fn many_values(first: usize, count: usize) -> ExportTraceServiceRequest {
    let each = |index| {
        let number = first + index;
        (number as u64 % (OWN_SECONDS.end - OWN_SECONDS.start), vec![text(MANY, format!("value-{number}"))])
    };
    request(Vec::new(), spans(count, each))
}

/// Spans of traces of ten; of each, the second in which it starts and its attributes.
fn spans(count: usize, each: impl Fn(usize) -> (u64, Vec<KeyValue>)) -> Vec<Span> {
    let mut id: [u8; 16] = rand::random();
    let spans = (0..count).map(|index| {
        if index.is_multiple_of(SPANS_PER_TRACE) {
            id = rand::random();
        }
        let (second, attributes) = each(index);
        span(id, index, second, attributes)
    });
    spans.collect()
}

fn span(trace: [u8; 16], index: usize, second: u64, attributes: Vec<KeyValue>) -> Span {
    let start = (OWN_SECONDS.start + second) * SECOND;
    Span {
        trace_id: trace.to_vec(),
        span_id: (index as u64 + 1).to_be_bytes().to_vec(),
        name: "op".into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000,
        attributes,
        ..Span::default()
    }
}

fn request(mut attributes: Vec<KeyValue>, spans: Vec<Span>) -> ExportTraceServiceRequest {
    attributes.push(text("service.name", "heavyweight".into()));
    let resource = Some(Resource { attributes, ..Resource::default() });
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
    }
}

fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value)) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}
