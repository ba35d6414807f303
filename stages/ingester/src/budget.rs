//! The memory that all partitions of an ingester share.
//! Owns: the sum of what is held and how pressing it is. Does not own: what to do about it (see `fetch`).
//! Guarantee: what a holder reports is taken off when the holder is dropped.

use std::sync::Arc;

use tokio::sync::watch;

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
    state: watch::Sender<State>,
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
        Arc::new(Self { max, state: watch::Sender::new(state) })
    }

    /// A new holder, of one partition.
    pub(crate) fn charge(self: &Arc<Self>) -> Charge {
        self.update(|state| state.holders += 1);
        Charge { budget: Arc::clone(self), bytes: 0, pressure: self.state.subscribe() }
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        self.state.send_if_modified(|state| {
            let before = state.pressure;
            change(state);
            state.pressure = match state.used {
                used if used >= self.max => Pressure::Hard,
                used if used >= self.max / 100 * SOFT_PERCENT => Pressure::Soft,
                _ => Pressure::None,
            };
            // Only a change of pressure is news to those who wait.
            state.pressure != before
        });
    }
}

/// What one partition holds of the budget.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
    pressure: watch::Receiver<State>,
}

impl Charge {
    /// Reports what is held now.
    pub(crate) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        self.budget.update(|state| state.used = state.used - before + bytes);
    }

    /// How pressing it is at the moment.
    pub(crate) fn pressure(&self) -> Pressure {
        self.pressure.borrow().pressure
    }

    /// Waits until the pressure changes. Safe to drop.
    pub(crate) async fn changed(&mut self) {
        // The budget, and the sender with it, lives as long as this charge.
        self.pressure.changed().await.unwrap_or_else(|_| unreachable!("the charge holds the budget"));
    }

    /// An equal part of the whole for each partition.
    pub(crate) fn share(&self) -> usize {
        self.budget.max / self.pressure.borrow().holders.max(1)
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
