//! The intervals of a metrics query.
//! Owns: which intervals a time range has, which of them a span is in, the step where none is asked for.
//! Does not own: which ranges and how many points are allowed.

use crate::Grid;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Intervals that a default step aims at.
const INTERVALS_AIM: u64 = 240;
/// Default steps are multiples of the largest of these that fits.
const STEP_UNITS: [u64; 6] = [HOUR, 5 * MINUTE, MINUTE, 15 * SECOND, 5 * SECOND, SECOND];
/// Unit of default steps of ranges under a minute.
const STEP_UNIT_SHORT: u64 = 50 * MILLISECOND;

impl Grid {
    /// The intervals of a range query, ending at multiples of the step: the first ends at or before `start`, the last at or
    /// after `end`. Unix nanoseconds; a step of 0 counts as 1.
    #[must_use]
    pub fn range(start: u64, end: u64, step: u64) -> Self {
        let step = step.max(1);
        let first_end = start / step * step;
        let last_end = end.max(start).div_ceil(step).saturating_mul(step);
        let start = first_end.saturating_sub(step);
        let intervals = u32::try_from((last_end - start) / step).unwrap_or(u32::MAX).max(1);
        Self { start, step, intervals, instant: false }
    }

    /// The one interval `[start, end]` of an instant query.
    #[must_use]
    pub const fn instant(start: u64, end: u64) -> Self {
        Self { start, step: end.saturating_sub(start), intervals: 1, instant: true }
    }

    /// When the samples of an interval are told to be: its right edge, Unix nanoseconds.
    #[must_use]
    pub const fn timestamp(&self, interval: u32) -> u64 {
        self.start.saturating_add(self.step.saturating_mul(interval as u64 + 1))
    }

    /// Length of an interval in seconds.
    #[must_use]
    pub fn step_seconds(&self) -> f64 {
        self.step as f64 / SECOND as f64
    }

    /// The interval that a time is in.
    #[must_use]
    pub const fn interval(&self, time: u64) -> Option<u32> {
        let first = if self.instant { self.start } else { self.start.saturating_add(1) };
        let Some(offset) = time.checked_sub(first) else { return None };
        if self.instant {
            return if offset <= self.step { Some(0) } else { None };
        }
        let interval = offset / self.step;
        if interval < self.intervals as u64 { Some(interval as u32) } else { None }
    }
}

/// The step of a range query that asks for none; all in nanoseconds.
#[must_use]
pub fn default_step(range: u64) -> u64 {
    let step = range / INTERVALS_AIM;
    if range < MINUTE {
        return (step / STEP_UNIT_SHORT * STEP_UNIT_SHORT).max(STEP_UNIT_SHORT);
    }
    let unit = STEP_UNITS.into_iter().find(|unit| step >= *unit).unwrap_or(SECOND);
    (step / unit * unit).max(unit)
}

/// Checks how many points a range has with a step; all in nanoseconds.
///
/// # Errors
/// The smallest step with which it has no more than `points_max`, in whole milliseconds, if it has more.
pub fn check_points(range: u64, step: u64, points_max: u64) -> Result<(), u64> {
    let points_max = points_max.max(1);
    if step > 0 && range / step <= points_max {
        return Ok(());
    }
    Err(range.div_ceil(points_max).div_ceil(MILLISECOND).saturating_mul(MILLISECOND).max(MILLISECOND))
}

/// Finds intervals of many times without dividing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intervals {
    first: u64,
    /// Nanoseconds from `first` on that have an interval.
    covered: u64,
    step: u64,
    per_nanosecond: f64,
    last: u32,
}

impl Intervals {
    /// Stands for none.
    pub(crate) const NONE: u32 = u32::MAX;

    pub(crate) fn new(grid: &Grid) -> Self {
        let step = grid.step.max(1);
        let (first, covered) = if grid.instant {
            (grid.start, grid.step.saturating_add(1))
        } else {
            (grid.start.saturating_add(1), step.saturating_mul(u64::from(grid.intervals)))
        };
        Self {
            first,
            covered,
            step,
            per_nanosecond: 1.0 / step as f64,
            last: grid.intervals.saturating_sub(1),
        }
    }

    /// The interval of a time, in nanoseconds as columns hold it.
    pub(crate) fn of(&self, time: i64) -> u32 {
        let offset = time.cast_unsigned().wrapping_sub(self.first);
        if offset >= self.covered {
            return Self::NONE;
        }
        if self.last == 0 {
            return 0;
        }
        // Rounding makes it wrong by one at most, as there are far fewer intervals than a double has digits.
        let mut interval = ((offset.cast_signed() as f64 * self.per_nanosecond) as i64).cast_unsigned();
        let begins = interval.wrapping_mul(self.step);
        if begins > offset {
            interval -= 1;
        } else if offset - begins >= self.step {
            interval += 1;
        }
        interval as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn range_has_one_leading_interval_and_ends_aligned() {
        let grid = Grid::range(60 * SECOND, 120 * SECOND, MINUTE);
        assert_eq!(grid, Grid { start: 0, step: MINUTE, intervals: 2, instant: false });
        assert_eq!((grid.timestamp(0), grid.timestamp(1)), (60 * SECOND, 120 * SECOND));
        let grid = Grid::range(100 * SECOND, 1900 * SECOND, 28 * SECOND);
        assert_eq!(grid.start, 56 * SECOND);
        assert_eq!(grid.timestamp(grid.intervals - 1), 1904 * SECOND);
    }

    #[test]
    fn intervals_are_closed_on_the_right() {
        let grid = Grid::range(100, 200, 10);
        assert_eq!(grid.start, 90);
        assert_eq!(grid.interval(90), None);
        assert_eq!(grid.interval(91), Some(0));
        assert_eq!(grid.interval(100), Some(0));
        assert_eq!(grid.interval(101), Some(1));
        assert_eq!(grid.interval(200), Some(10));
        assert_eq!(grid.interval(201), None);
        let instant = Grid::instant(100, 200);
        assert_eq!(instant.interval(99), None);
        assert_eq!(instant.interval(100), Some(0));
        assert_eq!(instant.interval(200), Some(0));
        assert_eq!(instant.interval(201), None);
        assert_eq!(instant.timestamp(0), 200);
    }

    #[test]
    fn default_steps() {
        let cases = [
            (10 * SECOND, 50 * MILLISECOND),
            (48 * SECOND, 200 * MILLISECOND),
            (2 * MINUTE, SECOND),
            (30 * MINUTE, 5 * SECOND),
            (HOUR, 15 * SECOND),
            (3 * HOUR, 45 * SECOND),
            (6 * HOUR, MINUTE),
            (24 * HOUR, 5 * MINUTE),
            (7 * 24 * HOUR, 40 * MINUTE),
            (30 * 24 * HOUR, 3 * HOUR),
            (0, 50 * MILLISECOND),
        ];
        for (range, step) in cases {
            assert_eq!(default_step(range), step, "range {range}");
        }
    }

    #[test]
    fn too_many_points_name_a_step_that_is_allowed() {
        assert_eq!(check_points(100 * SECOND, SECOND, 100), Ok(()));
        assert_eq!(check_points(24 * HOUR, SECOND, 10_000), Err(8_640 * MILLISECOND));
        assert_eq!(check_points(24 * HOUR, 8_640 * MILLISECOND, 10_000), Ok(()));
        assert_eq!(check_points(24 * HOUR, 0, 10_000), Err(8_640 * MILLISECOND));
    }

    proptest! {
        #[test]
        fn fast_intervals_are_the_intervals(
            start in 0u64..4_000_000_000_000_000_000, step in 1u64..100_000_000_000, intervals in 1u32..20_000,
            at in 0.0..1.1f64, edge in 0u64..3, instant: bool,
        ) {
            let intervals = if instant { 1 } else { intervals };
            let grid = Grid { start, step, intervals, instant };
            let fast = Intervals::new(&grid);
            let anywhere = start + (at * (step * u64::from(intervals)) as f64) as u64;
            let edge = (start + (anywhere - start) / step * step + edge).saturating_sub(1);
            for time in [anywhere, edge, start.saturating_sub(1), start, start + 1] {
                let found = Some(fast.of(time.cast_signed())).filter(|interval| *interval != Intervals::NONE);
                prop_assert_eq!(found, grid.interval(time));
            }
        }
    }
}
