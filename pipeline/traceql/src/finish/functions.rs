//! What each metrics function makes of its partial series.

use std::collections::BTreeMap;
use std::sync::Arc;

use vivace_proto::internal::Exemplar;

use super::merged::{Merged, Partial};
use super::{Labels, Line, compare};
use crate::EvalError;
use crate::ast::{Literal, MetricsFunction};
use crate::collect::labels::LabelKey;
use crate::collect::series::measure::Measure;
use crate::collect::series::{BUCKET, buckets};
use crate::limits::Room;

/// Label that holds the function's name where there is no other label.
pub(super) const NAME: &str = "__name__";
/// Label of the quantile.
const QUANTILE: &str = "p";

/// The series of a metrics pipeline; all, or the first `series_max` by their labels and one more.
pub(super) fn lines(merged: &Merged, series_max: usize, room: &Room) -> Result<Vec<Line>, EvalError> {
    let divisor = Measure::of(&merged.function).divisor();
    let value = |_: u64, value: Option<f64>| value.map_or(f64::NAN, |value| value / divisor);
    let values = |partial: &Partial| merged.samples(partial, f64::NAN, value);
    let each =
        |name: &str, samples: &dyn Fn(&Partial) -> Vec<f64>| each(merged, name, series_max, room, samples);
    match &merged.function {
        MetricsFunction::Rate => {
            let seconds = merged.grid.step_seconds().max(1e-9);
            each("rate", &|partial| merged.samples(partial, 0.0, |count, _| count as f64 / seconds))
        }
        MetricsFunction::CountOverTime => each("count_over_time", &|partial| counts(merged, partial)),
        MetricsFunction::MinOverTime(_) => each("min_over_time", &values),
        MetricsFunction::MaxOverTime(_) => each("max_over_time", &values),
        MetricsFunction::SumOverTime(_) => each("sum_over_time", &values),
        MetricsFunction::AvgOverTime(_) => each("avg_over_time", &|partial| {
            merged.samples(partial, f64::NAN, |count, sum| value(count, sum) / count as f64)
        }),
        MetricsFunction::QuantileOverTime(_, quantiles) => quantile_lines(merged, quantiles, divisor, room),
        MetricsFunction::HistogramOverTime(_) => {
            room.take(merged.partials.len(), merged.grid.intervals)?;
            Ok(histogram_lines(merged, divisor))
        }
        MetricsFunction::Compare { top_n, .. } => compare::lines(merged, *top_n, room),
    }
}

/// Counts of all intervals; none is 0.
pub(super) fn counts(merged: &Merged, partial: &Partial) -> Vec<f64> {
    merged.samples(partial, 0.0, |count, _| count as f64)
}

/// One series for each partial one.
fn each(
    merged: &Merged,
    name: &str,
    series_max: usize,
    room: &Room,
    samples: &dyn Fn(&Partial) -> Vec<f64>,
) -> Result<Vec<Line>, EvalError> {
    let mut partials: Vec<_> = merged.partials.iter().zip(exemplars(merged)).collect();
    let most = series_max.saturating_add(1);
    if partials.len() > most {
        partials.sort_by(|(a, _), (b, _)| a.labels.cmp(&b.labels));
        partials.truncate(most);
    }
    room.take(partials.len(), merged.grid.intervals)?;
    let lines = partials.into_iter().map(|(partial, exemplars)| {
        let mut labels = partial.labels.clone();
        if merged.single {
            labels.push((NAME.into(), LabelKey::text(name)));
        }
        Line { labels, samples: samples(partial), exemplars }
    });
    Ok(lines.collect())
}

/// Exemplars of each partial series, with values as they are told.
fn exemplars(merged: &Merged) -> Vec<Vec<(u32, Exemplar)>> {
    let divisor = Measure::of(&merged.function).divisor();
    let mut exemplars = merged.exemplars();
    exemplars.iter_mut().flatten().for_each(|(_, exemplar)| exemplar.value /= divisor);
    exemplars
}

/// Labels without that of the bucket, and the bucket's upper edge.
fn split_bucket(labels: &Labels) -> (Labels, f64) {
    let (buckets, others): (Labels, Labels) = labels
        .iter()
        .cloned()
        .partition(|(name, value)| &**name == BUCKET && matches!(value, LabelKey::Float(_)));
    let edge = buckets.first().map(|(_, value)| value.literal());
    (others, if let Some(Literal::Float(edge)) = edge { edge } else { f64::NAN })
}

fn histogram_lines(merged: &Merged, divisor: f64) -> Vec<Line> {
    let bucket: Arc<str> = BUCKET.into();
    let lines = merged.partials.iter().zip(exemplars(merged)).map(|(partial, exemplars)| {
        let (mut labels, edge) = split_bucket(&partial.labels);
        labels.push((Arc::clone(&bucket), LabelKey::float(edge / divisor)));
        Line { labels, samples: counts(merged, partial), exemplars }
    });
    lines.collect()
}

/// Buckets of one series, by upper edge, and exemplars of all of them.
#[derive(Default)]
struct Buckets<'a> {
    edges: Vec<(f64, &'a Partial)>,
    exemplars: Vec<(u32, Exemplar)>,
}

fn quantile_lines(
    merged: &Merged,
    quantiles: &[f64],
    divisor: f64,
    room: &Room,
) -> Result<Vec<Line>, EvalError> {
    let mut series: BTreeMap<Labels, Buckets<'_>> = BTreeMap::new();
    for (partial, exemplars) in merged.partials.iter().zip(exemplars(merged)) {
        let (labels, edge) = split_bucket(&partial.labels);
        let buckets = series.entry(labels).or_default();
        buckets.edges.push((edge, partial));
        buckets.exemplars.extend(exemplars);
    }
    room.take(series.len().saturating_mul(quantiles.len()), merged.grid.intervals)?;
    let name: Arc<str> = QUANTILE.into();
    let mut lines = Vec::with_capacity(series.len() * quantiles.len());
    for (labels, mut series) in series {
        series.edges.sort_by(|a, b| a.0.total_cmp(&b.0));
        let start = lines.len();
        for quantile in quantiles {
            let mut labels = labels.clone();
            labels.push((Arc::clone(&name), LabelKey::float(*quantile)));
            lines.push(Line { labels, samples: Vec::new(), exemplars: Vec::new() });
        }
        let own = &mut lines[start..];
        let mut steps: Vec<_> =
            series.edges.iter().map(|(edge, partial)| (*edge, partial.steps.iter().peekable())).collect();
        let mut counts = Vec::with_capacity(steps.len());
        for interval in 0..merged.grid.intervals {
            counts.clear();
            counts.extend(steps.iter_mut().map(|(edge, steps)| {
                let step = steps.next_if(|(own, ..)| *own == interval);
                (*edge, step.map_or(0, |(_, count, _)| count))
            }));
            for (line, quantile) in own.iter_mut().zip(quantiles) {
                line.samples.push(buckets::quantile(*quantile, &counts) / divisor);
            }
        }
        for (interval, exemplar) in series.exemplars {
            place(own, interval, exemplar);
        }
    }
    Ok(lines)
}

/// Gives an exemplar to the quantile that is nearest to it.
fn place(quantiles: &mut [Line], interval: u32, exemplar: Exemplar) {
    let distance = |line: &Line| (line.samples[interval as usize] - exemplar.value).abs();
    if let Some(nearest) = quantiles.iter_mut().min_by(|a, b| distance(a).total_cmp(&distance(b))) {
        nearest.exemplars.push((interval, exemplar));
    }
}
