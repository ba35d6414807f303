use vivace_model::{ErrorKind, WorkEnd};

use crate::ParseError;

/// Why a search cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The query makes no sense, or none on this data (a division of integers by zero).
    #[error("{0}")]
    Query(String),
    /// It needs more memory than it may take. Says which limit, and what to do.
    #[error("{0}")]
    TooLarge(String),
    /// A batch has other columns than its schema says.
    #[error("spans are of another form than expected: {0}")]
    Batch(String),
    /// The work took too long, or its answer is no longer needed.
    #[error(transparent)]
    Ended(#[from] WorkEnd),
}

impl EvalError {
    /// What to do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Query(_) | Self::TooLarge(_) | Self::Ended(WorkEnd::OutOfTime { .. }) => ErrorKind::Invalid,
            Self::Ended(WorkEnd::Cancelled) => ErrorKind::Unavailable,
            Self::Batch(_) => ErrorKind::Corrupt,
        }
    }
}

impl From<ParseError> for EvalError {
    fn from(error: ParseError) -> Self {
        Self::Query(error.to_string())
    }
}
