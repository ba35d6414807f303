//! An attribute compared with a constant: what nearly all filters are made of.
//! Owns: what a comparison means where there are several values, or several places to look for one.

use super::lanes;
use super::mask::Mask;
use super::predicate::Predicate;
use crate::ast::{Attribute, Intrinsic, Target};
use crate::{EvalError, Spans, Value, Values};

/// Units of work of an id that is compared as text.
const UNITS_PER_ID: usize = 16;

/// A test of an attribute.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) attribute: Attribute,
    pub(crate) test: LeafTest,
}

/// What is asked of the values of an attribute.
#[derive(Clone, Debug)]
pub(crate) enum LeafTest {
    /// There is one.
    Exists,
    /// There is none.
    Missing,
    /// There is one, and some meet the predicate, or all do.
    Values {
        /// What a value must meet.
        predicate: Predicate,
        /// It must not meet it.
        invert: bool,
        /// All values, not just one.
        all: bool,
    },
}

impl LeafTest {
    /// Whether the values of a row pass.
    pub(super) fn passes(&self, values: &[Value<'_>]) -> bool {
        match self {
            Self::Exists => !values.is_empty(),
            Self::Missing => values.is_empty(),
            Self::Values { predicate, invert, all } => {
                let mut met = values.iter().map(|value| predicate.holds(*value) != *invert);
                !values.is_empty() && if *all { met.all(|met| met) } else { met.any(|met| met) }
            }
        }
    }
}

impl Leaf {
    /// Rows that pass. Only rows `within` have to be right.
    pub(super) fn matches(&self, spans: &Spans<'_>, within: Option<&Mask>) -> Result<Mask, EvalError> {
        if self.attribute.parent {
            return self.of_parents(spans);
        }
        if let Some(mask) = self.of_traces(spans)? {
            return Ok(mask);
        }
        let sources = spans.sources(&self.attribute.target)?;
        let rows = spans.rows();
        if let [only] = sources.as_slice() {
            return self.one(only, within, spans);
        }
        let mut found = Mask::none(rows);
        let mut open = Mask::all(rows);
        for source in &sources {
            let mut here = present(source, rows);
            here.and(&open);
            if matches!(self.test, LeafTest::Values { .. }) {
                let mut passing = self.one(source, Some(&here), spans)?;
                passing.and(&here);
                found.or(&passing);
            }
            open.and_not(&here);
            if !open.any() {
                break;
            }
        }
        Ok(match self.test {
            LeafTest::Exists => open.not(),
            LeafTest::Missing => open,
            LeafTest::Values { .. } => found,
        })
    }

    /// Where there is one place to look at.
    fn one(&self, values: &Values<'_>, within: Option<&Mask>, spans: &Spans<'_>) -> Result<Mask, EvalError> {
        let rows = spans.rows();
        let (predicate, invert, all) = match &self.test {
            LeafTest::Exists => return Ok(present(values, rows)),
            LeafTest::Missing => return Ok(present(values, rows).not()),
            LeafTest::Values { predicate, invert, all } => (predicate, *invert, *all),
        };
        let any = |invert: bool| {
            let mut lanes =
                values.lanes.iter().map(|lane| lanes::any(lane, predicate, invert, within, spans));
            let first = lanes.next().unwrap_or_else(|| Ok(Mask::none(rows)))?;
            lanes.try_fold(first, |mut met, lane| {
                met.or(&lane?);
                Ok::<_, EvalError>(met)
            })
        };
        let several = values.lanes.len() > 1 || values.lanes.iter().any(crate::Lane::is_sparse);
        if all && several {
            let mut met = present(values, rows);
            met.and_not(&any(!invert)?);
            return Ok(met);
        }
        any(invert)
    }

    /// Trace ids are compared trace by trace.
    fn of_traces(&self, spans: &Spans<'_>) -> Result<Option<Mask>, EvalError> {
        let is_trace_id = self.attribute.target == Target::Intrinsic(Intrinsic::TraceId);
        let Some(runs) = spans.known_runs().filter(|_| is_trace_id) else {
            return Ok(None);
        };
        let mut mask = Mask::none(spans.rows());
        for (trace, id) in runs.ids().iter().enumerate() {
            spans.tick(UNITS_PER_ID)?;
            if self.test.passes(&[Value::Id(id)]) {
                mask.set_range(runs.rows_of(trace));
            }
        }
        Ok(Some(mask))
    }

    /// Rows whose parent passes. Where there is no parent there is no value.
    fn of_parents(&self, spans: &Spans<'_>) -> Result<Mask, EvalError> {
        let missing = matches!(self.test, LeafTest::Missing);
        let test = if missing { LeafTest::Exists } else { self.test.clone() };
        let attribute = Attribute { parent: false, ..self.attribute.clone() };
        let passing = Self { attribute, test }.matches(spans, None)?;
        let mut mask = Mask::none(spans.rows());
        if passing.any() {
            for (row, parent) in spans.parent_rows()?.into_iter().enumerate() {
                if parent.is_some_and(|parent| passing.get(parent as usize)) {
                    mask.set(row);
                }
            }
        }
        Ok(if missing { mask.not() } else { mask })
    }
}

fn present(values: &Values<'_>, rows: usize) -> Mask {
    if let [only] = values.lanes.as_slice() {
        return lanes::present(only, rows);
    }
    let mut mask = Mask::none(rows);
    values.lanes.iter().for_each(|lane| mask.or(&lanes::present(lane, rows)));
    mask
}
