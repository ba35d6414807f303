//! What all partitions of an ingester share.

use std::error::Error;
use std::sync::Arc;

use object_store::ObjectStore;
use tracing::{debug, warn};
use vivace_block::BlockConfig;
use vivace_ledger::Chain;
use vivace_log::{SharedLog, TopicsConfig};
use vivace_memory::Governor;
use vivace_model::{Clock, Partition};

use crate::budget::Budget;
use crate::commits::Commits;
use crate::error::causes;
use crate::holding::Holdings;
use crate::status::Status;
use crate::{Compute, Config, Metrics, Random};

/// What an ingester works with but does not own. All of it can be replaced in tests.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The message log.
    pub log: SharedLog,
    /// Where blocks and the ledger lie.
    pub store: Arc<dyn ObjectStore>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Random numbers.
    pub random: Arc<Random>,
    /// Where CPU-heavy steps run.
    pub compute: Compute,
    /// The memory of the process.
    pub memory: Arc<Governor>,
    /// What is counted and measured.
    pub metrics: Metrics,
    /// What is counted of the ledger.
    pub ledger_metrics: vivace_ledger::Metrics,
}

/// What all partitions of an ingester share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) block: BlockConfig,
    pub(crate) topics: TopicsConfig,
    pub(crate) environment: Environment,
    /// Where others reach this ingester.
    pub(crate) address: String,
    /// Name of this ingester.
    pub(crate) instance: String,
    pub(crate) budget: Arc<Budget>,
    pub(crate) holdings: Holdings,
    pub(crate) commits: Commits,
    pub(crate) status: Status,
}

impl Shared {
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.environment.metrics
    }

    pub(crate) fn log(&self) -> &dyn vivace_log::Log {
        self.environment.log.as_ref()
    }

    pub(crate) fn random(&self) -> &Random {
        &self.environment.random
    }

    pub(crate) fn chain(&self, partition: Partition) -> Chain {
        let Environment { store, clock, ledger_metrics, .. } = &self.environment;
        Chain::new(Arc::clone(store), &self.topics.spans, partition, Arc::clone(clock))
            .with_metrics(ledger_metrics.clone())
    }

    /// Notes a failure that is about to be retried. Only the first of a row is news; the status has the last one.
    pub(crate) fn trouble(&self, partition: Partition, what: &str, error: &dyn Error) {
        let error = causes(error);
        self.metrics().retries.inc();
        if self.status.trouble(partition, format!("{what}: {error}")) {
            warn!(%partition, error, "{what}, trying again");
        } else {
            debug!(%partition, error, "{what}, trying again");
        }
    }
}
