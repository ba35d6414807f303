//! Series of a metrics query, from what its jobs found.
//! Owns: partial series added up, what each function makes of them, second stages, math, order, the limit of series.
//! Does not own: what jobs count (`collect::series`), the forms in which series are told.
//! Guarantee: into which jobs the spans were cut does not matter, as long as no job left out any series.

mod compare;
mod functions;
mod math;
mod merged;
mod stages;
mod steps;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use vivace_proto::internal::{Exemplar, FoundSeries};

use self::merged::Merged;
use crate::ast::{Literal, MetricsExpr, MetricsFunction};
use crate::collect::labels::LabelKey;
use crate::limits::Room;
use crate::{EvalError, Grid, GroupLimit};

/// Series of a `compare()` at most: it has a few dozen for each attribute, and needs all of them.
const COMPARE_SERIES_MAX: usize = 20_000;

/// How series are finished.
#[derive(Clone, Copy, Debug, Default)]
pub struct FinishOptions {
    /// Series at most; 0: no limit.
    pub series_max: usize,
    /// Exemplars of a metrics pipeline at most.
    pub exemplars_max: usize,
    /// Memory that series may take, while they are added up and when they are finished.
    pub groups: GroupLimit,
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

/// The labels of a series, by which series are matched and put in order.
type Labels = Vec<(Arc<str>, LabelKey)>;

/// A series on its way.
#[derive(Clone, Debug)]
struct Line {
    labels: Labels,
    samples: Vec<f64>,
    /// With the interval of each.
    exemplars: Vec<(u32, Exemplar)>,
}

impl Line {
    /// Whether any interval has a sample.
    fn is_empty(&self) -> bool {
        self.samples.iter().all(|sample| sample.is_nan())
    }
}

/// Adds up what jobs find, and finishes it whenever asked.
#[derive(Debug)]
pub struct SeriesMerger {
    body: MetricsExpr,
    series_max: usize,
    groups: GroupLimit,
    pipelines: Vec<Merged>,
    truncated: bool,
}

impl SeriesMerger {
    /// Nothing yet.
    #[must_use]
    pub fn new(body: &MetricsExpr, grid: Grid, options: FinishOptions) -> Self {
        let mut functions = Vec::new();
        pipelines_of(body, &mut functions);
        let is_compare =
            matches!(body, MetricsExpr::Pipeline { function: MetricsFunction::Compare { .. }, .. });
        let series_max = match options.series_max {
            0 => usize::MAX,
            most if is_compare => most.max(COMPARE_SERIES_MAX),
            most => most,
        };
        let pipelines = functions
            .into_iter()
            .map(|(function, by)| Merged::new(function.clone(), by.is_empty(), grid, options.exemplars_max));
        let (pipelines, groups) = (pipelines.collect(), options.groups);
        Self { body: body.clone(), series_max, groups, pipelines, truncated: false }
    }

    /// Adds what a job found.
    ///
    /// # Errors
    /// [`EvalError::Batch`] if it does not belong to this query, [`EvalError::TooLarge`] if series take more memory than
    /// they may. Part of it may have been added.
    pub fn add(&mut self, found: FoundSeries) -> Result<(), EvalError> {
        self.truncated |= found.truncated;
        for series in found.series {
            let pipeline = self.pipelines.get_mut(series.pipeline as usize);
            pipeline.ok_or_else(|| EvalError::Batch("series of no pipeline".into()))?.add(series)?;
            self.groups.check(self.bytes())?;
        }
        Ok(())
    }

    /// Bytes of memory held, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pipelines.iter().map(Merged::bytes).sum()
    }

    /// Bytes of memory that [`Self::finish`] takes besides, about.
    #[must_use]
    pub fn finished_bytes(&self) -> usize {
        let most = match &self.body {
            MetricsExpr::Pipeline { .. } => self.series_max.saturating_add(1),
            _ => usize::MAX,
        };
        let of_pipeline =
            |merged: &Merged| Room::bytes_of(merged.partials.len().min(most), merged.grid.intervals);
        self.pipelines.iter().map(of_pipeline).fold(0, usize::saturating_add).min(self.groups.bytes_max)
    }

    /// The series of all that was added.
    ///
    /// # Errors
    /// [`EvalError::Query`] for operands that can't be calculated with, [`EvalError::TooLarge`] as [`Self::add`].
    pub fn finish(&self) -> Result<Finished, EvalError> {
        let room = Room::new(self.groups, self.bytes());
        let mut evaluation = math::Evaluation { pipelines: self.pipelines.iter(), room: &room };
        let outcome = match &self.body {
            // Of the series of a pipeline alone, only those that are given out have to be written out.
            MetricsExpr::Pipeline { .. } => evaluation.pipeline(self.series_max)?,
            body => evaluation.evaluate(body)?,
        };
        let math::Outcome::Lines(mut lines) = outcome else {
            return Err(EvalError::Query("the query has numbers only, no spans".into()));
        };
        lines.retain(|line| !line.is_empty());
        lines.sort_by(|a, b| a.labels.cmp(&b.labels));
        let truncated = self.truncated || lines.len() > self.series_max;
        lines.truncate(self.series_max);
        Ok(Finished { series: lines.into_iter().map(Line::finish).collect(), truncated })
    }
}

impl Line {
    fn finish(self) -> Series {
        let Self { labels, samples, exemplars } = self;
        let exemplars = exemplars.into_iter().filter_map(|(interval, mut exemplar)| {
            let sample = samples.get(interval as usize).copied().filter(|sample| !sample.is_nan())?;
            // What counts spans has no value of a single one.
            if exemplar.value.is_nan() {
                exemplar.value = sample;
            }
            Some(exemplar)
        });
        let mut exemplars: Vec<_> = exemplars.collect();
        // By more than time, so that their order does not depend on that of the jobs' answers.
        exemplars.sort_by(|a, b| order_of(a).cmp(&order_of(b)));
        let labels = labels.into_iter().map(|(name, value)| (name, value.literal())).collect();
        Series { labels, samples, exemplars }
    }
}

fn order_of(exemplar: &Exemplar) -> (u64, &[u8], &[u8]) {
    (exemplar.time, &exemplar.trace_id, &exemplar.span_id)
}

/// The series of a query from all that its jobs found.
///
/// # Errors
/// As [`SeriesMerger::add`] and [`SeriesMerger::finish`].
pub fn finish(
    body: &MetricsExpr,
    found: impl IntoIterator<Item = FoundSeries>,
    grid: Grid,
    options: FinishOptions,
) -> Result<Finished, EvalError> {
    let mut merger = SeriesMerger::new(body, grid, options);
    found.into_iter().try_for_each(|found| merger.add(found))?;
    merger.finish()
}

/// The values of an instant query: the only sample of each series.
pub fn instant(finished: &Finished) -> impl Iterator<Item = (&[(Arc<str>, Literal)], f64)> {
    let values =
        finished.series.iter().filter_map(|series| Some((&*series.labels, *series.samples.first()?)));
    values.filter(|(_, value)| !value.is_nan())
}

/// The metrics pipelines of a query, in the order in which they are written.
fn pipelines_of<'a>(
    body: &'a MetricsExpr,
    into: &mut Vec<(&'a MetricsFunction, &'a [crate::ast::Attribute])>,
) {
    match body {
        MetricsExpr::Pipeline { function, by, .. } => into.push((function, by)),
        MetricsExpr::Stage { input, .. } => pipelines_of(input, into),
        MetricsExpr::Number(_) => {}
        MetricsExpr::Binary { left, right, .. } => {
            pipelines_of(left, into);
            pipelines_of(right, into);
        }
    }
}
