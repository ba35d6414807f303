//! What is read, and what is ruled out.

use std::time::Duration;

use vivace_model::scan::{Condition, ScanColumn, Test};
use vivace_model::schema::{self, AttributeScope};
use vivace_model::{ErrorKind, WorkBudget, WorkEnd};
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::{Search, SeriesKind, SummariesKind, TagNamesKind, TagValuesKind};

use super::{Hints, PlanKind, ScanPlan};
use crate::testing::{START, TestSpan, attribute, batch, runs, search, select, span, trace_id};
use crate::{Collector, EvalError, Selected, Spans};

fn plan(query: &str) -> ScanPlan {
    ScanPlan::new(&search(query)).unwrap_or_else(|error| panic!("{query}: {error}"))
}

fn series(query: &str) -> Search {
    let kind = Some(Kind::Series(SeriesKind { step: 1, intervals: 1, ..SeriesKind::default() }));
    Search { query: query.into(), kind, ..Search::default() }
}

#[test]
fn which_searches_need_whole_traces() {
    for query in [
        "{ }",
        r#"{ resource.service.name = "a" && status = error }"#,
        "{ .a = 1 } || { name = `b` }",
        "({ .a = 1 } || { .b = 1 }) | { .c = 1 } | select(.d)",
        "{ nestedSetParent < 0 }",
        "{ nestedSetParent = -1 }",
        "{ nestedSetParent >= 0 && kind = server }",
        "{ !(nestedSetParent < 0) }",
        "{ nestedSetParent != nil }",
        r#"{ trace:id = "1" || span:id = "2" || instrumentation:name = "x" }"#,
    ] {
        assert!(!plan(query).whole(), "{query}");
    }
    for query in [
        "{ } && { }",
        "{ } > { }",
        "{ } !~ { }",
        "{ } | count() > 1",
        "{ } | by(name)",
        "{ } | coalesce()",
        "{ rootName = `a` }",
        "{ .a = 1 && trace:rootService = `b` }",
        "{ traceDuration > 1s }",
        "{ span:childCount > 1 }",
        "{ nestedSetLeft = 1 }",
        "{ nestedSetParent = 3 }",
        "{ nestedSetParent > 0 }",
        "{ nestedSetParent + 1 = 0 }",
        "{ parent.a = 1 }",
        "{ } || ({ } | count() > 2)",
        "{ } | select(nestedSetLeft)",
    ] {
        assert!(plan(query).whole(), "{query}");
    }
    let whole = |query: &str| ScanPlan::new(&series(query)).unwrap().whole();
    assert!(!whole("{ } | rate() by(resource.service.name)"));
    assert!(!whole("{ nestedSetParent < 0 } | compare({ status = error })"));
    assert!(!whole("{ nestedSetParent < 0 && true } | compare({ nestedSetParent < 0 })"));
    assert!(!whole("{ !(nestedSetParent >= 0) || nestedSetParent = -1 } | compare({ })"));
    assert!(
        whole("{ nestedSetParent >= 0 } | compare({ })"),
        "of spans other than roots the root's name is told"
    );
    assert!(whole("{ nestedSetParent < 0 || kind = server } | compare({ })"));
    assert!(whole("{ } | rate() by(rootName)"));
    assert!(whole("{ } | avg_over_time(traceDuration)"));
    assert!(whole("({ } | rate()) / ({ } >> { } | rate())"));
    assert!(whole("{ } | compare({ rootName = `a` })"));
}

fn condition(query: &str) -> String {
    format!("{:?}", plan(query).condition()).replace('"', "")
}

#[test]
fn conditions() {
    assert_eq!(condition("{ }"), "Always");
    assert_eq!(condition("{ .a = nil }"), "Always");
    assert_eq!(condition("{ span.a = `x` }"), "Leaf(Attribute(Span, a), Text(x))");
    assert_eq!(condition("{ span.a != `x` }"), "Leaf(Attribute(Span, a), TextMatches)");
    assert_eq!(condition("{ !(span.a = `x`) }"), "Leaf(Attribute(Span, a), Exists)");
    assert_eq!(condition("{ span.a != 1 }"), "Leaf(Attribute(Span, a), Exists)");
    assert_eq!(condition("{ span.a = true }"), "Leaf(Attribute(Span, a), Bool(true))");
    assert_eq!(
        condition("{ status = error && duration > 5 }"),
        "All([Leaf(Fixed(status_code), Between(2.0, 2.0)), Leaf(Fixed(duration_nanos), Between(5.000000000000001, inf))])"
    );
    assert_eq!(condition("{ status = unset }"), "Always", "unknown numbers count as unset");
    assert_eq!(condition("{ event.a = 1 }"), "Leaf(Fixed(events), Exists)");
    assert_eq!(condition("{ span.a = `x` } || { }"), "Always");
    assert_eq!(condition("{ span.a = `x` } || { span.b = `y` }").matches("Leaf").count(), 2);
    assert_eq!(condition("{ .a = `x` }").matches("Leaf").count(), 5);
    assert_eq!(condition("{ span.a * 2 > span.b }").matches("Exists").count(), 2);
    // Of whole traces what one row meets.
    assert_eq!(condition("{ status = error } && { span.a = `x` }"), "Leaf(Attribute(Span, a), Text(x))");
    assert_eq!(
        condition("{ span.a = `x` } !>> { status = error }"),
        "Leaf(Fixed(status_code), Between(2.0, 2.0))"
    );
    assert_eq!(condition("{ rootName = `r` && status = error }"), "Leaf(Fixed(root_span_name), Text(r))");
    assert_eq!(condition("{ parent.span.a = `x` && status = error }"), "Leaf(Attribute(Span, a), Text(x))");
    assert_eq!(
        condition("{ nestedSetParent < 0 }"),
        "Leaf(Fixed(nested_set_parent), Between(-inf, -5e-324))"
    );
    assert_eq!(condition("{ nestedSetParent >= 0 }"), "Always");
    assert_eq!(condition("{ false }"), "Any([])");
    assert_eq!(
        condition("({ span.a = `x` } | count()) > ({ span.b = `y` } | count())").matches("Leaf").count(),
        2
    );
}

#[test]
fn patterns_rule_out_texts() {
    let plan = plan("{ span.a =~ `x.*` }");
    let Condition::Leaf(ScanColumn::Attribute(AttributeScope::Span, _), Test::TextMatches(matches)) =
        plan.condition()
    else {
        panic!("{:?}", plan.condition());
    };
    assert!(matches("xy") && !matches("yx"));
}

#[test]
fn work_ends_with_the_budget_of_the_job() {
    let spans = [TestSpan { attributes: vec![attribute("a", "x")], ..span(1, 0) }];
    let (whole, cpu_max) = (batch(&spans, true), Duration::from_nanos(1));
    let (all, out_of_time) = (runs(&whole), EvalError::Ended(WorkEnd::OutOfTime { cpu_max }));
    let (budget, waiting) = (WorkBudget::new(cpu_max), WorkBudget::unlimited());
    let query = search("{ span.a =~ `x.*` } | select(span.b)");
    let plan = ScanPlan::within(&query, &budget).unwrap();
    let failed = loop {
        if let Err(error) = plan.select(&Spans::new(&whole, &all)) {
            break error;
        }
    };
    assert_eq!((failed.kind(), failed), (ErrorKind::Invalid, out_of_time.clone()));
    assert_eq!(Collector::new(&plan).wanted(&[], &Spans::new(&whole, &all)), Err(out_of_time));
    let Condition::Leaf(_, Test::TextMatches(matches)) = plan.condition() else {
        panic!("{:?}", plan.condition());
    };
    assert!(matches("yx"), "nothing is ruled out any more");

    let plan = ScanPlan::within(&query, &waiting).unwrap();
    assert!(plan.select(&Spans::new(&whole, &all)).is_ok());
    drop(waiting.cancel_on_drop());
    let failed = plan.select(&Spans::new(&whole, &all)).unwrap_err();
    assert_eq!((failed.kind(), failed), (ErrorKind::Unavailable, EvalError::Ended(WorkEnd::Cancelled)));
}

#[test]
fn columns() {
    let plan = plan("{ .a = 1 && parent.duration > 1s } >> { event.b = 2 } | select(status)");
    let first: Vec<&str> = plan.first().fixed.iter().copied().collect();
    for column in [schema::EVENTS, schema::LINKS, schema::DURATION_NANOS, schema::NESTED_SET_RIGHT] {
        assert!(first.contains(&column), "{column} of {first:?}");
    }
    // Only who puts pieces of a trace together needs what that takes.
    assert!(!first.contains(&schema::SPAN_ID), "{first:?}");
    assert_eq!(plan.first().attributes.len(), 3);
    assert!(plan.second().fixed.contains(schema::STATUS_CODE));
    let simple = self::plan("{ span.a = 1 }");
    assert_eq!(simple.first().fixed.iter().copied().collect::<Vec<_>>(), [schema::START_TIME]);
    let metrics = ScanPlan::new(&series("{ span.a = 1 } | rate()")).unwrap();
    assert!(metrics.first().fixed.is_empty());
    assert_eq!(metrics.second().fixed.iter().copied().collect::<Vec<_>>(), [schema::START_TIME]);
}

#[test]
fn attributes_told() {
    let told = |query: &str| {
        let PlanKind::Traces { attributes, .. } = plan(query).kind.clone() else {
            panic!("{query} is for traces");
        };
        attributes.iter().map(|attribute| attribute.answer_key().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        told(r#"{ resource.service.name = "a" && name = "b" && duration > 1s && .c = 1 }"#),
        ["service.name", "c"]
    );
    assert_eq!(told("{ status = error && span:status = ok && rootName = `x` }"), ["status"]);
    assert_eq!(
        told(
            "{ nestedSetParent < 0 } | select(status, resource.service.name, name, nestedSetParent, nestedSetLeft)"
        ),
        ["nestedSetParent", "status", "service.name", "name", "nestedSetLeft"]
    );
    assert_eq!(told("{ } | avg(span.n) > 1 | by(parent.x)"), ["n", "parent.x"]);
    assert_eq!(
        told("{ event:name = `x` } | select(event.exception.message)"),
        ["event:name", "exception.message"]
    );
}

#[test]
fn hints() {
    assert_eq!(
        plan("{ } with(most_recent=true)").hints(),
        Hints { most_recent: Some(true), exemplars: None }
    );
    let of = |query: &str| ScanPlan::new(&series(query)).unwrap().hints().exemplars;
    assert_eq!(of("{ } | rate() with(exemplars=false)"), Some(0));
    assert_eq!(of("{ } | rate() with(exemplars=7, sample=true)"), Some(7));
    assert_eq!(of("{ } | rate() with(exemplars=true)"), None);
}

#[test]
fn other_kinds() {
    let kind = |query: &str, kind| {
        ScanPlan::new(&Search { query: query.into(), kind: Some(kind), ..Search::default() })
    };
    let names = |query: &str, scope: &str| {
        kind(query, Kind::TagNames(TagNamesKind { scope: scope.into(), names_max: 9 })).unwrap()
    };
    assert_eq!(names("", "").second().scopes.len(), 3);
    assert_eq!(
        names("{ .a = ", "span").second().scopes.iter().copied().collect::<Vec<_>>(),
        [AttributeScope::Span]
    );
    assert!(matches!(names("{ span.a = 1 && }", "span").condition(), Condition::Leaf(..)));
    let values =
        kind("", Kind::TagValues(TagValuesKind { tag: "resource.service.name".into(), values_max: 9 }));
    assert!(values.unwrap().second().wants(AttributeScope::Resource, "service.name"));
    assert!(kind("", Kind::TagValues(TagValuesKind { tag: "nobody".into(), values_max: 9 })).is_err());
    assert!(ScanPlan::new(&search("{ } | rate()")).is_err());
    assert!(ScanPlan::new(&series("{ }")).is_err());
    assert!(ScanPlan::new(&search("{ ")).is_err());
    let summaries =
        Kind::Summaries(SummariesKind { trace_ids: vec![trace_id(2).to_vec(), trace_id(9).to_vec()] });
    let spans = [span(1, 0), TestSpan { trace: 2, ..span(2, 0) }, TestSpan { trace: 2, ..span(3, 2) }];
    let search = Search { kind: Some(summaries), ..Search::default() };
    let (selected, _) = select(&search, &spans).unwrap();
    assert_eq!((selected[0].rows.as_slice(), selected[0].spansets.len()), ([1, 2].as_slice(), 1));
    assert!(kind("", Kind::Summaries(SummariesKind { trace_ids: vec![vec![1]] })).is_err());
}

#[test]
fn only_spans_of_the_time() {
    let spans: Vec<TestSpan> =
        (1..=4).map(|id| TestSpan { start: u64::from(id) * 10, ..span(id, id - 1) }).collect();
    let found = |search: Search| {
        let ranged = Search { start: START + 20, end: START + 40, ..search };
        let (selected, ids) = select(&ranged, &spans).unwrap();
        selected.iter().flat_map(|one| one.rows.iter().map(|row| ids[*row as usize])).collect::<Vec<u8>>()
    };
    assert_eq!(found(search("{ }")), [2, 3]);
    assert_eq!(found(search("{ } | count() > 1")), [1, 2, 3, 4], "a spanset is told whole");
    assert_eq!(found(search("{ } | by(span:id)")), [1, 2, 3, 4], "and with it the others of its trace");
    assert_eq!(
        found(search("{ span:childCount = 0 } | count() > 0")),
        [0; 0],
        "unless none of its spans is of the time"
    );
    assert_eq!(found(series("{ } | count() > 1 | rate()")), [2, 3], "what is counted is of the time");
    assert_eq!(found(series("({ } | rate()) + ({ span:childCount = 1 } | rate())")), [2, 3, 2, 3]);
}

#[test]
fn nothing_found_is_nothing() {
    let spans = [TestSpan { attributes: vec![attribute("a", 1_i64)], ..span(1, 0) }];
    let (selected, _) = select(&search("{ .a = 2 }"), &spans).unwrap();
    assert_eq!(selected, [Selected::default()]);
}
