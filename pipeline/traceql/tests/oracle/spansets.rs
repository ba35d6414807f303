//! Pipelines over one trace.

use vivace_traceql::ast::{
    Aggregate, FieldExpr, Pipeline, Relation, ScalarExpr, SpansetExpr, SpansetOp, Stage,
};

use crate::filter::{compare, compute, first, truth};
use crate::trace::{Seen, Trace};

/// Spans of a trace, by number ascending, and what stages said of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spanset {
    pub(crate) spans: Vec<usize>,
    pub(crate) attributes: Vec<(String, Option<Seen>)>,
}

/// More than one spanset of a trace where only one makes sense.
#[derive(Debug)]
pub(crate) struct SeveralSpansets;

type Result<T> = std::result::Result<T, SeveralSpansets>;

/// The spansets that a pipeline makes of these spans of a trace. None is empty.
pub(crate) fn pipeline(trace: &Trace, spans: &[usize], pipeline: &Pipeline) -> Result<Vec<Spanset>> {
    let mut sets = vec![Spanset { spans: spans.to_vec(), attributes: Vec::new() }];
    for (number, stage) in pipeline.stages.iter().enumerate() {
        sets = match stage {
            Stage::Spansets(expr) => {
                let mut found = Vec::new();
                for set in &sets {
                    for mut inner in spansets(trace, &set.spans, expr)? {
                        inner.attributes.splice(0..0, set.attributes.iter().cloned());
                        found.push(inner);
                    }
                }
                found
            }
            Stage::ScalarFilter { op, left, right } => {
                // Where a pipeline begins with numbers, its spans are those that the numbers are of.
                let input = if number > 0 { sets } else { scalars_input(trace, spans, &[left, right])? };
                let mut kept = Vec::new();
                for mut set in input {
                    let left = scalar(trace, spans, &mut set, left)?;
                    let right = scalar(trace, spans, &mut set, right)?;
                    if left.zip(right).is_some_and(|(left, right)| compare(*op, &left, &right)) {
                        kept.push(set);
                    }
                }
                kept
            }
            Stage::By(expr) => sets.iter().flat_map(|set| by(trace, set, expr)).collect(),
            Stage::Coalesce => one(&sets),
            Stage::Select(_) => sets,
        };
        sets.retain(|set| !set.spans.is_empty());
    }
    Ok(sets)
}

/// All spans of the sets as one set.
fn one(sets: &[Spanset]) -> Vec<Spanset> {
    vec![Spanset { spans: union(sets.iter().flat_map(|set| set.spans.clone())), attributes: Vec::new() }]
}

fn union(spans: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut spans: Vec<usize> = spans.collect();
    spans.sort_unstable();
    spans.dedup();
    spans
}

fn spansets(trace: &Trace, within: &[usize], expr: &SpansetExpr) -> Result<Vec<Spanset>> {
    let spans = match expr {
        SpansetExpr::Pipeline(inner) => return pipeline(trace, within, inner),
        SpansetExpr::Filter(expr) => {
            within.iter().copied().filter(|span| truth(trace, *span, expr) == Some(true)).collect()
        }
        SpansetExpr::Binary { op, left, right } => {
            let (left, right) = (spansets(trace, within, left)?, spansets(trace, within, right)?);
            if matches!(op, SpansetOp::Structural { .. }) && (left.len() > 1 || right.len() > 1) {
                return Err(SeveralSpansets);
            }
            let spans = |sets: &[Spanset]| union(sets.iter().flat_map(|set| set.spans.clone()));
            combine(trace, *op, &spans(&left), &spans(&right))
        }
    };
    Ok(if spans.is_empty() { Vec::new() } else { vec![Spanset { spans, attributes: Vec::new() }] })
}

fn combine(trace: &Trace, op: SpansetOp, left: &[usize], right: &[usize]) -> Vec<usize> {
    let both = || union(left.iter().chain(right).copied());
    match op {
        SpansetOp::Or => both(),
        SpansetOp::And if left.is_empty() || right.is_empty() => Vec::new(),
        SpansetOp::And => both(),
        SpansetOp::Structural { relation, negated, union: with_left } => {
            let related = |l: usize, r: usize| is_related(trace, relation, l, r);
            let rights = right.iter().copied().filter(|r| left.iter().any(|l| related(*l, *r)) != negated);
            let lefts = left.iter().copied().filter(|l| with_left && right.iter().any(|r| related(*l, *r)));
            union(rights.chain(lefts))
        }
    }
}

/// Whether the right span is to the left one what the relation says.
fn is_related(trace: &Trace, relation: Relation, left: usize, right: usize) -> bool {
    match relation {
        Relation::Child => trace.parent(right) == Some(left),
        Relation::Parent => trace.parent(left) == Some(right),
        Relation::Descendant => trace.is_ancestor(left, right),
        Relation::Ancestor => trace.is_ancestor(right, left),
        Relation::Sibling => {
            let parent = trace.parent(left);
            left != right && parent.is_some() && parent == trace.parent(right)
        }
    }
}

/// Groups in the order in which their first spans come.
fn by(trace: &Trace, set: &Spanset, expr: &FieldExpr) -> Vec<Spanset> {
    let mut groups: Vec<(Option<Seen>, Vec<usize>)> = Vec::new();
    for span in &set.spans {
        let value = first(trace, *span, expr);
        match groups.iter_mut().find(|(other, _)| *other == value) {
            Some((_, spans)) => spans.push(*span),
            None => groups.push((value, vec![*span])),
        }
    }
    let grouped = groups.into_iter().map(|(value, spans)| {
        let mut attributes = set.attributes.clone();
        attributes.push((format!("by({expr})"), value));
        Spanset { spans, attributes }
    });
    grouped.collect()
}

/// The spans that pipelines of these numbers find.
fn scalars_input(trace: &Trace, spans: &[usize], scalars: &[&ScalarExpr]) -> Result<Vec<Spanset>> {
    let mut found = Vec::new();
    for scalar in scalars {
        match scalar {
            ScalarExpr::Literal(_) | ScalarExpr::Aggregate(..) => {}
            ScalarExpr::Binary { left, right, .. } => {
                found.extend(scalars_input(trace, spans, &[left, right])?);
            }
            ScalarExpr::Pipeline(inner, _) => found.extend(pipeline(trace, spans, inner)?),
        }
    }
    let mut sets = one(&found);
    sets.retain(|set| !set.spans.is_empty());
    Ok(sets)
}

/// The number of a spanset; aggregates of it are added to what is said of it. A pipeline is of all the spans that the
/// outer pipeline began with.
fn scalar(trace: &Trace, all: &[usize], set: &mut Spanset, expr: &ScalarExpr) -> Result<Option<Seen>> {
    Ok(match expr {
        ScalarExpr::Literal(literal) => Seen::of_literal(literal),
        ScalarExpr::Aggregate(function, field) => {
            let Some((value, told)) = aggregate(trace, &set.spans, *function, field.as_ref()) else {
                return Ok(None);
            };
            let key = expr.to_string();
            if set.attributes.iter().all(|(other, _)| *other != key) {
                set.attributes.push((key, Some(told)));
            }
            Some(value)
        }
        ScalarExpr::Binary { op, left, right } => {
            let left = scalar(trace, all, set, left)?;
            let right = scalar(trace, all, set, right)?;
            left.zip(right).and_then(|(left, right)| compute(*op, &left, &right))
        }
        ScalarExpr::Pipeline(inner, number) => {
            let mut sets = pipeline(trace, all, inner)?;
            if sets.len() > 1 {
                return Err(SeveralSpansets);
            }
            let mut set = sets.pop().unwrap_or_default();
            scalar(trace, all, &mut set, number)?
        }
    })
}

/// As what it compares, and as what is told of it.
fn aggregate(
    trace: &Trace,
    spans: &[usize],
    function: Aggregate,
    field: Option<&FieldExpr>,
) -> Option<(Seen, Seen)> {
    let Some(field) = field else {
        let count = Seen::Int(spans.len() as i64);
        return Some((count.clone(), count));
    };
    let values = spans.iter().filter_map(|span| first(trace, *span, field));
    let numbers: Vec<Seen> =
        values.filter(|value| matches!(value, Seen::Int(_) | Seen::Float(_) | Seen::Duration(_))).collect();
    let float = |value: &Seen| match value {
        Seen::Int(value) | Seen::Duration(value) => *value as f64,
        Seen::Float(value) => *value,
        _ => unreachable!("only numbers are left"),
    };
    let sum: f64 = numbers.iter().map(float).sum();
    let duration = numbers.iter().any(|value| matches!(value, Seen::Duration(_)));
    let fraction = numbers.iter().any(|value| matches!(value, Seen::Float(_)));
    let by_size = |a: &&Seen, b: &&Seen| float(a).total_cmp(&float(b));
    let typed = |value: Seen| match value {
        Seen::Int(value) if duration => Seen::Duration(value),
        other => other,
    };
    let value = match function {
        Aggregate::Count => typed(Seen::Int(numbers.len() as i64)),
        Aggregate::Sum if fraction => Seen::Float(sum),
        Aggregate::Sum => typed(Seen::Int(sum as i64)),
        // Of equals the first: `min_by` does that, `max_by` does not.
        Aggregate::Min => typed(numbers.iter().min_by(by_size)?.clone()),
        Aggregate::Max => typed(numbers.iter().rev().max_by(by_size)?.clone()),
        Aggregate::Avg => Seen::Float(sum / numbers.len() as f64),
    };
    if numbers.is_empty() {
        return None;
    }
    let told = match value {
        Seen::Float(value) if duration => Seen::Duration(value.round() as i64),
        _ => value.clone(),
    };
    Some((value, told))
}
