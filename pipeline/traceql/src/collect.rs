//! What is made of the spans that a search finds.
//! Owns: what of them is kept, and its form on the way to the query-frontend.
//! Does not own: which spans are found (`select`), how findings of several jobs become one (`merge`).

pub(crate) mod labels;
mod rows;
pub(crate) mod series;
mod summary;
mod tags;
mod traces;

use vivace_model::{UnixNanos, WorkBudget};
use vivace_proto::internal::search_job_part::Found;

use self::rows::WantedRows;
use self::series::SeriesCollector;
use self::summary::SummariesCollector;
use self::tags::TagsCollector;
use self::traces::TracesCollector;
use crate::{EvalError, GroupLimit, PlanKind, ScanPlan, Selected, Spans};

/// Collects over batches what one job finds.
#[derive(Debug)]
pub struct Collector {
    kind: Kind,
    groups: GroupLimit,
    budget: WorkBudget,
}

#[derive(Debug)]
enum Kind {
    Traces(TracesCollector),
    Series(SeriesCollector),
    Tags(TagsCollector),
    Summaries(SummariesCollector),
}

impl Collector {
    /// Nothing yet.
    #[must_use]
    pub fn new(plan: &ScanPlan) -> Self {
        Self { kind: Kind::new(plan.kind()), groups: GroupLimit::default(), budget: plan.budget().clone() }
    }

    /// The same, within that much memory for what is grouped.
    #[must_use]
    pub fn limited(mut self, groups: GroupLimit) -> Self {
        self.groups = groups;
        self
    }

    /// Bytes of memory that takes what was found, about. Summaries, which are of given traces, do not count.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Series(series) => series.bytes(),
            Kind::Tags(tags) => tags.bytes(),
            Kind::Traces(traces) => traces.bytes(),
            Kind::Summaries(_) => 0,
        }
    }

    /// Rows of the batch that [`Self::take`] needs with the columns of [`ScanPlan::second`], ascending. To be called once
    /// for each batch, and followed by `take`.
    ///
    /// # Errors
    /// [`EvalError::Batch`] for a batch of another form.
    pub fn wanted(&mut self, selected: &[Selected], first: &Spans<'_>) -> Result<Vec<u32>, EvalError> {
        let meter = self.budget.meter();
        meter.check()?;
        let first = &first.metered(&meter);
        match &mut self.kind {
            Kind::Traces(traces) => traces.wanted(selected, first),
            Kind::Series(series) => series.wanted(selected, first),
            Kind::Tags(_) => Ok(rows::selected_rows(selected)),
            Kind::Summaries(summaries) => Ok(summaries.wanted(first)),
        }
    }

    /// Takes what was found in a batch: `rows` is what [`Self::wanted`] said, `second` these rows. A column may be in
    /// either batch.
    ///
    /// # Errors
    /// [`EvalError::Batch`] for a batch of another form, [`EvalError::TooLarge`] if groups take more memory than they may.
    pub fn take(
        &mut self,
        selected: &[Selected],
        first: &Spans<'_>,
        rows: &[u32],
        second: &Spans<'_>,
    ) -> Result<(), EvalError> {
        let meter = self.budget.meter();
        meter.check()?;
        let (first, second) = (&first.metered(&meter), &second.metered(&meter));
        let wanted = WantedRows::new(first, rows, second)?;
        match &mut self.kind {
            Kind::Traces(traces) => traces.take(selected, &wanted),
            Kind::Series(series) => series.take(selected, first, rows, second),
            Kind::Tags(tags) => tags.take(&wanted),
            Kind::Summaries(summaries) => summaries.take(&wanted),
        }?;
        match self.kind {
            Kind::Traces(_) => self.groups.check_traces(self.bytes()),
            _ => self.groups.check(self.bytes()),
        }
    }

    /// Rows of the batch that was taken last, ascending, of which [`ScanPlan::third`] is wanted, too.
    #[must_use]
    pub fn nameless(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Series(series) => series.nameless(),
            Kind::Traces(_) | Kind::Tags(_) | Kind::Summaries(_) => Vec::new(),
        }
    }

    /// Takes [`ScanPlan::third`] of the rows that [`Self::nameless`] said.
    ///
    /// # Errors
    /// [`EvalError::Batch`] for a batch of another form.
    pub fn name(&mut self, rows: &[u32], third: &Spans<'_>) -> Result<(), EvalError> {
        match &mut self.kind {
            Kind::Series(series) => series.name(rows, third),
            Kind::Traces(_) | Kind::Tags(_) | Kind::Summaries(_) => Ok(()),
        }
    }

    /// If traces are collected, and as many as asked for are here: the start of the last of them. Spans that all end
    /// before it cannot add any trace.
    #[must_use]
    pub fn horizon(&self) -> Option<UnixNanos> {
        match &self.kind {
            Kind::Traces(traces) => traces.horizon(),
            Kind::Series(_) | Kind::Tags(_) | Kind::Summaries(_) => None,
        }
    }

    /// All that was found.
    #[must_use]
    pub fn finish(self) -> Found {
        match self.kind {
            Kind::Traces(traces) => Found::Traces(traces.finish()),
            Kind::Series(series) => Found::Series(series.finish()),
            Kind::Tags(tags) => Found::Tags(tags.finish()),
            Kind::Summaries(summaries) => Found::Traces(summaries.finish()),
        }
    }
}

impl Kind {
    fn new(kind: &PlanKind) -> Self {
        match kind {
            PlanKind::Traces { limit, spans_max, attributes } => {
                Self::Traces(TracesCollector::new(*limit, *spans_max, attributes))
            }
            PlanKind::Series { pipelines, grid, exemplars_max, series_max } => {
                Self::Series(SeriesCollector::new(pipelines, *grid, *exemplars_max, *series_max))
            }
            PlanKind::TagNames { scope, names_max } => {
                Self::Tags(TagsCollector::names(scope.as_deref(), *names_max))
            }
            PlanKind::TagValues { attribute, values_max } => {
                Self::Tags(TagsCollector::values(attribute, *values_max))
            }
            PlanKind::Summaries { ids } => Self::Summaries(SummariesCollector::new(ids)),
        }
    }
}
