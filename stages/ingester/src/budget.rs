//! The memory that all partitions of an ingester share: the process's recent data, and what sealing takes beside it.
//! Owns: how pressing the need for memory is, what sealing and encoding a set of blocks is expected to take.
//! Does not own: the accounting (`vivace_memory`), what to do about pressure (`fetch`).
//! Guarantee: what a holder reports is taken off when the holder is dropped.

use std::pin::pin;
use std::sync::Arc;

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::warn;
use vivace_memory::{Governor, Part, Permit};

use crate::error::causes;

/// Above this part of the maximum, blocks are cut early and listed spans are let go.
const SOFT_PERCENT: usize = 70;

/// A fetched record takes about that many times its size while it is decoded: itself, and the columns it becomes.
const DECODED_TIMES: usize = 3;
/// Sealing takes the columns once more, sorted, and this for each row: its place and key in the order of trace ids.
const SORT_ROW_BYTES: usize = 64;
/// Size of a row in a file at first; the file's buffer grows from there.
const FILE_ROW_BYTES: usize = 64;
/// Whoever waited that long for memory says so.
const WAIT: Duration = Duration::from_secs(10);

/// What encoding a sealed set takes, and its files until they are uploaded: a column at a time, whose size is not known
/// before, and the files.
pub(crate) const fn encoding_bytes(sealed: usize, rows: usize) -> usize {
    sealed / 4 + rows * FILE_ROW_BYTES
}

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
    governor: Arc<Governor>,
    max: usize,
    /// What the next fetch may add, which has to be free before it.
    fetch: usize,
    state: Mutex<State>,
    /// The pressure has changed. No watch channel: that wakes its receivers in random order, and simulations must repeat.
    changed: Notify,
}

#[derive(Clone, Copy, Debug)]
struct State {
    holders: usize,
    pressure: Pressure,
}

impl Budget {
    /// Recent data takes `max` bytes at most, or less if the process has less for it; a fetch brings `fetch_bytes`.
    pub(crate) fn new(governor: Arc<Governor>, max: usize, fetch_bytes: usize) -> Arc<Self> {
        let max = max.min(governor.shares().of(Part::Recent).ceiling);
        let fetch = fetch_bytes.saturating_mul(DECODED_TIMES).min(max / 4);
        let state = State { holders: 0, pressure: Pressure::None };
        Arc::new(Self { governor, max, fetch, state: Mutex::new(state), changed: Notify::new() })
    }

    /// Memory to seal and encode a set of blocks of so many rows, whose columns take `bytes`. Waits for its turn, however
    /// long that takes; what is more than there can ever be waits until it is alone. Safe to drop.
    pub(crate) async fn sealing(&self, bytes: usize, rows: usize) -> Permit {
        let ceiling = self.governor.most(Part::Encode);
        let bytes = bytes.saturating_add(rows.saturating_mul(SORT_ROW_BYTES + FILE_ROW_BYTES)).min(ceiling);
        let mut said = false;
        loop {
            match self.governor.reserve_waiting(Part::Encode, bytes, WAIT).await {
                Ok(permit) => return permit,
                Err(short) if !said => warn!(error = causes(&short), "sealing waits for memory"),
                Err(_) => {}
            }
            said = true;
        }
    }

    /// Columns of a set of blocks may take that much: then two can be sealed at a time.
    pub(crate) fn set_bytes_max(&self) -> usize {
        self.governor.most(Part::Encode) / 2
    }

    /// Memory of a reader of the log, which it may take before anybody asks for records. A partition that nobody serves
    /// would be worse than what its reader takes, so this waits a while only.
    pub(crate) async fn reader(&self, bytes: usize) -> Permit {
        match self.governor.reserve_waiting(Part::InFlight, bytes, WAIT).await {
            Ok(permit) => permit,
            Err(short) => {
                warn!(error = causes(&short), "a reader of the log takes more memory than there is for it");
                let mut permit = self.governor.empty(Part::InFlight);
                permit.settle(bytes);
                permit
            }
        }
    }

    /// A new holder, of one partition.
    pub(crate) fn charge(self: &Arc<Self>) -> Charge {
        self.update(|state| state.holders += 1);
        Charge { budget: Arc::clone(self), permit: self.governor.empty(Part::Recent), seen: self.pressure() }
    }

    fn pressure(&self) -> Pressure {
        self.state.lock().pressure
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        let before = state.pressure;
        change(&mut state);
        state.pressure = match self.governor.used(Part::Recent) {
            used if used.saturating_add(self.fetch) > self.max => Pressure::Hard,
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
    permit: Permit,
    /// The pressure that [`Self::changed`] told last.
    seen: Pressure,
}

impl Charge {
    /// Reports what is held now.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.permit.settle(bytes);
        self.budget.update(|_| {});
    }

    /// Reports that records of so many bytes were fetched, until what they became is reported.
    pub(crate) fn add_fetched(&mut self, bytes: usize) {
        self.set(self.permit.bytes().saturating_add(bytes.saturating_mul(DECODED_TIMES)));
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
        self.permit.shrink_to(0);
        self.budget.update(|state| state.holders -= 1);
    }
}

#[cfg(test)]
mod tests {
    use vivace_memory::Shares;

    use super::*;

    #[tokio::test]
    async fn pressure_follows_what_is_held() {
        let budget = Budget::new(Governor::unlimited(), 1000, 0);
        let mut one = budget.charge();
        let mut two = budget.charge();
        assert_eq!((one.share(), one.pressure()), (500, Pressure::None));
        one.set(700);
        assert_eq!(two.pressure(), Pressure::Soft);
        two.set(301);
        assert_eq!(one.pressure(), Pressure::Hard);
        two.set(300);
        assert_eq!(one.pressure(), Pressure::Soft);
        drop(one);
        assert_eq!((two.share(), two.pressure()), (1000, Pressure::None));
    }

    #[tokio::test]
    async fn a_change_wakes_the_others() {
        let budget = Budget::new(Governor::unlimited(), 1000, 0);
        let mut one = budget.charge();
        let mut two = budget.charge();
        let mut waiting = Box::pin(two.changed());
        assert!(futures::poll!(&mut waiting).is_pending());
        one.set(10);
        assert!(futures::poll!(&mut waiting).is_pending(), "room enough is no news");
        one.set(1001);
        assert!(futures::poll!(&mut waiting).is_ready());
    }

    #[tokio::test]
    async fn room_for_the_next_fetch_is_kept_and_fetched_records_count() {
        let governor = Governor::unlimited();
        let budget = Budget::new(Arc::clone(&governor), 1000, 50);
        let mut one = budget.charge();
        one.set(850);
        assert_eq!(one.pressure(), Pressure::Soft);
        one.add_fetched(50);
        assert_eq!((governor.used(Part::Recent), one.pressure()), (1000, Pressure::Hard));
        one.set(840);
        assert_eq!(one.pressure(), Pressure::Soft);
        drop(one);
        assert_eq!(governor.total(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn sets_are_sealed_one_after_the_other_where_memory_is_short_and_the_largest_alone() {
        let shares = Shares::exact(10_000, &[(Part::Recent, 1000, 1000), (Part::Encode, 9000, 9000)]);
        let governor = Governor::new(shares);
        let budget = Budget::new(Arc::clone(&governor), usize::MAX, 0);
        let largest = budget.sealing(1 << 30, 1 << 20).await;
        assert_eq!(largest.bytes(), 9000);
        let mut next = Box::pin(budget.sealing(1000, 10));
        assert!(futures::poll!(&mut next).is_pending());
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(futures::poll!(&mut next).is_pending());
        drop(largest);
        assert_eq!(next.await.bytes(), 1000 + 10 * 128);
    }
}
