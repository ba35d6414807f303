//! Series, as a job finds them: counts and folded numbers by labels and interval, times in nanoseconds.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vivace_model::schema::AttributeScope;
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{FoundSeries, Label, Search, SeriesKind};
use vivace_traceql::ast::{
    Attribute, Body, FieldExpr, Intrinsic, MetricsExpr, MetricsFunction, Pipeline, Target,
};
use vivace_traceql::{EvalError, Grid, PlanKind, ScanPlan};

use crate::answer::label;
use crate::engine::collect;
use crate::filter::truth;
use crate::lookup::values;
use crate::queries::{attribute, filter, keyed, numbers, pipeline, texts};
use crate::spansets;
use crate::storage::{dealt, storage};
use crate::trace::{Seen, Span, Trace};
use crate::traces::{TICKS, moment, traces};
use crate::whole_traces::{plan, range, text};

/// Count and folded number by labels (as text) and interval.
type Series = BTreeMap<(String, u32), (u64, f64)>;

/// What is counted under one set of labels.
struct Point {
    labels: Vec<Label>,
    number: f64,
}

fn expected(dataset: &[Trace], plan: &ScanPlan, pipeline: &Pipeline) -> Option<Series> {
    let PlanKind::Series { pipelines, grid, .. } = plan.kind() else { panic!("a search for series") };
    let [(function, by)] = pipelines.as_slice() else { panic!("one pipeline") };
    let in_range = |span: &Span| (plan.range().start.0..plan.range().end.0).contains(&span.start);
    let mut series = Series::new();
    for trace in dataset {
        let all = (0..trace.spans.len()).filter(|span| plan.whole() || in_range(&trace.spans[*span]));
        let sets = spansets::pipeline(trace, &all.collect::<Vec<_>>(), pipeline).ok()?;
        let mut found: Vec<usize> = sets.into_iter().flat_map(|set| set.spans).collect();
        found.sort_unstable();
        found.dedup();
        for span in found.into_iter().filter(|span| in_range(&trace.spans[*span])) {
            let Some(interval) = interval(grid, trace.spans[span].start) else { continue };
            for point in points(trace, span, function, by) {
                let cell = series.entry((format!("{:?}", point.labels), interval)).or_insert((0, f64::NAN));
                cell.0 += 1;
                cell.1 = match function {
                    _ if cell.0 == 1 => point.number,
                    MetricsFunction::MinOverTime(_) => cell.1.min(point.number),
                    MetricsFunction::MaxOverTime(_) => cell.1.max(point.number),
                    _ => cell.1 + point.number,
                };
            }
        }
    }
    Some(series)
}

/// Intervals are closed on the right; the only one of an instant query on both sides.
fn interval(grid: &Grid, time: u64) -> Option<u32> {
    let end = |interval: u32| grid.start + u64::from(interval + 1) * grid.step;
    (0..grid.intervals).find(|interval| {
        let start = end(*interval) - grid.step;
        (start < time || (grid.instant && start == time)) && time <= end(*interval)
    })
}

fn points(trace: &Trace, span: usize, function: &MetricsFunction, by: &[Attribute]) -> Vec<Point> {
    let first = |attribute: &Attribute| values(trace, span, attribute).into_iter().next();
    let labels = || by.iter().map(|attribute| label(&attribute.written, first(attribute).as_ref())).collect();
    let number = |attribute: &Attribute| match first(attribute)? {
        Seen::Int(value) | Seen::Duration(value) => Some((value as f64, true)),
        Seen::Float(value) => Some((value, false)),
        _ => None,
    };
    match function {
        MetricsFunction::Rate | MetricsFunction::CountOverTime => {
            vec![Point { labels: labels(), number: 0.0 }]
        }
        MetricsFunction::MinOverTime(attribute)
        | MetricsFunction::MaxOverTime(attribute)
        | MetricsFunction::AvgOverTime(attribute)
        | MetricsFunction::SumOverTime(attribute) => {
            let number = number(attribute).into_iter();
            number.map(|(number, _)| Point { labels: labels(), number }).collect()
        }
        MetricsFunction::QuantileOverTime(attribute, _) | MetricsFunction::HistogramOverTime(attribute) => {
            let number =
                number(attribute).filter(|(number, whole)| *number >= if *whole { 2.0 } else { 0.0 });
            let number = number.map(|(number, _)| number).filter(|number| *number > 0.0).into_iter();
            number
                .map(|number| {
                    let mut labels: Vec<Label> = labels();
                    labels.push(label("__bucket", Some(&Seen::Float(power_above(number)))));
                    Point { labels, number: 0.0 }
                })
                .collect()
        }
        MetricsFunction::Compare { selection, .. } => compared(trace, span, selection),
    }
}

/// The least power of two that is not below.
fn power_above(number: f64) -> f64 {
    let mut power = 2f64.powi(-20);
    while power < number {
        power *= 2.0;
    }
    power
}

/// Every attribute of the span, with its value and without.
fn compared(trace: &Trace, number: usize, selection: &FieldExpr) -> Vec<Point> {
    let span = &trace.spans[number];
    let kind = if truth(trace, number, selection) == Some(true) { "selection" } else { "baseline" };
    let intrinsics = [
        Intrinsic::Name,
        Intrinsic::Kind,
        Intrinsic::Status,
        Intrinsic::StatusMessage,
        Intrinsic::RootName,
        Intrinsic::RootServiceName,
    ];
    let intrinsics = intrinsics.map(Target::Intrinsic).into_iter();
    let scoped = |scope: AttributeScope, keys: &crate::trace::Attributes| {
        let keys = keys.keys().map(|key| Target::Scoped(scope, key.as_str().into()));
        keys.collect::<Vec<_>>()
    };
    let targets = intrinsics
        .chain(scoped(AttributeScope::Resource, &span.resource))
        .chain(scoped(AttributeScope::Span, &span.attributes))
        .chain(scoped(AttributeScope::Instrumentation, &span.scope));
    let mut points = Vec::new();
    for target in targets {
        let attribute = attribute(false, target);
        let Some(value) = values(trace, number, &attribute).into_iter().next() else { continue };
        for (kind, value) in [(kind.to_owned(), Some(&value)), (format!("{kind}_total"), None)] {
            let kind = label("__meta_type", Some(&Seen::Text(kind)));
            points.push(Point { labels: vec![kind, label(&attribute.written, value)], number: 0.0 });
        }
    }
    points
}

fn found(found: FoundSeries) -> Series {
    assert!(!found.truncated);
    let mut all = Series::new();
    for series in found.series {
        let labels: Vec<Label> = series.labels;
        for (at, interval) in series.intervals.iter().enumerate() {
            let number = series.values.get(at).copied().unwrap_or(0.0);
            let other = all.insert((format!("{labels:?}"), *interval), (series.counts[at], number));
            assert_eq!(other, None, "{labels:?} came twice");
        }
    }
    all
}

fn function() -> impl Strategy<Value = MetricsFunction> {
    let measured = numbers().prop_filter("not of small numbers that are no attributes", |attribute| {
        !matches!(attribute.target, Target::Intrinsic(Intrinsic::NestedSetLeft))
    });
    prop_oneof![
        2 => Just(MetricsFunction::Rate),
        2 => Just(MetricsFunction::CountOverTime),
        6 => (measured, 0..6_u8).prop_map(|(attribute, function)| match function {
            0 => MetricsFunction::MinOverTime(attribute),
            1 => MetricsFunction::MaxOverTime(attribute),
            2 => MetricsFunction::AvgOverTime(attribute),
            3 => MetricsFunction::SumOverTime(attribute),
            4 => MetricsFunction::QuantileOverTime(attribute, vec![0.5, 0.9]),
            _ => MetricsFunction::HistogramOverTime(attribute),
        }),
        2 => filter().prop_map(|selection| MetricsFunction::Compare { selection, top_n: 10, window: None }),
    ]
}

fn grid() -> impl Strategy<Value = SeriesKind> {
    (0..TICKS / 2, 1..8_u64, 1..9_u32, any::<bool>()).prop_map(|(start, step, intervals, instant)| {
        SeriesKind {
            step: moment(step * if instant { 3 } else { 1 }) - moment(0),
            grid_start: moment(start),
            intervals: if instant { 1 } else { intervals },
            exemplars_max: 0,
            series_max: 0,
            instant,
        }
    })
}

proptest! {
    #[test]
    fn series(
        dataset in traces(),
        storage in storage(),
        dealt in dealt(),
        pipeline in pipeline(),
        function in function(),
        by in prop::collection::vec(prop_oneof![keyed(), texts(), numbers()], 0..3),
        range in range(),
        grid in grid(),
    ) {
        let by = if matches!(function, MetricsFunction::Compare { .. }) { Vec::new() } else { by };
        let body = Body::Metrics(MetricsExpr::Pipeline { spans: pipeline.clone(), function, by });
        let query = text(body);
        let search = Search {
            tenant: "t".into(),
            query: query.clone(),
            start: range.0,
            end: range.1,
            kind: Some(Kind::Series(grid)),
        };
        let Some(plan) = plan(&search) else { return Ok(()) };
        let Some(mut expected) = expected(&dataset, &plan, &pipeline) else { return Ok(()) };
        // Pieces are put together where traces are wholes, which is not what is tested here.
        // Nor is which of several roots of a trace a comparison of roots names.
        let compares = matches!(function_of(&plan), MetricsFunction::Compare { .. });
        let blocks = if plan.whole() || compares { storage.whole(&dataset) } else { dealt.blocks(&dataset) };
        let mut merged = Series::new();
        for block in &blocks {
            match collect(&plan, std::slice::from_ref(block)) {
                Ok((Found::Series(part), _)) => {
                    merge(&mut merged, found(part), &plan);
                }
                Ok((other, _)) => panic!("not series: {other:?}"),
                Err(EvalError::Query(_)) => return Ok(()),
                Err(other) => panic!("{query}: {other}"),
            }
        }
        if !plan.whole() {
            // compare() tells roots as far as each piece knows them.
            let told = |(labels, _): &(String, u32), _: &mut (u64, f64)| !labels.contains("\"root");
            merged.retain(told);
            expected.retain(told);
        }
        prop_assert_eq!(merged, expected, "{}", query);
    }
}

fn function_of(plan: &ScanPlan) -> &MetricsFunction {
    let PlanKind::Series { pipelines, .. } = plan.kind() else { panic!("a search for series") };
    &pipelines[0].0
}

fn merge(into: &mut Series, part: Series, plan: &ScanPlan) {
    for (key, (count, number)) in part {
        let cell = into.entry(key).or_insert((0, f64::NAN));
        cell.1 = match function_of(plan) {
            _ if cell.0 == 0 => number,
            MetricsFunction::MinOverTime(_) => cell.1.min(number),
            MetricsFunction::MaxOverTime(_) => cell.1.max(number),
            _ => cell.1 + number,
        };
        cell.0 += count;
    }
}
