//! Series from partial ones, with values calculated by hand.

use std::sync::Arc;

use vivace_model::schema::AttributeScope;
use vivace_proto::internal::{Exemplar, FoundSeries, Label, LabelValue, PartialSeries, label_value};

use vivace_model::ErrorKind;

use super::{FinishOptions, Finished, SeriesMerger, finish, instant};
use crate::ast::{
    Attribute, BinaryOp, FieldExpr, Intrinsic, Literal, MetricsExpr, MetricsFunction, Pipeline, SecondStage,
    SpansetExpr, Stage, Target,
};
use crate::{EvalError, Grid, GroupLimit};

const SECOND: u64 = 1_000_000_000;

/// Four intervals of ten seconds: stamped at 10, 20, 30, 40.
const GRID: Grid = Grid { start: 0, step: 10 * SECOND, intervals: 4, instant: false };

fn attribute(target: Target, written: &str) -> Attribute {
    Attribute { parent: false, target, written: written.into() }
}

fn duration() -> Attribute {
    attribute(Target::Intrinsic(Intrinsic::Duration), "duration")
}

fn route() -> Attribute {
    attribute(Target::Scoped(AttributeScope::Span, "route".into()), "span.route")
}

fn pipeline(function: MetricsFunction, by: &[Attribute]) -> MetricsExpr {
    let filter = SpansetExpr::Filter(FieldExpr::Literal(Literal::Bool(true)));
    let spans = Pipeline { stages: vec![Stage::Spansets(filter)] };
    MetricsExpr::Pipeline { spans, function, by: by.to_vec() }
}

fn stage(input: MetricsExpr, stage: SecondStage) -> MetricsExpr {
    MetricsExpr::Stage { input: Box::new(input), stage }
}

fn binary(op: BinaryOp, left: MetricsExpr, right: MetricsExpr) -> MetricsExpr {
    MetricsExpr::Binary { op, left: Box::new(left), right: Box::new(right) }
}

fn label(name: &str, value: label_value::Value) -> Label {
    Label { name: name.into(), value: Some(LabelValue { value: Some(value) }) }
}

fn text(name: &str, value: &str) -> Label {
    label(name, label_value::Value::Text(value.into()))
}

fn counted(number: u32, labels: &[Label], cells: &[(u32, u64)]) -> PartialSeries {
    PartialSeries {
        pipeline: number,
        labels: labels.to_vec(),
        intervals: cells.iter().map(|cell| cell.0).collect(),
        counts: cells.iter().map(|cell| cell.1).collect(),
        ..PartialSeries::default()
    }
}

fn found(series: impl IntoIterator<Item = PartialSeries>) -> FoundSeries {
    FoundSeries { series: series.into_iter().collect(), truncated: false }
}

fn finished(body: &MetricsExpr, series: impl IntoIterator<Item = PartialSeries>) -> Finished {
    finish(
        body,
        [found(series)],
        GRID,
        FinishOptions { series_max: 0, exemplars_max: 100, ..FinishOptions::default() },
    )
    .unwrap()
}

/// Labels as text and samples, `None` where there is none.
fn told(finished: &Finished) -> Vec<(String, Vec<Option<f64>>)> {
    let labels = |labels: &[(Arc<str>, Literal)]| {
        labels.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect::<Vec<_>>().join(" ")
    };
    let sample = |sample: &f64| Some(*sample).filter(|sample| !sample.is_nan());
    finished
        .series
        .iter()
        .map(|series| (labels(&series.labels), series.samples.iter().map(sample).collect()))
        .collect()
}

fn plain(value: &Literal) -> String {
    match value {
        Literal::Text(text) => text.to_string(),
        Literal::Int(value) => value.to_string(),
        Literal::Float(value) => value.to_string(),
        Literal::Nil => "nil".into(),
        other => format!("{other:?}"),
    }
}

fn series(labels: &str, samples: [Option<f64>; 4]) -> (String, Vec<Option<f64>>) {
    (labels.into(), samples.to_vec())
}

#[test]
fn counts_and_rates_have_zeros_where_nothing_is() {
    let cells = [(1, 5), (3, 20)];
    let body = pipeline(MetricsFunction::CountOverTime, &[]);
    let expected = [Some(0.0), Some(5.0), Some(0.0), Some(20.0)];
    assert_eq!(
        told(&finished(&body, [counted(0, &[], &cells)])),
        [series("__name__=count_over_time", expected)]
    );
    let body = pipeline(MetricsFunction::Rate, &[]);
    let expected = [Some(0.0), Some(0.5), Some(0.0), Some(2.0)];
    assert_eq!(told(&finished(&body, [counted(0, &[], &cells)])), [series("__name__=rate", expected)]);
    assert_eq!(told(&finished(&body, [])), []);
}

#[test]
fn jobs_add_up_by_labels_in_any_order_of_time() {
    let body = pipeline(MetricsFunction::CountOverTime, &[route()]);
    let (a, b) = (text("span.route", "a"), text("span.route", "b"));
    let nil = Label { name: "span.route".into(), value: None };
    let mut merger = SeriesMerger::new(&body, GRID, FinishOptions::default());
    merger
        .add(found([counted(0, &[b], &[(3, 1)]), counted(0, std::slice::from_ref(&a), &[(2, 1), (3, 2)])]))
        .unwrap();
    assert_eq!(merger.finish().unwrap().series.len(), 2);
    merger.add(found([counted(0, &[nil], &[(1, 9)]), counted(0, &[a], &[(0, 4), (2, 5)])])).unwrap();
    let expected = [
        series("span.route=nil", [Some(0.0), Some(9.0), Some(0.0), Some(0.0)]),
        series("span.route=a", [Some(4.0), Some(0.0), Some(6.0), Some(2.0)]),
        series("span.route=b", [Some(0.0), Some(0.0), Some(0.0), Some(1.0)]),
    ];
    assert_eq!(told(&merger.finish().unwrap()), expected);
}

#[test]
fn folded_durations_are_seconds() {
    let valued =
        |values: &[f64]| PartialSeries { values: values.to_vec(), ..counted(0, &[], &[(0, 4), (2, 2)]) };
    let jobs = || [found([valued(&[2e9, 5e8])]), found([valued(&[4e9, 1e9])])];
    let cases = [
        (MetricsFunction::SumOverTime(duration()), "sum_over_time", 6.0, 1.5),
        (MetricsFunction::MinOverTime(duration()), "min_over_time", 2.0, 0.5),
        (MetricsFunction::MaxOverTime(duration()), "max_over_time", 4.0, 1.0),
        (MetricsFunction::AvgOverTime(duration()), "avg_over_time", 0.75, 0.375),
        (MetricsFunction::SumOverTime(route()), "sum_over_time", 6e9, 1.5e9),
    ];
    for (function, name, first, third) in cases {
        let body = pipeline(function, &[]);
        let finished = finish(&body, jobs(), GRID, FinishOptions::default()).unwrap();
        let expected = [Some(first), None, Some(third), None];
        assert_eq!(told(&finished), [series(&format!("__name__={name}"), expected)]);
    }
}

fn bucket(edge: f64) -> Label {
    label("__bucket", label_value::Value::Float(edge))
}

#[test]
fn quantiles_and_histograms_come_from_buckets() {
    // In seconds: 4 in (1.07, 2.15], 4 in (2.15, 4.29].
    let (low, high) = (f64::from(1u32 << 31), 4.0 * f64::from(1u32 << 30));
    let buckets = || [counted(0, &[bucket(high)], &[(0, 4)]), counted(0, &[bucket(low)], &[(0, 4), (1, 1)])];
    let body = pipeline(MetricsFunction::QuantileOverTime(duration(), vec![0.5, 0.75]), &[]);
    let expected = [
        series("p=0.5", [Some(low / 1e9), Some(low / 1e9), None, None]),
        series("p=0.75", [Some(high * 0.5f64.sqrt() / 1e9), Some(low / 1e9), None, None]),
    ];
    assert_eq!(told(&finished(&body, buckets())), expected);
    let body = pipeline(MetricsFunction::HistogramOverTime(duration()), &[]);
    let expected = [
        series(&format!("__bucket={}", low / 1e9), [Some(4.0), Some(1.0), Some(0.0), Some(0.0)]),
        series(&format!("__bucket={}", high / 1e9), [Some(4.0), Some(0.0), Some(0.0), Some(0.0)]),
    ];
    assert_eq!(told(&finished(&body, buckets())), expected);
    let body = pipeline(MetricsFunction::HistogramOverTime(route()), &[route()]);
    let labels = [text("span.route", "a"), bucket(8.0)];
    let expected = [series("span.route=a __bucket=8", [Some(1.0), Some(0.0), Some(0.0), Some(0.0)])];
    assert_eq!(told(&finished(&body, [counted(0, &labels, &[(0, 1)])])), expected);
}

fn three_routes() -> [PartialSeries; 3] {
    [
        counted(0, &[text("span.route", "c")], &[(0, 5), (1, 1)]),
        counted(0, &[text("span.route", "b")], &[(0, 5), (1, 2)]),
        counted(0, &[text("span.route", "a")], &[(0, 1), (1, 3), (2, 7)]),
    ]
}

#[test]
fn top_and_bottom_are_chosen_per_interval_and_ties_by_labels() {
    let counts = pipeline(MetricsFunction::CountOverTime, &[route()]);
    let body = stage(counts.clone(), SecondStage::TopK(1));
    let expected = [
        series("span.route=a", [None, Some(3.0), Some(7.0), Some(0.0)]),
        series("span.route=b", [Some(5.0), None, None, None]),
    ];
    assert_eq!(told(&finished(&body, three_routes())), expected);
    let body = stage(counts, SecondStage::BottomK(1));
    let expected = [
        series("span.route=a", [Some(1.0), None, None, Some(0.0)]),
        series("span.route=b", [None, None, Some(0.0), None]),
        series("span.route=c", [None, Some(1.0), None, None]),
    ];
    assert_eq!(told(&finished(&body, three_routes())), expected);
}

#[test]
fn filters_drop_points_series_and_exemplars() {
    let exemplar = |seconds: u64| Exemplar {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        time: seconds * SECOND,
        value: f64::NAN,
    };
    let mut cells = three_routes();
    cells[2].exemplars = vec![exemplar(5), exemplar(15)];
    let counts = pipeline(MetricsFunction::CountOverTime, &[route()]);
    let body = stage(counts.clone(), SecondStage::Filter(BinaryOp::Greater, Literal::Int(2)));
    let filtered = finished(&body, cells);
    let expected = [
        series("span.route=a", [None, Some(3.0), Some(7.0), None]),
        series("span.route=b", [Some(5.0), None, None, None]),
        series("span.route=c", [Some(5.0), None, None, None]),
    ];
    assert_eq!(told(&filtered), expected);
    assert_eq!(filtered.series[0].exemplars, [Exemplar { value: 3.0, ..exemplar(15) }]);
    // A time as a limit is seconds; no point is no point for != either.
    let maximum = pipeline(MetricsFunction::MaxOverTime(duration()), &[]);
    let valued = PartialSeries { values: vec![9e9, 11e9], ..counted(0, &[], &[(0, 1), (1, 1)]) };
    for (op, first, second) in [
        (BinaryOp::Less, Some(9.0), None),
        (BinaryOp::NotEqual, Some(9.0), Some(11.0)),
        (BinaryOp::Equal, None, None),
    ] {
        let body =
            stage(maximum.clone(), SecondStage::Filter(op, Literal::Duration(10 * SECOND.cast_signed())));
        let expected = [series("__name__=max_over_time", [first, second, None, None])];
        let expected = if first.is_none() { &[][..] } else { &expected };
        assert_eq!(told(&finished(&body, [valued.clone()])), expected);
    }
}

#[test]
fn exemplars_of_one_time_come_in_the_same_order_whichever_was_first() {
    let exemplar = |span| Exemplar { trace_id: vec![1; 16], span_id: vec![span; 8], time: 5, value: 1.0 };
    let body = pipeline(MetricsFunction::CountOverTime, &[]);
    for order in [[2, 3], [3, 2]] {
        let parts =
            order.map(|span| PartialSeries { exemplars: vec![exemplar(span)], ..counted(0, &[], &[(0, 1)]) });
        assert_eq!(finished(&body, parts).series[0].exemplars, [exemplar(2), exemplar(3)]);
    }
}

#[test]
fn math_matches_labels_and_spreads_what_has_none() {
    let (counts, total) =
        (pipeline(MetricsFunction::CountOverTime, &[route()]), pipeline(MetricsFunction::CountOverTime, &[]));
    let a = [text("span.route", "a")];
    let b = [text("span.route", "b")];
    let sides = [
        counted(0, &a, &[(0, 4)]),
        counted(0, &b, &[(0, 4)]),
        counted(1, &a, &[(0, 8), (1, 1)]),
        counted(1, &[text("span.route", "c")], &[(0, 1)]),
    ];
    let body = binary(BinaryOp::Divide, counts.clone(), counts.clone());
    // 0 / 0 is no number.
    assert_eq!(told(&finished(&body, sides)), [series("span.route=a", [Some(0.5), Some(0.0), None, None])]);

    let sides = || [counted(0, &a, &[(0, 4)]), counted(0, &b, &[(0, 6)]), counted(1, &[], &[(0, 2), (1, 2)])];
    let body = binary(BinaryOp::Subtract, counts.clone(), total.clone());
    let expected = [
        series("span.route=a", [Some(2.0), Some(-2.0), Some(0.0), Some(0.0)]),
        series("span.route=b", [Some(4.0), Some(-2.0), Some(0.0), Some(0.0)]),
    ];
    assert_eq!(told(&finished(&body, sides())), expected);

    let hundred = MetricsExpr::Number(Literal::Int(100));
    let rates = pipeline(MetricsFunction::Rate, &[]);
    let body = binary(BinaryOp::Multiply, binary(BinaryOp::Divide, rates, total), hundred);
    let sides = [counted(0, &[], &[(0, 2)]), counted(1, &[], &[(0, 4), (1, 4)])];
    let expected = [series("__name__=((rate / count_over_time) * 100)", [Some(5.0), Some(0.0), None, None])];
    assert_eq!(told(&finished(&body, sides)), expected);

    let one = MetricsExpr::Number(Literal::Float(1.5));
    let body = binary(BinaryOp::Divide, one, counts);
    let infinite = Some(f64::INFINITY);
    let expected = [series("span.route=a", [Some(0.375), infinite, infinite, infinite])];
    assert_eq!(told(&finished(&body, [counted(0, &a, &[(0, 4)])])), expected);
}

#[test]
fn labels_match_whatever_order_they_are_written_in() {
    let (one, two) = (route(), duration());
    let left = pipeline(MetricsFunction::CountOverTime, &[one.clone(), two.clone()]);
    let right = pipeline(MetricsFunction::CountOverTime, &[two, one]);
    let (a, d) = (text("span.route", "a"), label("duration", label_value::Value::Duration(7)));
    let sides = [counted(0, &[a.clone(), d.clone()], &[(0, 1)]), counted(1, &[d, a], &[(0, 2)])];
    let sums = finished(&binary(BinaryOp::Add, left, right), sides);
    assert_eq!(sums.series.len(), 1);
    assert_eq!(sums.series[0].samples[0], 3.0);
}

#[test]
fn series_are_limited_and_it_is_said() {
    let body = pipeline(MetricsFunction::CountOverTime, &[route()]);
    let options = FinishOptions { series_max: 2, exemplars_max: 0, ..FinishOptions::default() };
    let limited = finish(&body, [found(three_routes())], GRID, options).unwrap();
    assert!(limited.truncated);
    assert_eq!(limited.series.len(), 2);
    let cut = FoundSeries { series: Vec::new(), truncated: true };
    assert!(finish(&body, [cut], GRID, FinishOptions::default()).unwrap().truncated);
}

#[test]
fn instant_values_are_the_only_samples() {
    let grid = Grid::instant(0, 10 * SECOND);
    let body = pipeline(MetricsFunction::Rate, &[]);
    let finished =
        finish(&body, [found([counted(0, &[], &[(0, 30)])])], grid, FinishOptions::default()).unwrap();
    let values: Vec<_> = instant(&finished).map(|(_, value)| value).collect();
    assert_eq!(values, [3.0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let body = pipeline(MetricsFunction::SumOverTime(duration()), &[]);
    let mut merger = SeriesMerger::new(&body, GRID, FinishOptions::default());
    let bad = [
        counted(1, &[], &[]),
        counted(0, &[], &[(0, 1)]),
        PartialSeries { values: vec![1.0], ..counted(0, &[], &[(4, 1)]) },
        PartialSeries { values: vec![1.0, 1.0], ..counted(0, &[], &[(1, 1), (1, 1)]) },
    ];
    for series in bad {
        assert!(merger.add(found([series])).is_err());
    }
    let number = MetricsExpr::Number(Literal::Int(1));
    assert!(finish(&number, [], GRID, FinishOptions::default()).is_err());
}

#[test]
fn comparisons_tell_the_same_values_of_both_sides() {
    let selection = FieldExpr::Literal(Literal::Bool(true));
    let body = pipeline(MetricsFunction::Compare { selection, top_n: 2, window: None }, &[]);
    let nil = Label { name: "span.route".into(), value: None };
    let of = |kind: &str, value: &Label, count: u64| {
        counted(0, &[text("__meta_type", kind), value.clone()], &[(0, count)])
    };
    let (a, b, c) = (text("span.route", "a"), text("span.route", "b"), text("span.route", "c"));
    let cut = counted(
        0,
        &[text("__meta_type", "baseline_total"), nil.clone(), text("__meta_error", "__too_many_values__")],
        &[(1, 50)],
    );
    let series_of_jobs = [
        of("baseline", &a, 60),
        of("baseline", &b, 30),
        of("baseline", &c, 10),
        of("baseline_total", &nil, 100),
        cut,
        of("selection", &c, 3),
        of("selection_total", &nil, 4),
    ];
    let expected = [
        ("__meta_type=baseline span.route=a", 60.0, 0.0),
        ("__meta_type=baseline span.route=c", 10.0, 0.0),
        ("__meta_type=baseline_total span.route=nil __meta_error=__too_many_values__", 100.0, 50.0),
        ("__meta_type=selection span.route=c", 3.0, 0.0),
        ("__meta_type=selection_total span.route=nil __meta_error=__too_many_values__", 4.0, 0.0),
    ];
    let expected: Vec<_> = expected
        .map(|(labels, first, second)| series(labels, [Some(first), Some(second), Some(0.0), Some(0.0)]))
        .into();
    assert_eq!(told(&finished(&body, series_of_jobs)), expected);
}

const DAY: Grid = Grid { start: 0, step: SECOND, intervals: 86_400, instant: false };

fn limited(bytes_max: usize, series_max: usize) -> FinishOptions {
    let groups = GroupLimit { bytes_max, setting: "VIVACE_GROUPS" };
    FinishOptions { series_max, groups, ..FinishOptions::default() }
}

/// Spans of so many users, one each, at different steps.
fn users(users: std::ops::Range<u32>) -> FoundSeries {
    let user = |number: u32| {
        let labels = [text("span.user", &format!("user {number}"))];
        counted(0, &labels, &[(number * 7 % DAY.intervals, 1)])
    };
    found(users.map(user))
}

#[test]
fn too_many_groups_end_the_query_while_they_are_added_up() {
    let body = pipeline(MetricsFunction::Rate, &[route()]);
    let mut merger = SeriesMerger::new(&body, DAY, limited(16 << 20, 100));
    let failed = (0..300).find_map(|job| merger.add(users(job * 1000..(job + 1) * 1000)).err());
    let Some(EvalError::TooLarge(message)) = &failed else { panic!("{failed:?}") };
    assert!(message.contains("VIVACE_GROUPS") && message.contains("group by fewer values"), "{message}");
    assert_eq!(failed.unwrap().kind(), ErrorKind::Invalid);
    // The list of series grows by doubling.
    assert!(merger.bytes() < 24 << 20, "{}", merger.bytes());
}

#[test]
fn groups_take_memory_for_the_steps_that_they_have() {
    let body = pipeline(MetricsFunction::Rate, &[route()]);
    let mut merger = SeriesMerger::new(&body, DAY, limited(4 << 20, 10));
    merger.add(users(0..10_000)).unwrap();
    let again = merger.bytes();
    merger.add(users(0..10_000)).unwrap();
    assert_eq!(merger.bytes(), again);
    // Only series that are given out are written out, 700 KB each.
    let mut few = SeriesMerger::new(&body, DAY, limited(16 << 20, 10));
    few.add(users(0..10_000)).unwrap();
    let finished = few.finish().unwrap();
    assert_eq!((finished.series.len(), finished.truncated), (10, true));
    assert_eq!(finished.series[0].labels[0].1, Literal::Text("user 0".into()));
    assert_eq!(finished.series[1].labels[0].1, Literal::Text("user 1".into()));
    assert_eq!(finished.series[2].labels[0].1, Literal::Text("user 10".into()));
}

#[test]
fn series_that_have_to_be_written_out_have_a_limit_too() {
    let top = stage(pipeline(MetricsFunction::Rate, &[route()]), SecondStage::TopK(2));
    let both = binary(BinaryOp::Add, top.clone(), top.clone());
    for body in [top, both] {
        let mut merger = SeriesMerger::new(&body, DAY, limited(64 << 20, 10));
        merger.add(users(0..1000)).unwrap();
        assert!(matches!(merger.finish(), Err(EvalError::TooLarge(_))));
    }
}
