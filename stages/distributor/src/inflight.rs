//! The budget of bytes in work.
//! Guarantee: the holds that exist never add up to more than the budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::gauge::Gauge;

use crate::error::RequestError;

#[derive(Debug)]
pub(crate) struct Inflight {
    used: AtomicUsize,
    max: usize,
    gauge: Gauge,
}

impl Inflight {
    pub(crate) fn new(max: usize, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max, gauge })
    }

    /// A hold of nothing yet.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        Hold { inflight: Arc::clone(self), bytes: 0 }
    }
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    inflight: Arc<Inflight>,
    bytes: usize,
}

impl Hold {
    /// Takes some more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), RequestError> {
        let Inflight { used, max, gauge } = &*self.inflight;
        let grown = |used: usize| used.checked_add(bytes).filter(|used| used <= max);
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).map_err(|_| RequestError::Busy)?;
        gauge.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back what is held beyond `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.inflight.used.fetch_sub(surplus, Ordering::Relaxed);
        self.inflight.gauge.dec_by(i64::try_from(surplus).unwrap_or(i64::MAX));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_never_exceed_the_budget() {
        let gauge = Gauge::default();
        let inflight = Inflight::new(100, gauge.clone());
        let (mut one, mut two) = (inflight.hold(), inflight.hold());
        one.grow(60).unwrap();
        assert!(matches!(two.grow(41), Err(RequestError::Busy)));
        two.grow(40).unwrap();
        assert!(matches!(two.grow(usize::MAX), Err(RequestError::Busy)), "no overflow");
        assert_eq!(gauge.get(), 100);
        one.shrink_to(10);
        two.grow(50).unwrap();
        drop((one, two));
        assert_eq!((inflight.used.load(Ordering::Relaxed), gauge.get()), (0, 0));
    }
}
