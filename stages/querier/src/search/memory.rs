//! The memory of one job: recent data that it holds, and what it groups.
//! Owns: reserving it while groups grow. Does not own: limits of a job (`vivace_traceql`), of the process
//! (`vivace_memory`).
//! Shared with the work of the job, so that it is given back only when the last step that runs has ended, also where the
//! job itself is gone.

use std::sync::Arc;

use parking_lot::Mutex;
use vivace_memory::{Governor, Part, Permit};

use crate::JobError;

/// What was grouped becomes messages before it is dropped.
const COPIES: usize = 2;

/// Memory of a job.
#[derive(Debug)]
pub(super) struct JobMemory {
    /// Recent data.
    _recent: Permit,
    groups: Mutex<Permit>,
}

impl JobMemory {
    pub(super) fn new(governor: &Arc<Governor>, recent: Permit) -> Arc<Self> {
        Arc::new(Self { _recent: recent, groups: Mutex::new(governor.empty(Part::Groups)) })
    }

    /// Reserves what groups take now; they never shrink.
    pub(super) fn grouped(&self, bytes: usize) -> Result<(), JobError> {
        let mut groups = self.groups.lock();
        let lacking = bytes.saturating_mul(COPIES).saturating_sub(groups.bytes());
        if lacking > 0 {
            groups.grow(lacking)?;
        }
        Ok(())
    }
}
