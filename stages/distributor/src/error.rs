use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::StatusCode;
use tonic::Code;
use vivace_log::LogError;
use vivace_memory::Short;
use vivace_model::otlp::WalkError;
use vivace_model::{ErrorKind, TenantError};

use crate::metrics::Outcome;

/// Why the distributor did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum DistributorError {
    /// A setting that cannot be.
    #[error("{0}")]
    Config(String),
    /// A port could not be opened.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address that was set.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A server's task panicked.
    #[error("a server of the distributor stopped")]
    Server(#[source] tokio::task::JoinError),
}

impl DistributorError {
    /// What the caller should do.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) => ErrorKind::Invalid,
            Self::Listen { .. } => ErrorKind::Unavailable,
            Self::Server(_) => ErrorKind::Corrupt,
        }
    }
}

/// Why a request was refused. Its text is for the sender.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{0}")]
    Tenant(#[from] TenantError),
    #[error("request is larger than {max} bytes")]
    TooLarge { max: usize },
    #[error("request is larger than {max} bytes after decompression")]
    TooLargePlain { max: usize },
    #[error("encoding {0:?} is not supported; use identity, gzip or zstd")]
    Encoding(String),
    #[error("malformed gRPC message: {0}")]
    Frame(&'static str),
    #[error("request cannot be decompressed: {0}")]
    Decompress(io::Error),
    #[error("malformed OTLP JSON: {0}")]
    Json(serde_json::Error),
    #[error("{0}")]
    Walk(#[from] WalkError),
    #[error("request body ended early")]
    Disconnected(#[source] axum::Error),
    #[error("request did not arrive within {}s", .0.as_secs_f64())]
    Slow(Duration),
    #[error("too many bytes of requests are in work: {0}")]
    Busy(#[from] Short),
    #[error("the message log cannot take more at the moment; try again later")]
    LogFull,
    #[error("the disk of the message log is full; try again later")]
    LogDiskFull(#[source] LogError),
    #[error("the message log did not acknowledge the spans; try again")]
    Log(#[source] LogError),
    #[error("the message log did not acknowledge the spans within {}s; try again", .0.as_secs_f64())]
    LogSlow(Duration),
    #[error("the message log does not take what the distributor writes; see the distributor's log")]
    LogRefused(#[source] LogError),
    #[error("internal error; see the distributor's log")]
    Task(#[source] tokio::task::JoinError),
}

impl From<LogError> for RequestError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Full => Self::LogFull,
            LogError::Storage { ref source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Self::LogDiskFull(error)
            }
            // No retry makes it fit: the limits of distributor and log contradict each other.
            LogError::TooLarge { .. } => Self::LogRefused(error),
            // A missing topic too: whoever puts that right should not have lost spans meanwhile.
            error => Self::Log(error),
        }
    }
}

impl RequestError {
    /// What the sender should do.
    pub(crate) const fn kind(&self) -> ErrorKind {
        match self {
            Self::Tenant(_)
            | Self::TooLarge { .. }
            | Self::TooLargePlain { .. }
            | Self::Encoding(_)
            | Self::Frame(_)
            | Self::Decompress(_)
            | Self::Json(_)
            | Self::Walk(_) => ErrorKind::Invalid,
            Self::Disconnected(_)
            | Self::Slow(_)
            | Self::Busy(_)
            | Self::LogFull
            | Self::LogDiskFull(_)
            | Self::Log(_)
            | Self::LogSlow(_) => ErrorKind::Unavailable,
            Self::LogRefused(_) | Self::Task(_) => ErrorKind::Corrupt,
        }
    }

    /// The gRPC status. OTLP lets senders retry after `OUT_OF_RANGE`, so a request that is too large is an invalid one.
    pub(crate) const fn code(&self) -> Code {
        match self {
            Self::Tenant(TenantError::Missing) => Code::Unauthenticated,
            Self::Encoding(_) => Code::Unimplemented,
            Self::Disconnected(_) => Code::Cancelled,
            Self::Busy(_) | Self::LogFull => Code::ResourceExhausted,
            _ => match self.kind() {
                ErrorKind::Invalid => Code::InvalidArgument,
                ErrorKind::Unavailable => Code::Unavailable,
                ErrorKind::Fenced | ErrorKind::Corrupt => Code::Internal,
            },
        }
    }

    /// The HTTP status.
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Tenant(TenantError::Missing) => StatusCode::UNAUTHORIZED,
            Self::TooLarge { .. }
            | Self::TooLargePlain { .. }
            | Self::Walk(WalkError::OutputTooLarge { .. } | WalkError::TooLarge { .. }) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Disconnected(_) => StatusCode::BAD_REQUEST,
            Self::Busy(_) | Self::LogFull => StatusCode::TOO_MANY_REQUESTS,
            _ => match self.kind() {
                ErrorKind::Invalid => StatusCode::BAD_REQUEST,
                ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                ErrorKind::Fenced | ErrorKind::Corrupt => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    pub(crate) const fn outcome(&self) -> Outcome {
        match self {
            Self::Tenant(_) => Outcome::Tenant,
            Self::TooLarge { .. }
            | Self::TooLargePlain { .. }
            | Self::Walk(WalkError::OutputTooLarge { .. } | WalkError::TooLarge { .. }) => Outcome::TooLarge,
            Self::Encoding(_) | Self::Frame(_) | Self::Decompress(_) | Self::Json(_) | Self::Walk(_) => {
                Outcome::Invalid
            }
            Self::Disconnected(_) => Outcome::Cancelled,
            Self::Slow(_) => Outcome::Slow,
            Self::Busy(_) => Outcome::Busy,
            Self::LogFull | Self::LogDiskFull(_) => Outcome::LogFull,
            Self::Log(_) | Self::LogSlow(_) => Outcome::LogUnavailable,
            Self::LogRefused(_) | Self::Task(_) => Outcome::Internal,
        }
    }
}
