use std::error::Error;
use std::sync::Arc;

use object_store::path::Path;
use vivace_model::ErrorKind;

/// Why a block could not be written or read. Cheap to clone, because all who wait for one read get its error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BlockError {
    /// The file is not there: most likely it was replaced or it expired, and a fresh View does not name it.
    #[error("block {path} does not exist")]
    Missing {
        /// Its path in the store.
        path: Path,
    },
    /// The store did not answer or said no.
    #[error("failed to read block {path}")]
    Read {
        /// Its path in the store.
        path: Path,
        /// What the store said.
        source: Arc<object_store::Error>,
    },
    /// The file is not what a block must be.
    #[error("block {path} is damaged")]
    Corrupt {
        /// Its path in the store.
        path: Path,
        /// What is wrong with it.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// A column has another type than a block's column of that name.
    #[error("column {column} is {actual} but must be {expected}")]
    ColumnType {
        /// Name of the column.
        column: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        actual: String,
    },
    /// A column holds a value that no block can hold.
    #[error("column {column} holds a value that cannot be: {reason}")]
    Value {
        /// Name of the column.
        column: String,
        /// What is wrong with the value.
        reason: String,
    },
    /// The store did not take a file, or did not say so.
    #[error("failed to write block {path}")]
    Write {
        /// Its path in the store.
        path: Path,
        /// What the store said.
        source: Arc<object_store::Error>,
    },
    /// Who decides which traces are kept could not.
    #[error("failed to decide which traces to keep")]
    Keep {
        /// What it said.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// Rows could not be made into columns or a file.
    #[error("failed to encode a block")]
    Encode {
        /// What the encoder said.
        source: Arc<dyn Error + Send + Sync>,
    },
}

impl BlockError {
    /// What the caller should do.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            // Look again with a fresh View.
            Self::Missing { .. } | Self::Read { .. } | Self::Write { .. } => ErrorKind::Unavailable,
            Self::Corrupt { .. }
            | Self::ColumnType { .. }
            | Self::Value { .. }
            | Self::Keep { .. }
            | Self::Encode { .. } => ErrorKind::Corrupt,
        }
    }

    /// The file at `path` is damaged.
    pub(crate) fn corrupt(path: &Path, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Corrupt { path: path.clone(), source: Arc::from(source.into()) }
    }

    /// The encoder failed.
    pub(crate) fn encode(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Encode { source: Arc::from(source.into()) }
    }

    /// A value in `column` is wrong.
    pub(crate) fn value(column: &str, reason: impl Into<String>) -> Self {
        Self::Value { column: column.to_owned(), reason: reason.into() }
    }
}
