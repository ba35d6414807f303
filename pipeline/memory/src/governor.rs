//! The governor: who may take memory, now or after a while.
//! Owns: the one lock around the accounting, waiting with a bound, asking caches to give way.
//! Does not own: the rules (`state`), what a permit can do (`permit`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::cache::Shrinkers;
use crate::shares::LIMIT_SETTING;
use crate::state::{Fit, State, Waiter};
use crate::{Part, Permit, Share, Shares, Short};

/// The accounting of all memory of a process. Shared by reference; one for each process.
#[derive(Debug)]
pub struct Governor {
    shares: Shares,
    state: Mutex<State>,
    pub(crate) shrinkers: Shrinkers,
    waiters: AtomicU64,
    refused: [AtomicU64; Part::COUNT],
}

impl Governor {
    /// A governor of these shares.
    #[must_use]
    pub fn new(shares: Shares) -> Arc<Self> {
        Arc::new(Self {
            shares,
            state: Mutex::new(State::default()),
            shrinkers: Shrinkers::default(),
            waiters: AtomicU64::new(0),
            refused: Default::default(),
        })
    }

    /// One that counts and never refuses. For tests and tools.
    #[must_use]
    pub fn unlimited() -> Arc<Self> {
        Self::new(Shares::unlimited())
    }

    /// A permit for nothing yet, to grow.
    #[must_use]
    pub fn empty(self: &Arc<Self>, part: Part) -> Permit {
        Permit::new(Arc::clone(self), part, 0)
    }

    /// Reserves memory, at once or not at all. Caches give way before anybody is refused; those who wait go first.
    ///
    /// # Errors
    /// [`Short`] says what to do.
    pub fn reserve(self: &Arc<Self>, part: Part, bytes: usize) -> Result<Permit, Short> {
        self.take_or_shrink(part, bytes, true).map_err(|fit| self.refuse(part, bytes, fit))?;
        Ok(Permit::new(Arc::clone(self), part, bytes))
    }

    /// Reserves memory, and waits up to `wait_max` until there is enough. Whoever waits while holding permits keeps them
    /// from others, so reserve all that a step needs at once. Safe to drop.
    ///
    /// # Errors
    /// [`Short`] when the time is over, or at once where it can never be had.
    pub async fn reserve_waiting(
        self: &Arc<Self>,
        part: Part,
        bytes: usize,
        wait_max: Duration,
    ) -> Result<Permit, Short> {
        self.reserve_queued(part, bytes, wait_max, true).await
    }

    pub(crate) async fn reserve_queued(
        self: &Arc<Self>,
        part: Part,
        bytes: usize,
        wait_max: Duration,
        queue: bool,
    ) -> Result<Permit, Short> {
        let Err(fit) = self.take_or_shrink(part, bytes, queue) else {
            return Ok(Permit::new(Arc::clone(self), part, bytes));
        };
        if self.is_never(part, bytes) {
            return Err(self.refuse(part, bytes, fit));
        }
        let id = self.waiters.fetch_add(1, Ordering::Relaxed);
        let (granted, receiver) = oneshot::channel();
        self.state.lock().wait(Waiter { id, part, bytes, granted });
        let place = Place { governor: self, id };
        // Something may have been given back just before.
        self.serve();
        let received = timeout(wait_max, receiver).await;
        drop(place);
        match received {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(self.refuse(part, bytes, fit)),
        }
    }

    /// Takes the bytes, if need be from caches.
    pub(crate) fn take_or_shrink(&self, part: Part, bytes: usize, queue: bool) -> Result<(), Fit> {
        let mut fit = self.try_take(part, bytes, queue);
        if let Err(Fit::Budget(lacking)) = fit
            && part != Part::Caches
            && self.shrinkers.shrink(lacking)
        {
            fit = self.try_take(part, bytes, queue);
        }
        fit
    }

    fn try_take(&self, part: Part, bytes: usize, queue: bool) -> Result<(), Fit> {
        let mut state = self.state.lock();
        // Caches never go before those who wait.
        let queue = queue || part == Part::Caches;
        match state.fit(&self.shares, part, bytes) {
            Fit::Fits if queue && bytes > 0 && state.must_queue(&self.shares, part, bytes) => Err(Fit::Part),
            Fit::Fits => {
                state.take(part, bytes);
                Ok(())
            }
            fit => Err(fit),
        }
    }

    /// Takes bytes that are in use already.
    pub(crate) fn take_measured(&self, part: Part, bytes: usize) {
        self.state.lock().take(part, bytes);
    }

    pub(crate) fn give_back(self: &Arc<Self>, part: Part, bytes: usize) {
        if bytes > 0 {
            self.state.lock().give_back(part, bytes);
            self.serve();
        }
    }

    /// Hands out what is free to those who wait for it.
    fn serve(self: &Arc<Self>) {
        let granted = self.state.lock().grant(&self.shares);
        // Not under the lock: where nobody waits any more the permit comes back and is given to the next.
        for waiter in granted {
            drop(waiter.granted.send(Permit::new(Arc::clone(self), waiter.part, waiter.bytes)));
        }
    }

    fn is_never(&self, part: Part, bytes: usize) -> bool {
        bytes > self.most(part)
    }

    /// The most that a part can ever have at once, in bytes: its ceiling, or what the guarantees of others leave.
    #[must_use]
    pub fn most(&self, part: Part) -> usize {
        let guaranteed = Part::ALL.into_iter().filter(|other| *other != part);
        let guaranteed: usize = guaranteed.map(|other| self.shares.of(other).guaranteed).sum();
        self.shares.of(part).ceiling.min(self.shares.budget() - guaranteed)
    }

    pub(crate) fn refuse(&self, part: Part, bytes: usize, fit: Fit) -> Short {
        self.refused[part.index()].fetch_add(1, Ordering::Relaxed);
        let Share { ceiling, setting, .. } = self.shares.of(part);
        let setting = if matches!(fit, Fit::Budget(_)) { LIMIT_SETTING } else { setting };
        Short { part, bytes, limit: ceiling, setting, never: self.is_never(part, bytes) }
    }

    /// The shares of all parts.
    #[must_use]
    pub const fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Bytes that a part has at the moment.
    #[must_use]
    pub fn used(&self, part: Part) -> usize {
        self.state.lock().used(part)
    }

    /// The most that a part ever had at once, in bytes.
    #[must_use]
    pub fn peak(&self, part: Part) -> usize {
        self.state.lock().peak(part)
    }

    /// Bytes that all parts together have at the moment.
    #[must_use]
    pub fn total(&self) -> usize {
        self.state.lock().total()
    }

    /// Bytes that a part could take at the moment, caches left as they are.
    #[must_use]
    pub fn free(&self, part: Part) -> usize {
        let state = self.state.lock();
        let beside = state.committed_beside(&self.shares, part);
        let most = self.shares.of(part).ceiling.min(self.shares.budget().saturating_sub(beside));
        most.saturating_sub(state.used(part))
    }

    /// How often a part was refused memory.
    #[must_use]
    pub fn refused(&self, part: Part) -> u64 {
        self.refused[part.index()].load(Ordering::Relaxed)
    }
}

/// A place among those who wait, given up when dropped.
struct Place<'a> {
    governor: &'a Arc<Governor>,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.governor.state.lock().leave(self.id);
        // Someone behind it may fit.
        self.governor.serve();
    }
}
