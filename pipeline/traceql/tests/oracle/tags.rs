//! Tags and summaries.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{FoundTags, Search, SummariesKind, TagNamesKind, TagValuesKind};
use vivace_traceql::ast::{Attribute, FieldExpr};
use vivace_traceql::{ScanPlan, parse};

use crate::answer::{summary, wire};
use crate::engine::{Block, collect};
use crate::filter::truth;
use crate::lookup::values;
use crate::queries::filter;
use crate::storage::{dealt, storage};
use crate::trace::{Attributes, Held, Seen, Trace};
use crate::traces::{trace_id, traces};
use crate::whole_traces::range;

const SCOPES: [&str; 5] = ["resource", "span", "event", "link", "instrumentation"];

fn found_tags(plan: &ScanPlan, blocks: &[Block]) -> FoundTags {
    match collect(plan, blocks).unwrap().0 {
        Found::Tags(tags) => tags,
        other => panic!("not tags: {other:?}"),
    }
}

/// Spans that start in the range and that the filter finds.
fn matching<'a>(
    dataset: &'a [Trace],
    filter: Option<&'a FieldExpr>,
    (start, end): (u64, u64),
) -> impl Iterator<Item = (&'a Trace, usize)> {
    let all = dataset.iter().flat_map(|trace| (0..trace.spans.len()).map(move |span| (trace, span)));
    all.filter(move |(trace, span)| {
        let time = trace.spans[*span].start;
        let in_range = (start, end) == (0, 0) || (start..end).contains(&time);
        in_range && filter.is_none_or(|filter| truth(trace, *span, filter) == Some(true))
    })
}

fn text(filter: Option<&FieldExpr>) -> String {
    filter.map(|filter| format!("{{ {filter} }}")).unwrap_or_default()
}

fn keys<'a>(scope: &str, trace: &'a Trace, span: usize) -> Vec<&'a Attributes> {
    let span = &trace.spans[span];
    match scope {
        "resource" => vec![&span.resource],
        "span" => vec![&span.attributes],
        "event" => span.events.iter().map(|event| &event.attributes).collect(),
        "link" => span.links.iter().map(|link| &link.attributes).collect(),
        _ => vec![&span.scope],
    }
}

/// No filter, or one that makes sense: of others what makes sense is taken.
fn optional_filter() -> impl Strategy<Value = Option<FieldExpr>> {
    let makes_sense = |filter: &FieldExpr| parse(&format!("{{ {filter} }}")).is_ok();
    prop::option::of(filter().prop_filter("makes no sense", makes_sense))
}

proptest! {
    #[test]
    fn names(
        dataset in traces(),
        storage in storage(),
        dealt in dealt(),
        filter in optional_filter(),
        range in range(),
        scope in select(vec!["", "resource", "span", "event", "link", "instrumentation", "intrinsic"]),
        names_max in select(vec![1, 2, 100_usize]),
    ) {
        let search = Search {
            tenant: "t".into(),
            query: text(filter.as_ref()),
            start: range.0,
            end: range.1,
            kind: Some(Kind::TagNames(TagNamesKind { scope: scope.to_owned(), names_max: names_max as u32 })),
        };
        let plan = ScanPlan::new(&search).unwrap();
        let found = found_tags(&plan, &if plan.whole() { storage.whole(&dataset) } else { dealt.blocks(&dataset) });
        let mut truncated = false;
        let mut expected = Vec::new();
        for name in SCOPES.iter().filter(|name| scope.is_empty() || scope == **name) {
            let mut tags = BTreeSet::new();
            for (trace, span) in matching(&dataset, filter.as_ref(), range) {
                for attributes in keys(name, trace, span) {
                    let held = attributes.iter().filter(|(_, held)| **held != Held::Empty);
                    tags.extend(held.map(|(key, _)| key.clone()));
                }
            }
            truncated |= tags.len() > names_max;
            let tags: Vec<String> = tags.into_iter().take(names_max).collect();
            if !tags.is_empty() {
                expected.push((name.to_string(), tags));
            }
        }
        let scopes: Vec<_> = found.scopes.into_iter().map(|scope| (scope.name, scope.tags)).collect();
        prop_assert_eq!(scopes, expected, "{}", search.query);
        prop_assert_eq!(found.truncated, truncated);
    }

    #[test]
    fn values_of_one_tag(
        dataset in traces(),
        storage in storage(),
        dealt in dealt(),
        filter in optional_filter(),
        range in range(),
        tag in select(vec![
            "span.a", "resource.a", ".a", ".b", "event.a", "link.code", "instrumentation.flag", ".code",
            "resource.service.name", "name", "kind", "status", "statusMessage", "duration", "rootName",
            "rootServiceName", "event:name", "span:id", "instrumentation:name", "span:childCount",
        ]),
        values_max in select(vec![1, 3, 100_usize]),
    ) {
        let search = Search {
            tenant: "t".into(),
            query: text(filter.as_ref()),
            start: range.0,
            end: range.1,
            kind: Some(Kind::TagValues(TagValuesKind { tag: tag.to_owned(), values_max: values_max as u32 })),
        };
        let plan = ScanPlan::new(&search).unwrap();
        let attribute = Attribute::parse(tag).unwrap();
        let of_trace = matches!(tag, "rootName" | "rootServiceName" | "span:childCount");
        let found = found_tags(&plan, &if plan.whole() || of_trace { storage.whole(&dataset) } else { dealt.blocks(&dataset) });
        let mut expected: Vec<Seen> = Vec::new();
        for (trace, span) in matching(&dataset, filter.as_ref(), range) {
            for value in values(trace, span, &attribute) {
                if !expected.contains(&value) {
                    expected.push(value);
                }
            }
        }
        let found_values: Vec<_> = found.values.into_iter().map(|value| value.value.unwrap()).collect();
        prop_assert_eq!(found.truncated, expected.len() > values_max, "{}", tag);
        prop_assert_eq!(found_values.len(), expected.len().min(values_max), "{} {}", tag, search.query);
        let expected: Vec<_> = expected.iter().map(wire).collect();
        prop_assert!(found_values.iter().all(|value| expected.contains(value)), "{}", tag);
    }

    #[test]
    fn summaries(
        dataset in traces(),
        dealt in dealt(),
        asked in prop::collection::btree_set(0..8_u8, 0..5),
    ) {
        let mut ids: Vec<[u8; 16]> = asked.into_iter().map(trace_id).collect();
        ids.sort_unstable();
        let search = Search {
            tenant: "t".into(),
            kind: Some(Kind::Summaries(SummariesKind { trace_ids: ids.iter().map(|id| id.to_vec()).collect() })),
            ..Search::default()
        };
        let plan = ScanPlan::new(&search).unwrap();
        let Found::Traces(found) = collect(&plan, &dealt.blocks(&dataset)).unwrap().0 else { panic!("not traces") };
        let mut found: Vec<_> = found.traces.into_iter().map(|t| (t.trace_id, t.summary.unwrap())).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = dataset.iter().filter(|trace| ids.contains(&trace.id));
        let expected: Vec<_> = expected.map(|trace| (trace.id.to_vec(), summary(trace))).collect();
        prop_assert_eq!(found, expected);
    }
}
