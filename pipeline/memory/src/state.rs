//! Who has how much and who waits: the rules, without locks and without time.
//! Owns: what fits, and in which order waiters get what was given back.
//! Guarantee: a part's guarantee counts as taken, so the sum of `max(used, guaranteed)` over all parts, and with it the
//! sum of what is used, stays within the budget. Waiters of one part are served in the order in which they came; one
//! that waits for the budget goes before later ones of other parts, but not before those that only take what their
//! part is guaranteed anyway.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::{Part, Shares};

/// Whether a reservation fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    Fits,
    /// The part would pass its ceiling.
    Part,
    /// All parts together would pass the budget, by so many bytes.
    Budget(usize),
}

/// Someone who waits. The message says that the bytes are theirs.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) id: u64,
    pub(crate) part: Part,
    pub(crate) bytes: usize,
    pub(crate) granted: oneshot::Sender<crate::Permit>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    used: [usize; Part::COUNT],
    peak: [usize; Part::COUNT],
    waiters: VecDeque<Waiter>,
}

impl State {
    pub(crate) const fn used(&self, part: Part) -> usize {
        self.used[part.index()]
    }

    pub(crate) const fn peak(&self, part: Part) -> usize {
        self.peak[part.index()]
    }

    pub(crate) fn total(&self) -> usize {
        self.used.iter().fold(0, |sum, used| sum.saturating_add(*used))
    }

    /// What all parts other than this one have, or are guaranteed.
    pub(crate) fn committed_beside(&self, shares: &Shares, part: Part) -> usize {
        let others = Part::ALL.into_iter().filter(|other| *other != part);
        let committed = others.map(|other| self.used(other).max(shares.of(other).guaranteed));
        committed.fold(0, usize::saturating_add)
    }

    /// Whether the part may take so much more.
    pub(crate) fn fit(&self, shares: &Shares, part: Part, bytes: usize) -> Fit {
        let share = shares.of(part);
        let used = self.used(part).saturating_add(bytes);
        if bytes > 0 && used > share.ceiling {
            return Fit::Part;
        }
        let committed = self.committed_beside(shares, part).saturating_add(used.max(share.guaranteed));
        // What is guaranteed is given even while a corrected estimate has passed the budget.
        match committed.saturating_sub(shares.budget()) {
            over @ 1.. if bytes > 0 && used > share.guaranteed => Fit::Budget(over),
            _ => Fit::Fits,
        }
    }

    /// Whether someone waits who must not be overtaken by a new reservation.
    pub(crate) fn must_queue(&self, shares: &Shares, part: Part, bytes: usize) -> bool {
        let within = self.used(part).saturating_add(bytes) <= shares.of(part).guaranteed;
        self.waiters.iter().any(|waiter| {
            let for_budget = matches!(self.fit(shares, waiter.part, waiter.bytes), Fit::Budget(_));
            waiter.part == part || (for_budget && !within)
        })
    }

    pub(crate) fn take(&mut self, part: Part, bytes: usize) {
        let used = &mut self.used[part.index()];
        *used = used.saturating_add(bytes);
        let peak = &mut self.peak[part.index()];
        *peak = (*peak).max(*used);
    }

    pub(crate) fn give_back(&mut self, part: Part, bytes: usize) {
        let used = &mut self.used[part.index()];
        *used = used.checked_sub(bytes).expect("a permit gives back what it took");
    }

    pub(crate) fn wait(&mut self, waiter: Waiter) {
        self.waiters.push_back(waiter);
    }

    /// Forgets someone who does not wait any more.
    pub(crate) fn leave(&mut self, id: u64) {
        self.waiters.retain(|waiter| waiter.id != id);
    }

    /// Those who wait no longer, in the order in which they came; their bytes are taken.
    pub(crate) fn grant(&mut self, shares: &Shares) -> Vec<Waiter> {
        let (mut granted, mut waiting) = (Vec::new(), VecDeque::with_capacity(self.waiters.len()));
        let (mut parts_wait, mut budget_short) = ([false; Part::COUNT], false);
        for waiter in std::mem::take(&mut self.waiters) {
            let Waiter { part, bytes, .. } = waiter;
            let within = self.used(part).saturating_add(bytes) <= shares.of(part).guaranteed;
            let fit = self.fit(shares, part, bytes);
            if fit == Fit::Fits && !parts_wait[part.index()] && (within || !budget_short) {
                self.take(part, bytes);
                granted.push(waiter);
            } else {
                parts_wait[part.index()] = true;
                budget_short |= matches!(fit, Fit::Budget(_));
                waiting.push_back(waiter);
            }
        }
        self.waiters = waiting;
        granted
    }
}
