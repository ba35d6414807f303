//! What is made of the spans that a search finds.
//! Owns: what of them is kept, and its form on the way to the query-frontend.

pub(crate) mod labels;
pub(crate) mod series;

use vivace_proto::internal::search_job_part::Found;

use crate::{EvalError, ScanPlan, Selected, Spans};

/// Collects over batches what one job finds.
#[derive(Debug)]
pub struct Collector {}

impl Collector {
    /// Nothing yet.
    #[must_use]
    pub fn new(plan: &ScanPlan) -> Self {
        let _ = plan;
        Self {}
    }

    /// Rows of the batch that [`Self::take`] needs with the columns of [`ScanPlan::second`], ascending.
    ///
    /// # Errors
    /// [`EvalError::Batch`] for a batch of another form.
    pub fn wanted(&mut self, selected: &[Selected], first: &Spans<'_>) -> Result<Vec<u32>, EvalError> {
        let _ = (selected, first);
        Ok(Vec::new())
    }

    /// Takes what was found in a batch: `rows` is what [`Self::wanted`] said, `second` these rows.
    ///
    /// # Errors
    /// [`EvalError::Batch`] for a batch of another form.
    pub fn take(
        &mut self,
        selected: &[Selected],
        first: &Spans<'_>,
        rows: &[u32],
        second: &Spans<'_>,
    ) -> Result<(), EvalError> {
        let _ = (selected, first, rows, second);
        Ok(())
    }

    /// All that was found.
    #[must_use]
    pub fn finish(self) -> Found {
        Found::Tags(vivace_proto::internal::FoundTags::default())
    }
}
