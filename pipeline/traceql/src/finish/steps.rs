//! The steps of one series that have anything, from several jobs.
//! Owns: adding them up in order. A series of many groups has few steps, so only those are kept.

use crate::collect::series::cells::Fold;

/// Counts and folded values by interval, ascending.
#[derive(Debug, Default)]
pub(super) struct Steps {
    intervals: Vec<u32>,
    counts: Vec<u64>,
    /// Empty where nothing is folded.
    values: Vec<f64>,
}

impl Steps {
    /// Bytes of memory held.
    pub(super) const fn bytes(&self) -> usize {
        self.intervals.capacity() * size_of::<u32>()
            + self.counts.capacity() * size_of::<u64>()
            + self.values.capacity() * size_of::<f64>()
    }

    /// Adds counts and values of intervals, which ascend; `values` are looked at only where they are folded.
    pub(super) fn add(&mut self, intervals: &[u32], counts: &[u64], values: &[f64], fold: Fold) {
        let new = self.make_room(intervals, fold);
        let (mut from, mut to, mut more) =
            (self.intervals.len() - new, self.intervals.len(), intervals.len());
        // From the end, so that each step moves at most once. What is left when all were added is in its place.
        while more > 0 {
            let interval = intervals[more - 1];
            let old = from.checked_sub(1).map(|last| self.intervals[last]);
            to -= 1;
            if let Some(old) = old.filter(|old| *old >= interval) {
                from -= 1;
                self.intervals[to] = old;
                self.counts[to] = self.counts[from];
                if fold != Fold::Count {
                    self.values[to] = self.values[from];
                }
                if old > interval {
                    continue;
                }
            } else {
                self.intervals[to] = interval;
                self.counts[to] = 0;
                if fold != Fold::Count {
                    self.values[to] = fold.start();
                }
            }
            more -= 1;
            self.counts[to] = self.counts[to].saturating_add(counts[more]);
            if fold != Fold::Count {
                fold.fold(&mut self.values[to], values[more]);
            }
        }
    }

    /// Grows by those of the intervals that are not here yet; how many they are.
    fn make_room(&mut self, intervals: &[u32], fold: Fold) -> usize {
        let start = intervals.first().map_or(0, |first| self.intervals.partition_point(|old| old < first));
        let mut known = self.intervals[start..].iter().peekable();
        let missing = |interval: &&u32| {
            while known.next_if(|old| old < interval).is_some() {}
            known.next_if(|old| old == interval).is_none()
        };
        let new = intervals.iter().filter(missing).count();
        if self.intervals.is_empty() {
            // Most of many groups come once.
            self.intervals.reserve_exact(new);
            self.counts.reserve_exact(new);
            self.values.reserve_exact(if fold == Fold::Count { 0 } else { new });
        }
        let len = self.intervals.len() + new;
        self.intervals.resize(len, 0);
        self.counts.resize(len, 0);
        if fold != Fold::Count {
            self.values.resize(len, fold.start());
        }
        new
    }

    /// Intervals that have a count, with it, and with the folded value where there is one.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u64, Option<f64>)> {
        let steps = self.intervals.iter().zip(&self.counts).enumerate();
        let steps = steps.filter(|(_, (_, count))| **count > 0);
        steps.map(|(at, (interval, count))| (*interval, *count, self.values.get(at).copied()))
    }

    /// Count of all intervals.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(steps: &Steps) -> Vec<(u32, u64, Option<f64>)> {
        steps.iter().collect()
    }

    #[test]
    fn steps_add_up_in_whatever_order_they_come() {
        let parts: [&[u32]; 4] = [&[10, 11, 12], &[1, 11, 20], &[0, 1, 2], &[10, 12, 19, 21]];
        let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]];
        let expected = [(0, 1), (1, 2), (2, 1), (10, 2), (11, 2), (12, 2), (19, 1), (20, 1), (21, 1)];
        for order in orders {
            let mut steps = Steps::default();
            for part in order {
                let intervals = parts[part];
                let values: Vec<f64> = intervals.iter().map(|interval| f64::from(*interval)).collect();
                steps.add(intervals, &vec![1; intervals.len()], &values, Fold::Sum);
            }
            let found: Vec<_> = steps.iter().map(|(interval, count, _)| (interval, count)).collect();
            assert_eq!(found, expected);
            assert!(
                steps.iter().all(|(interval, count, sum)| sum == Some((u64::from(interval) * count) as f64))
            );
            assert_eq!(steps.total(), 13);
        }
    }

    #[test]
    fn only_steps_that_have_anything_are_kept() {
        let mut steps = Steps::default();
        steps.add(&[0, 9_999], &[1, 1], &[], Fold::Count);
        assert_eq!(steps.bytes(), 2 * (4 + 8));
        assert_eq!(all(&steps), [(0, 1, None), (9_999, 1, None)]);
        steps.add(&[5], &[2], &[], Fold::Count);
        assert_eq!(all(&steps), [(0, 1, None), (5, 2, None), (9_999, 1, None)]);
    }

    #[test]
    fn folded_values_begin_where_folding_does() {
        let mut steps = Steps::default();
        steps.add(&[3], &[1], &[-7.0], Fold::Max);
        steps.add(&[2, 3, 4], &[1, 1, 0], &[-9.0, -8.0, -1.0], Fold::Max);
        assert_eq!(all(&steps), [(2, 1, Some(-9.0)), (3, 2, Some(-7.0))]);
    }
}
