//! The compactor: makes few large blocks of many small ones, and lets go what need not be kept:
//! `look at the ledger -> plan -> merge -> store -> Compacted -> delete after a grace period`.
//! Owns: its place in the consumer group of the ledger's topic, what is merged with what, retention, deleting files.
//! Does not own: merging (the block), the chain of entries (the ledger), what a class of traces means (TraceQL).
//! Guarantee: readers see each span once at any moment, as an entry replaces blocks at once and files stay for the grace
//! period; of two compactors with the same work one wins and the other drops its output; no file that any ledger names,
//! or may come to name, is deleted; memory is bounded by settings (see [`vivace_block::merge`]).

mod aside;
mod clock_guard;
mod config;
mod dry_run;
mod error;
mod fail_points;
mod group;
mod job;
mod memory;
mod metrics;
mod orphans;
mod partition;
mod plan;
mod retention;
mod shared;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use vivace_block::BlockConfig;
use vivace_log::TopicsConfig;
pub use vivace_model::Random;
use vivace_runtime::ReadinessCheck;

pub use aside::SetAside;
pub use clock_guard::StoreClock;
pub use config::Config;
pub use error::CompactorError;
pub use fail_points::FAIL_POINTS;
pub use metrics::Metrics;
pub use retention::{Retention, RetentionOf, TraceFilter};
pub use shared::Environment;

use crate::group::Group;
use crate::shared::Shared;

/// A compactor that is ready to run.
#[derive(Debug)]
pub struct Compactor {
    shared: Arc<Shared>,
}

impl Compactor {
    /// A compactor. Nothing is read or written yet; the topics must exist.
    ///
    /// # Errors
    /// [`CompactorError::Config`] if settings do not make sense.
    pub fn new(
        config: Config,
        block: BlockConfig,
        topics: TopicsConfig,
        environment: Environment,
    ) -> Result<Self, CompactorError> {
        config.validate().and_then(|()| block.validate()).map_err(CompactorError::Config)?;
        Ok(Self { shared: Arc::new(Shared::new(config, block, topics, environment)) })
    }

    /// The blocks that are left alone because merging them failed, as long as it runs; for a status page.
    #[must_use]
    pub fn set_aside(&self) -> SetAside {
        self.shared.set_aside.clone()
    }

    /// Takes part in the consumer group until `shutdown`; then gives up what is being merged and leaves within seconds.
    /// May be dropped at any await: what was not listed is found as orphans.
    ///
    /// # Errors
    /// [`CompactorError::Group`] if the group does not let it in.
    pub async fn run(
        self,
        readiness: ReadinessCheck,
        shutdown: CancellationToken,
    ) -> Result<(), CompactorError> {
        Group::new(self.shared, readiness).run(shutdown).await
    }

    /// What would be merged, expired and deleted in all partitions now, one line each. Changes nothing.
    ///
    /// # Errors
    /// [`CompactorError::Ledger`] or [`CompactorError::List`] if the store does not answer, or a chain is damaged.
    pub async fn dry_run(&self) -> Result<Vec<String>, CompactorError> {
        dry_run::dry_run(&self.shared).await
    }
}
