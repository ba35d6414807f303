//! Stub.
use std::sync::Arc;

use vivace_proto::internal::{Exemplar, FoundSeries};

use crate::ast::{Literal, MetricsExpr};
use crate::{EvalError, Grid};

/// How series are finished.
#[derive(Clone, Copy, Debug, Default)]
pub struct FinishOptions {
    /// Series at most; 0: no limit.
    pub series_max: usize,
    /// Exemplars of a metrics pipeline at most.
    pub exemplars_max: usize,
}

/// The series of a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finished {
    /// By their labels.
    pub series: Vec<Series>,
    /// Some series were left out, here or by a job.
    pub truncated: bool,
}

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Names and values.
    pub labels: Vec<(Arc<str>, Literal)>,
    /// One for each interval of the grid, at [`Grid::timestamp`]; not a number where there is none.
    pub samples: Vec<f64>,
    /// Spans that stand for the samples, by time.
    pub exemplars: Vec<Exemplar>,
}
/// Stub
#[derive(Debug)]
pub struct SeriesMerger(Vec<FoundSeries>);
impl SeriesMerger {
    /// Stub
    pub fn new(_body: &MetricsExpr, _grid: Grid, _options: FinishOptions) -> Self { Self(Vec::new()) }
    /// # Errors
    /// Stub
    pub fn add(&mut self, found: FoundSeries) -> Result<(), EvalError> { self.0.push(found); Ok(()) }
    /// # Errors
    /// Stub
    pub fn finish(&self) -> Result<Finished, EvalError> { Ok(Finished::default()) }
}
