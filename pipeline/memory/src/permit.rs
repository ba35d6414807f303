//! Memory that was reserved, given back when the permit is dropped.

use std::sync::Arc;
use std::time::Duration;

use crate::{Governor, Part, Short};

/// Reserved memory of one part.
#[derive(Debug)]
pub struct Permit {
    governor: Arc<Governor>,
    part: Part,
    bytes: usize,
}

impl Permit {
    /// For bytes that were taken already.
    pub(crate) const fn new(governor: Arc<Governor>, part: Part, bytes: usize) -> Self {
        Self { governor, part, bytes }
    }

    /// How much is reserved.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it is reserved for.
    #[must_use]
    pub const fn part(&self) -> Part {
        self.part
    }

    /// Reserves so much more, at once or not at all. Goes before those who wait: whoever holds memory and gets on gives it
    /// back soonest.
    ///
    /// # Errors
    /// [`Short`] says what to do; what was held stays.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Short> {
        let taken = self.governor.take_or_shrink(self.part, bytes, false);
        taken.map_err(|fit| self.governor.refuse(self.part, bytes, fit))?;
        self.bytes += bytes;
        Ok(())
    }

    /// Reserves so much more, and waits up to `wait_max` for it. What is held stays held meanwhile, so two that grow this way
    /// may wait for each other until the time is over. Safe to drop.
    ///
    /// # Errors
    /// [`Short`] when the time is over; what was held stays.
    pub async fn grow_waiting(&mut self, bytes: usize, wait_max: Duration) -> Result<(), Short> {
        let more = self.governor.reserve_queued(self.part, bytes, wait_max, false).await?;
        self.merge(more);
        Ok(())
    }

    /// Gives back what is held beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.governor.give_back(self.part, surplus);
    }

    /// Holds exactly `bytes`: gives back the rest, or reserves what is lacking.
    ///
    /// # Errors
    /// [`Short`] says what to do; what was held stays.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Short> {
        if bytes > self.bytes {
            return self.grow(bytes - self.bytes);
        }
        self.shrink_to(bytes);
        Ok(())
    }

    /// Corrects an estimate: counts what was measured, which is in use already, even where it passes the budget. Others
    /// get nothing then until it is back under it.
    pub fn settle(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.governor.take_measured(self.part, bytes - self.bytes);
            self.bytes = bytes;
        }
        self.shrink_to(bytes);
    }

    /// Takes over what another permit of the same part holds.
    ///
    /// # Panics
    /// If it is of another part.
    pub fn merge(&mut self, mut other: Self) {
        assert!(self.part == other.part, "merged a permit of {} into one of {}", other.part, self.part);
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Hands over so much of what is held, or all where it is less, to a permit of its own.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self::new(Arc::clone(&self.governor), self.part, bytes)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}
