//! Series against a naive count, span by span, however spans are cut into jobs and columns into batches.

mod compare;
mod rows;

use std::collections::BTreeMap;

use arrow::array::UInt32Array;
use arrow::compute::take_record_batch;
use proptest::prelude::*;
use vivace_model::scan::TraceRuns;
use vivace_model::schema::AttributeScope;
use vivace_proto::internal::FoundSeries;

use self::rows::{Row, Size, batch, row};
use super::SeriesCollector;
use super::exemplars::Exemplars;
use crate::ast::{
    Attribute, FieldExpr, Intrinsic, Literal, MetricsExpr, MetricsFunction, Pipeline, SpansetExpr, Stage,
    Status, Target,
};
use crate::collect::labels::LabelKey;
use crate::{FinishOptions, Finished, Grid, Selected, Spans, finish};

const GRID: Grid = Grid { start: 1000, step: 100, intervals: 10, instant: false };

fn attribute(target: Target, written: &str) -> Attribute {
    Attribute { parent: false, target, written: written.into() }
}

fn service() -> Attribute {
    attribute(Target::Scoped(AttributeScope::Resource, "service.name".into()), "resource.service.name")
}

fn status_attribute() -> Attribute {
    attribute(Target::Intrinsic(Intrinsic::Status), "status")
}

fn size() -> Attribute {
    attribute(Target::Scoped(AttributeScope::Span, "size".into()), "span.size")
}

fn duration() -> Attribute {
    attribute(Target::Intrinsic(Intrinsic::Duration), "span:duration")
}

fn runs_of(rows: &[Row]) -> TraceRuns {
    let ids: Vec<[u8; 16]> = rows.iter().map(|row| row.trace_id.to_be_bytes()).collect();
    TraceRuns::new(&ids)
}

/// What a job finds in some rows. Columns come with the first batch, or with the second.
fn found(
    function: &MetricsFunction,
    by: &[Attribute],
    grid: Grid,
    batches: &[Vec<Row>],
    all_first: bool,
    limits: (usize, usize),
) -> FoundSeries {
    let mut collector = SeriesCollector::new(&[(function.clone(), by.to_vec())], grid, limits.0, limits.1);
    for rows in batches {
        let whole = batch(rows);
        let runs = runs_of(rows);
        // Selections come one spanset after the other.
        let mut selected: Vec<u32> =
            (0..rows.len() as u32).filter(|at| rows[*at as usize].selected).collect();
        selected.sort_by_key(|at| at % 2);
        let selected = [Selected { rows: selected, spansets: Vec::new() }];
        let nothing = whole.project(&[]).unwrap();
        let first = if all_first { &whole } else { &nothing };
        let first = Spans::new(first, &runs);
        let wanted = collector.wanted(&selected, &first).unwrap();
        let second = if all_first { &nothing } else { &whole };
        let second = take_record_batch(second, &UInt32Array::from(wanted.clone())).unwrap();
        collector.take(&selected, &first, &wanted, &Spans::picked(&second)).unwrap();
    }
    collector.finish()
}

fn body(function: &MetricsFunction, by: &[Attribute]) -> MetricsExpr {
    let filter = SpansetExpr::Filter(FieldExpr::Literal(Literal::Bool(true)));
    let spans = Pipeline { stages: vec![Stage::Spansets(filter)] };
    MetricsExpr::Pipeline { spans, function: function.clone(), by: by.to_vec() }
}

type Samples = BTreeMap<Vec<(String, LabelKey)>, Vec<f64>>;

fn samples(finished: &Finished) -> Samples {
    let labels = |labels: &[(std::sync::Arc<str>, Literal)]| {
        labels.iter().map(|(name, value)| (name.to_string(), LabelKey::of_literal(value))).collect()
    };
    finished.series.iter().map(|series| (labels(&series.labels), series.samples.clone())).collect()
}

/// A number of a span in its own unit, and whether it is whole.
fn measured(function: &MetricsFunction, row: &Row) -> Option<(f64, bool)> {
    let attribute = match function {
        MetricsFunction::Rate | MetricsFunction::CountOverTime => return Some((1.0, true)),
        MetricsFunction::MinOverTime(attribute)
        | MetricsFunction::MaxOverTime(attribute)
        | MetricsFunction::AvgOverTime(attribute)
        | MetricsFunction::SumOverTime(attribute)
        | MetricsFunction::QuantileOverTime(attribute, _)
        | MetricsFunction::HistogramOverTime(attribute) => attribute,
        MetricsFunction::Compare { .. } => unreachable!("has a test of its own"),
    };
    if *attribute == duration() {
        return Some((row.duration as f64, true));
    }
    match row.size {
        Size::Int(value) => Some((value as f64, true)),
        Size::Float(value) => Some((value, false)),
        Size::None | Size::Text => None,
    }
}

fn bucket(value: f64, whole: bool) -> Option<f64> {
    if value <= 0.0 || (whole && value < 2.0) {
        return None;
    }
    let mut edge = 2f64.powi(-40);
    while edge < value {
        edge *= 2.0;
    }
    Some(edge)
}

/// All values by series and interval; for quantiles and histograms the buckets' upper edges.
fn naive(function: &MetricsFunction, by: &[Attribute], rows: &[Row]) -> Samples {
    let bucketed =
        matches!(function, MetricsFunction::QuantileOverTime(..) | MetricsFunction::HistogramOverTime(_));
    let mut series: BTreeMap<Vec<(String, LabelKey)>, Vec<Vec<f64>>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.selected) {
        let (Some(interval), Some((value, whole))) = (GRID.interval(row.start), measured(function, row))
        else {
            continue;
        };
        let value = if bucketed { bucket(value, whole) } else { Some(value) };
        let Some(value) = value else { continue };
        let mut labels: Vec<(String, LabelKey)> = Vec::new();
        for attribute in by {
            let value = if *attribute == service() {
                row.service.map_or(LabelKey::Nil, |number| LabelKey::text(rows::service_name(number)))
            } else {
                LabelKey::Status(Status::from_number(row.status))
            };
            labels.push((attribute.written.to_string(), value));
        }
        series.entry(labels).or_insert_with(|| vec![Vec::new(); 10])[interval as usize].push(value);
    }
    let mut samples = Samples::new();
    for (labels, intervals) in series {
        naive_series(function, by, labels, &intervals, &mut samples);
    }
    samples
}

fn naive_series(
    function: &MetricsFunction,
    by: &[Attribute],
    labels: Vec<(String, LabelKey)>,
    intervals: &[Vec<f64>],
    into: &mut Samples,
) {
    let unit = |attribute: &Attribute| if *attribute == duration() { 1e9 } else { 1.0 };
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    let mut put = |name: &str, value: &dyn Fn(&[f64]) -> f64| {
        let mut labels = labels.clone();
        if by.is_empty() {
            labels.push(("__name__".into(), LabelKey::text(name)));
        }
        into.insert(labels, intervals.iter().map(|values| value(values)).collect());
    };
    let some = |values: &[f64], value: f64| if values.is_empty() { f64::NAN } else { value };
    match function {
        MetricsFunction::Rate => put("rate", &|values| values.len() as f64 / 100e-9),
        MetricsFunction::CountOverTime => put("count_over_time", &|values| values.len() as f64),
        MetricsFunction::MinOverTime(attribute) => put("min_over_time", &|values| {
            some(values, values.iter().copied().fold(f64::INFINITY, f64::min) / unit(attribute))
        }),
        MetricsFunction::MaxOverTime(attribute) => put("max_over_time", &|values| {
            some(values, values.iter().copied().fold(f64::NEG_INFINITY, f64::max) / unit(attribute))
        }),
        MetricsFunction::SumOverTime(attribute) => {
            put("sum_over_time", &|values| some(values, sum(values) / unit(attribute)));
        }
        MetricsFunction::AvgOverTime(attribute) => {
            put("avg_over_time", &|values| some(values, sum(values) / values.len() as f64 / unit(attribute)));
        }
        MetricsFunction::HistogramOverTime(attribute) => {
            let mut edges: Vec<f64> = intervals.iter().flatten().copied().collect();
            edges.sort_by(f64::total_cmp);
            edges.dedup();
            for edge in edges {
                let mut labels = labels.clone();
                labels.push(("__bucket".into(), LabelKey::float(edge / unit(attribute))));
                let count = |values: &Vec<f64>| values.iter().filter(|value| **value == edge).count() as f64;
                into.insert(labels, intervals.iter().map(count).collect());
            }
        }
        MetricsFunction::QuantileOverTime(attribute, quantiles) => {
            for quantile in quantiles {
                let mut labels = labels.clone();
                labels.push(("p".into(), LabelKey::float(*quantile)));
                let value = |values: &Vec<f64>| naive_quantile(values, *quantile) / unit(attribute);
                into.insert(labels, intervals.iter().map(value).collect());
            }
        }
        MetricsFunction::Compare { .. } => unreachable!("has a test of its own"),
    }
}

fn naive_quantile(edges: &[f64], quantile: f64) -> f64 {
    let mut edges = edges.to_vec();
    edges.sort_by(f64::total_cmp);
    let rank = (quantile * edges.len() as f64).max(1.0);
    let Some(edge) = edges.get(rank.ceil() as usize - 1) else { return f64::NAN };
    let below = edges.iter().filter(|other| *other < edge).count() as f64;
    let within = edges.iter().filter(|other| *other == edge).count() as f64;
    edge / 2.0 * 2f64.powf((rank - below) / within)
}

fn functions() -> Vec<MetricsFunction> {
    let mut functions = vec![MetricsFunction::Rate, MetricsFunction::CountOverTime];
    for attribute in [duration(), size()] {
        functions.extend([
            MetricsFunction::MinOverTime(attribute.clone()),
            MetricsFunction::MaxOverTime(attribute.clone()),
            MetricsFunction::AvgOverTime(attribute.clone()),
            MetricsFunction::SumOverTime(attribute.clone()),
            MetricsFunction::QuantileOverTime(attribute.clone(), vec![0.1, 0.5, 0.99]),
            MetricsFunction::HistogramOverTime(attribute),
        ]);
    }
    functions
}

fn assert_same(found: &Samples, expected: &Samples) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (labels, samples) in found {
        for (found, expected) in samples.iter().zip(&expected[labels]) {
            let same =
                (found.is_nan() && expected.is_nan()) || (found - expected).abs() <= 1e-9 * expected.abs();
            assert!(same, "{labels:?}: {samples:?} is not {:?}", expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn series_are_those_of_a_naive_count(
        jobs in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(row(), 0..40), 0..3), 1..4),
        all_first: bool,
    ) {
        let rows: Vec<Row> = jobs.iter().flatten().flatten().cloned().collect();
        let options = FinishOptions { series_max: 0, exemplars_max: 14, ..FinishOptions::default() };
        for function in functions() {
            for by in [vec![], vec![service()], vec![status_attribute(), service()]] {
                let parts = jobs.iter().map(|job| found(&function, &by, GRID, job, all_first, (14, 0)));
                let body = body(&function, &by);
                let cut = finish(&body, parts, GRID, options).unwrap();
                let whole = found(&function, &by, GRID, std::slice::from_ref(&rows), !all_first, (14, 0));
                let whole = finish(&body, [whole], GRID, options).unwrap();
                assert_same(&samples(&cut), &samples(&whole));
                assert_same(&samples(&cut), &naive(&function, &by, &rows));
                let exemplars = |finished: &Finished| {
                    finished.series.iter().map(|series| series.exemplars.iter().map(|exemplar| exemplar.time).collect::<Vec<_>>())
                        .collect::<Vec<_>>()
                };
                prop_assert_eq!(exemplars(&cut), exemplars(&whole));
                prop_assert!(exemplars(&cut).concat().len() <= 14);
            }
        }
    }
}

#[test]
fn exemplars_tell_what_was_measured() {
    let rows: Vec<Row> = (0..50u32)
        .map(|number| Row {
            trace_id: u128::from(number),
            start: 1001 + 20 * u64::from(number),
            duration: i64::from(number) * 1_000_000_000,
            ..Row::default()
        })
        .collect();
    let function = MetricsFunction::MaxOverTime(duration());
    let found = found(&function, &[], GRID, std::slice::from_ref(&rows), false, (20, 0));
    let finished = finish(
        &body(&function, &[]),
        [found],
        GRID,
        FinishOptions { series_max: 0, exemplars_max: 20, ..FinishOptions::default() },
    )
    .unwrap();
    let exemplars = &finished.series[0].exemplars;
    assert_eq!(exemplars.len(), 20);
    for exemplar in exemplars {
        let row = (exemplar.time - 1001) / 20;
        assert_eq!(exemplar.value, row as f64);
        assert_eq!(exemplar.trace_id, u128::from(row).to_be_bytes());
    }
}

#[test]
fn series_of_a_job_are_limited() {
    let rows: Vec<Row> =
        (0..4).map(|number| Row { start: 1050, service: Some(number), ..Row::default() }).collect();
    let found = found(&MetricsFunction::Rate, &[service()], GRID, std::slice::from_ref(&rows), false, (0, 3));
    assert!(found.truncated);
    assert_eq!(found.series.len(), 3);
}

#[test]
fn an_instant_has_both_its_ends() {
    let rows: Vec<Row> =
        [999, 1000, 1500, 2000, 2001].into_iter().map(|start| Row { start, ..Row::default() }).collect();
    let grid = Grid::instant(1000, 2000);
    let found = found(&MetricsFunction::CountOverTime, &[], grid, std::slice::from_ref(&rows), true, (0, 0));
    assert_eq!(found.series[0].counts, [3]);
}

#[test]
fn no_exemplars_are_none() {
    assert!(Exemplars::new(10, 0).is_off());
}
