//! Which rows matter to who collects, where rows are on their way to another place: recent data.
//! Owns: that choice. Does not own: what matches (`select`), what is made of it (`collect`).

use crate::{EvalError, PlanKind, ScanPlan, Spans};

/// The part of a batch that may matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relevant {
    /// All of it.
    All,
    /// All rows of these traces, by their numbers in the batch's runs, ascending: answers tell of traces as a whole.
    Traces(Vec<u32>),
    /// These rows, ascending.
    Rows(Vec<u32>),
}

impl ScanPlan {
    /// What of a batch may matter to a [`Collector`](crate::Collector).
    ///
    /// # Errors
    /// As [`Self::select`].
    pub fn relevant(&self, spans: &Spans<'_>) -> Result<Relevant, EvalError> {
        if self.whole() {
            return Ok(Relevant::All);
        }
        if let PlanKind::Summaries { ids } = self.kind() {
            let found = ids.iter().filter_map(|id| spans.runs().find(id));
            return Ok(Relevant::Traces(found.map(|trace| trace as u32).collect()));
        }
        let selected = self.select(spans)?;
        let traces = matches!(self.kind(), PlanKind::Traces { .. });
        let mut numbers: Vec<u32> = if traces {
            selected.iter().flat_map(|it| &it.spansets).map(|spanset| spanset.trace).collect()
        } else {
            selected.into_iter().flat_map(|it| it.rows).collect()
        };
        numbers.sort_unstable();
        numbers.dedup();
        Ok(if traces { Relevant::Traces(numbers) } else { Relevant::Rows(numbers) })
    }
}
