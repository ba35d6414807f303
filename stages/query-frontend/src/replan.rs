//! What happens when a View was too old for a job, or names a block that cannot be read.
//! Owns: how often a partition is planned anew, the pauses between, when its owner is left aside, which blocks are left out.
//! Does not own: what is planned, dropping what the old plan brought.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;
use vivace_ledger::{BlockMeta, PartitionState};

use crate::damage::{Damage, Damaged};
use crate::dispatch::UnreadableBlock;
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
    /// Blocks that cannot be read: no job asks for them.
    pub(crate) damaged: Vec<Arc<Damaged>>,
    replans: usize,
}

impl Planned {
    pub(crate) const fn new(state: PartitionState) -> Self {
        Self { state, log_only: false, damaged: Vec::new(), replans: 0 }
    }

    /// Whether jobs may ask for the block.
    pub(crate) fn reads(&self, block: &BlockMeta) -> bool {
        self.damaged.is_empty() || {
            let path = block.path();
            self.damaged.iter().all(|damaged| damaged.path != path.as_ref())
        }
    }

    /// The partition by its newest state, after a querier said of this one that it is too old.
    pub(crate) async fn anew(
        self,
        views: &Views,
        metrics: &Metrics,
        message: String,
    ) -> Result<Self, QueryError> {
        let Self { state, mut log_only, damaged, replans } = self;
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
        Ok(Self { state: fresh, log_only, damaged, replans: replans + 1 })
    }

    /// The partition without a block that a querier could not read. Where the file is missing, a fresh View is looked at
    /// first: most likely the block was replaced meanwhile.
    pub(crate) async fn without(
        mut self,
        views: &Views,
        metrics: &Metrics,
        damage: &Damage,
        block: UnreadableBlock,
    ) -> Result<Self, QueryError> {
        if !block.missing {
            damage.exclude(&block, &self.state, &mut self.damaged)?;
            return Ok(self);
        }
        let fresh = views.refresh(self.state.partition()).await?;
        if !fresh.live().iter().any(|live| live.path().as_ref() == block.path) {
            return self.anew(views, metrics, block.message).await;
        }
        damage.exclude(&block, &fresh, &mut self.damaged)?;
        Ok(Self { state: fresh, ..self })
    }
}
