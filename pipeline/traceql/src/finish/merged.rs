//! Partial series of one metrics pipeline, added up.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::{HashMap, HashSet};
use vivace_proto::internal::{Exemplar, Label, PartialSeries};

use super::Labels;
use crate::ast::MetricsFunction;
use crate::collect::labels::LabelKey;
use crate::collect::series::cells::Fold;
use crate::collect::series::exemplars::Exemplars;
use crate::collect::series::measure::Measure;
use crate::{EvalError, Grid};

/// Cells of a pipeline at most: 128 MiB, or twice that where values are folded.
const CELLS_MAX: usize = 1 << 24;

/// Partial series by their labels.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) function: MetricsFunction,
    /// There are no labels to tell series apart.
    pub(super) single: bool,
    pub(super) grid: Grid,
    pub(super) partials: Vec<Partial>,
    /// Some found no place.
    pub(super) full: bool,
    exemplars: Exemplars,
    numbers: HashMap<Labels, u32, RandomState>,
    names: HashSet<Arc<str>, RandomState>,
    cells: usize,
}

/// A series of jobs: counts and folded values of the intervals from `first` on.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) labels: Labels,
    first: u32,
    counts: Vec<u64>,
    values: Vec<f64>,
}

impl Merged {
    pub(super) fn new(function: MetricsFunction, single: bool, grid: Grid, exemplars_max: usize) -> Self {
        let exemplars = Exemplars::new(grid.intervals, exemplars_max);
        let (partials, numbers, names) = Default::default();
        Self { function, single, grid, partials, full: false, exemplars, numbers, names, cells: 0 }
    }

    pub(super) fn add(&mut self, series: PartialSeries) -> Result<(), EvalError> {
        let fold = Measure::of(&self.function).fold;
        self.check(&series, fold)?;
        let Some((first, last)) = series.intervals.first().copied().zip(series.intervals.last().copied())
        else {
            return Ok(());
        };
        let labels: Labels = series.labels.into_iter().map(|label| self.label(label)).collect();
        let number = match self.numbers.get(&labels) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.partials.len()).expect("bounded by the cells");
                self.partials.push(Partial {
                    labels: labels.clone(),
                    first,
                    counts: Vec::new(),
                    values: Vec::new(),
                });
                self.numbers.insert(labels, number);
                number
            }
        };
        let partial = &mut self.partials[number as usize];
        let more = partial.cells_with(first, last) - partial.counts.len();
        if self.cells + more > CELLS_MAX {
            self.full = true;
            return Ok(());
        }
        self.cells += more;
        partial.cover(first, last, fold);
        for (at, interval) in series.intervals.iter().enumerate() {
            let cell = (interval - partial.first) as usize;
            partial.counts[cell] = partial.counts[cell].saturating_add(series.counts[at]);
            if fold != Fold::Count {
                fold.fold(&mut partial.values[cell], series.values[at]);
            }
        }
        for exemplar in series.exemplars {
            if let Some(interval) = self.grid.interval(exemplar.time) {
                self.exemplars.offer(number, interval, exemplar, None);
            }
        }
        Ok(())
    }

    fn label(&mut self, label: Label) -> (Arc<str>, LabelKey) {
        let name = self.names.get_or_insert_with(label.name.as_str(), |name| Arc::from(name));
        (Arc::clone(name), LabelKey::of_message(label.value))
    }

    fn check(&self, series: &PartialSeries, fold: Fold) -> Result<(), EvalError> {
        let ascend = series.intervals.is_sorted_by(|before, after| before < after);
        let inside = series.intervals.last().is_none_or(|last| *last < self.grid.intervals);
        let counted = series.counts.len() == series.intervals.len();
        let valued = fold == Fold::Count || series.values.len() == series.intervals.len();
        if ascend && inside && counted && valued {
            return Ok(());
        }
        Err(EvalError::Batch("a partial series does not fit the query's intervals".into()))
    }

    /// Exemplars of each of the partial series, with their intervals.
    pub(super) fn exemplars(&self) -> Vec<Vec<(u32, Exemplar)>> {
        let mut by_series = vec![Vec::new(); self.partials.len()];
        for kept in self.exemplars.iter() {
            by_series[kept.slot as usize].push((kept.interval, kept.exemplar.clone()));
        }
        by_series
    }
}

impl Partial {
    /// Count of an interval.
    pub(super) fn count(&self, interval: u32) -> u64 {
        let cell = interval.checked_sub(self.first).and_then(|cell| self.counts.get(cell as usize));
        cell.copied().unwrap_or_default()
    }

    /// Folded value of an interval that has a count.
    pub(super) fn value(&self, interval: u32) -> Option<f64> {
        let cell = interval.checked_sub(self.first)? as usize;
        self.counts.get(cell).filter(|count| **count > 0)?;
        self.values.get(cell).copied()
    }

    /// Count of all intervals.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn end(&self) -> u32 {
        self.first + self.counts.len() as u32
    }

    fn cells_with(&self, first: u32, last: u32) -> usize {
        if self.counts.is_empty() {
            return (last + 1 - first) as usize;
        }
        (self.end().max(last + 1) - self.first.min(first)) as usize
    }

    /// Makes room for intervals.
    fn cover(&mut self, first: u32, last: u32, fold: Fold) {
        if self.counts.is_empty() {
            self.first = first;
        }
        let before = self.first.saturating_sub(first) as usize;
        let cells = self.cells_with(first, last);
        let after = cells - before - self.counts.len();
        self.first -= before as u32;
        grow(&mut self.counts, before, after, 0);
        if fold != Fold::Count {
            grow(&mut self.values, before, after, fold.start());
        }
    }
}

fn grow<T: Clone>(cells: &mut Vec<T>, before: usize, after: usize, empty: T) {
    if before > 0 {
        cells.splice(0..0, std::iter::repeat_n(empty.clone(), before));
    }
    cells.resize(cells.len() + after, empty);
}
