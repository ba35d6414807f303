//! What the groups of a query may take: series with their labels and steps, names and values, found traces.
//! Owns: the limit and what it says when it is passed. Does not own: counting (each collector and merger counts its own).
//! Looked at while groups are collected, so that a query ends before its memory is taken.

use std::cell::Cell;

use crate::EvalError;

/// Memory that the groups of one query may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupLimit {
    /// In bytes.
    pub bytes_max: usize,
    /// The setting that it comes from.
    pub setting: &'static str,
}

impl Default for GroupLimit {
    /// No limit.
    fn default() -> Self {
        Self { bytes_max: usize::MAX, setting: "" }
    }
}

impl GroupLimit {
    /// Refuses groups that are over the limit.
    pub(crate) fn check(&self, bytes: usize) -> Result<(), EvalError> {
        let advice = "group by fewer values, or ask about a shorter time or with a longer step";
        self.check_all(bytes, "groups", advice)
    }

    /// Refuses found traces that are over the limit.
    ///
    /// # Errors
    /// [`EvalError::TooLarge`] says what to do.
    pub fn check_traces(&self, bytes: usize) -> Result<(), EvalError> {
        self.check_all(bytes, "traces", "ask for fewer traces (limit) or fewer spans of each (spss)")
    }

    fn check_all(&self, bytes: usize, what: &str, advice: &str) -> Result<(), EvalError> {
        if bytes <= self.bytes_max {
            return Ok(());
        }
        let Self { bytes_max, setting } = self;
        Err(EvalError::TooLarge(format!(
            "the {what} of the query need more than {bytes_max} bytes ({setting}): {advice}"
        )))
    }
}

/// What is left of a limit while series are written out, a number for each step.
#[derive(Debug)]
pub(crate) struct Room {
    limit: GroupLimit,
    used: Cell<usize>,
}

/// Beside the numbers: the series itself and its labels.
const SERIES_BYTES: usize = 256;

impl Room {
    pub(crate) const fn new(limit: GroupLimit, used: usize) -> Self {
        Self { limit, used: Cell::new(used) }
    }

    /// What so many series of so many steps take.
    pub(crate) const fn bytes_of(series: usize, steps: u32) -> usize {
        series.saturating_mul(SERIES_BYTES + steps as usize * size_of::<f64>())
    }

    /// Takes room for so many series of so many steps.
    pub(crate) fn take(&self, series: usize, steps: u32) -> Result<(), EvalError> {
        let used = self.used.get().saturating_add(Self::bytes_of(series, steps));
        self.limit.check(used)?;
        self.used.set(used);
        Ok(())
    }
}
