use vivace_proto::internal::{FoundSpan, FoundSpanset, FoundTrace, TraceSummary};
use vivace_proto::tempopb::{SearchResponse, ServiceStats, Span, SpanSet, TraceSearchMetadata};

use super::{chunks, hex, key_value, search_metrics};
use crate::search::FoundTracesSet;

/// What is told of a trace whose root span was not found.
const NO_ROOT: &str = "<root span not yet received>";

/// The answer of a search.
pub(crate) fn search_response(found: FoundTracesSet) -> SearchResponse {
    SearchResponse {
        traces: found.traces.into_iter().map(trace).collect(),
        metrics: Some(search_metrics(&found.totals)),
    }
}

/// The answer as messages of bounded size, each with the metrics; at least one.
pub(crate) fn split_traces(response: SearchResponse) -> Vec<SearchResponse> {
    let SearchResponse { traces, metrics } = response;
    chunks(traces).into_iter().map(|traces| SearchResponse { traces, metrics }).collect()
}

fn trace(found: FoundTrace) -> TraceSearchMetadata {
    let TraceSummary { start, end, root, services } = found.summary.unwrap_or_default();
    let (root_service_name, root_trace_name) =
        root.map_or_else(|| (NO_ROOT.to_owned(), String::new()), |root| (root.service, root.name));
    let span_sets: Vec<_> = found.spansets.into_iter().map(span_set).collect();
    let stats = services
        .into_iter()
        .map(|stats| (stats.service, ServiceStats { span_count: stats.spans, error_count: stats.errors }));
    TraceSearchMetadata {
        // Short ids are found by as well.
        trace_id: hex(&found.trace_id).trim_start_matches('0').to_owned(),
        root_service_name,
        root_trace_name,
        start_time_unix_nano: start,
        duration_ms: u32::try_from(end.saturating_sub(start) / 1_000_000).unwrap_or(u32::MAX),
        // Clients that find it look at no other spanset.
        span_set: if span_sets.len() == 1 { span_sets.first().cloned() } else { None },
        service_stats: stats.collect(),
        span_sets,
    }
}

fn span_set(found: FoundSpanset) -> SpanSet {
    SpanSet {
        spans: found.spans.into_iter().map(span).collect(),
        matched: found.matched,
        attributes: found.attributes.into_iter().map(key_value).collect(),
    }
}

fn span(found: FoundSpan) -> Span {
    Span {
        span_id: hex(&found.span_id),
        name: found.name,
        start_time_unix_nano: found.start,
        duration_nanos: found.duration,
        attributes: found.attributes.into_iter().map(key_value).collect(),
    }
}
