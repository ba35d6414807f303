use std::sync::Arc;

use vivace_proto::internal;
use vivace_proto::internal::label_value;
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, KeyValue};
use vivace_proto::tempopb::{
    Exemplar, InstantSeries, PartialStatus, QueryInstantResponse, QueryRangeResponse, Sample, TimeSeries,
};
use vivace_traceql::ast::Literal;
use vivace_traceql::{Finished, Grid, Series};

use super::{any_value, chunks, hex, search_metrics, text};
use crate::damage::{self, Damaged};
use crate::search::FoundSeriesSet;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// Series over time.
pub(crate) fn range_response(found: FoundSeriesSet) -> QueryRangeResponse {
    let (status, message) = status(&found.finished, &found.damaged);
    QueryRangeResponse {
        series: found.finished.series.into_iter().map(|series| time_series(&found.grid, series)).collect(),
        metrics: Some(search_metrics(&found.totals)),
        status,
        message,
    }
}

/// The answer as messages of bounded size, each with the metrics and the status; at least one.
pub(crate) fn split_range(response: QueryRangeResponse) -> Vec<QueryRangeResponse> {
    let QueryRangeResponse { series, metrics, status, message } = response;
    let chunks = chunks(series).into_iter();
    chunks.map(|series| QueryRangeResponse { series, metrics, status, message: message.clone() }).collect()
}

/// One value of each series.
pub(crate) fn instant_response(found: FoundSeriesSet) -> QueryInstantResponse {
    let (status, message) = status(&found.finished, &found.damaged);
    let series = found.finished.series.into_iter().filter_map(|series| {
        let value = series.samples.iter().copied().find(|sample| !sample.is_nan())?;
        Some(InstantSeries { labels: labels(series.labels), value })
    });
    QueryInstantResponse {
        series: series.collect(),
        metrics: Some(search_metrics(&found.totals)),
        status,
        message,
    }
}

fn status(finished: &Finished, damaged: &[Arc<Damaged>]) -> (i32, String) {
    let limit = "there are more series than the limit; some of them are missing";
    let truncated = finished.truncated.then(|| limit.to_owned());
    let reasons: Vec<_> = truncated.into_iter().chain(damage::message(damaged)).collect();
    let status = if reasons.is_empty() { PartialStatus::Complete } else { PartialStatus::Partial };
    (status.into(), reasons.join("; "))
}

fn time_series(grid: &Grid, series: Series) -> TimeSeries {
    let samples = (0..).zip(&series.samples).filter(|(_, value)| !value.is_nan());
    let samples =
        samples.map(|(interval, &value)| Sample { value, timestamp_ms: millis(grid.timestamp(interval)) });
    TimeSeries {
        samples: samples.collect(),
        exemplars: series.exemplars.into_iter().map(exemplar).collect(),
        labels: labels(series.labels),
    }
}

fn exemplar(exemplar: internal::Exemplar) -> Exemplar {
    let id = |key: &str, bytes: &[u8]| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(hex(bytes))) }),
        ..KeyValue::default()
    };
    let mut labels = vec![id("trace:id", &exemplar.trace_id)];
    if !exemplar.span_id.is_empty() {
        labels.push(id("span:id", &exemplar.span_id));
    }
    Exemplar { labels, value: exemplar.value, timestamp_ms: millis(exemplar.time) }
}

fn labels(labels: Vec<(Arc<str>, Literal)>) -> Vec<KeyValue> {
    let label = |(key, value): (Arc<str>, Literal)| KeyValue {
        key: key.to_string(),
        value: Some(AnyValue { value: literal(value) }),
        ..KeyValue::default()
    };
    labels.into_iter().map(label).collect()
}

/// A label without a value keeps its name.
fn literal(literal: Literal) -> Option<Value> {
    match literal {
        Literal::Nil => None,
        Literal::Bool(value) => Some(Value::BoolValue(value)),
        Literal::Int(value) => Some(Value::IntValue(value)),
        Literal::Float(value) => Some(Value::DoubleValue(value)),
        Literal::Text(value) => Some(Value::StringValue(value.to_string())),
        Literal::Duration(value) => Some(Value::StringValue(text(label_value::Value::Duration(value)))),
        Literal::Status(value) => Some(any_value(label_value::Value::Status(value as u32))),
        Literal::Kind(value) => Some(any_value(label_value::Value::Kind(value as u32))),
    }
}

fn millis(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds / NANOS_PER_MILLI).unwrap_or(i64::MAX)
}
