//! Values of one attribute, counted apart for selection and baseline.

use std::cmp::Reverse;
use std::sync::Arc;

use vivace_proto::internal::PartialSeries;

use super::{META_ERROR, META_TYPE, TOO_MANY_VALUES, TOTAL_TYPES, TYPES};
use crate::collect::labels::LabelKey;
use crate::collect::series::cells::{Cells, Fold};
use crate::collect::series::codes::{DROPPED, NIL, ValueCodes};
use crate::collect::series::{label, partial};

/// Values of an attribute that are kept from batch to batch.
const VALUES_KEPT_MAX: usize = 2000;
/// Values that are counted within a batch.
const VALUES_SEEN_MAX: usize = 4 * VALUES_KEPT_MAX;
/// Text of them, in bytes.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Cells of them: 1 MiB.
const CELLS_MAX: usize = 1 << 17;

/// Selection and baseline.
const PARTS: u32 = 2;

/// Counts of an attribute's values.
#[derive(Debug)]
pub(super) struct AttributeCounts {
    name: Arc<str>,
    pub(super) codes: ValueCodes,
    /// By value and part.
    values: Cells,
    /// By part: those of values that are not kept.
    others: Cells,
    intervals: u32,
}

impl AttributeCounts {
    pub(super) fn new(name: Arc<str>, intervals: u32) -> Self {
        Self {
            name,
            codes: ValueCodes::new(VALUES_SEEN_MAX, VALUE_BYTES_MAX),
            values: Cells::new(Fold::Count, intervals, CELLS_MAX),
            others: Cells::new(Fold::Count, intervals, usize::MAX),
            intervals,
        }
    }

    /// Counts spans that have a value.
    pub(super) fn count(&mut self, code: u32, part: u32, interval: u32, count: u64) {
        let placed = code != DROPPED && self.values.add(code * PARTS + part, interval, count);
        if !placed {
            self.others.add(part, interval, count);
        }
    }

    /// Bytes of memory held, about. That a value found no cell is no lack of memory: it is counted with others then.
    pub(super) fn bytes(&self) -> usize {
        self.codes.bytes() + self.values.held() + self.others.held()
    }

    /// Keeps the most frequent values.
    pub(super) fn prune(&mut self) {
        if self.codes.len() <= VALUES_KEPT_MAX {
            return;
        }
        let total = |code: u32| (0..PARTS).map(|part| self.values.total(code * PARTS + part)).sum::<u64>();
        let mut ranked: Vec<(Reverse<u64>, &LabelKey, u32)> = (NIL + 1..self.codes.len() as u32)
            .map(|code| (Reverse(total(code)), self.codes.key(code), code))
            .collect();
        // Of equally frequent ones the first, whatever the order of batches; in no order, there are many.
        ranked.select_nth_unstable(VALUES_KEPT_MAX / 2);
        let mut kept = Self::new(Arc::clone(&self.name), self.intervals);
        for part in 0..PARTS {
            self.others.each(part, |interval, count, _| kept.count(DROPPED, part, interval, count));
        }
        for (rank, (_, key, old)) in ranked.into_iter().enumerate() {
            // Pruned to half, so that this is not done for each batch.
            let code = if rank < VALUES_KEPT_MAX / 2 { kept.codes.key_code(key.clone()) } else { DROPPED };
            for part in 0..PARTS {
                self.values
                    .each(old * PARTS + part, |interval, count, _| kept.count(code, part, interval, count));
            }
        }
        *self = kept;
    }

    /// Adds series of all values, and of their totals.
    pub(super) fn finish(self, pipeline: u32, series: &mut Vec<PartialSeries>) {
        let mut totals = Cells::new(Fold::Count, self.intervals, usize::MAX);
        let cut = self.others.slots() > 0;
        for (part, kind) in (0..PARTS).zip(TYPES) {
            self.others.each(part, |interval, count, _| {
                totals.add(part, interval, count);
            });
            for code in NIL + 1..self.codes.len() as u32 {
                let slot = code * PARTS + part;
                self.values.each(slot, |interval, count, _| {
                    totals.add(part, interval, count);
                });
                let labels =
                    vec![label(META_TYPE, &LabelKey::text(kind)), label(&self.name, self.codes.key(code))];
                series.extend(partial(pipeline, labels, &self.values, slot));
            }
        }
        for (part, kind) in (0..PARTS).zip(TOTAL_TYPES) {
            let mut labels = vec![label(META_TYPE, &LabelKey::text(kind)), label(&self.name, &LabelKey::Nil)];
            if cut {
                labels.push(label(META_ERROR, &LabelKey::text(TOO_MANY_VALUES)));
            }
            series.extend(partial(pipeline, labels, &totals, part));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    #[test]
    fn frequent_values_stay_and_totals_hold() {
        let mut counts = AttributeCounts::new("span.a".into(), 1);
        for round in 0..3i64 {
            for value in 0..3000i64 {
                let code = counts.codes.code(Value::Int(round * 3000 + value));
                counts.count(code, 0, 0, 1);
                let code = counts.codes.code(Value::Text("often"));
                counts.count(code, 1, 0, 1);
            }
            counts.prune();
            assert!(counts.codes.len() <= VALUES_KEPT_MAX);
        }
        let mut series = Vec::new();
        counts.finish(7, &mut series);
        let of = |kind: &str| -> Vec<&PartialSeries> {
            let kind = label(META_TYPE, &LabelKey::text(kind));
            series.iter().filter(|series| series.labels[0] == kind).collect()
        };
        assert_eq!(of("selection").len(), 1);
        assert_eq!(of("selection")[0].counts, [9000]);
        assert_eq!(of("baseline_total")[0].counts, [9000]);
        assert_eq!(of("selection_total")[0].counts, [9000]);
        assert_eq!(of("selection_total")[0].labels[2].name, META_ERROR);
    }
}
