//! Answers of searches. Clients of Tempo refuse fields that they do not know, so none is added. Lists that an answer is about are
//! there even when they are empty.

use std::collections::BTreeMap;
use std::io::{self, Write};

use vivace_proto::tempopb::{
    Exemplar, InstantSeries, MetadataMetrics, QueryInstantResponse, QueryRangeResponse, Sample,
    SearchMetrics, SearchResponse, SearchTagValuesResponse, SearchTagValuesV2Response, SearchTagsResponse,
    SearchTagsV2Response, SearchTagsV2Scope, ServiceStats, Span, SpanSet, TagValue, TimeSeries,
    TraceSearchMetadata,
};

use super::otlp::{key_value, partial};
use super::{Object, double, string};

/// An answer that JSON can be made of.
pub(crate) trait WriteJson {
    fn write_json<W: Write>(&self, out: &mut W) -> io::Result<()>;
}

impl WriteJson for SearchResponse {
    fn write_json<W: Write>(&self, out: &mut W) -> io::Result<()> {
        Object::write(out, |object| {
            object.full_list("traces", &self.traces, trace)?;
            search_metrics(object.field("metrics")?, &self.metrics.unwrap_or_default())
        })
    }
}

impl WriteJson for SearchTagsResponse {
    fn write_json<W: Write>(&self, out: &mut W) -> io::Result<()> {
        Object::write(out, |object| {
            object.full_list("tagNames", &self.tag_names, |out, name| string(out, name))?;
            metadata_metrics(object.field("metrics")?, &self.metrics.unwrap_or_default())
        })
    }
}

impl WriteJson for SearchTagsV2Response {
    fn write_json<W: Write>(&self, out: &mut W) -> io::Result<()> {
        Object::write(out, |object| {
            object.full_list("scopes", &self.scopes, scope)?;
            metadata_metrics(object.field("metrics")?, &self.metrics.unwrap_or_default())
        })
    }
}

impl WriteJson for SearchTagValuesResponse {
    fn write_json<W: Write>(&self, out: &mut W) -> io::Result<()> {
        Object::write(out, |object| {
            object.full_list("tagValues", &self.tag_values, |out, value| string(out, value))?;
            metadata_metrics(object.field("metrics")?, &self.metrics.unwrap_or_default())
        })
    }
}

impl WriteJson for SearchTagValuesV2Response {
    fn write_json<W: Write>(&self, out: &mut W) -> io::Result<()> {
        Object::write(out, |object| {
            object.full_list("tagValues", &self.tag_values, tag_value)?;
            metadata_metrics(object.field("metrics")?, &self.metrics.unwrap_or_default())
        })
    }
}

impl WriteJson for QueryRangeResponse {
    fn write_json<W: Write>(&self, out: &mut W) -> io::Result<()> {
        Object::write(out, |object| {
            object.full_list("series", &self.series, time_series)?;
            search_metrics(object.field("metrics")?, &self.metrics.unwrap_or_default())?;
            partial(object, self.status, &self.message)
        })
    }
}

impl WriteJson for QueryInstantResponse {
    fn write_json<W: Write>(&self, out: &mut W) -> io::Result<()> {
        Object::write(out, |object| {
            object.full_list("series", &self.series, instant_series)?;
            search_metrics(object.field("metrics")?, &self.metrics.unwrap_or_default())?;
            partial(object, self.status, &self.message)
        })
    }
}

fn trace<W: Write>(out: &mut W, trace: &TraceSearchMetadata) -> io::Result<()> {
    Object::write(out, |object| {
        object.string("traceID", &trace.trace_id)?;
        object.string("rootServiceName", &trace.root_service_name)?;
        object.string("rootTraceName", &trace.root_trace_name)?;
        object.u64("startTimeUnixNano", trace.start_time_unix_nano)?;
        object.u32("durationMs", trace.duration_ms)?;
        if let Some(set) = &trace.span_set {
            span_set(object.field("spanSet")?, set)?;
        }
        object.full_list("spanSets", &trace.span_sets, span_set)?;
        if !trace.service_stats.is_empty() {
            service_stats(object.field("serviceStats")?, &trace.service_stats)?;
        }
        Ok(())
    })
}

fn span_set<W: Write>(out: &mut W, set: &SpanSet) -> io::Result<()> {
    Object::write(out, |object| {
        object.full_list("spans", &set.spans, span)?;
        object.u32("matched", set.matched)?;
        object.list("attributes", &set.attributes, key_value)
    })
}

fn span<W: Write>(out: &mut W, span: &Span) -> io::Result<()> {
    Object::write(out, |object| {
        object.string("spanID", &span.span_id)?;
        object.string("name", &span.name)?;
        object.u64("startTimeUnixNano", span.start_time_unix_nano)?;
        object.u64("durationNanos", span.duration_nanos)?;
        object.list("attributes", &span.attributes, key_value)
    })
}

/// Names of services are keys, so they need escapes.
fn service_stats<W: Write>(out: &mut W, services: &BTreeMap<String, ServiceStats>) -> io::Result<()> {
    out.write_all(b"{")?;
    for (index, (service, stats)) in services.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        string(out, service)?;
        out.write_all(b":")?;
        Object::write(out, |object| {
            object.u32("spanCount", stats.span_count)?;
            object.u32("errorCount", stats.error_count)
        })?;
    }
    out.write_all(b"}")
}

fn search_metrics<W: Write>(out: &mut W, metrics: &SearchMetrics) -> io::Result<()> {
    Object::write(out, |object| {
        object.u32("inspectedTraces", metrics.inspected_traces)?;
        object.u64("inspectedBytes", metrics.inspected_bytes)?;
        object.u32("totalBlocks", metrics.total_blocks)?;
        object.u32("completedJobs", metrics.completed_jobs)?;
        object.u32("totalJobs", metrics.total_jobs)?;
        object.u64("totalBlockBytes", metrics.total_block_bytes)?;
        object.u64("inspectedSpans", metrics.inspected_spans)
    })
}

fn metadata_metrics<W: Write>(out: &mut W, metrics: &MetadataMetrics) -> io::Result<()> {
    Object::write(out, |object| {
        object.u64("inspectedBytes", metrics.inspected_bytes)?;
        object.u32("totalJobs", metrics.total_jobs)?;
        object.u32("completedJobs", metrics.completed_jobs)?;
        object.u32("totalBlocks", metrics.total_blocks)?;
        object.u64("totalBlockBytes", metrics.total_block_bytes)
    })
}

fn scope<W: Write>(out: &mut W, scope: &SearchTagsV2Scope) -> io::Result<()> {
    Object::write(out, |object| {
        object.string("name", &scope.name)?;
        object.full_list("tags", &scope.tags, |out, tag| string(out, tag))
    })
}

fn tag_value<W: Write>(out: &mut W, value: &TagValue) -> io::Result<()> {
    Object::write(out, |object| {
        object.string("type", &value.r#type)?;
        object.string("value", &value.value)
    })
}

fn time_series<W: Write>(out: &mut W, series: &TimeSeries) -> io::Result<()> {
    Object::write(out, |object| {
        object.full_list("labels", &series.labels, key_value)?;
        object.full_list("samples", &series.samples, sample)?;
        object.list("exemplars", &series.exemplars, exemplar)
    })
}

/// With its value even when it is 0: not every client knows what an absent one means.
fn sample<W: Write>(out: &mut W, sample: &Sample) -> io::Result<()> {
    Object::write(out, |object| {
        write!(object.field("timestampMs")?, "\"{}\"", sample.timestamp_ms)?;
        double(object.field("value")?, sample.value)
    })
}

fn exemplar<W: Write>(out: &mut W, exemplar: &Exemplar) -> io::Result<()> {
    Object::write(out, |object| {
        object.full_list("labels", &exemplar.labels, key_value)?;
        double(object.field("value")?, exemplar.value)?;
        write!(object.field("timestampMs")?, "\"{}\"", exemplar.timestamp_ms)
    })
}

fn instant_series<W: Write>(out: &mut W, series: &InstantSeries) -> io::Result<()> {
    Object::write(out, |object| {
        object.full_list("labels", &series.labels, key_value)?;
        double(object.field("value")?, series.value)
    })
}
