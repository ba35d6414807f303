//! The bytes in work: a part of the process's memory.
//! Owns: its gauge. Does not own: the accounting (`vivace_memory`).
//! Guarantee: the holds that exist never add up to more than the part's share.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use vivace_memory::{Governor, Part, Permit, Shares};

use crate::error::RequestError;

#[derive(Clone, Debug)]
pub(crate) struct Inflight {
    memory: Arc<Governor>,
    gauge: Gauge,
}

impl Inflight {
    pub(crate) const fn new(memory: Arc<Governor>, gauge: Gauge) -> Self {
        Self { memory, gauge }
    }

    /// A hold of nothing yet.
    pub(crate) fn hold(&self) -> Hold {
        Hold { permit: self.memory.empty(Part::InFlight), gauge: self.gauge.clone() }
    }
}

/// Memory of a request, given back when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    permit: Permit,
    gauge: Gauge,
}

impl Hold {
    /// Takes some more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), RequestError> {
        self.permit.grow(bytes)?;
        self.gauge.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Gives back what is held beyond `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.permit.bytes().saturating_sub(bytes);
        self.permit.shrink_to(bytes);
        self.gauge.dec_by(i64::try_from(surplus).unwrap_or(i64::MAX));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// A governor of nothing but requests.
pub(crate) fn alone(max: usize) -> Arc<Governor> {
    let setting = "VIVACE_DISTRIBUTOR_INFLIGHT_BYTES_MAX";
    Governor::new(Shares::exact(max, &[(Part::InFlight, max, max)]).with_setting(Part::InFlight, setting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_never_exceed_the_share() {
        let (memory, gauge) = (alone(100), Gauge::default());
        let inflight = Inflight::new(Arc::clone(&memory), gauge.clone());
        let (mut one, mut two) = (inflight.hold(), inflight.hold());
        one.grow(60).unwrap();
        assert!(matches!(two.grow(41), Err(RequestError::Busy(_))));
        two.grow(40).unwrap();
        assert!(matches!(two.grow(usize::MAX), Err(RequestError::Busy(_))), "no overflow");
        assert_eq!(gauge.get(), 100);
        one.shrink_to(10);
        two.grow(50).unwrap();
        drop((one, two));
        assert_eq!((memory.total(), gauge.get()), (0, 0));
    }

    #[test]
    fn a_refusal_names_the_setting() {
        let refused = Inflight::new(alone(100), Gauge::default()).hold().grow(101).unwrap_err();
        assert!(refused.to_string().contains("VIVACE_DISTRIBUTOR_INFLIGHT_BYTES_MAX"), "{refused}");
    }
}
