//! What happens when a View was too old for a job.
//! Owns: how often a partition is planned anew, the pauses between, and when its owner is left aside.
//! Does not own: what is planned, dropping what the old plan brought.

use std::time::Duration;

use tracing::debug;
use vivace_ledger::PartitionState;

use crate::views::Views;
use crate::{Metrics, QueryError};

/// A partition is planned anew that often.
const REPLANS_MAX: usize = 5;
/// From the third on, if nothing is new in the ledger, the owner is left aside: it and the ledger do not agree.
const REPLANS_WITH_OWNER: usize = 2;
/// Pause when a refresh brought nothing new: a new entry may be about to be seen by whoever wrote it. It doubles.
const REPLAN_PAUSE: Duration = Duration::from_millis(10);

/// The state of a partition that its jobs are planned by, and how often it had to be another.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) state: PartitionState,
    /// Read the log and leave the owner aside.
    pub(crate) log_only: bool,
    replans: usize,
}

impl Planned {
    pub(crate) const fn new(state: PartitionState) -> Self {
        Self { state, log_only: false, replans: 0 }
    }

    /// The partition by its newest state, after a querier said of this one that it is too old.
    pub(crate) async fn anew(
        self,
        views: &Views,
        metrics: &Metrics,
        message: String,
    ) -> Result<Self, QueryError> {
        let Self { state, mut log_only, replans } = self;
        let partition = state.partition();
        debug!(%partition, sequence = state.sequence(), message, "the View is too old");
        if replans == REPLANS_MAX {
            return Err(QueryError::Stale { partition, rounds: replans + 1, message });
        }
        metrics.stale_views.inc();
        let fresh = views.refresh(partition).await?;
        if fresh.sequence() == state.sequence() {
            tokio::time::sleep(REPLAN_PAUSE * (1 << replans)).await;
            log_only = replans >= REPLANS_WITH_OWNER;
        }
        Ok(Self { state: fresh, log_only, replans: replans + 1 })
    }
}
