//! `compare()` against a naive count.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::rows::{Row, Size, row, service_name};
use super::{GRID, Samples, assert_same, body, found, samples, status_attribute};
use crate::ast::{BinaryOp, FieldExpr, Literal, MetricsFunction, Status};
use crate::collect::labels::LabelKey;
use crate::{FinishOptions, finish};

fn compare(window: Option<(i64, i64)>) -> MetricsFunction {
    let selection = FieldExpr::Binary {
        op: BinaryOp::Equal,
        left: Box::new(FieldExpr::Attribute(status_attribute())),
        right: Box::new(FieldExpr::Literal(Literal::Status(Status::Error))),
    };
    MetricsFunction::Compare { selection, top_n: 1000, window }
}

/// What is told of a span by `compare`.
fn attributes(row: &Row) -> Vec<(&'static str, LabelKey)> {
    let mut attributes = vec![("status", LabelKey::Status(Status::from_number(row.status)))];
    attributes
        .extend(row.service.map(|service| ("resource.service.name", LabelKey::text(service_name(service)))));
    let size = match row.size {
        Size::None => None,
        Size::Int(value) => Some(LabelKey::Int(value)),
        Size::Float(value) => Some(LabelKey::float(value)),
        Size::Text => Some(LabelKey::text("large")),
    };
    attributes.extend(size.map(|size| ("span.size", size)));
    attributes
}

fn naive(rows: &[Row], window: Option<(i64, i64)>) -> Samples {
    let mut counts: BTreeMap<Vec<(String, LabelKey)>, Vec<f64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.selected) {
        let Some(interval) = GRID.interval(row.start) else { continue };
        let inside = window.is_none_or(|(from, to)| (from..to).contains(&row.start.cast_signed()));
        let kind = if row.status == 2 && inside { "selection" } else { "baseline" };
        for (name, value) in attributes(row) {
            for (kind, value) in [(kind.to_owned(), value), (format!("{kind}_total"), LabelKey::Nil)] {
                let labels = vec![("__meta_type".into(), LabelKey::text(&kind)), (name.to_owned(), value)];
                counts.entry(labels).or_insert_with(|| vec![0.0; 10])[interval as usize] += 1.0;
            }
        }
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn comparisons_are_those_of_a_naive_count(
        jobs in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(row(), 0..40), 0..3), 1..4),
        window in proptest::option::of((1000i64..1500, 1500i64..2000)),
    ) {
        let rows: Vec<Row> = jobs.iter().flatten().flatten().cloned().collect();
        let function = compare(window);
        let parts = jobs.iter().map(|job| found(&function, &[], GRID, job, false, (10, 0)));
        let finished = finish(&body(&function, &[]), parts, GRID, FinishOptions::default()).unwrap();
        assert_same(&samples(&finished), &naive(&rows, window));
    }
}
