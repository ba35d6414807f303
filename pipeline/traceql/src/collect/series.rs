//! Series of metrics queries: what one job counts and measures.
//! Owns: partial series, in a form in which those of several jobs add up exactly: counts, sums, minima, maxima, and counts
//! by powers of two for quantiles and histograms. Times are nanoseconds here.
//! Does not own: what becomes of partial series (`finish`).

pub(crate) mod buckets;
pub(crate) mod cells;
pub(crate) mod codes;
pub(crate) mod compare;
mod counter;
pub(crate) mod exemplars;
pub(crate) mod measure;
mod numbers;
mod overflow;
mod picked;
mod tuples;

#[cfg(test)]
mod tests;

use arrow::array::Array;
use vivace_model::schema::SPAN_ID;
use vivace_proto::internal::{FoundSeries, Label, PartialSeries};

use self::compare::CompareCollector;
use self::counter::Counter;
use self::picked::{Batches, PickedRows, distinct, places, union};
use super::labels::LabelKey;
use crate::ast::{Attribute, MetricsFunction};
use crate::{EvalError, Grid, Selected, Spans};

/// Label of the bucket's upper edge.
pub(crate) const BUCKET: &str = "__bucket";

/// Series of a pipeline where no other limit is set.
const SERIES_MAX: usize = 100_000;

/// Rows that are looked at before the next step is, so that what is in between stays in the processor's cache.
const CHUNK_ROWS: usize = 4096;

/// Collects the series of all metrics pipelines of a query.
#[derive(Debug)]
pub(crate) struct SeriesCollector {
    pipelines: Vec<PipelineCollector>,
}

#[derive(Debug)]
enum PipelineCollector {
    Counted(Box<Counter>),
    Compared(Box<CompareCollector>),
}

impl SeriesCollector {
    /// `series_max` of 0: no limit but the own one.
    pub(crate) fn new(
        pipelines: &[(MetricsFunction, Vec<Attribute>)],
        grid: Grid,
        exemplars_max: usize,
        series_max: usize,
    ) -> Self {
        let series_max = if series_max == 0 { SERIES_MAX } else { series_max.min(SERIES_MAX) };
        let pipelines = pipelines.iter().map(|(function, by)| match function {
            MetricsFunction::Compare { selection, window, .. } => {
                let compare = CompareCollector::new(selection.clone(), *window, grid);
                PipelineCollector::Compared(Box::new(compare))
            }
            function => {
                let counter = Counter::new(function, by, grid, exemplars_max, series_max);
                PipelineCollector::Counted(Box::new(counter))
            }
        });
        Self { pipelines: pipelines.collect() }
    }

    /// All selected rows, ascending.
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as all collectors have it")]
    pub(crate) fn wanted(
        &mut self,
        selected: &[Selected],
        _first: &Spans<'_>,
    ) -> Result<Vec<u32>, EvalError> {
        Ok(union(selected))
    }

    /// Counts the rows of each pipeline's selection; `second` has the rows `rows`.
    pub(crate) fn take(
        &mut self,
        selected: &[Selected],
        first: &Spans<'_>,
        rows: &[u32],
        second: &Spans<'_>,
    ) -> Result<(), EvalError> {
        if selected.len() != self.pipelines.len() || rows.len() != second.rows() {
            return Err(EvalError::Batch("selections or rows are not those that were asked for".into()));
        }
        let batches = Batches { first: *first, second: *second };
        for (pipeline, selected) in self.pipelines.iter_mut().zip(selected) {
            let in_first = distinct(selected);
            let in_second = places(&in_first, rows)?;
            let picked = PickedRows { first: &in_first, second: &in_second };
            match pipeline {
                PipelineCollector::Counted(counter) => counter.take(&batches, picked)?,
                PipelineCollector::Compared(compare) => compare.take(&batches, picked)?,
            }
        }
        Ok(())
    }

    /// Rows of the batch that was taken last whose spans' ids are wanted, too, ascending.
    pub(crate) fn nameless(&self) -> Vec<u32> {
        let counters = self.pipelines.iter().filter_map(|pipeline| match pipeline {
            PipelineCollector::Counted(counter) => Some(counter),
            PipelineCollector::Compared(_) => None,
        });
        let mut rows: Vec<u32> = counters.flat_map(|counter| counter.exemplars().nameless()).collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// Takes the ids of the spans in these rows.
    pub(crate) fn name(&mut self, rows: &[u32], spans: &Spans<'_>) -> Result<(), EvalError> {
        let ids = spans.ids(SPAN_ID)?.filter(|ids| ids.len() == rows.len());
        let ids = ids.ok_or_else(|| EvalError::Batch("ids of spans are missing".into()))?;
        for pipeline in &mut self.pipelines {
            if let PipelineCollector::Counted(counter) = pipeline {
                let id = |row: u32| {
                    rows.binary_search(&row).map_or_else(|_| Vec::new(), |at| ids.value(at).to_vec())
                };
                counter.exemplars_mut().name(id);
            }
        }
        Ok(())
    }

    /// Bytes of memory held, about; more than any limit if something found no place for want of memory.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = self.pipelines.iter().map(|pipeline| match pipeline {
            PipelineCollector::Counted(counter) => counter.bytes(),
            PipelineCollector::Compared(compare) => compare.bytes(),
        });
        bytes.fold(0, usize::saturating_add)
    }

    /// All partial series.
    pub(crate) fn finish(self) -> FoundSeries {
        let mut found = FoundSeries::default();
        for (number, pipeline) in (0..).zip(self.pipelines) {
            match pipeline {
                PipelineCollector::Counted(counter) => counter.finish(number, &mut found),
                PipelineCollector::Compared(compare) => compare.finish(number, &mut found),
            }
        }
        found
    }
}

fn label(name: &str, value: &LabelKey) -> Label {
    Label { name: name.to_owned(), value: value.message() }
}

/// A partial series with the cells of a slot; none if there is nothing.
fn partial(pipeline: u32, labels: Vec<Label>, cells: &cells::Cells, slot: u32) -> Option<PartialSeries> {
    let mut series = PartialSeries { pipeline, labels, ..PartialSeries::default() };
    cells.each(slot, |interval, count, value| {
        series.intervals.push(interval);
        series.counts.push(count);
        if cells.has_values() {
            series.values.push(value);
        }
    });
    (!series.intervals.is_empty()).then_some(series)
}
