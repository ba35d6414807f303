use vivace_model::{ErrorKind, Offset, OffsetRange, Partition};

/// Why the log did not do it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The topic is not there and may not be created.
    #[error("topic {0} does not exist and creating topics is switched off")]
    TopicMissing(String),
    /// The topic is not as it is set to be.
    #[error("topic {topic} has {actual} partitions, but {expected} are set")]
    TopicDiffers {
        /// Name of the topic.
        topic: String,
        /// Partitions set.
        expected: u32,
        /// Partitions found.
        actual: u32,
    },
    /// The topic has no such partition.
    #[error("topic {topic} has no partition {partition}")]
    PartitionMissing {
        /// Name of the topic.
        topic: String,
        /// The partition asked for.
        partition: Partition,
    },
    /// The next offset is not in the partition (any more, or yet).
    #[error("offset {offset} of {topic}/{partition} is outside of {watermarks}")]
    OffsetOutOfRange {
        /// Name of the topic.
        topic: String,
        /// The partition.
        partition: Partition,
        /// The offset asked for.
        offset: Offset,
        /// What the partition holds.
        watermarks: OffsetRange,
    },
    /// A record is larger than the log takes.
    #[error("record of {bytes} bytes is larger than the log takes")]
    TooLarge {
        /// Size of the record's value.
        bytes: usize,
    },
    /// Too much is in flight; try again a little later.
    #[error("too many bytes wait to be written to the log")]
    Full,
    /// The disk of the embedded log is full or failed.
    #[error("{action}")]
    Storage {
        /// What was tried.
        action: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log did not answer or said no.
    #[error("{action}")]
    Unavailable {
        /// What was tried.
        action: String,
        /// What the client library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another member took this one's place in the group.
    #[error("consumer group membership was taken over: {0}")]
    Fenced(String),
    /// What the log holds cannot be right.
    #[error("{0}")]
    Corrupt(String),
}

impl LogError {
    /// What the caller should do.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::TopicMissing(_)
            | Self::TopicDiffers { .. }
            | Self::PartitionMissing { .. }
            | Self::TooLarge { .. } => ErrorKind::Invalid,
            Self::Full | Self::Storage { .. } | Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Fenced(_) => ErrorKind::Fenced,
            Self::OffsetOutOfRange { .. } | Self::Corrupt(_) => ErrorKind::Corrupt,
        }
    }
}
