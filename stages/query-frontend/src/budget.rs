//! The bytes that all queries together may hold.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::QueryError;

/// Bytes are counted in units of this many, because a semaphore counts in 32 bits.
const UNIT_BYTES: usize = 1024;

/// Bytes that may be held. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

/// Bytes that are held, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<OwnedSemaphorePermit>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS))))
    }

    /// Holds more bytes, at once or not at all: queries that waited for each other's bytes would wait forever.
    pub(crate) fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), QueryError> {
        let full = QueryError::Busy("too many bytes of traces are being put together, try again later");
        let Ok(units) = u32::try_from(bytes.div_ceil(UNIT_BYTES)) else {
            return Err(full);
        };
        match Arc::clone(&self.0).try_acquire_many_owned(units) {
            Ok(more) => {
                held.merge(Held(Some(more)));
                Ok(())
            }
            Err(_) => Err(full),
        }
    }
}

impl Held {
    /// Takes over what another holds.
    pub(crate) fn merge(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Some(permit), Some(more)) => permit.merge(more),
            (empty @ None, more) => *empty = more,
            (Some(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_held_until_dropped() {
        let budget = Budget::new(10 * UNIT_BYTES);
        let (mut first, mut second) = (Held::default(), Held::default());
        budget.hold(&mut first, 1).unwrap();
        budget.hold(&mut first, 5 * UNIT_BYTES).unwrap();
        assert!(budget.hold(&mut second, 5 * UNIT_BYTES).is_err());
        budget.hold(&mut second, 4 * UNIT_BYTES).unwrap();
        second.merge(first);
        assert!(budget.hold(&mut Held::default(), 1).is_err());
        drop(second);
        budget.hold(&mut Held::default(), 10 * UNIT_BYTES).unwrap();
    }
}
