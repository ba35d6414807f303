//! What can go wrong in the compactor, and what follows from it.

use std::error::Error;
use std::fmt::Write as _;

use vivace_block::BlockError;
use vivace_ledger::LedgerError;
use vivace_log::LogError;
use vivace_model::ErrorKind;
use vivace_runtime::{Injected, Panicked};

/// Why a compactor ended.
#[derive(Debug, thiserror::Error)]
pub enum CompactorError {
    /// Settings that cannot be worked with.
    #[error("{0}")]
    Config(String),
    /// The consumer group does not let it in.
    #[error("lost the membership in consumer group {group}")]
    Group {
        /// Name of the group.
        group: String,
        /// What the log said.
        source: LogError,
    },
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The store cannot be listed.
    #[error("failed to list {what}")]
    List {
        /// Which files.
        what: &'static str,
        /// What the store said.
        source: object_store::Error,
    },
}

impl CompactorError {
    /// What the caller should do.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) => ErrorKind::Invalid,
            Self::Group { source, .. } => source.kind(),
            Self::Ledger(source) => source.kind(),
            Self::List { .. } => ErrorKind::Unavailable,
        }
    }
}

/// Why a job was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error("failed to merge {inputs} blocks")]
    Merge { inputs: usize, source: BlockError },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Injected(#[from] Injected),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl JobError {
    pub(crate) const fn kind(&self) -> ErrorKind {
        match self {
            Self::Merge { source, .. } => source.kind(),
            Self::Ledger(source) => source.kind(),
            Self::Injected(_) => ErrorKind::Unavailable,
            Self::Panicked(_) => ErrorKind::Corrupt,
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
