//! A pipeline over one batch.

use super::scalar::BoundScalar;
use super::sets::{Found, Sets, Units};
use super::structure::Tree;
use super::{Selector, Spansets, Step};
use crate::ast::BinaryOp;
use crate::eval::{Mask, compare};
use crate::{EvalError, Spans};

/// A batch.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) spans: Spans<'a>,
}

impl<'a> Run<'a> {
    pub(super) const fn new(spans: Spans<'a>) -> Self {
        Self { spans }
    }

    /// Spansets of the units, made of rows `within`.
    pub(super) fn pipeline(
        &self,
        selector: &'a Selector,
        units: &Units<'_>,
        within: Option<&Mask>,
    ) -> Result<Found, EvalError> {
        let mut found: Option<Found> = None;
        for step in &selector.stages {
            self.spans.check()?;
            let next = match (step, found) {
                (Step::Spansets(spansets), None) => self.first(spansets, units, within)?,
                (Step::Spansets(spansets), Some(Found::One(mask))) => {
                    self.first(spansets, units, Some(&mask))?
                }
                (Step::Spansets(spansets), Some(Found::Several(sets))) => self.later(spansets, &sets)?,
                (Step::Scalars { op, left, right, first }, found) => {
                    let input = match found {
                        None if *first => None,
                        found => Some(found.unwrap_or_else(|| self.all(within)).into_sets(units)),
                    };
                    let mask = input.as_ref().map(|sets| sets.mask(self.rows()));
                    let left = BoundScalar::new(self, left, units, (within, mask.as_ref()))?;
                    let right = BoundScalar::new(self, right, units, (within, mask.as_ref()))?;
                    let input = input.unwrap_or_else(|| {
                        let mut mask = Mask::none(self.rows());
                        [&left, &right].into_iter().for_each(|side| side.spans(&mut mask));
                        Found::One(mask).into_sets(units)
                    });
                    Found::Several(kept(&self.spans, *op, &input, (&left, &right))?)
                }
                (Step::By(key, operand), found) => {
                    let sets = found.unwrap_or_else(|| self.all(within)).into_sets(units);
                    let value = operand.bind(&self.spans, Some(&sets.mask(self.rows())))?;
                    Found::Several(sets.split(key, &value)?)
                }
                (Step::Coalesce, found) => {
                    Found::One(found.unwrap_or_else(|| self.all(within)).into_mask(self.rows()))
                }
            };
            found = Some(next);
        }
        Ok(found.unwrap_or_else(|| self.all(within)))
    }

    fn rows(&self) -> usize {
        self.spans.rows()
    }

    fn all(&self, within: Option<&Mask>) -> Found {
        Found::One(within.cloned().unwrap_or_else(|| Mask::all(self.rows())))
    }

    /// A stage where there is one spanset of each unit.
    fn first(
        &self,
        spansets: &'a Spansets,
        units: &Units<'_>,
        within: Option<&Mask>,
    ) -> Result<Found, EvalError> {
        match spansets {
            Spansets::Pipeline(inner) => self.pipeline(inner, units, within),
            _ => Ok(Found::One(self.spansets(spansets, units, within)?)),
        }
    }

    /// A stage behind one that split: within each spanset.
    fn later(&self, spansets: &'a Spansets, sets: &Sets) -> Result<Found, EvalError> {
        let mask = sets.mask(self.rows());
        Ok(Found::Several(match self.first(spansets, &Units::Sets(sets), Some(&mask))? {
            Found::One(mask) => sets.only(&mask),
            Found::Several(found) => found.of_units(sets),
        }))
    }

    fn spansets(
        &self,
        spansets: &'a Spansets,
        units: &Units<'_>,
        within: Option<&Mask>,
    ) -> Result<Mask, EvalError> {
        match spansets {
            Spansets::Filter(node) => {
                let mut mask = node.matches(&self.spans, within)?;
                if let Some(within) = within {
                    mask.and(within);
                }
                Ok(mask)
            }
            Spansets::Or(left, right) => {
                let mut mask = self.spansets(left, units, within)?;
                mask.or(&self.spansets(right, units, within)?);
                Ok(mask)
            }
            Spansets::And(left, right) => self.both(left, right, units, within),
            Spansets::Structural { relation, negated, union, left, right } => {
                let right = self.single(right, units, within)?;
                if !right.any() {
                    return Ok(right);
                }
                let left = self.single(left, units, within)?;
                if !left.any() {
                    return Ok(if *negated { right } else { left });
                }
                let tree = Tree::new(&self.spans)?;
                tree.relate(&self.spans, (*relation, *negated, *union), units, (&left, &right))
            }
            Spansets::Pipeline(inner) => Ok(self.pipeline(inner, units, within)?.into_mask(self.rows())),
        }
    }

    /// Spans of both sides, of the units where both have any.
    fn both(
        &self,
        left: &'a Spansets,
        right: &'a Spansets,
        units: &Units<'_>,
        within: Option<&Mask>,
    ) -> Result<Mask, EvalError> {
        let left = self.spansets(left, units, within)?;
        if !left.any() {
            return Ok(left);
        }
        let right = self.spansets(right, units, within)?;
        let mut both = Mask::none(self.rows());
        let mut rows = Vec::new();
        for unit in 0..units.len() {
            self.spans.tick(1)?;
            if units.any(unit, &left) && units.any(unit, &right) {
                for side in [&left, &right] {
                    units.rows(unit, side, &mut rows);
                    rows.iter().for_each(|row| both.set(*row as usize));
                }
            }
        }
        Ok(both)
    }

    /// A side of a structural operator, which relates single spansets.
    fn single(
        &self,
        spansets: &'a Spansets,
        units: &Units<'_>,
        within: Option<&Mask>,
    ) -> Result<Mask, EvalError> {
        match self.first(spansets, units, within)? {
            Found::Several(sets) if sets.several() => Err(one_spanset()),
            found => Ok(found.into_mask(self.rows())),
        }
    }
}

/// More than one spanset of a trace where only one makes sense.
pub(super) fn one_spanset() -> EvalError {
    EvalError::Query(
        "a trace has more than one spanset here, as by() makes them: use coalesce() to make them one".into(),
    )
}

/// Sets for which the comparison of their numbers holds.
fn kept(
    spans: &Spans<'_>,
    op: BinaryOp,
    sets: &Sets,
    (left, right): (&BoundScalar<'_>, &BoundScalar<'_>),
) -> Result<Sets, EvalError> {
    let mut keys = Vec::new();
    left.keys(&mut keys);
    right.keys(&mut keys);
    sets.decided(&keys, |unit, rows, told| {
        spans.tick(rows.len())?;
        let left = left.value(unit, rows, told)?;
        let right = right.value(unit, rows, told)?;
        Ok(left.zip(right).is_some_and(|(left, right)| compare(op, left, right)))
    })
}
