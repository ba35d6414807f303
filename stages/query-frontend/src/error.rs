use http::StatusCode;
use tonic::{Code, Status};
use vivace_ledger::LedgerError;
use vivace_memory::Short;
use vivace_model::{ErrorKind, Partition, TenantError, WorkEnd};
use vivace_runtime::Panicked;
use vivace_traceql::EvalError;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The question cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// Nobody says whose data is asked for.
    #[error("no org id")]
    NoTenant,
    /// A tenant's name is not valid.
    #[error("{0}")]
    Tenant(TenantError),
    /// The trace is larger than one answer may be.
    #[error("{0}")]
    TooLarge(String),
    /// Too much is asked at the same time.
    #[error("{0}")]
    Busy(&'static str),
    /// Memory is short.
    #[error(transparent)]
    Memory(#[from] Short),
    /// The ledger has not been read yet.
    #[error("still starting: the ledger has not been read yet")]
    Starting,
    /// The ledger cannot be read.
    #[error("failed to read the ledger of partition {partition}")]
    Ledger {
        /// The partition.
        partition: Partition,
        /// What is wrong.
        source: LedgerError,
    },
    /// Whatever View was taken was too old for someone.
    #[error(
        "partition {partition} was asked {rounds} times, each time its ledger had moved on meanwhile: {message}"
    )]
    Stale {
        /// The partition.
        partition: Partition,
        /// How often.
        rounds: usize,
        /// What the last querier said.
        message: String,
    },
    /// A block is damaged, and the answer without it is of no use, or not to be given.
    #[error("{0}")]
    Damaged(String),
    /// A job failed wherever it was tried.
    #[error("job failed: {}", .0.message())]
    Job(Status),
    /// No answer in time.
    #[error("query was not answered within {0}")]
    Timeout(humantime::FormattedDuration),
    /// The work on the query panicked.
    #[error("internal error: the query {0}")]
    Panicked(Panicked),
    /// The work was stopped from inside.
    #[error("query was stopped")]
    Stopped,
}

impl QueryError {
    /// A querier answered something else than it was asked.
    pub(crate) fn unexpected_answer() -> Self {
        Self::Job(Status::data_loss("querier sent an answer of another kind than it was asked for"))
    }

    /// Our own work on the spans of a query failed.
    pub(crate) fn of_evaluation(error: EvalError) -> Self {
        match error {
            EvalError::Query(text) => Self::Invalid(text),
            EvalError::TooLarge(_) => Self::TooLarge(error.to_string()),
            EvalError::Batch(_) => Self::Job(Status::data_loss(error.to_string())),
            EvalError::Ended(WorkEnd::Cancelled) => Self::Stopped,
            EvalError::Ended(WorkEnd::OutOfTime { .. }) => {
                Self::TooLarge(format!("{error} (VIVACE_QUERY_FRONTEND_QUERY_TIMEOUT): ask for less"))
            }
        }
    }

    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::NoTenant | Self::Tenant(_) | Self::TooLarge(_) => ErrorKind::Invalid,
            Self::Ledger { source, .. } => source.kind(),
            Self::Memory(short) => short.kind(),
            Self::Damaged(_) => ErrorKind::Corrupt,
            Self::Job(status)
                if matches!(status.code(), Code::DataLoss | Code::InvalidArgument | Code::Internal) =>
            {
                ErrorKind::Corrupt
            }
            Self::Panicked(_) => ErrorKind::Corrupt,
            Self::Busy(_)
            | Self::Starting
            | Self::Stale { .. }
            | Self::Job(_)
            | Self::Timeout(_)
            | Self::Stopped => ErrorKind::Unavailable,
        }
    }

    /// The HTTP status that says the same.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoTenant => StatusCode::UNAUTHORIZED,
            Self::TooLarge(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Memory(short) if short.never => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy(_) | Self::Memory(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Job(status) if status.code() == Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            _ => match self.kind() {
                ErrorKind::Invalid => StatusCode::BAD_REQUEST,
                ErrorKind::Unavailable | ErrorKind::Fenced => StatusCode::SERVICE_UNAVAILABLE,
                ErrorKind::Corrupt => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    /// The gRPC status that says the same.
    pub(crate) fn grpc(&self) -> Status {
        let code = match self.status() {
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Code::InvalidArgument,
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
            StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            _ => Code::Internal,
        };
        Status::new(code, self.text())
    }

    /// The error and its causes in one line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queriers_client_errors_are_our_faults() {
        let status = |code| QueryError::Job(Status::new(code, "m")).status().as_u16();
        assert_eq!(status(Code::InvalidArgument), 500);
        assert_eq!(status(Code::DataLoss), 500);
        assert_eq!(status(Code::Internal), 500);
        assert_eq!(status(Code::ResourceExhausted), 429);
        assert_eq!(status(Code::Unavailable), 503);
    }
}
