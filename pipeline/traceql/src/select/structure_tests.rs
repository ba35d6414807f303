//! Structural operators against relations found by following parents.

use proptest::prelude::*;

use crate::testing::{TestSpan, found, span};

/// Parents may be missing, of another trace, or make a cycle (which is cut where it was entered).
fn traces() -> impl Strategy<Value = Vec<TestSpan>> {
    prop::collection::vec((1..3_u8, 0..14_u8, prop::bool::ANY, prop::bool::ANY), 1..12).prop_map(|list| {
        let made = list.into_iter().zip(1_u8..).map(|((trace, parent, left, right), id)| TestSpan {
            trace,
            name: match (left, right) {
                (true, true) => "lr",
                (true, false) => "l",
                (false, true) => "r",
                (false, false) => "-",
            },
            // Without cycles, so that parents are as they were sent.
            ..span(id, if parent < id || parent > 12 { parent } else { 0 })
        });
        made.collect()
    })
}

fn parent(spans: &[TestSpan], of: usize) -> Option<usize> {
    let of = &spans[of];
    spans.iter().position(|span| span.id == of.parent && span.trace == of.trace)
}

fn is_ancestor(spans: &[TestSpan], above: usize, of: usize) -> bool {
    std::iter::successors(parent(spans, of), |at| parent(spans, *at)).any(|at| at == above)
}

fn related(spans: &[TestSpan], op: &str, left: usize, right: usize) -> bool {
    match op {
        ">" => parent(spans, right) == Some(left),
        "<" => parent(spans, left) == Some(right),
        ">>" => is_ancestor(spans, left, right),
        "<<" => is_ancestor(spans, right, left),
        _ => {
            let parents = (parent(spans, left), parent(spans, right));
            left != right && parents.0.is_some() && parents.0 == parents.1
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nested_sets_say_what_parents_say(spans in traces()) {
        let side = |letter: char| {
            let all = spans.iter().enumerate();
            all.filter(|(_, span)| span.name.contains(letter)).map(|(index, _)| index).collect::<Vec<_>>()
        };
        let (lefts, rights) = (side('l'), side('r'));
        let ids = |mut rows: Vec<usize>| {
            rows.sort_unstable();
            rows.dedup();
            rows.into_iter().map(|row| spans[row].id).collect::<Vec<_>>()
        };
        for op in [">", "<", ">>", "<<", "~"] {
            let matched = |right: usize| lefts.iter().any(|left| related(&spans, op, *left, right));
            let taking = |left: usize| rights.iter().any(|right| related(&spans, op, left, *right));
            let (with, without): (Vec<usize>, Vec<usize>) = rights.iter().partition(|right| matched(**right));
            let mut union = with.clone();
            union.extend(lefts.iter().filter(|left| taking(**left)));
            let query = |op: &str| found(&format!(r#"{{ name =~ "l.*" }} {op} {{ name =~ ".*r" }}"#), &spans);
            prop_assert_eq!(query(op), ids(with), "{}", op);
            prop_assert_eq!(query(&format!("!{op}")), ids(without), "!{}", op);
            prop_assert_eq!(query(&format!("&{op}")), ids(union), "&{}", op);
        }
    }
}
