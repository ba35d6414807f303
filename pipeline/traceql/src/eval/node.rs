//! Compiled expressions: conditions joined by "all" and "any", without negations.

use super::arithmetic::compare;
use super::leaf::{Leaf, LeafTest};
use super::mask::Mask;
use super::operand::{Bound, Operand};
use crate::ast::{BinaryOp, Target};
use crate::{EvalError, Spans, Value};

/// Units of work of a row by itself.
const UNITS_PER_ROW: usize = 8;

/// A condition on a row.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// Every row meets it, or none.
    Constant(bool),
    /// A test of an attribute.
    Leaf(Leaf),
    /// A test of something computed, row by row.
    Computed(Operand, LeafTest),
    /// Two values compared, row by row.
    Pair {
        /// A comparison.
        op: BinaryOp,
        /// Left side.
        left: Operand,
        /// Right side.
        right: Operand,
        /// Both sides have values, and yet it does not hold.
        negated: bool,
    },
    /// All of them, the cheapest first.
    All(Vec<Self>),
    /// One of them, the cheapest first.
    Any(Vec<Self>),
}

impl Node {
    /// Rows that meet it. Only rows `within` have to be right.
    pub(crate) fn matches(&self, spans: &Spans<'_>, within: Option<&Mask>) -> Result<Mask, EvalError> {
        match self {
            Self::Constant(true) => Ok(Mask::all(spans.rows())),
            Self::Constant(false) => Ok(Mask::none(spans.rows())),
            Self::Leaf(leaf) => leaf.matches(spans, within),
            Self::Computed(operand, test) => {
                let operand = operand.bind(spans, within)?;
                if operand.is_single() {
                    return by_row(spans, within, |row| Ok(test.passes(operand.first(row)?.as_slice())));
                }
                let mut values = Vec::new();
                by_row(spans, within, |row| {
                    values.clear();
                    operand.each(row, &mut |value| values.push(value))?;
                    Ok(test.passes(&values))
                })
            }
            Self::Pair { op, left, right, negated } => {
                let (left, right) = (left.bind(spans, within)?, right.bind(spans, within)?);
                if left.is_single() && right.is_single() {
                    return by_row(spans, within, |row| {
                        let values = left.first(row)?.zip(right.first(row)?);
                        Ok(values.is_some_and(|(left, right)| compare(*op, left, right) != *negated))
                    });
                }
                let (mut lefts, mut rights) = (Vec::new(), Vec::new());
                by_row(spans, within, |row| {
                    collect(&left, row, &mut lefts)?;
                    collect(&right, row, &mut rights)?;
                    let there = !lefts.is_empty() && !rights.is_empty();
                    Ok(there && holds(*op, &lefts, &rights) != *negated)
                })
            }
            Self::All(nodes) => {
                let mut met: Option<Mask> = None;
                for node in nodes {
                    let next = node.matches(spans, met.as_ref().or(within))?;
                    match &mut met {
                        None => met = Some(next),
                        Some(met) => met.and(&next),
                    }
                    if met.as_ref().is_some_and(|met| !met.any()) {
                        break;
                    }
                }
                Ok(met.unwrap_or_else(|| Mask::all(spans.rows())))
            }
            Self::Any(nodes) => {
                let mut met = Mask::none(spans.rows());
                let mut open = within.cloned().unwrap_or_else(|| Mask::all(spans.rows()));
                for node in nodes {
                    if !open.any() {
                        break;
                    }
                    let mut next = node.matches(spans, Some(&open).filter(|_| met.any()).or(within))?;
                    next.and(&open);
                    open.and_not(&next);
                    met.or(&next);
                }
                Ok(met)
            }
        }
    }

    /// How much work it is, about.
    pub(super) fn cost(&self) -> u32 {
        match self {
            Self::Constant(_) => 0,
            Self::Leaf(leaf) => {
                let place = match &leaf.attribute.target {
                    Target::Intrinsic(_) => 1,
                    Target::Scoped(..) => 2,
                    Target::Event(_) | Target::Link(_) => 8,
                    Target::Unscoped(_) => 12,
                };
                let parent = if leaf.attribute.parent { 10 } else { 0 };
                place + parent + leaf.test.cost()
            }
            Self::Computed(..) | Self::Pair { .. } => 40,
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().map(Self::cost).sum(),
        }
    }
}

fn collect<'a>(operand: &Bound<'a>, row: usize, values: &mut Vec<Value<'a>>) -> Result<(), EvalError> {
    values.clear();
    operand.each(row, &mut |value| values.push(value))
}

/// Some pair of values meets the comparison; to differ, all must.
fn holds(op: BinaryOp, lefts: &[Value<'_>], rights: &[Value<'_>]) -> bool {
    let mut pairs = lefts.iter().flat_map(|left| rights.iter().map(|right| compare(op, *left, *right)));
    if op == BinaryOp::NotEqual { pairs.all(|met| met) } else { pairs.any(|met| met) }
}

fn by_row(
    spans: &Spans<'_>,
    within: Option<&Mask>,
    mut meets: impl FnMut(usize) -> Result<bool, EvalError>,
) -> Result<Mask, EvalError> {
    let rows = spans.rows();
    let mut mask = Mask::none(rows);
    let mut test = |row: usize| {
        spans.tick(UNITS_PER_ROW)?;
        if meets(row)? {
            mask.set(row);
        }
        Ok::<_, EvalError>(())
    };
    match within {
        Some(within) => within.rows().try_for_each(|row| test(row as usize))?,
        None => (0..rows).try_for_each(test)?,
    }
    Ok(mask)
}
