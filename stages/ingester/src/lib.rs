//! The ingester: turns the records of its partitions into blocks,
//! `record -> OpenBlock -> SealedBlock -> StoredBlock -> ListedBlock -> commit`, and answers for what is not in a View yet.
//! Owns: its place in the consumer group, one pipeline per partition given to it, and recent data in memory.
//! Does not own: the log, columns and Parquet (the block), the chain of entries (the ledger), the gRPC server.
//! Guarantee: a record is in the blocks of one ledger entry or named there as rejected or lost, whatever crashes and
//! whoever else believes to own its partition; an offset is committed only after every earlier span is queryable; memory
//! is bounded.

mod blocks;
mod budget;
mod commits;
mod compute;
mod config;
mod decode;
mod error;
mod fail_points;
mod fetch;
mod group;
mod holding;
mod metrics;
mod pipeline;
mod quarantine;
mod readmit;
mod recent;
mod recent_columns;
mod rejected;
mod replay;
mod retry;
mod shared;
mod start;
mod status;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod upkeep;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use vivace_block::BlockConfig;
use vivace_log::TopicsConfig;
use vivace_model::Partition;
pub use vivace_model::Random;
use vivace_runtime::ReadinessCheck;

pub use compute::Compute;
pub use config::Config;
pub use error::IngesterError;
pub use fail_points::FAIL_POINTS;
pub use metrics::Metrics;
pub use readmit::Readmitted;
pub use recent::RecentData;
pub use replay::{ReplayError, ReplayPlan, ReplayRequest, Replayed, Replayer};
pub use shared::Environment;

use crate::budget::Budget;
use crate::commits::Commits;
use crate::group::Group;
use crate::holding::Holdings;
use crate::shared::Shared;
use crate::status::Status;

/// An ingester that is ready to run.
#[derive(Debug)]
pub struct Ingester {
    shared: Arc<Shared>,
}

impl Ingester {
    /// An ingester that others reach at `address` (`host:port`, or [`vivace_proto::owners::LOCAL_ADDRESS`]). Nothing is
    /// read or written yet; the topics must exist.
    ///
    /// # Errors
    /// [`IngesterError::Config`] if settings do not make sense.
    pub fn new(
        config: Config,
        block: BlockConfig,
        topics: TopicsConfig,
        environment: Environment,
        address: String,
        readiness: ReadinessCheck,
    ) -> Result<Self, IngesterError> {
        config.validate().and_then(|()| block.validate()).map_err(IngesterError::Config)?;
        let instance = if config.instance.is_empty() {
            format!("ingester-{:08x}", u32::from_le_bytes(environment.random.bytes()))
        } else {
            config.instance.clone()
        };
        let shared = Shared {
            budget: Budget::new(
                Arc::clone(&environment.memory),
                config.memory_bytes_max.as_usize(),
                config.fetch_bytes_max.as_usize(),
            ),
            holdings: Holdings::default(),
            commits: Commits::default(),
            status: Status::new(readiness),
            config,
            block,
            topics,
            environment,
            address,
            instance,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What answers questions for recent data, in this process or behind a gRPC server. It may be asked before the
    /// ingester runs and after it has ended; it holds nothing then.
    #[must_use]
    pub fn recent(&self) -> Arc<RecentData> {
        Arc::new(RecentData::new(Arc::clone(&self.shared)))
    }

    /// The name under which this ingester announces what it owns.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.shared.instance
    }

    /// The partitions held now, each with a line about its condition, for a status page.
    #[must_use]
    pub fn partitions(&self) -> Vec<(Partition, String)> {
        self.shared.status.partitions()
    }

    /// Takes part in the consumer group until `shutdown`; then stores and lists what is open and leaves.
    /// May be dropped at any await: what is not listed is taken in again by whoever gets the partitions next.
    ///
    /// # Errors
    /// [`IngesterError::Group`] if the group does not let it in, or another ingester took its place.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), IngesterError> {
        Group::new(self.shared).run(shutdown).await
    }
}
