//! The memory of one job: recent data that it holds, what it groups, what it reads of pieces.
//! Owns: reserving it, and who waits for it. Does not own: limits of a job (`vivace_traceql`), of the process
//! (`vivace_memory`).
//! Shared with the work of the job, so that it is given back only when the last step that runs has ended, also where the
//! job itself is gone.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vivace_block::Footprint;
use vivace_memory::{Governor, Part, Permit};

use crate::JobError;

/// What was grouped becomes messages before it is dropped.
const COPIES: usize = 2;
/// What a piece takes before it is known how much was read of it: a few columns of a row group.
const PIECE_BYTES: usize = 2 << 20;
/// How long a piece waits for that.
const PIECE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Memory of a job.
#[derive(Debug)]
pub(super) struct JobMemory {
    governor: Arc<Governor>,
    /// Recent data.
    _recent: Permit,
    groups: Mutex<Permit>,
}

/// The turn of a piece, and the memory of what was read of it.
#[derive(Debug)]
pub(super) struct PiecePermit {
    _turn: OwnedSemaphorePermit,
    read: Mutex<(Permit, Footprint)>,
}

impl JobMemory {
    pub(super) fn new(governor: &Arc<Governor>, recent: Permit) -> Arc<Self> {
        let groups = Mutex::new(governor.empty(Part::Groups));
        Arc::new(Self { governor: Arc::clone(governor), _recent: recent, groups })
    }

    /// Waits for the turn of a piece, and for memory to read it. Whoever has both waits for neither.
    pub(super) async fn piece(&self, turns: &Arc<Semaphore>) -> Result<PiecePermit, JobError> {
        let turn = Arc::clone(turns).acquire_owned().await.map_err(|_| JobError::Stopped)?;
        let memory = self.governor.reserve_waiting(Part::Decode, PIECE_BYTES, PIECE_WAIT_MAX).await?;
        Ok(PiecePermit { _turn: turn, read: Mutex::new((memory, Footprint::default())) })
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

impl PiecePermit {
    /// Counts what was read, which has to live as long as the permit.
    pub(super) fn has_read(&self, batch: &RecordBatch) {
        let (memory, footprint) = &mut *self.read.lock();
        footprint.add(batch);
        memory.settle(footprint.bytes());
    }
}
