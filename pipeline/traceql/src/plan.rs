//! What a search needs to read, and how it goes.

use std::ops::Range;
use std::sync::Arc;

use vivace_model::UnixNanos;
use vivace_model::scan::{Condition, Projection};
use vivace_proto::internal::Search;

use crate::ast::{Attribute, MetricsFunction};
use crate::{EvalError, Selected, Spans};

/// A search, ready to go over batches. Made alike by the query-frontend, queriers and ingesters from one [`Search`].
#[derive(Debug)]
pub struct ScanPlan {
    kind: PlanKind,
    whole: bool,
    range: Range<UnixNanos>,
    condition: Condition,
    first: Projection,
    second: Projection,
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
        let _ = search;
        Err(EvalError::Query("not there yet".into()))
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

    /// The spansets of a batch, for each metrics pipeline or, in other searches, one time.
    ///
    /// # Errors
    /// [`EvalError`] for a batch of another form, or an integer divided by zero.
    pub fn select(&self, spans: &Spans<'_>) -> Result<Vec<Selected>, EvalError> {
        let _ = spans;
        Err(EvalError::Query("not there yet".into()))
    }
}
