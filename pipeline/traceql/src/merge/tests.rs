use proptest::prelude::*;
use vivace_proto::internal::label_value::Value as Wire;
use vivace_proto::internal::{
    FoundRoot, FoundSpan, FoundSpanset, FoundTagScope, FoundTags, LabelValue, ServiceStats, TraceSummary,
};

use super::*;
use crate::{EvalError, GroupLimit};

fn span(id: u8, start: u64) -> FoundSpan {
    FoundSpan {
        span_id: vec![id; 8],
        name: format!("span {}", id % 3),
        start,
        duration: 10,
        attributes: Vec::new(),
        nested_set_left: i32::from(id),
    }
}

/// A piece of a trace with these spans; span 0 is the root.
fn piece(trace: u8, spans: &[(u8, u64)]) -> FoundTrace {
    let start = spans.iter().map(|(_, start)| *start).min().unwrap_or(0);
    let root = spans.iter().find(|(id, _)| *id == 0).map(|(id, start)| FoundRoot {
        service: "shop".into(),
        name: "root".into(),
        start: *start,
        span_id: vec![*id; 8],
    });
    let services = vec![ServiceStats { service: "shop".into(), spans: spans.len() as u32, errors: 1 }];
    FoundTrace {
        trace_id: vec![trace; 16],
        spansets: vec![FoundSpanset {
            matched: spans.len() as u32,
            spans: spans.iter().map(|(id, start)| span(*id, *start)).collect(),
            attributes: Vec::new(),
        }],
        summary: Some(TraceSummary { start, end: start + 100, root, services }),
    }
}

fn merged(limit: usize, spans_max: usize, pieces: impl IntoIterator<Item = FoundTrace>) -> Vec<FoundTrace> {
    let mut merger = TracesMerger::new(limit, spans_max);
    for piece in pieces {
        merger.add(FoundTraces { traces: vec![piece], more: false });
    }
    merger.finish()
}

#[test]
fn pieces_of_a_trace_become_one() {
    let traces = merged(10, 3, [piece(1, &[(1, 50), (2, 60), (3, 70)]), piece(1, &[(0, 40), (4, 65)])]);
    let [trace] = traces.as_slice() else { panic!("one trace, not {}", traces.len()) };
    let summary = trace.summary.as_ref().unwrap();
    assert_eq!((summary.start, summary.end), (40, 150));
    assert_eq!(summary.root.as_ref().unwrap().name, "root");
    assert_eq!(summary.services, [ServiceStats { service: "shop".into(), spans: 5, errors: 2 }]);
    let [spanset] = trace.spansets.as_slice() else { panic!("one spanset") };
    assert_eq!(spanset.matched, 5);
    assert_eq!(spanset.spans.iter().map(|span| span.start).collect::<Vec<_>>(), [40, 50, 60]);
}

#[test]
fn the_newest_stay_and_the_horizon_is_the_last_of_them() {
    let mut merger = TracesMerger::new(2, 3);
    merger.add(FoundTraces { traces: vec![piece(1, &[(1, 10)])], more: false });
    assert_eq!(merger.horizon(), None);
    merger.add(FoundTraces { traces: vec![piece(2, &[(1, 30)]), piece(3, &[(1, 20)])], more: false });
    assert_eq!(merger.horizon(), Some(UnixNanos(20)));
    assert!(merger.more());
    assert_eq!(merger.best().map(|trace| trace.trace_id[0]).collect::<Vec<_>>(), [2, 3]);
    // A piece that shows that trace 2 began long ago lets trace 1 in again.
    merger.add(FoundTraces { traces: vec![piece(2, &[(0, 5)])], more: false });
    assert_eq!(merger.finish().iter().map(|trace| trace.trace_id[0]).collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn spansets_of_different_groups_stay_apart() {
    let mut of_group = piece(1, &[(1, 10)]);
    let value = LabelValue { value: Some(Wire::Int(1)) };
    let label = vivace_proto::internal::Label { name: "by(.a)".into(), value: Some(value) };
    of_group.spansets[0].attributes.push(label);
    let traces = merged(1, 3, [piece(1, &[(2, 20)]), of_group.clone(), of_group]);
    assert_eq!(traces[0].spansets.iter().map(|spanset| spanset.matched).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(traces[0].spansets[1].spans.len(), 1, "the same span is told once");
}

#[test]
fn an_empty_summary_adds_nothing() {
    let mut summary = TraceSummary::default();
    let known = piece(1, &[(0, 7)]).summary.unwrap();
    merge_summary(&mut summary, known.clone());
    assert_eq!(summary, known);
    merge_summary(&mut summary, TraceSummary::default());
    assert_eq!(summary, known);
}

fn values(values: &[Wire]) -> FoundTags {
    let values = values.iter().map(|value| LabelValue { value: Some(value.clone()) });
    FoundTags { scopes: Vec::new(), values: values.collect(), truncated: false }
}

#[test]
fn tags_are_sets_with_limits() {
    let mut merger = TagsMerger::new(2, 3);
    merger.add(values(&[Wire::Int(7), Wire::Text("b".into()), Wire::Status(2)])).unwrap();
    merger.add(values(&[Wire::Text("b".into())])).unwrap();
    assert!(!merger.best().truncated);
    merger.add(values(&[Wire::Text("a".into()), Wire::Text("z".into())])).unwrap();
    let scope = |name: &str, tags: &[&str]| FoundTagScope {
        name: name.into(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
    };
    let scopes = vec![scope("link", &["x"]), scope("span", &["q", "p"]), scope("other", &["y"])];
    merger.add(FoundTags { scopes, values: Vec::new(), truncated: false }).unwrap();
    let found = merger.finish();
    assert_eq!(found.scopes, [scope("span", &["p", "q"]), scope("link", &["x"])]);
    assert_eq!(found.values, values(&[Wire::Int(7), Wire::Status(2), Wire::Text("a".into())]).values);
    assert!(found.truncated);
}

/// Spans of a trace as (number, start).
type Piece = (u8, Vec<(u8, u64)>);

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let spans = prop::collection::vec((0..9_u8, 1..20_u64), 1..5);
    prop::collection::vec((0..6_u8, spans), 0..12)
}

proptest! {
    #[test]
    fn the_order_of_jobs_does_not_matter(
        (pieces, shuffled) in pieces().prop_flat_map(|pieces| {
            (Just(pieces.clone()), Just(pieces).prop_shuffle())
        }),
        limit in 1..8_usize,
        spans_max in 1..5_usize,
    ) {
        let found = |pieces: &[Piece]| {
            merged(limit, spans_max, pieces.iter().map(|(trace, spans)| piece(*trace, spans)))
        };
        prop_assert_eq!(found(&pieces), found(&shuffled));
    }

    #[test]
    fn limits_on_the_way_change_no_set(
        numbers in prop::collection::vec(0..30_i64, 0..40),
        cut in 0..40_usize,
        max in 1..10_usize,
    ) {
        let found = |numbers: &[i64]| {
            let mut merger = TagsMerger::new(0, max);
            merger.add(values(&numbers.iter().map(|number| Wire::Int(*number)).collect::<Vec<_>>())).unwrap();
            merger.finish()
        };
        let (left, right) = numbers.split_at(cut.min(numbers.len()));
        let mut merger = TagsMerger::new(0, max);
        merger.add(found(right)).unwrap();
        merger.add(found(left)).unwrap();
        prop_assert_eq!(merger.finish(), found(&numbers));
    }
}

#[test]
fn long_tags_end_the_query() {
    let groups = GroupLimit { bytes_max: 10_000, setting: "VIVACE_GROUPS" };
    let mut merger = TagsMerger::new(0, 100).limited(groups);
    let text = |letter: &str| values(&[Wire::Text(letter.repeat(3000))]);
    for letter in ["a", "b", "c"] {
        merger.add(text(letter)).unwrap();
        merger.add(text(letter)).unwrap();
    }
    assert!(matches!(merger.add(text("d")), Err(EvalError::TooLarge(_))));
}

#[test]
fn memory_of_traces_is_that_of_those_that_are_kept() {
    let mut merger = TracesMerger::new(1, 10);
    let empty = merger.bytes();
    assert_eq!(empty, 0);
    for start in 1..=2000 {
        let mut one = piece((start % 250) as u8, &[(0, start)]);
        one.trace_id = u64::to_be_bytes(start).repeat(2);
        merger.add(FoundTraces { traces: vec![one.clone(), one], more: false });
    }
    // The limit and as many spare ones.
    let each = merger.bytes() / 257;
    assert!((256..2048).contains(&each), "{each}");
    let groups = GroupLimit { bytes_max: merger.bytes() - 1, setting: "VIVACE_GROUPS" };
    let failed = groups.check_traces(merger.bytes()).unwrap_err();
    assert!(failed.to_string().contains("VIVACE_GROUPS") && failed.to_string().contains("limit"), "{failed}");
}
