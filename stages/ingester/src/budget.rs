//! The memory that all partitions of an ingester share.
//! Owns: the sum of what is held and how pressing it is. Does not own: what to do about it (see `fetch`).
//! Guarantee: what a holder reports is taken off when the holder is dropped.

use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Above this part of the maximum, blocks are cut early and listed spans are let go.
const SOFT_PERCENT: usize = 70;

/// How pressing the need for memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// There is room.
    None,
    /// Cut early, let go of what is listed.
    Soft,
    /// Fetch nothing until there is room.
    Hard,
}

/// The memory of all partitions.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    state: Mutex<State>,
    /// The pressure has changed. No watch channel: that wakes its receivers in random order, and simulations must repeat.
    changed: Notify,
}

#[derive(Clone, Copy, Debug)]
struct State {
    used: usize,
    holders: usize,
    pressure: Pressure,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let state = State { used: 0, holders: 0, pressure: Pressure::None };
        Arc::new(Self { max, state: Mutex::new(state), changed: Notify::new() })
    }

    /// A new holder, of one partition.
    pub(crate) fn charge(self: &Arc<Self>) -> Charge {
        self.update(|state| state.holders += 1);
        Charge { budget: Arc::clone(self), bytes: 0, seen: self.pressure() }
    }

    fn pressure(&self) -> Pressure {
        self.state.lock().pressure
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        let before = state.pressure;
        change(&mut state);
        state.pressure = match state.used {
            used if used >= self.max => Pressure::Hard,
            used if used >= self.max / 100 * SOFT_PERCENT => Pressure::Soft,
            _ => Pressure::None,
        };
        let news = state.pressure != before;
        drop(state);
        if news {
            self.changed.notify_waiters();
        }
    }
}

/// What one partition holds of the budget.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
    /// The pressure that [`Self::changed`] told last.
    seen: Pressure,
}

impl Charge {
    /// Reports what is held now.
    pub(crate) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        self.budget.update(|state| state.used = state.used - before + bytes);
    }

    /// How pressing it is at the moment.
    pub(crate) fn pressure(&self) -> Pressure {
        self.budget.pressure()
    }

    /// Waits until the pressure is another than when this returned last. Safe to drop.
    pub(crate) async fn changed(&mut self) {
        loop {
            let mut changed = pin!(self.budget.changed.notified());
            changed.as_mut().enable();
            let pressure = self.budget.pressure();
            if pressure != self.seen {
                self.seen = pressure;
                return;
            }
            changed.await;
        }
    }

    /// An equal part of the whole for each partition.
    pub(crate) fn share(&self) -> usize {
        self.budget.max / self.budget.state.lock().holders.max(1)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let bytes = self.bytes;
        self.budget.update(|state| {
            state.used -= bytes;
            state.holders -= 1;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pressure_follows_what_is_held() {
        let budget = Budget::new(1000);
        let mut one = budget.charge();
        let mut two = budget.charge();
        assert_eq!((one.share(), one.pressure()), (500, Pressure::None));
        one.set(700);
        assert_eq!(two.pressure(), Pressure::Soft);
        two.set(300);
        assert_eq!(one.pressure(), Pressure::Hard);
        two.set(299);
        assert_eq!(one.pressure(), Pressure::Soft);
        drop(one);
        assert_eq!((two.share(), two.pressure()), (1000, Pressure::None));
    }

    #[tokio::test]
    async fn a_change_wakes_the_others() {
        let budget = Budget::new(1000);
        let mut one = budget.charge();
        let mut two = budget.charge();
        let mut waiting = Box::pin(two.changed());
        assert!(futures::poll!(&mut waiting).is_pending());
        one.set(10);
        assert!(futures::poll!(&mut waiting).is_pending(), "room enough is no news");
        one.set(1000);
        assert!(futures::poll!(&mut waiting).is_ready());
    }
}
