//! Counts what goes through a log.
//! Owns: the metrics of the log, and the decorator that keeps them. Does not own: exposing them.

use std::sync::Arc;

use async_trait::async_trait;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use vivace_model::{Offset, OffsetRange, Partition};

use crate::{Log, LogError, Membership, NewRecord, Reader, Record, SharedLog, TopicSpec};

/// Topics are few and named by settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabel {
    topic: String,
}

/// Metrics of the log.
#[derive(Clone, Debug)]
pub struct Metrics {
    appended_records: Family<TopicLabel, Counter>,
    appended_bytes: Family<TopicLabel, Counter>,
    append_errors: Family<TopicLabel, Counter>,
    append_seconds: Family<TopicLabel, Histogram>,
    read_records: Family<TopicLabel, Counter>,
    read_bytes: Family<TopicLabel, Counter>,
    read_errors: Family<TopicLabel, Counter>,
}

impl Metrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            appended_records: Family::default(),
            appended_bytes: Family::default(),
            append_errors: Family::default(),
            append_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_5, 2.0, 16))
            }),
            read_records: Family::default(),
            read_bytes: Family::default(),
            read_errors: Family::default(),
        };
        let counters = [
            ("vivace_log_appended_records", "Records that the log acknowledged", &metrics.appended_records),
            ("vivace_log_appended_bytes", "Bytes of their values", &metrics.appended_bytes),
            (
                "vivace_log_append_errors",
                "Appends that the log refused or did not answer",
                &metrics.append_errors,
            ),
            ("vivace_log_read_records", "Records read", &metrics.read_records),
            ("vivace_log_read_bytes", "Bytes of their values", &metrics.read_bytes),
            ("vivace_log_read_errors", "Reads that failed", &metrics.read_errors),
        ];
        for (name, help, family) in counters {
            registry.register(name, help, family.clone());
        }
        let help = "Time from append to acknowledgement";
        registry.register("vivace_log_append_seconds", help, metrics.append_seconds.clone());
        metrics
    }
}

/// A log that counts what goes through it.
#[derive(Debug)]
pub struct Measured {
    inner: SharedLog,
    metrics: Metrics,
}

impl Measured {
    /// Counts what goes through `inner`.
    #[must_use]
    pub fn new(inner: SharedLog, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { inner, metrics })
    }
}

#[async_trait]
impl Log for Measured {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.inner.ensure_topic(spec).await
    }

    async fn grow_topic(&self, topic: &str, partitions: u32) -> Result<(), LogError> {
        self.inner.grow_topic(topic, partitions).await
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        let (count, bytes) =
            (records.len() as u64, records.iter().map(|record| record.value.len() as u64).sum());
        let started = Instant::now();
        let result = self.inner.append(topic, records).await;
        let label = TopicLabel { topic: topic.to_owned() };
        match &result {
            Ok(_) => {
                self.metrics.append_seconds.get_or_create(&label).observe(started.elapsed().as_secs_f64());
                self.metrics.appended_records.get_or_create(&label).inc_by(count);
                self.metrics.appended_bytes.get_or_create(&label).inc_by(bytes);
            }
            Err(_) => {
                self.metrics.append_errors.get_or_create(&label).inc();
            }
        }
        result
    }

    async fn watermarks(&self, topic: &str, partition: Partition) -> Result<OffsetRange, LogError> {
        self.inner.watermarks(topic, partition).await
    }

    async fn read(
        &self,
        topic: &str,
        partition: Partition,
        from: Offset,
    ) -> Result<Box<dyn Reader>, LogError> {
        let inner = self.inner.read(topic, partition, from).await?;
        let label = TopicLabel { topic: topic.to_owned() };
        Ok(Box::new(MeasuredReader {
            inner,
            records: self.metrics.read_records.get_or_create_owned(&label),
            bytes: self.metrics.read_bytes.get_or_create_owned(&label),
            errors: self.metrics.read_errors.get_or_create_owned(&label),
        }))
    }

    fn reader_bytes(&self) -> usize {
        self.inner.reader_bytes()
    }

    fn copies_appended(&self) -> bool {
        self.inner.copies_appended()
    }

    async fn join(&self, topic: &str, group: &str) -> Result<Box<dyn Membership>, LogError> {
        self.inner.join(topic, group).await
    }
}

#[derive(Debug)]
struct MeasuredReader {
    inner: Box<dyn Reader>,
    records: Counter,
    bytes: Counter,
    errors: Counter,
}

#[async_trait]
impl Reader for MeasuredReader {
    async fn next(&mut self, bytes_max: usize) -> Result<Vec<Record>, LogError> {
        let result = self.inner.next(bytes_max).await;
        match &result {
            Ok(records) => {
                self.records.inc_by(records.len() as u64);
                self.bytes.inc_by(records.iter().map(|record| record.value.len() as u64).sum());
            }
            Err(_) => {
                self.errors.inc();
            }
        }
        result
    }
}
