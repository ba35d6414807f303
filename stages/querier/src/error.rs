use std::time::Duration;

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use vivace_block::BlockError;
use vivace_log::LogError;
use vivace_memory::Short;
use vivace_model::{ErrorKind, Offset, Partition, WorkEnd};
use vivace_proto::internal::BLOCK_METADATA;
use vivace_runtime::{Injected, Panicked};
use vivace_traceql::EvalError;

/// Why a job has no answer.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The job cannot be understood.
    #[error("job is not valid: {0}")]
    Invalid(String),
    /// Too many jobs wait already.
    #[error("querier has too many jobs waiting (VIVACE_QUERIER_JOBS_WAITING_MAX), try again later")]
    Busy,
    /// The asker's View is too old: a block is gone.
    #[error("block {path} is gone")]
    BlockGone {
        /// Where it was.
        path: String,
    },
    /// The asker's View, or the owner that answered, is too old: E is no boundary there.
    #[error("partition {partition}: {message}")]
    NoBoundary {
        /// The partition.
        partition: Partition,
        /// What the owner said.
        message: String,
    },
    /// The asker's View is too old: the log no longer holds the records after its end.
    #[error("partition {partition}: the log no longer holds offset {offset}")]
    Truncated {
        /// The partition.
        partition: Partition,
        /// The offset asked for.
        offset: Offset,
    },
    /// A block cannot be read.
    #[error("failed to read block {path}")]
    Block {
        /// Where it is.
        path: String,
        /// What is wrong.
        source: BlockError,
    },
    /// The log cannot be read.
    #[error("failed to read the log of partition {partition}")]
    Log {
        /// The partition.
        partition: Partition,
        /// What the log said.
        source: LogError,
    },
    /// The log did not tell in time where a partition ends.
    #[error("the log does not tell where partition {partition} ends, so the newest spans may be missing")]
    NoEnd {
        /// The partition.
        partition: Partition,
    },
    /// The log gives no records although it must have some.
    #[error("the log of partition {partition} gives nothing from offset {offset} on")]
    LogSilent {
        /// The partition.
        partition: Partition,
        /// The next offset.
        offset: Offset,
    },
    /// The query makes no sense, or spans are not as they must be.
    #[error(transparent)]
    Search(EvalError),
    /// An owner's columns cannot be read.
    #[error("columns of recent data cannot be read: {0}")]
    Recent(String),
    /// More recent data than a search may hold.
    #[error(
        "the search needs more than {bytes_max} bytes of recent data (VIVACE_QUERIER_SEARCH_RECENT_BYTES_MAX): narrow its time or its conditions"
    )]
    TooMuch {
        /// The limit.
        bytes_max: usize,
    },
    /// Memory is short.
    #[error(transparent)]
    Memory(#[from] Short),
    /// It waited too long for its turn.
    #[error("job waited {} s for its turn: too many run at the same time (VIVACE_QUERIER_JOBS_MAX), try again later", .0.as_secs())]
    Waited(Duration),
    /// The job takes more of the processors than it may.
    #[error(
        "the query needs more than {} of processor time in one job (VIVACE_QUERIER_JOB_CPU_MAX): narrow its time or its conditions, or use fewer regular expressions",
        humantime::format_duration(*cpu_max)
    )]
    OutOfTime {
        /// The limit.
        cpu_max: Duration,
    },
    /// The owner's part of the work takes more than it may.
    #[error("{0}")]
    OwnerOutOfTime(String),
    /// A test wants it so.
    #[error(transparent)]
    Injected(#[from] Injected),
    /// The job panicked.
    #[error("internal error in a job over {what}")]
    Panicked {
        /// What it was reading.
        what: String,
        /// What the panic said.
        source: Panicked,
    },
    /// The work was stopped from outside.
    #[error("job was stopped")]
    Stopped,
}

impl JobError {
    /// What the caller should do. A View that is too old is `Fenced`: refresh it, then ask anew.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::TooMuch { .. } | Self::OutOfTime { .. } | Self::OwnerOutOfTime(_) => {
                ErrorKind::Invalid
            }
            Self::Memory(short) => short.kind(),
            Self::Search(source) => source.kind(),
            Self::Recent(_) | Self::Panicked { .. } => ErrorKind::Corrupt,
            Self::BlockGone { .. } | Self::NoBoundary { .. } | Self::Truncated { .. } => ErrorKind::Fenced,
            Self::Block { source, .. } => source.kind(),
            Self::Log { source, .. } => source.kind(),
            Self::Busy
            | Self::Waited(_)
            | Self::NoEnd { .. }
            | Self::LogSilent { .. }
            | Self::Injected(_)
            | Self::Stopped => ErrorKind::Unavailable,
        }
    }

    /// A block that is gone makes the View that names it too old.
    pub(crate) fn of_block(path: &str, source: BlockError) -> Self {
        let path = path.to_owned();
        match source {
            BlockError::Missing { .. } => Self::BlockGone { path },
            source => Self::Block { path, source },
        }
    }

    /// The block that cannot be read because of what the store holds, so that the caller can answer without it. None
    /// while the store does not answer: what it holds is not known then.
    fn unreadable_block(&self) -> Option<&str> {
        match self {
            Self::BlockGone { path } => Some(path),
            Self::Block { path, source } if source.kind() == ErrorKind::Corrupt => Some(path),
            _ => None,
        }
    }

    /// The gRPC code that says the same. [`Code::OutOfRange`]: the search is sound but larger than a limit.
    #[must_use]
    pub const fn code(&self) -> Code {
        match (self, self.kind()) {
            (Self::Busy | Self::Waited(_), _) | (Self::Memory(_), ErrorKind::Unavailable) => {
                Code::ResourceExhausted
            }
            (Self::TooMuch { .. } | Self::Memory(_) | Self::Search(EvalError::TooLarge(_)), _)
            | (Self::OutOfTime { .. } | Self::OwnerOutOfTime(_), _) => Code::OutOfRange,
            (Self::Panicked { .. }, _) => Code::Internal,
            (_, ErrorKind::Invalid) => Code::InvalidArgument,
            (_, ErrorKind::Unavailable) => Code::Unavailable,
            (_, ErrorKind::Fenced) => Code::FailedPrecondition,
            (_, ErrorKind::Corrupt) => Code::DataLoss,
        }
    }
}

impl From<WorkEnd> for JobError {
    fn from(end: WorkEnd) -> Self {
        match end {
            WorkEnd::Cancelled => Self::Stopped,
            WorkEnd::OutOfTime { cpu_max } => Self::OutOfTime { cpu_max },
        }
    }
}

impl From<EvalError> for JobError {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Ended(end) => end.into(),
            error @ (EvalError::Query(_) | EvalError::TooLarge(_) | EvalError::Batch(_)) => {
                Self::Search(error)
            }
        }
    }
}

impl From<JobError> for Status {
    fn from(error: JobError) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        let mut metadata = MetadataMap::new();
        if let Some(path) = error.unreadable_block() {
            metadata.insert_bin(BLOCK_METADATA, MetadataValue::from_bytes(path.as_bytes()));
        }
        Self::with_metadata(error.code(), text, metadata)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn named(error: BlockError) -> (Code, Option<String>) {
        let status = Status::from(JobError::of_block("blocks/a.parquet", error));
        let path = status.metadata().get_bin(BLOCK_METADATA).map(|path| path.to_bytes().unwrap());
        (status.code(), path.map(|path| String::from_utf8(path.to_vec()).unwrap()))
    }

    #[test]
    fn only_what_the_store_holds_makes_a_block_unreadable() {
        let path = || "blocks/a.parquet".into();
        let name = Some("blocks/a.parquet".to_owned());
        assert_eq!(named(BlockError::Missing { path: path() }), (Code::FailedPrecondition, name.clone()));
        let source = Arc::from(Box::<dyn std::error::Error + Send + Sync>::from("no footer"));
        assert_eq!(named(BlockError::Corrupt { path: path(), source }), (Code::DataLoss, name));
        let source = Arc::new(object_store::Error::NotImplemented {
            operation: "get".into(),
            implementer: "a store that is down".into(),
        });
        assert_eq!(named(BlockError::Read { path: path(), source }), (Code::Unavailable, None));
    }
}
