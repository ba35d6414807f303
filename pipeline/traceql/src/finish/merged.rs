//! Partial series of one metrics pipeline, added up.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::hash_table::Entry;
use hashbrown::{HashSet, HashTable};
use vivace_proto::internal::{Exemplar, Label, PartialSeries};

use super::Labels;
use super::steps::Steps;
use crate::ast::MetricsFunction;
use crate::collect::labels::LabelKey;
use crate::collect::series::cells::Fold;
use crate::collect::series::exemplars::Exemplars;
use crate::collect::series::measure::Measure;
use crate::{EvalError, Grid};

/// Beside its labels and steps: its place in the table, and what the allocator rounds up.
const SERIES_OVERHEAD: usize = 64;

/// Partial series by their labels.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) function: MetricsFunction,
    /// There are no labels to tell series apart.
    pub(super) single: bool,
    pub(super) grid: Grid,
    pub(super) partials: Vec<Partial>,
    exemplars: Exemplars,
    /// Numbers of the partial series, by the hash of their labels.
    numbers: HashTable<u32>,
    hasher: RandomState,
    names: HashSet<Arc<str>, RandomState>,
    /// Of labels and steps.
    bytes: usize,
}

/// A series of jobs.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) labels: Labels,
    pub(super) steps: Steps,
}

impl Merged {
    pub(super) fn new(function: MetricsFunction, single: bool, grid: Grid, exemplars_max: usize) -> Self {
        let exemplars = Exemplars::new(grid.intervals, exemplars_max);
        let (partials, numbers, hasher, names) = Default::default();
        Self { function, single, grid, partials, exemplars, numbers, hasher, names, bytes: 0 }
    }

    /// Bytes of memory held, about.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes + self.partials.capacity() * size_of::<Partial>()
    }

    pub(super) fn add(&mut self, series: PartialSeries) -> Result<(), EvalError> {
        let fold = Measure::of(&self.function).fold;
        self.check(&series, fold)?;
        if series.intervals.is_empty() {
            return Ok(());
        }
        let labels: Labels = series.labels.into_iter().map(|label| self.label(label)).collect();
        let number = self.number(labels)?;
        let steps = &mut self.partials[number as usize].steps;
        let before = steps.bytes();
        steps.add(&series.intervals, &series.counts, &series.values, fold);
        self.bytes += steps.bytes() - before;
        for exemplar in series.exemplars {
            if let Some(interval) = self.grid.interval(exemplar.time) {
                self.exemplars.offer(number, interval, exemplar, None);
            }
        }
        Ok(())
    }

    /// Number of the series of these labels.
    fn number(&mut self, labels: Labels) -> Result<u32, EvalError> {
        let Self { partials, numbers, hasher, bytes, .. } = self;
        let hash = hasher.hash_one(&labels);
        let same = |number: &u32| partials[*number as usize].labels == labels;
        let hash_of = |number: &u32| hasher.hash_one(&partials[*number as usize].labels);
        let vacant = match numbers.entry(hash, same, hash_of) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(vacant) => vacant,
        };
        let number = u32::try_from(partials.len());
        let number = number.map_err(|_| EvalError::TooLarge("the query has more series than 2^32".into()))?;
        vacant.insert(number);
        *bytes += SERIES_OVERHEAD + labels.capacity() * size_of::<(Arc<str>, LabelKey)>();
        *bytes += labels.iter().map(|(_, value)| value.bytes()).sum::<usize>();
        partials.push(Partial { labels, steps: Steps::default() });
        Ok(number)
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

    /// A number for each interval: `empty` where there is none.
    pub(super) fn samples(
        &self,
        partial: &Partial,
        empty: f64,
        sample: impl Fn(u64, Option<f64>) -> f64,
    ) -> Vec<f64> {
        let mut samples = vec![empty; self.grid.intervals as usize];
        for (interval, count, value) in partial.steps.iter() {
            samples[interval as usize] = sample(count, value);
        }
        samples
    }
}

impl Partial {
    /// Count of all intervals.
    pub(super) fn total(&self) -> u64 {
        self.steps.total()
    }
}
