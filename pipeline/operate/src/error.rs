use std::error::Error;

use vivace_block::BlockError;
use vivace_ledger::LedgerError;
use vivace_model::ErrorKind;
use vivace_traceql::EvalError;

/// Why an operator's wish was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The store did not answer, or said no.
    #[error("failed to {action}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// What the store said.
        source: object_store::Error,
    },
    /// The ledger could not be read, or did not take an entry.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A block could not be read or written.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The query is none, or cannot be evaluated.
    #[error("failed to evaluate the query")]
    Query(#[from] EvalError),
    /// It makes no sense, or would do harm.
    #[error("{0}")]
    Refused(String),
}

impl OperateError {
    /// What the caller should do.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Store { .. } => ErrorKind::Unavailable,
            Self::Ledger(source) => source.kind(),
            Self::Block(source) => source.kind(),
            Self::Query(source) => source.kind(),
            Self::Refused(_) => ErrorKind::Invalid,
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
