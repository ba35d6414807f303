//! What a search needs to read, and how it goes.
//! Owns: from the message that asks to what is read, what can be ruled out without reading, and which spans count.
//! Does not own: what is made of the spans found (`collect`).

mod condition;
mod kind;
mod needs;
mod told;
mod walk;
mod whole;

use std::ops::Range;
use std::sync::Arc;

use vivace_model::scan::{Condition, Projection};
use vivace_model::{UnixNanos, WorkBudget, schema};
use vivace_proto::internal::Search;

use crate::ast::{Attribute, MetricsFunction};
use crate::eval::Mask;
use crate::select::{Keep, Selector};
use crate::{EvalError, Selected, Spans, Spanset};

use self::kind::Asked;

/// A search, ready to go over batches. Made alike by the query-frontend, queriers and ingesters from one [`Search`].
#[derive(Debug)]
pub struct ScanPlan {
    kind: PlanKind,
    whole: bool,
    range: Range<UnixNanos>,
    condition: Condition,
    first: Projection,
    second: Projection,
    third: Projection,
    hints: Hints,
    /// One for each metrics pipeline; else one. None where traces are told by their ids.
    selectors: Vec<Selector>,
    budget: WorkBudget,
}

/// What a query says of how it wants to be run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Exemplars at most: `exemplars = 10`, and 0 for `exemplars = false`.
    pub exemplars: Option<usize>,
    /// `most_recent`.
    pub most_recent: Option<bool>,
}

/// What is collected of the spans found.
#[derive(Clone, Debug)]
pub enum PlanKind {
    /// The newest traces.
    Traces {
        /// Traces at most.
        limit: usize,
        /// Spans of a spanset at most.
        spans_max: usize,
        /// What is told of each span besides its name and times.
        attributes: Vec<Attribute>,
    },
    /// Series, one set for each metrics pipeline in the order in which they are written.
    Series {
        /// Function and labels of each pipeline.
        pipelines: Vec<(MetricsFunction, Vec<Attribute>)>,
        /// The intervals.
        grid: Grid,
        /// Exemplars at most.
        exemplars_max: usize,
        /// Series at most.
        series_max: usize,
    },
    /// Names of attributes.
    TagNames {
        /// Of this scope alone: resource, span, event, link, instrumentation.
        scope: Option<String>,
        /// Names of a scope at most.
        names_max: usize,
    },
    /// Values of an attribute.
    TagValues {
        /// Which.
        attribute: Attribute,
        /// Values at most.
        values_max: usize,
    },
    /// What is known of some traces.
    Summaries {
        /// Their ids, ascending.
        ids: Arc<[[u8; 16]]>,
    },
}

/// The intervals of series: number i is `(start + i * step, start + (i + 1) * step]`, or `[start, start + step]` if it is
/// the only one of an instant query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Unix nanoseconds.
    pub start: u64,
    /// Nanoseconds.
    pub step: u64,
    /// How many.
    pub intervals: u32,
    /// One interval that holds its start too.
    pub instant: bool,
}

impl ScanPlan {
    /// Plans a search.
    ///
    /// # Errors
    /// [`EvalError::Query`] if its text is no TraceQL, or asks for another kind of answer.
    pub fn new(search: &Search) -> Result<Self, EvalError> {
        Self::within(search, &WorkBudget::unlimited())
    }

    /// Plans a search that is one job: all that is done by the plan is charged to the budget, and fails when that is over.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn within(search: &Search, budget: &WorkBudget) -> Result<Self, EvalError> {
        let Asked { kind, selectors, mut first, mut second, whole, hints } = Asked::new(search)?;
        let start = UnixNanos(search.start);
        let ranged = search.start != 0 || search.end != 0;
        let range = start..UnixNanos(if ranged { search.end } else { u64::MAX });
        if ranged || matches!(kind, PlanKind::Traces { .. }) {
            first.fixed.insert(schema::START_TIME);
        }
        let mut third = Projection::default();
        if let PlanKind::Series { pipelines, exemplars_max, .. } = &kind {
            let compares =
                pipelines.iter().any(|(function, _)| matches!(function, MetricsFunction::Compare { .. }));
            // When spans start is found in either batch, but not what is worked out of several columns of one: the time
            // of an event since then, the selection of a comparison.
            if first.fixed.contains(schema::START_TIME) && !second.fixed.contains(schema::EVENTS) && !compares
            {
                second.fixed.remove(schema::START_TIME);
            }
            if *exemplars_max > 0 {
                third.fixed.insert(schema::SPAN_ID);
            }
        }
        let condition = condition::within(condition::of_selectors(&selectors, whole), budget);
        Ok(Self {
            kind,
            whole,
            range,
            condition,
            first,
            second,
            third,
            hints,
            selectors,
            budget: budget.clone(),
        })
    }

    /// What the job may take of the processors.
    #[must_use]
    pub const fn budget(&self) -> &WorkBudget {
        &self.budget
    }

    /// What is collected.
    #[must_use]
    pub const fn kind(&self) -> &PlanKind {
        &self.kind
    }

    /// Whether traces have to be looked at as wholes: then batches must not hold only a part of a trace. Otherwise spans
    /// are looked at one by one, and pieces of a trace may come in any batches.
    #[must_use]
    pub const fn whole(&self) -> bool {
        self.whole
    }

    /// Spans that start in that time are meant.
    #[must_use]
    pub const fn range(&self) -> &Range<UnixNanos> {
        &self.range
    }

    /// What rows must meet to matter. Where traces are wholes, it is met by some row of each trace that matters, and
    /// rows that do not meet it are needed too.
    #[must_use]
    pub const fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Columns that [`Self::select`] looks at.
    #[must_use]
    pub const fn first(&self) -> &Projection {
        &self.first
    }

    /// Columns that the collector looks at besides.
    #[must_use]
    pub const fn second(&self) -> &Projection {
        &self.second
    }

    /// Columns of the few spans that stand for what was counted.
    #[must_use]
    pub const fn third(&self) -> &Projection {
        &self.third
    }

    /// All columns that the search may look at.
    #[must_use]
    pub fn columns(&self) -> Projection {
        let mut columns = self.first.clone();
        columns.merge(&self.second);
        columns.merge(&self.third);
        columns
    }

    /// What the query says of how it wants to be run.
    #[must_use]
    pub const fn hints(&self) -> Hints {
        self.hints
    }

    /// The spansets of a batch, for each metrics pipeline or, in other searches, one time. Of spans that are looked at one
    /// by one, and of those that are counted, only those that start in [`Self::range`] are there.
    ///
    /// # Errors
    /// [`EvalError`] for a batch of another form, an integer divided by zero, or when the budget is over.
    pub fn select(&self, spans: &Spans<'_>) -> Result<Vec<Selected>, EvalError> {
        let meter = self.budget.meter();
        meter.check()?;
        if let PlanKind::Summaries { ids } = &self.kind {
            return Ok(vec![of_traces(ids, spans)]);
        }
        let spans = &spans.metered(&meter);
        let in_range = self.in_range(spans)?;
        let keep = match &in_range {
            None => Keep::All,
            Some(mask) if self.whole && matches!(self.kind, PlanKind::Traces { .. }) => Keep::Traces(mask),
            Some(mask) => Keep::Rows(mask),
        };
        // Where spans are counted one by one, nobody asks for their spansets.
        let sets = self.whole || matches!(self.kind, PlanKind::Traces { .. });
        self.selectors.iter().map(|selector| selector.run(spans, keep, sets)).collect()
    }

    /// Spans that start in the range; none if all do.
    fn in_range(&self, spans: &Spans<'_>) -> Result<Option<Mask>, EvalError> {
        let (start, end) = (self.range.start.0, self.range.end.0);
        if (start, end) == (0, u64::MAX) {
            return Ok(None);
        }
        let starts =
            spans.starts()?.ok_or_else(|| EvalError::Batch("column start_time is missing".into()))?;
        let mask = Mask::of(starts.values(), |time| (start <= time as u64) & ((time as u64) < end));
        Ok(Some(mask))
    }
}

/// All spans of traces by their ids.
fn of_traces(ids: &[[u8; 16]], spans: &Spans<'_>) -> Selected {
    let runs = spans.runs();
    let mut traces: Vec<usize> = ids.iter().filter_map(|id| runs.find(id)).collect();
    traces.sort_unstable();
    let mut selected = Selected::default();
    for trace in traces {
        selected.rows.extend(runs.rows_of(trace).map(|row| row as u32));
        let end = selected.rows.len() as u32;
        selected.spansets.push(Spanset { trace: trace as u32, end, attributes: Vec::new() });
    }
    selected
}

#[cfg(test)]
mod tests;
