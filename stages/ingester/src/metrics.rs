//! What the ingester counts and measures.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use vivace_model::Partition;

/// Why a set of blocks was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SealCause {
    /// Enough spans.
    Rows,
    /// Enough memory.
    Memory,
    /// Old enough.
    Age,
    /// As many tenants as one ledger entry should name.
    Tenants,
    /// As many records as a set may have while one that makes sets fail is looked for.
    Search,
    /// The next records were deleted from the topic: what is held is stored before that is noted.
    Gap,
    /// The ingester stops.
    Shutdown,
}

/// Why records or spans are rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RejectReason {
    /// The record names a tenant that no tenant can be called.
    Tenant,
    /// The record is larger than is set.
    Size,
    /// The record is no OTLP at all.
    Record,
    /// Spans in it are not valid.
    Spans,
    /// Work on it failed again and again.
    Quarantined,
}

impl SealCause {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Memory => "memory",
            Self::Age => "age",
            Self::Tenants => "tenants",
            Self::Search => "search",
            Self::Gap => "gap",
            Self::Shutdown => "shutdown",
        }
    }
}

impl RejectReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Size => "size",
            Self::Record => "record",
            Self::Spans => "spans",
            Self::Quarantined => "quarantined",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabel {
    partition: u32,
}

/// What the ingester counts and measures. Cheap to clone; the default is registered nowhere.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) records: Counter,
    pub(crate) spans: Counter,
    pub(crate) bytes: Counter,
    pub(crate) duplicates: Counter,
    rejected: Family<ReasonLabel, Counter>,
    sealed: Family<CauseLabel, Counter>,
    pub(crate) blocks: Counter,
    pub(crate) block_bytes: Counter,
    pub(crate) seal_seconds: Histogram,
    pub(crate) store_seconds: Histogram,
    pub(crate) list_seconds: Histogram,
    lag: Family<PartitionLabel, Gauge>,
    open_bytes: Family<PartitionLabel, Gauge>,
    recent_bytes: Family<PartitionLabel, Gauge>,
    pub(crate) partitions: Gauge,
    refused: Family<PartitionLabel, Gauge>,
    pub(crate) conflicts: Counter,
    pub(crate) lost_offsets: Counter,
    pub(crate) retries: Counter,
    pub(crate) panics: Counter,
    pub(crate) recent_questions: Counter,
    pub(crate) recent_refused: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 1 ms to about half a minute.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        Self {
            records: Counter::default(),
            spans: Counter::default(),
            bytes: Counter::default(),
            duplicates: Counter::default(),
            rejected: Family::default(),
            sealed: Family::default(),
            blocks: Counter::default(),
            block_bytes: Counter::default(),
            seal_seconds: seconds(),
            store_seconds: seconds(),
            list_seconds: seconds(),
            lag: Family::default(),
            open_bytes: Family::default(),
            recent_bytes: Family::default(),
            partitions: Gauge::default(),
            refused: Family::default(),
            conflicts: Counter::default(),
            lost_offsets: Counter::default(),
            retries: Counter::default(),
            panics: Counter::default(),
            recent_questions: Counter::default(),
            recent_refused: Counter::default(),
        }
    }
}

impl Metrics {
    /// Registers all metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("vivace_ingester");
        for (name, help, counter) in [
            ("records", "Records taken in", &metrics.records),
            ("spans", "Spans taken in", &metrics.spans),
            ("received_bytes", "Bytes of the values of records taken in", &metrics.bytes),
            ("duplicate_spans", "Spans dropped because a client had sent them before", &metrics.duplicates),
            ("blocks", "Blocks named by the ledger", &metrics.blocks),
            ("block_bytes", "Bytes of blocks named by the ledger", &metrics.block_bytes),
            (
                "conflicts",
                "Times that work was dropped because another ingester had done it",
                &metrics.conflicts,
            ),
            (
                "lost_offsets",
                "Offsets deleted from the topic before they were taken in",
                &metrics.lost_offsets,
            ),
            ("retries", "Attempts repeated because log or store did not answer", &metrics.retries),
            (
                "panics",
                "Panics that were caught, of records, sets of blocks, partitions and questions",
                &metrics.panics,
            ),
            ("recent_questions", "Questions for recent data", &metrics.recent_questions),
            (
                "recent_refused",
                "Questions for recent data that could not be answered",
                &metrics.recent_refused,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "rejected_records",
            "Records rejected, wholly or in part",
            metrics.rejected.clone(),
        );
        registry.register("sealed", "Sets of blocks sealed, by cause", metrics.sealed.clone());
        registry.register("lag_records", "Records in the log that are not taken in yet", metrics.lag.clone());
        registry.register(
            "open_bytes",
            "Memory of spans that no entry names yet",
            metrics.open_bytes.clone(),
        );
        registry.register(
            "recent_bytes",
            "Memory of spans kept after an entry named them",
            metrics.recent_bytes.clone(),
        );
        registry.register("partitions", "Partitions held", metrics.partitions.clone());
        registry.register(
            "partition_refused",
            "1 while nothing of the partition is stored until somebody helps",
            metrics.refused.clone(),
        );
        for (name, help, histogram) in [
            ("seal", "Time to sort a set of blocks", &metrics.seal_seconds),
            (
                "store",
                "Time to encode and upload a set of blocks, and to put rejected records aside",
                &metrics.store_seconds,
            ),
            ("list", "Time to append a ledger entry", &metrics.list_seconds),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        metrics
    }

    pub(crate) fn rejected(&self, reason: RejectReason) {
        self.rejected.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    /// How many records were rejected so.
    #[cfg(test)]
    pub(crate) fn rejected_of(&self, reason: &'static str) -> u64 {
        self.rejected.get_or_create(&ReasonLabel { reason }).get()
    }

    pub(crate) fn sealed(&self, cause: SealCause) {
        self.sealed.get_or_create(&CauseLabel { cause: cause.as_str() }).inc();
    }

    pub(crate) fn set_lag(&self, partition: Partition, records: u64) {
        set(&self.lag, partition, records);
    }

    pub(crate) fn set_refused(&self, partition: Partition, refused: bool) {
        set(&self.refused, partition, u64::from(refused));
    }

    pub(crate) fn set_memory(&self, partition: Partition, open: usize, recent: usize) {
        set(&self.open_bytes, partition, open as u64);
        set(&self.recent_bytes, partition, recent as u64);
    }

    /// Takes the figures of a partition that is no longer held off the page.
    pub(crate) fn forget(&self, partition: Partition) {
        let label = PartitionLabel { partition: partition.0 };
        for family in [&self.lag, &self.open_bytes, &self.recent_bytes, &self.refused] {
            family.remove(&label);
        }
    }
}

fn set(family: &Family<PartitionLabel, Gauge>, partition: Partition, value: u64) {
    let label = PartitionLabel { partition: partition.0 };
    family.get_or_create(&label).set(i64::try_from(value).unwrap_or(i64::MAX));
}

pub(crate) fn observe(histogram: &Histogram, duration: Duration) {
    histogram.observe(duration.as_secs_f64());
}
