//! What one job of a query may take of the processors, and whether anyone still waits for its answer.
//! Owns: the processor time of a job over all threads that work for it, and the flag that ends it early.
//! Does not own: where the work runs, and how many threads there are for it.
//! Guarantee: work that checks its meter every few thousand values ends that soon after its time is over or its answer is
//! no longer needed.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Units of work between two looks at the clock: some ten microseconds of the cheapest ones.
const TICKS_PER_CHECK: u32 = 4096;

/// Of so many calls of [`WorkBudget::sampled`] one is measured.
const SAMPLED_ONE_IN: u64 = 64;

/// Why work has to end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkEnd {
    /// Nobody waits for the answer any more.
    #[error("the answer is no longer needed")]
    Cancelled,
    /// The job has used up its processor time.
    #[error("the query needs more than {cpu_max:?} of processor time in one job")]
    OutOfTime {
        /// The limit.
        cpu_max: Duration,
    },
}

/// The budget of one job. Cheap to clone; all clones are one budget.
#[derive(Clone, Debug)]
pub struct WorkBudget(Arc<State>);

#[derive(Debug)]
struct State {
    cpu_max: Duration,
    used_nanos: AtomicU64,
    cancelled: AtomicBool,
    samples: AtomicU64,
}

thread_local! {
    /// Up to where the thread's processor time is charged to a budget; none while nothing is metered.
    static CHARGED: Cell<Option<u64>> = const { Cell::new(None) };
}

impl WorkBudget {
    /// A budget of that much processor time.
    #[must_use]
    pub fn new(cpu_max: Duration) -> Self {
        Self(Arc::new(State {
            cpu_max,
            used_nanos: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            samples: AtomicU64::new(0),
        }))
    }

    /// A budget that only ends when it is cancelled.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(Duration::MAX)
    }

    /// Ends the job's work: nobody waits for it any more.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// Cancels when dropped: whoever waits for the answer holds it.
    #[must_use]
    pub fn cancel_on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    /// Whether work may go on.
    ///
    /// # Errors
    /// Says why not.
    pub fn check(&self) -> Result<(), WorkEnd> {
        if self.0.cancelled.load(Ordering::Relaxed) {
            return Err(WorkEnd::Cancelled);
        }
        let cpu_max = self.0.cpu_max;
        if self.used() > cpu_max { Err(WorkEnd::OutOfTime { cpu_max }) } else { Ok(()) }
    }

    /// Processor time charged so far.
    #[must_use]
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.0.used_nanos.load(Ordering::Relaxed))
    }

    /// Charges the processor time of this thread from now on, until the meter is dropped. A meter within another one
    /// charges nothing twice.
    #[must_use]
    pub fn meter(&self) -> WorkMeter {
        let outermost = CHARGED.get().is_none();
        if outermost {
            CHARGED.set(Some(thread_nanos()));
        }
        WorkMeter { budget: self.clone(), outermost, ticks: Cell::new(0), of_this_thread: PhantomData }
    }

    /// Runs a small step that is done very often. Where the thread is not metered, some of the steps are measured and
    /// charged for all. None if the budget is over.
    pub fn sampled<T>(&self, step: impl FnOnce() -> T) -> Option<T> {
        if self.check().is_err() {
            return None;
        }
        let number = self.0.samples.fetch_add(1, Ordering::Relaxed);
        if !number.is_multiple_of(SAMPLED_ONE_IN) {
            return Some(step());
        }
        if CHARGED.get().is_some() {
            self.charge_thread();
            return Some(step());
        }
        let started = thread_nanos();
        let result = step();
        self.charge(thread_nanos().saturating_sub(started).saturating_mul(SAMPLED_ONE_IN));
        Some(result)
    }

    /// Charges what the thread has used since it was charged last, if it is metered.
    fn charge_thread(&self) {
        if CHARGED.get().is_some() {
            let now = thread_nanos();
            let before = CHARGED.replace(Some(now)).unwrap_or(now);
            self.charge(now.saturating_sub(before));
        }
    }

    fn charge(&self, nanos: u64) {
        self.0.used_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// See [`WorkBudget::cancel_on_drop`].
#[derive(Debug)]
pub struct CancelOnDrop(WorkBudget);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Charges the processor time of one thread to a budget, while it exists.
#[derive(Debug)]
pub struct WorkMeter {
    budget: WorkBudget,
    /// No other meter of the thread was there before it.
    outermost: bool,
    ticks: Cell<u32>,
    of_this_thread: PhantomData<*const ()>,
}

impl WorkMeter {
    /// Charges what the thread has used since the last check, and says whether it may go on.
    ///
    /// # Errors
    /// [`WorkEnd`] if not.
    pub fn check(&self) -> Result<(), WorkEnd> {
        self.budget.charge_thread();
        self.budget.check()
    }

    /// Counts some units of work, each about as much as comparing a number, and checks now and then.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn tick(&self, units: u32) -> Result<(), WorkEnd> {
        let ticks = self.ticks.get().saturating_add(units);
        if ticks < TICKS_PER_CHECK {
            self.ticks.set(ticks);
            return Ok(());
        }
        self.ticks.set(0);
        self.check()
    }
}

impl Drop for WorkMeter {
    fn drop(&mut self) {
        self.budget.charge_thread();
        if self.outermost {
            CHARGED.set(None);
        }
    }
}

/// Processor time of this thread.
fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses processor time until the budget says so.
    fn spin(meter: &WorkMeter) -> WorkEnd {
        loop {
            if let Err(end) = meter.tick(TICKS_PER_CHECK) {
                return end;
            }
        }
    }

    #[test]
    fn work_ends_when_its_processor_time_is_used_up() {
        let cpu_max = Duration::from_millis(5);
        let budget = WorkBudget::new(cpu_max);
        assert_eq!(budget.check(), Ok(()));
        assert_eq!(spin(&budget.meter()), WorkEnd::OutOfTime { cpu_max });
        assert_eq!(budget.check(), Err(WorkEnd::OutOfTime { cpu_max }), "for all threads of the job");
        assert_eq!(budget.sampled(|| 1), None);
    }

    #[test]
    fn work_ends_when_nobody_waits_for_it() {
        let budget = WorkBudget::unlimited();
        let waiting = budget.cancel_on_drop();
        let meter = budget.meter();
        assert_eq!(meter.check(), Ok(()));
        assert_eq!(budget.sampled(|| 1), Some(1));
        drop(waiting);
        assert_eq!(spin(&meter), WorkEnd::Cancelled);
        assert_eq!(budget.sampled(|| 1), None);
    }

    #[test]
    fn a_meter_within_another_one_charges_nothing_twice() {
        let budget = WorkBudget::new(Duration::from_millis(4));
        let before = thread_nanos();
        let outer = budget.meter();
        {
            let inner = budget.meter();
            spin(&inner);
        }
        assert!(outer.check().is_err());
        drop(outer);
        let spent = Duration::from_nanos(thread_nanos() - before);
        assert!(budget.used() <= spent, "{:?} of {spent:?}", budget.used());
        assert!(CHARGED.get().is_none(), "nothing is charged after the outermost meter");
    }

    #[test]
    fn steps_done_often_are_charged_by_samples() {
        let budget = WorkBudget::new(Duration::from_millis(2));
        let step = || (0..2_000_u64).fold(1, |sum: u64, it| std::hint::black_box(sum.wrapping_mul(it | 1)));
        while budget.sampled(step).is_some() {}
        assert!(budget.used() > Duration::from_millis(2));
    }
}
