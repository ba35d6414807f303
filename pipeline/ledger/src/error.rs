use std::sync::Arc;

use vivace_model::ErrorKind;

use crate::{PartitionState, Violation};

/// Why the ledger did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store did not answer, or said no. An append may have happened nevertheless: append the same proposal to the
    /// same known state again to learn it, and delete nothing that it names before that.
    #[error("failed to {action} {path}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// The object.
        path: String,
        /// What the store said.
        source: Arc<object_store::Error>,
    },
    /// Another writer's entry took the number. What was proposed is not in the chain.
    #[error("{path} was written by another writer, the chain has moved on to entry {}", current.sequence())]
    Conflict {
        /// The entry's path.
        path: String,
        /// The newest state: propose anew on top of it, or drop the work.
        current: PartitionState,
    },
    /// What was read cannot be right, and a retry reads the same: stop, and let a human look.
    #[error("{path} is damaged or out of place")]
    Corrupt {
        /// The object.
        path: String,
        /// What is wrong with it.
        source: Violation,
    },
    /// What was asked breaks a rule; nothing was written.
    #[error("cannot use {path}")]
    Invalid {
        /// The path that the entry would have had.
        path: String,
        /// The rule.
        source: Violation,
    },
}

impl LedgerError {
    /// What the caller should do.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Conflict { .. } => ErrorKind::Fenced,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Invalid { .. } => ErrorKind::Invalid,
        }
    }
}
