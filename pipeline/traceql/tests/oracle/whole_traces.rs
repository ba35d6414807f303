//! Searches for traces.

use proptest::prelude::*;
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{FoundTrace, FoundTraces, Search, TracesKind};
use vivace_traceql::ast::{Body, Pipeline, Query};
use vivace_traceql::{EvalError, PlanKind, ScanPlan};

use crate::answer::{Ask, traces as expected};
use crate::condition;
use crate::engine::{collect, collect_wholes};
use crate::queries::pipeline;
use crate::storage::{dealt, storage};
use crate::trace::Trace;
use crate::traces::{TICKS, moment, traces};

/// Some range of the time that spans start in, or none.
pub(crate) fn range() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        Just((0, 0)),
        (0..TICKS, 1..TICKS).prop_map(|(start, ticks)| (moment(start), moment(start + ticks))),
    ]
}

pub(crate) fn text(body: Body) -> String {
    Query { body, hints: Vec::new() }.to_string()
}

/// The plan of a query; none for one that makes no sense after all.
pub(crate) fn plan(search: &Search) -> Option<ScanPlan> {
    match ScanPlan::new(search) {
        Ok(plan) => Some(plan),
        Err(EvalError::Query(_)) => None,
        Err(other) => panic!("{}: {other}", search.query),
    }
}

fn search(pipeline: &Pipeline, (start, end): (u64, u64), limit: usize, spans_max: usize) -> Search {
    Search {
        tenant: "t".into(),
        query: text(Body::Spans(pipeline.clone())),
        start,
        end,
        kind: Some(Kind::Traces(TracesKind { limit: limit as u32, spans_max: spans_max as u32 })),
    }
}

/// What the interpreter says; none if it says that the query makes no sense here.
fn told(
    dataset: &[Trace],
    pipeline: &Pipeline,
    plan: &ScanPlan,
    spans_max: usize,
) -> Option<Vec<FoundTrace>> {
    let PlanKind::Traces { attributes, .. } = plan.kind() else { panic!("a search for traces") };
    let ask = Ask {
        pipeline,
        attributes,
        whole: plan.whole(),
        start: plan.range().start.0,
        end: plan.range().end.0,
        limit: usize::MAX,
        spans_max,
    };
    expected(dataset, &ask).ok()
}

fn found(found: Found) -> FoundTraces {
    match found {
        Found::Traces(traces) => traces,
        other => panic!("not traces: {other:?}"),
    }
}

/// Without what depends on the piece that spans are in.
fn without_places(traces: &[FoundTrace]) -> Vec<FoundTrace> {
    let mut traces = traces.to_vec();
    traces.sort_by(|a, b| a.trace_id.cmp(&b.trace_id));
    for trace in &mut traces {
        trace.summary = None;
        for span in trace.spansets.iter_mut().flat_map(|spanset| &mut spanset.spans) {
            span.nested_set_left = 0;
            span.attributes
                .retain(|label| label.name != "nestedSetParent" && !label.name.starts_with("parent."));
        }
        for spanset in &mut trace.spansets {
            spanset.spans.sort_by(|a, b| (a.start, &a.span_id).cmp(&(b.start, &b.span_id)));
        }
    }
    traces
}

proptest! {
    #[test]
    fn one_piece(
        dataset in traces(),
        storage in storage(),
        pipeline in pipeline(),
        range in range(),
        limit in 1..8_usize,
        spans_max in 1..6_usize,
    ) {
        let search = search(&pipeline, range, limit, spans_max);
        let Some(plan) = plan(&search) else { return Ok(()) };
        let Some(mut expected) = told(&dataset, &pipeline, &plan, spans_max) else { return Ok(()) };
        let (found_traces, looked) = match collect(&plan, &storage.whole(&dataset)) {
            Ok((found_all, looked)) => (found(found_all), looked),
            Err(EvalError::Query(_)) => return Ok(()),
            Err(other) => panic!("{}: {other}", search.query),
        };
        prop_assert_eq!(found_traces.more, expected.len() > limit, "more of {}", search.query);
        expected.truncate(limit);
        prop_assert_eq!(&found_traces.traces, &expected, "{}", search.query);
        for looked in &looked {
            condition::check(&plan, looked, &dataset, &search.query);
        }
    }

    #[test]
    fn spans_one_by_one_in_several_pieces(
        dataset in traces(),
        dealt in dealt(),
        pipeline in pipeline(),
        range in range(),
    ) {
        let search = search(&pipeline, range, 100, 100);
        let Some(plan) = plan(&search).filter(|plan| !plan.whole()) else { return Ok(()) };
        let Some(expected) = told(&dataset, &pipeline, &plan, 100) else { return Ok(()) };
        let (found_all, _) = collect(&plan, &dealt.blocks(&dataset)).unwrap();
        prop_assert_eq!(without_places(&found(found_all).traces), without_places(&expected), "{}", search.query);
    }

    #[test]
    fn wholes_of_several_pieces(
        dataset in traces(),
        dealt in dealt(),
        pipeline in pipeline(),
        range in range(),
        limit in 1..8_usize,
        spans_max in 1..6_usize,
    ) {
        let search = search(&pipeline, range, limit, spans_max);
        let Some(plan) = plan(&search).filter(ScanPlan::whole) else { return Ok(()) };
        let Some(mut expected) = told(&dataset, &pipeline, &plan, spans_max) else { return Ok(()) };
        let found_all = match collect_wholes(&plan, &dealt.blocks(&dataset)) {
            Ok(found_all) => found(found_all),
            Err(EvalError::Query(_)) => return Ok(()),
            Err(other) => panic!("{}: {other}", search.query),
        };
        expected.truncate(limit);
        prop_assert_eq!(&found_all.traces, &expected, "{}", search.query);
    }
}
