//! What the compactor counts and measures.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use vivace_model::Partition;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// It is in the ledger.
    Done,
    /// Another compactor was faster; its output was dropped.
    Lost,
    /// It failed and is tried again.
    Failed,
    /// It was given up because the compactor stops or lost the partition.
    Stopped,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Lost => "lost",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabel {
    partition: u32,
}

/// What the compactor counts and measures. Cheap to clone; the default is registered nowhere.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) partitions: Gauge,
    pub(crate) clock_suspect: Gauge,
    backlog_blocks: Family<PartitionLabel, Gauge>,
    backlog_seconds: Family<PartitionLabel, Gauge>,
    refused: Family<PartitionLabel, Gauge>,
    jobs: Family<OutcomeLabel, Counter>,
    pub(crate) merge_seconds: Histogram,
    pub(crate) blocks_in: Counter,
    pub(crate) blocks_out: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) rows_in: Counter,
    pub(crate) rows_out: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) expired_rows: Counter,
    pub(crate) expired_blocks: Counter,
    pub(crate) deleted: Counter,
    pub(crate) orphans: Counter,
    pub(crate) retries: Counter,
    pub(crate) panics: Counter,
    pub(crate) blocks_set_aside: Counter,
    pub(crate) set_aside: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.01, 2.0, 16));
        Self {
            partitions: Gauge::default(),
            clock_suspect: Gauge::default(),
            backlog_blocks: Family::default(),
            backlog_seconds: Family::default(),
            refused: Family::default(),
            jobs: Family::default(),
            merge_seconds: seconds(),
            blocks_in: Counter::default(),
            blocks_out: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            rows_in: Counter::default(),
            rows_out: Counter::default(),
            duplicates: Counter::default(),
            expired_rows: Counter::default(),
            expired_blocks: Counter::default(),
            deleted: Counter::default(),
            orphans: Counter::default(),
            retries: Counter::default(),
            panics: Counter::default(),
            blocks_set_aside: Counter::default(),
            set_aside: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers them below `vivace_compactor`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("vivace_compactor");
        let Self { partitions, backlog_blocks, backlog_seconds, jobs, merge_seconds, .. } = metrics.clone();
        registry.register("partitions", "Partitions held", partitions);
        let help = "Blocks that are left alone now because work on them failed";
        registry.register("blocks_aside", help, metrics.set_aside.clone());
        registry.register("backlog_blocks", "Blocks that wait for a merge or for their end", backlog_blocks);
        let backlog = "How long the oldest block that waits has been there";
        registry.register_with_unit("backlog", backlog, Unit::Seconds, backlog_seconds);
        let suspect = "1 while nothing is merged, expired or deleted because the clock may be wrong";
        registry.register("clock_suspect", suspect, metrics.clock_suspect.clone());
        let refused = "1 while nothing is done for a partition because its ledger is damaged";
        registry.register("partition_refused", refused, metrics.refused.clone());
        registry.register("jobs", "Merges and expirations by how they ended", jobs);
        registry.register_with_unit("merge", "Reading, merging and writing", Unit::Seconds, merge_seconds);
        for (name, help, counter) in [
            ("input_blocks", "Blocks replaced by merged ones", &metrics.blocks_in),
            ("output_blocks", "Blocks made by merges", &metrics.blocks_out),
            ("input_bytes", "Bytes of the blocks replaced", &metrics.bytes_in),
            ("output_bytes", "Bytes of the blocks made", &metrics.bytes_out),
            ("input_spans", "Spans of the blocks replaced", &metrics.rows_in),
            ("output_spans", "Spans of the blocks made", &metrics.rows_out),
            ("duplicate_spans", "Spans dropped because an equal one is kept", &metrics.duplicates),
            ("expired_spans", "Spans dropped because their time is over", &metrics.expired_rows),
            ("expired_blocks", "Blocks dropped because their time is over", &metrics.expired_blocks),
            ("deleted_files", "Files of replaced and expired blocks deleted", &metrics.deleted),
            ("orphan_files", "Files deleted that no ledger names", &metrics.orphans),
            ("retries", "Attempts after a failure", &metrics.retries),
            ("panics", "Panics that were caught, of merges and of other work on partitions", &metrics.panics),
            (
                "set_aside_blocks",
                "Blocks set aside because work on them failed twice in a row",
                &metrics.blocks_set_aside,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        metrics
    }

    pub(crate) fn ended(&self, outcome: Outcome) {
        self.jobs.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
    }

    /// How many jobs ended so.
    #[cfg(test)]
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.jobs.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).get()
    }

    pub(crate) fn set_backlog(&self, partition: Partition, (blocks, age): (usize, Duration)) {
        let label = PartitionLabel { partition: partition.0 };
        self.backlog_blocks.get_or_create(&label).set(i64::try_from(blocks).unwrap_or(i64::MAX));
        let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        self.backlog_seconds.get_or_create(&label).set(seconds);
    }

    pub(crate) fn set_refused(&self, partition: Partition, refused: bool) {
        let label = PartitionLabel { partition: partition.0 };
        self.refused.get_or_create(&label).set(i64::from(refused));
    }

    /// Whether nothing is done for a partition.
    #[cfg(test)]
    pub(crate) fn is_refused(&self, partition: Partition) -> bool {
        self.refused.get_or_create(&PartitionLabel { partition: partition.0 }).get() == 1
    }

    /// A partition that is held no longer has no backlog here.
    pub(crate) fn forget(&self, partition: Partition) {
        let label = PartitionLabel { partition: partition.0 };
        self.backlog_blocks.remove(&label);
        self.backlog_seconds.remove(&label);
        self.refused.remove(&label);
    }
}
