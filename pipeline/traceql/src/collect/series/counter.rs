//! One metrics pipeline: spans counted or measured by labels and interval.
//! Owns: the steps over a chunk of rows: intervals, numbers, series, cells, exemplars.

use vivace_proto::internal::{Exemplar, FoundSeries};

use super::cells::Cells;
use super::codes::{DROPPED, Lookup};
use super::exemplars::Exemplars;
use super::measure::Measure;
use super::numbers::Numbers;
use super::picked::{Batches, PickedRows, Side};
use super::tuples::{Pairs, Tuples};
use super::{BUCKET, CHUNK_ROWS, buckets, label, partial};
use crate::ast::{Attribute, MetricsFunction};
use crate::collect::labels::LabelKey;
use crate::grid::Intervals;
use crate::{EvalError, Grid};

/// Cells of a pipeline at most, whatever the limit of groups: 128 MiB, or twice that where values are folded.
const CELLS_MAX: usize = 1 << 24;

/// Counts spans, or folds one number of each, by series and interval.
#[derive(Debug)]
pub(crate) struct Counter {
    measured: Option<Attribute>,
    by: Vec<Attribute>,
    intervals: Intervals,
    tuples: Tuples,
    /// Of series and bucket, where there are buckets.
    buckets: Option<Pairs>,
    cells: Cells,
    exemplars: Exemplars,
    scratch: Scratch,
}

/// What is known of a chunk's rows; kept for its memory.
#[derive(Debug, Default)]
struct Scratch {
    first: Vec<u32>,
    second: Vec<u32>,
    intervals: Vec<u32>,
    /// Empty where nothing is measured.
    values: Vec<f64>,
    slots: Vec<u32>,
    codes: Vec<u32>,
}

/// A batch, and what is looked up in it.
struct Looked<'a> {
    batches: &'a Batches<'a>,
    side: Side,
    starts: &'a [i64],
    numbers: Option<Numbers<'a>>,
    labels: Vec<Lookup<'a>>,
}

impl Counter {
    pub(crate) fn new(
        function: &MetricsFunction,
        by: &[Attribute],
        grid: Grid,
        exemplars_max: usize,
        series_max: usize,
    ) -> Self {
        let measure = Measure::of(function);
        Self {
            measured: measure.attribute.cloned(),
            by: by.to_vec(),
            intervals: Intervals::new(&grid),
            tuples: Tuples::new(by.len(), series_max),
            buckets: measure.bucketed.then(|| Pairs::new(series_max.saturating_mul(buckets::BUCKETS_MAX))),
            cells: Cells::new(measure.fold, grid.intervals, CELLS_MAX),
            exemplars: Exemplars::new(grid.intervals, exemplars_max),
            scratch: Scratch::default(),
        }
    }

    pub(crate) fn take(&mut self, batches: &Batches<'_>, rows: PickedRows<'_>) -> Result<(), EvalError> {
        let (side, starts) = batches.starts()?;
        let whole_min = if self.buckets.is_some() { buckets::WHOLE_MIN } else { f64::NEG_INFINITY };
        let numbers = match &self.measured {
            Some(attribute) => Some(Numbers::new(batches.property(attribute)?, whole_min)),
            None => None,
        };
        let labels = self.by.iter().map(|attribute| Lookup::new(batches.property(attribute)?));
        let labels = labels.collect::<Result<_, _>>()?;
        let mut looked = Looked { batches, side, starts, numbers, labels };
        for start in (0..rows.len()).step_by(CHUNK_ROWS) {
            batches.first.check()?;
            self.take_chunk(&mut looked, rows.part(start, CHUNK_ROWS))?;
        }
        Ok(())
    }

    fn take_chunk(&mut self, looked: &mut Looked<'_>, rows: PickedRows<'_>) -> Result<(), EvalError> {
        let Self { intervals, tuples, buckets, cells, exemplars, scratch, .. } = self;
        let starts = looked.starts;
        let times = rows.of(looked.side).iter().map(|row| starts[*row as usize]);
        scratch.intervals.clear();
        scratch.intervals.extend(times.map(|time| intervals.of(time)));
        if let Some(numbers) = &looked.numbers {
            numbers.fill(rows, &mut scratch.values);
            if buckets.is_some() {
                scratch.values.iter_mut().filter(|value| **value <= 0.0).for_each(|value| *value = f64::NAN);
            }
        }
        let all_count = !scratch.drop_uncounted(rows);
        let Scratch { first, second, intervals, values, slots, codes } = scratch;
        let rows = if all_count { rows } else { PickedRows { first, second } };
        tuples.fill(&mut looked.labels, rows, slots, codes);
        if let Some(pairs) = buckets {
            for (slot, value) in slots.iter_mut().zip(&*values) {
                *slot = buckets::code(*value).map_or(DROPPED, |bucket| pairs.number(*slot, bucket));
            }
        }
        if cells.has_values() {
            cells.fold(slots, intervals, values);
        } else {
            cells.count(slots, intervals);
        }
        if !exemplars.is_off() {
            for at in 0..rows.len() {
                let time = starts[rows.of(looked.side)[at] as usize].cast_unsigned();
                if exemplars.wants(intervals[at], time) && slots[at] != DROPPED {
                    let (trace_id, span_id) = looked.batches.ids(rows, at)?;
                    let value = values.get(at).copied().unwrap_or(f64::NAN);
                    let nameless = span_id.is_none().then(|| rows.first[at]);
                    let span_id = span_id.unwrap_or_default();
                    let exemplar = Exemplar { trace_id, span_id, time, value };
                    exemplars.offer(slots[at], intervals[at], exemplar, nameless);
                }
            }
        }
        Ok(())
    }

    /// Spans that stand for others.
    pub(crate) const fn exemplars(&self) -> &Exemplars {
        &self.exemplars
    }

    /// The same, to be changed.
    pub(crate) const fn exemplars_mut(&mut self) -> &mut Exemplars {
        &mut self.exemplars
    }

    /// Bytes of memory held, about; more than any limit if something found no place for want of memory.
    pub(crate) fn bytes(&self) -> usize {
        let pairs = self.buckets.as_ref().map_or(0, Pairs::bytes);
        self.cells.bytes().saturating_add(pairs + self.tuples.bytes())
    }

    /// Adds all that was counted.
    pub(crate) fn finish(self, pipeline: u32, found: &mut FoundSeries) {
        found.truncated |= self.cells.full;
        let mut exemplars: Vec<_> = self.exemplars.iter().collect();
        exemplars.sort_by_key(|kept| kept.slot);
        for slot in 0..self.cells.slots() {
            let Some(mut series) = partial(pipeline, Vec::new(), &self.cells, slot) else { continue };
            let (tuple, bucket) = match &self.buckets {
                Some(pairs) => {
                    let (tuple, bucket) = pairs.halves(slot);
                    (tuple, Some(buckets::upper_edge(bucket)))
                }
                None => (slot, None),
            };
            let values = self.tuples.values(tuple);
            series.labels.extend(self.by.iter().zip(&values).map(|(by, value)| label(&by.written, value)));
            series.labels.extend(bucket.map(|edge| label(BUCKET, &LabelKey::float(edge))));
            let start = exemplars.partition_point(|kept| kept.slot < slot);
            let own = exemplars[start..].iter().take_while(|kept| kept.slot == slot);
            series.exemplars.extend(own.map(|kept| kept.exemplar.clone()));
            found.series.push(series);
        }
    }
}

impl Scratch {
    /// Leaves out rows without an interval or, where one is measured, without a number; false if there is none.
    fn drop_uncounted(&mut self, rows: PickedRows<'_>) -> bool {
        self.first.clear();
        self.second.clear();
        let lacks = |intervals: &[u32], values: &[f64], at: usize| {
            intervals[at] == Intervals::NONE || values.get(at).is_some_and(|value| value.is_nan())
        };
        if !(0..rows.len()).any(|at| lacks(&self.intervals, &self.values, at)) {
            return false;
        }
        for at in 0..rows.len() {
            if lacks(&self.intervals, &self.values, at) {
                continue;
            }
            let kept = self.first.len();
            self.intervals[kept] = self.intervals[at];
            if let Some(value) = self.values.get(at) {
                self.values[kept] = *value;
            }
            self.first.push(rows.first[at]);
            self.second.push(rows.second[at]);
        }
        self.intervals.truncate(self.first.len());
        self.values.truncate(self.first.len());
        true
    }
}
