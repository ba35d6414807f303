//! Single spans that stand for what is counted.
//! Owns: which. They are spread over the time of the query, and do not depend on how it was cut into jobs: of each stretch
//! of intervals those whose start time has the least hash.

use vivace_proto::internal::Exemplar;

/// Exemplars of an interval, or a stretch of them, at most.
const STRETCH_MAX: usize = 2;

/// Which stretch of intervals each exemplar stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretches {
    /// Stretches per interval, times 2^32: so that finding one takes no division.
    per_interval: u64,
    each_max: usize,
}

/// Exemplars of one metrics pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Exemplars {
    stretches: Stretches,
    kept: Vec<Vec<Kept>>,
    /// Ranks under this have a chance, by stretch.
    limits: Vec<u64>,
}

/// An exemplar, and the series or slot that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    rank: u64,
    pub(crate) slot: u32,
    pub(crate) interval: u32,
    pub(crate) exemplar: Exemplar,
    /// Row in the batch at hand of the span, if its id is not known yet.
    nameless: Option<u32>,
}

impl Exemplars {
    pub(crate) fn new(intervals: u32, exemplars_max: usize) -> Self {
        let each_max = exemplars_max.min(STRETCH_MAX);
        let count = exemplars_max.checked_div(each_max).unwrap_or(0).min(intervals.max(1) as usize);
        let per_interval = ((count as u64) << 32) / u64::from(intervals.max(1));
        let stretches = Stretches { per_interval, each_max };
        Self { stretches, kept: vec![Vec::new(); count], limits: vec![u64::MAX; count] }
    }

    /// Whether none are wanted.
    pub(crate) const fn is_off(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether a span may be kept.
    #[inline]
    pub(crate) fn wants(&self, interval: u32, time: u64) -> bool {
        rank_of(time) < self.limits[self.stretches.of(interval)]
    }

    /// Keeps an exemplar if it is better than those that are there. `nameless` is the row of a span without an id.
    pub(crate) fn offer(&mut self, slot: u32, interval: u32, exemplar: Exemplar, nameless: Option<u32>) {
        if self.is_off() {
            return;
        }
        let stretch = self.stretches.of(interval);
        let kept = &mut self.kept[stretch];
        let offered = Kept { rank: rank_of(exemplar.time), slot, interval, exemplar, nameless };
        let at = kept.partition_point(|other| other.order() < offered.order());
        if at >= self.stretches.each_max {
            return;
        }
        kept.insert(at, offered);
        kept.truncate(self.stretches.each_max);
        if kept.len() == self.stretches.each_max {
            // Equal ranks are told apart by ids, so one more than the last's has to be looked at.
            self.limits[stretch] = kept.last().map_or(u64::MAX, |last| last.rank.saturating_add(1));
        }
    }

    /// Rows in the batch at hand of spans that were kept without their ids.
    pub(crate) fn nameless(&self) -> impl Iterator<Item = u32> {
        self.iter().filter_map(|kept| kept.nameless)
    }

    /// Gives these spans their ids, by row.
    pub(crate) fn name(&mut self, id: impl Fn(u32) -> Vec<u8>) {
        for kept in self.kept.iter_mut().flatten() {
            if let Some(row) = kept.nameless.take() {
                kept.exemplar.span_id = id(row);
            }
        }
    }

    /// All that were kept, by time.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.kept.iter().flatten()
    }
}

impl Kept {
    fn order(&self) -> (u64, &[u8], &[u8], u64) {
        (self.rank, &self.exemplar.trace_id, &self.exemplar.span_id, self.exemplar.value.to_bits())
    }
}

impl Stretches {
    const fn of(&self, interval: u32) -> usize {
        ((interval as u64 * self.per_interval) >> 32) as usize
    }
}

/// A hash: its high bits, which decide, depend on all of the time. Start times have nanoseconds, so few are equal.
const fn rank_of(time: u64) -> u64 {
    time.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exemplar(time: u64) -> Exemplar {
        Exemplar { trace_id: time.to_be_bytes().to_vec(), span_id: Vec::new(), time, value: 0.0 }
    }

    #[test]
    fn they_are_bounded_and_spread() {
        for (intervals, exemplars_max, expected) in
            [(240, 100, 100), (10, 100, 20), (7, 1, 1), (5, 0, 0), (3, 3, 2)]
        {
            let mut exemplars = Exemplars::new(intervals, exemplars_max);
            for time in 0..10_000 {
                exemplars.offer(0, time % intervals, exemplar(u64::from(time)), None);
            }
            assert_eq!(exemplars.iter().count(), expected, "{intervals} {exemplars_max}");
        }
    }

    #[test]
    fn spans_get_their_ids_once() {
        let mut exemplars = Exemplars::new(1, 2);
        exemplars.offer(0, 0, exemplar(1), Some(7));
        exemplars.offer(0, 0, exemplar(2), None);
        assert_eq!(exemplars.nameless().collect::<Vec<_>>(), [7]);
        exemplars.name(|row| vec![row as u8; 8]);
        exemplars.name(|_| unreachable!("all have one"));
        let of = |time: u64| exemplars.iter().find(|kept| kept.exemplar.time == time).unwrap();
        assert_eq!((&*of(1).exemplar.span_id, &*of(2).exemplar.span_id), (&[7; 8][..], &[][..]));
    }

    proptest! {
        #[test]
        fn jobs_do_not_matter(times in proptest::collection::vec((0u64..1000, 0usize..3), 0..200)) {
            let new = || Exemplars::new(20, 14);
            let mut whole = new();
            let mut jobs = [new(), new(), new()];
            for (time, job) in times {
                whole.offer(0, time as u32 / 50, exemplar(time), None);
                if jobs[job].wants(time as u32 / 50, time) {
                    jobs[job].offer(0, time as u32 / 50, exemplar(time), None);
                }
            }
            let mut merged = new();
            for kept in jobs.iter().flat_map(Exemplars::iter) {
                merged.offer(kept.slot, kept.interval, kept.exemplar.clone(), None);
            }
            prop_assert!(merged.iter().eq(whole.iter()));
        }
    }
}
