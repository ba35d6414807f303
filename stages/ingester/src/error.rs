//! What can go wrong in the ingester, and what follows from it.

use std::error::Error;
use std::fmt::Write as _;

use vivace_block::BlockError;
use vivace_ledger::LedgerError;
use vivace_log::LogError;
use vivace_model::{ErrorKind, Offset, OffsetRange, Partition};
use vivace_runtime::{Injected, Panicked};

use crate::quarantine::FailedSet;

/// Why an ingester ended.
#[derive(Debug, thiserror::Error)]
pub enum IngesterError {
    /// Settings that cannot be worked with.
    #[error("{0}")]
    Config(String),
    /// The consumer group does not let it in, or another one took its place.
    #[error("lost the membership in consumer group {group}")]
    Group {
        /// Name of the group.
        group: String,
        /// What the log said.
        source: LogError,
    },
}

impl IngesterError {
    /// What the caller should do.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) => ErrorKind::Invalid,
            Self::Group { source, .. } => source.kind(),
        }
    }
}

/// Why work on a partition cannot go on as it did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    #[error("failed to {action}")]
    Log { action: &'static str, source: LogError },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("the ledger goes on to offset {end} by someone else's work, ours starts at {start}")]
    Fenced { start: Offset, end: Offset },
    #[error(
        "the ledger ends at offset {end}, but the topic holds only {watermarks}: it is not the topic that was ingested. If \
         it was deleted and made anew, say so by `vivace replay --new-topic --partition {partition}`"
    )]
    Recreated { partition: Partition, end: Offset, watermarks: OffsetRange },
    #[error(
        "the record before the ledger's end {end} is not the one that was ingested: it is not the same topic. If it was \
         deleted and made anew, say so by `vivace replay --new-topic --partition {partition}`"
    )]
    Replaced { partition: Partition, end: Offset },
    #[error(transparent)]
    Injected(#[from] Injected),
    #[error("failed to build a block of offsets {offsets}")]
    Block { offsets: OffsetRange, source: BlockError },
    #[error("failed to take in the record at offset {offset}")]
    Record { offset: Offset, source: Panicked },
    #[error("failed to make blocks of offsets {}", set.offsets)]
    Set { set: FailedSet, source: SetError },
}

/// Why no blocks could be made of a set of records, although log and store answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetError {
    #[error(transparent)]
    Panicked(#[from] Panicked),
    #[error(transparent)]
    Block(#[from] BlockError),
}

impl PipelineError {
    pub(crate) const fn kind(&self) -> ErrorKind {
        match self {
            Self::Log { source, .. } => source.kind(),
            Self::Ledger(source) => source.kind(),
            Self::Injected(_) => ErrorKind::Unavailable,
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::Recreated { .. }
            | Self::Replaced { .. }
            | Self::Block { .. }
            | Self::Record { .. }
            | Self::Set { .. } => ErrorKind::Corrupt,
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _written = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
