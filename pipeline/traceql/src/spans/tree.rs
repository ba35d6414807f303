//! What is known of a span only with others of its trace: parent, children, the trace's id and length.

use vivace_model::schema;

use super::{Lane, Spans, Value, Values};
use crate::EvalError;

/// Rows of a trace by their nested set's left, re-using its memory from trace to trace.
#[derive(Debug, Default)]
pub(crate) struct ByLeft {
    table: Vec<u32>,
    /// Where lefts are no small numbers, which no numbering of ours makes.
    sorted: Vec<(i32, u32)>,
}

const NONE: u32 = u32::MAX;

impl ByLeft {
    /// Takes the next trace: the lefts of rows `start..`.
    pub(crate) fn set(&mut self, lefts: &[i32], start: usize) {
        let largest = lefts.iter().copied().max().unwrap_or(0).max(0) as usize;
        self.table.clear();
        self.sorted.clear();
        let rows = lefts.iter().copied().zip(start as u32..);
        if largest > 4 * lefts.len() + 64 {
            self.sorted.extend(rows);
            self.sorted.sort_unstable();
            return;
        }
        self.table.resize(largest + 1, NONE);
        for (left, row) in rows.filter(|(left, _)| *left > 0) {
            self.table[left as usize] = row;
        }
    }

    /// The row of that left.
    pub(crate) fn get(&self, left: i32) -> Option<u32> {
        if left <= 0 {
            return None;
        }
        if self.sorted.is_empty() {
            return self.table.get(left as usize).copied().filter(|row| *row != NONE);
        }
        let at = self.sorted.binary_search_by_key(&left, |(left, _)| *left).ok()?;
        Some(self.sorted[at].1)
    }
}

impl<'a> Spans<'a> {
    /// The row of each span's parent, if that is there. None at all for picked spans.
    pub(crate) fn parent_rows(&self) -> Result<Vec<Option<u32>>, EvalError> {
        let mut found = vec![None; self.rows()];
        let (Some(runs), Some(lefts), Some(parents)) =
            (self.runs, self.smalls(schema::NESTED_SET_LEFT)?, self.smalls(schema::NESTED_SET_PARENT)?)
        else {
            return Ok(found);
        };
        let (lefts, parents) = (lefts.values(), parents.values());
        let mut by_left = ByLeft::default();
        for trace in 0..runs.len() {
            let rows = runs.rows_of(trace);
            by_left.set(&lefts[rows.clone()], rows.start);
            for row in rows {
                found[row] = by_left.get(parents[row]);
            }
        }
        Ok(found)
    }

    /// `span:childCount`.
    pub(super) fn child_counts(&self) -> Result<Values<'a>, EvalError> {
        if self.runs.is_none() || self.smalls(schema::NESTED_SET_LEFT)?.is_none() {
            return Ok(Values::none());
        }
        let mut counts = vec![0_i64; self.rows()];
        for parent in self.parent_rows()?.into_iter().flatten() {
            counts[parent as usize] += 1;
        }
        Ok(Values::sparse((0..).zip(counts.into_iter().map(Value::Int)).collect()))
    }

    /// `traceDuration`: from the first start to the last end.
    pub(super) fn trace_durations(&self) -> Result<Values<'a>, EvalError> {
        let (Some(runs), Some(starts), Some(durations)) =
            (self.runs, self.starts()?, self.ints(schema::DURATION_NANOS)?)
        else {
            return Ok(Values::none());
        };
        let (starts, durations) = (starts.values(), durations.values());
        let mut values = Vec::with_capacity(self.rows());
        for trace in 0..runs.len() {
            let rows = runs.rows_of(trace);
            let start = rows.clone().map(|row| starts[row] as u64).min().unwrap_or(0);
            // A span that ends before it starts is over when it starts.
            let end = |row: usize| (starts[row] as u64).saturating_add(durations[row].max(0) as u64);
            let end = rows.clone().map(end).max().unwrap_or(start);
            values.extend(rows.map(|row| (row as u32, Value::Duration((end - start) as i64))));
        }
        Ok(Values::sparse(values))
    }

    /// `trace:id`.
    pub(super) fn trace_ids(&self) -> Result<Values<'a>, EvalError> {
        if let Some(ids) = self.ids(schema::TRACE_ID)? {
            return Ok(Values::one(Lane::Id(ids)));
        }
        let Some(runs) = self.runs else {
            return Ok(Values::none());
        };
        let mut values = Vec::with_capacity(self.rows());
        for (trace, id) in runs.ids().iter().enumerate() {
            values.extend(runs.rows_of(trace).map(|row| (row as u32, Value::Id(id.as_slice()))));
        }
        Ok(Values::sparse(values))
    }

    /// `span:parentID`. An id of zeros is none.
    pub(super) fn parent_ids(&self) -> Result<Values<'a>, EvalError> {
        let Some(ids) = self.ids(schema::PARENT_SPAN_ID)? else {
            return Ok(Values::none());
        };
        let lane = Lane::Id(ids);
        let zero = Value::Id(&[0; 8]);
        if (0..self.rows()).all(|row| lane.first(row) != Some(zero)) {
            return Ok(Values::one(lane));
        }
        let found = (0..self.rows()).filter_map(|row| Some((row as u32, lane.first(row)?)));
        Ok(Values::sparse(found.filter(|(_, id)| *id != zero).collect()))
    }
}
