//! The message log: durable, partitioned, ordered records.
//! Owns: the traits that the stages speak to a log through, and their three implementations: Kafka, the embedded
//! local log, and a deterministic in-memory log for tests.
//! Does not own: what a record holds, which offset to start from (the ledger knows), when to commit.
//! Guarantee: an append is acknowledged only when the records are durable; a reader sees each record of its
//! partition once and in order.

mod config;
#[doc(hidden)]
pub mod contract;
mod coordinator;
mod error;
pub mod kafka;
pub mod local;
pub mod memory;
mod metrics;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use vivace_model::{Offset, OffsetRange, Partition, UnixNanos};

pub use config::{
    Compression, KafkaConfig, LocalConfig, LogConfig, SaslMechanism, SecurityProtocol, TopicsConfig,
};
pub use error::LogError;
pub use kafka::KafkaLog;
pub use local::LocalLog;
pub use memory::MemoryLog;
pub use metrics::{Measured, Metrics};

/// One record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// Where it goes; whoever appends has chosen.
    pub partition: Partition,
    /// Key, for compacted topics; elsewhere absent.
    pub key: Option<Bytes>,
    /// Headers in order; names are ASCII.
    pub headers: Vec<(String, Bytes)>,
    /// The payload.
    pub value: Bytes,
}

/// One record as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// When the log took it.
    pub timestamp: UnixNanos,
    /// Key, if it has one.
    pub key: Option<Bytes>,
    /// Headers in order.
    pub headers: Vec<(String, Bytes)>,
    /// The payload; empty for a tombstone.
    pub value: Bytes,
}

impl Record {
    /// The first header of that name, in any case of letters.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_ref())
    }
}

/// How a topic should be made and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name of the topic.
    pub name: String,
    /// Number of partitions.
    pub partitions: u32,
    /// Replicas of each partition (Kafka only).
    pub replication: u16,
    /// How long records stay.
    pub retention: Retention,
}

/// How long a topic keeps its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// For that time; the embedded log instead keeps what some group has not committed yet.
    Time(Duration),
    /// The newest record of each key; the embedded log keeps all of the newest segments.
    Compacted,
}

/// Change of what a member of a consumer group has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// These partitions are now ours.
    Gained(Vec<Partition>),
    /// These partitions are no longer ours: work on them must stop and be dropped.
    Lost(Vec<Partition>),
}

/// A message log. Every topic that is used was passed to [`Log::ensure_topic`] before.
#[async_trait]
pub trait Log: Send + Sync + fmt::Debug {
    /// Creates the topic if it is missing and creation is allowed, and compares it with `spec` otherwise.
    ///
    /// # Errors
    /// [`LogError::TopicMissing`], [`LogError::TopicDiffers`] when partition counts differ, or the log is unreachable.
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError>;

    /// Adds partitions to a topic, so that it has that many; those that are there stay as they are. Done at start, before
    /// this process uses the topic. Nothing happens if it has as many already.
    ///
    /// # Errors
    /// [`LogError::TopicMissing`], [`LogError::TopicDiffers`] if it has more, for none can be taken away; or the log is
    /// unreachable.
    async fn grow_topic(&self, topic: &str, partitions: u32) -> Result<(), LogError>;

    /// Appends records to a topic and returns their offsets, in the order given, once all are durable. Records of one
    /// partition keep their order. On an error some of them may be in the log.
    ///
    /// # Errors
    /// [`LogError::Full`] if too much is in flight already, [`LogError::TooLarge`] for a record over the log's limit,
    /// [`LogError::PartitionMissing`], [`LogError::Storage`] or [`LogError::Unavailable`] otherwise.
    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError>;

    /// The offsets that a partition holds: the first one kept and the one the next record will get.
    ///
    /// # Errors
    /// When the topic or partition does not exist or the log is unreachable.
    async fn watermarks(&self, topic: &str, partition: Partition) -> Result<OffsetRange, LogError>;

    /// Opens a reader at an offset. It is no member of a group and commits nothing.
    ///
    /// # Errors
    /// When the log is unreachable. An offset outside of the watermarks is reported by the first read.
    async fn read(
        &self,
        topic: &str,
        partition: Partition,
        from: Offset,
    ) -> Result<Box<dyn Reader>, LogError>;

    /// Memory that a reader may hold of records that nobody asked it for yet. Who opens one reserves it.
    fn reader_bytes(&self) -> usize {
        0
    }

    /// Whether the log holds a copy of each record until it is durable, beside the record itself. Who appends reserves it.
    fn copies_appended(&self) -> bool {
        false
    }

    /// Joins a consumer group on one topic.
    ///
    /// # Errors
    /// When the log is unreachable.
    async fn join(&self, topic: &str, group: &str) -> Result<Box<dyn Membership>, LogError>;
}

/// Reads one partition in order.
#[async_trait]
pub trait Reader: Send + fmt::Debug {
    /// Waits until there is at least one record and gives what is at hand, up to about `bytes_max` (one record at
    /// least). Safe to drop at any await: no record is lost by it.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] when the next offset is no longer, or not yet, in the partition;
    /// [`LogError::Unavailable`] when the log does not answer (the reader may be used again).
    async fn next(&mut self, bytes_max: usize) -> Result<Vec<Record>, LogError>;
}

/// Membership of a consumer group: says which partitions are ours. Dropping it leaves the group.
#[async_trait]
pub trait Membership: Send + fmt::Debug {
    /// Waits for the next change. Safe to drop at any await.
    ///
    /// # Errors
    /// When the group is lost for good (fenced by another member of the same static name, say).
    async fn next(&mut self) -> Result<Assignment, LogError>;

    /// Notes that everything below `offset` was dealt with. A hint for lag monitors, and what the embedded log
    /// truncates by; nobody starts from it.
    ///
    /// # Errors
    /// When the log is unreachable or the partition is no longer ours; both may be ignored by the caller.
    async fn commit(&self, partition: Partition, offset: Offset) -> Result<(), LogError>;

    /// Leaves the group at once, so that others take over without waiting for a session to time out.
    async fn leave(self: Box<Self>);
}

/// A log that several parts of a process share.
pub type SharedLog = Arc<dyn Log>;
