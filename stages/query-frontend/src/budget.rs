//! The bytes that all queries together may hold: those of answers of jobs, as they came, and the memory that they take.
//! Owns: the limit of bytes in flight. Does not own: the memory of the process (`vivace_memory`).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vivace_memory::{Governor, Part, Permit};

use crate::QueryError;

/// Bytes are counted in units of this many, because a semaphore counts in 32 bits.
const UNIT_BYTES: usize = 1024;

/// Bytes that may be held. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    bytes: Arc<Semaphore>,
    memory: Arc<Governor>,
}

/// Bytes that are held, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: Option<OwnedSemaphorePermit>,
    memory: Option<Permit>,
}

impl Budget {
    pub(crate) fn new(bytes: usize, memory: Arc<Governor>) -> Self {
        let units = (bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { bytes: Arc::new(Semaphore::new(units)), memory }
    }

    /// Holds more bytes, which take `memory` times as much, at once or not at all: queries that waited for each other's bytes
    /// would wait forever.
    pub(crate) fn hold(&self, held: &mut Held, bytes: usize, memory: usize) -> Result<(), QueryError> {
        let full = || {
            QueryError::Busy(
                "too many bytes of traces are being put together (VIVACE_QUERY_FRONTEND_BYTES_IN_FLIGHT_MAX), try again later",
            )
        };
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).map_err(|_| full())?;
        let more = Arc::clone(&self.bytes).try_acquire_many_owned(units).map_err(|_| full())?;
        self.hold_memory(held, bytes.saturating_mul(memory))?;
        held.merge(Held { bytes: Some(more), memory: None });
        Ok(())
    }

    /// Holds memory for what is made of bytes that are held.
    pub(crate) fn hold_memory(&self, held: &mut Held, bytes: usize) -> Result<(), QueryError> {
        let memory = held.memory.get_or_insert_with(|| self.memory.empty(Part::Answers));
        Ok(memory.grow(bytes)?)
    }
}

impl Held {
    /// Takes over what another holds.
    pub(crate) fn merge(&mut self, other: Self) {
        match (&mut self.bytes, other.bytes) {
            (Some(permit), Some(more)) => permit.merge(more),
            (empty @ None, more) => *empty = more,
            (Some(_), None) => {}
        }
        match (&mut self.memory, other.memory) {
            (Some(permit), Some(more)) => permit.merge(more),
            (empty @ None, more) => *empty = more,
            (Some(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use vivace_memory::Shares;

    use super::*;

    #[test]
    fn bytes_are_held_until_dropped() {
        let budget = Budget::new(10 * UNIT_BYTES, Governor::unlimited());
        let (mut first, mut second) = (Held::default(), Held::default());
        budget.hold(&mut first, 1, 1).unwrap();
        budget.hold(&mut first, 5 * UNIT_BYTES, 1).unwrap();
        assert!(budget.hold(&mut second, 5 * UNIT_BYTES, 1).is_err());
        budget.hold(&mut second, 4 * UNIT_BYTES, 1).unwrap();
        second.merge(first);
        assert!(budget.hold(&mut Held::default(), 1, 1).is_err());
        drop(second);
        budget.hold(&mut Held::default(), 10 * UNIT_BYTES, 1).unwrap();
    }

    #[test]
    fn memory_of_the_process_is_reserved_with_them() {
        let memory = Governor::new(Shares::exact(100, &[(Part::Answers, 100, 0)]));
        let budget = Budget::new(10 * UNIT_BYTES, Arc::clone(&memory));
        let mut held = Held::default();
        budget.hold(&mut held, 30, 2).unwrap();
        assert!(matches!(budget.hold(&mut held, 30, 2), Err(QueryError::Memory(_))));
        budget.hold_memory(&mut held, 40).unwrap();
        assert_eq!(memory.used(Part::Answers), 100);
        drop(held);
        assert_eq!(memory.used(Part::Answers), 0);
        budget.hold(&mut Held::default(), 10 * UNIT_BYTES, 0).unwrap();
    }
}
