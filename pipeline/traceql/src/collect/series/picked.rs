//! Rows that were selected, and where what is asked of them is: in the batch that was looked at first, or in the second,
//! which holds only the wanted rows.

use std::borrow::Cow;

use arrow::array::FixedSizeBinaryArray;
use vivace_model::schema;

use crate::ast::{Attribute, FieldExpr, Intrinsic, Target};
use crate::{EvalError, Lane, Selected, Spans};

/// One of the two batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Second,
}

/// Rows by their numbers in each of the two batches; both ascend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PickedRows<'r> {
    pub(crate) first: &'r [u32],
    pub(crate) second: &'r [u32],
}

impl<'r> PickedRows<'r> {
    #[cfg(test)]
    pub(crate) const fn same(rows: &'r [u32]) -> Self {
        Self { first: rows, second: rows }
    }

    pub(crate) const fn len(&self) -> usize {
        self.first.len()
    }

    pub(crate) const fn of(&self, side: Side) -> &'r [u32] {
        match side {
            Side::First => self.first,
            Side::Second => self.second,
        }
    }

    /// Some of them, at most `len` from `start` on.
    pub(crate) fn part(&self, start: usize, len: usize) -> Self {
        let range = start..(start + len).min(self.len());
        Self { first: &self.first[range.clone()], second: &self.second[range] }
    }
}

/// A property of the rows. A row's value is that of the first lane that has one.
#[derive(Debug, Default)]
pub(crate) struct Property<'a> {
    pub(crate) lanes: Vec<(Side, Lane<'a>)>,
}

impl<'a> Property<'a> {
    #[cfg(test)]
    pub(crate) fn of(lanes: Vec<Lane<'a>>) -> Self {
        Self { lanes: lanes.into_iter().map(|lane| (Side::First, lane)).collect() }
    }
}

/// The two batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batches<'a> {
    pub(crate) first: Spans<'a>,
    pub(crate) second: Spans<'a>,
}

impl<'a> Batches<'a> {
    /// A property, from where it is.
    pub(crate) fn property(&self, attribute: &Attribute) -> Result<Property<'a>, EvalError> {
        let sides =
            if attribute.needs_trace() { [Side::First, Side::Second] } else { [Side::Second, Side::First] };
        let mut lanes: Vec<(Side, Lane<'a>)> = Vec::new();
        for side in sides {
            // A column is all there is; a list may be there for another attribute's sake.
            let found = lanes.iter().any(|(_, lane)| !matches!(lane, Lane::Sparse(_)));
            if found || (side == Side::Second && needs_runs(attribute)) {
                break;
            }
            let spans = if side == Side::First { &self.first } else { &self.second };
            lanes.extend(spans.values(attribute)?.lanes.into_iter().map(|lane| (side, lane)));
        }
        Ok(Property { lanes })
    }

    /// When spans start, as the column has it.
    pub(crate) fn starts(&self) -> Result<(Side, &'a [i64]), EvalError> {
        if let Some(starts) = self.second.starts()? {
            return Ok((Side::Second, starts.values()));
        }
        let starts = self.first.starts()?;
        let starts = starts.ok_or_else(|| EvalError::Batch("there is no column start_time".into()))?;
        Ok((Side::First, starts.values()))
    }

    /// Trace and span id of a row; no span id where it was not read.
    pub(crate) fn ids(
        &self,
        rows: PickedRows<'_>,
        at: usize,
    ) -> Result<(Vec<u8>, Option<Vec<u8>>), EvalError> {
        let span_id = self.id(schema::SPAN_ID, rows, at)?;
        if let Some(trace_id) = self.id(schema::TRACE_ID, rows, at)? {
            return Ok((trace_id, span_id));
        }
        let runs = self.first.runs();
        Ok((runs.ids()[runs.trace_of(rows.first[at] as usize)].to_vec(), span_id))
    }

    fn id(&self, name: &str, rows: PickedRows<'_>, at: usize) -> Result<Option<Vec<u8>>, EvalError> {
        let value = |ids: &FixedSizeBinaryArray, row: u32| ids.value(row as usize).to_vec();
        if let Some(ids) = self.second.ids(name)? {
            return Ok(Some(value(ids, rows.second[at])));
        }
        Ok(self.first.ids(name)?.map(|ids| value(ids, rows.first[at])))
    }
}

/// Whether a property is no column of the span, so that it is asked only of the batch that has whole traces.
fn needs_runs(attribute: &Attribute) -> bool {
    attribute.parent
        || matches!(attribute.target, Target::Intrinsic(Intrinsic::ChildCount | Intrinsic::TraceDuration))
}

/// Whether an expression can only be evaluated where whole traces are.
pub(crate) fn expr_needs_trace(expr: &FieldExpr) -> bool {
    match expr {
        FieldExpr::Literal(_) => false,
        FieldExpr::Attribute(attribute) => attribute.needs_trace(),
        FieldExpr::Not(inner) | FieldExpr::Negate(inner) => expr_needs_trace(inner),
        FieldExpr::Binary { left, right, .. } => expr_needs_trace(left) || expr_needs_trace(right),
    }
}

/// The rows of a selection, ascending, each one time.
pub(crate) fn distinct(selected: &Selected) -> Cow<'_, [u32]> {
    if selected.rows.is_sorted_by(|before, after| before < after) {
        return Cow::Borrowed(&selected.rows);
    }
    let mut rows = selected.rows.clone();
    rows.sort_unstable();
    rows.dedup();
    Cow::Owned(rows)
}

/// The rows of all selections, ascending, each one time.
pub(crate) fn union(selected: &[Selected]) -> Vec<u32> {
    if let [selected] = selected {
        return distinct(selected).into_owned();
    }
    let mut rows: Vec<u32> = selected.iter().flat_map(|selected| distinct(selected).into_owned()).collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// Places of `some` in `all`; both ascend, and `all` has all of them.
pub(crate) fn places(some: &[u32], all: &[u32]) -> Result<Vec<u32>, EvalError> {
    let lacking = || EvalError::Batch("a selected row was not read".into());
    if some.len() == all.len() {
        return if some == all { Ok((0..all.len() as u32).collect()) } else { Err(lacking()) };
    }
    let mut places = Vec::with_capacity(some.len());
    let mut at = 0;
    for row in some {
        while all.get(at).is_some_and(|other| other < row) {
            at += 1;
        }
        if all.get(at) != Some(row) {
            return Err(lacking());
        }
        places.push(at as u32);
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_among_those_read() {
        assert_eq!(places(&[2, 9], &[1, 2, 5, 9]).unwrap(), [1, 3]);
        assert_eq!(places(&[1, 2], &[1, 2]).unwrap(), [0, 1]);
        assert!(places(&[3], &[1, 2, 5]).is_err());
        assert!(places(&[3, 4], &[1, 2]).is_err());
        let selected = |rows: &[u32]| Selected { rows: rows.to_vec(), spansets: Vec::new() };
        assert_eq!(*distinct(&selected(&[4, 7, 2, 4])), [2, 4, 7]);
        assert_eq!(union(&[selected(&[1, 5]), selected(&[0, 5])]), [0, 1, 5]);
    }
}
