//! The OTLP walk: checks an `ExportTraceServiceRequest` (the same bytes as `TracesData`) without decoding it, and
//! splits it into records by the partition of each span's trace.
//! Owns: which requests are well-formed, and how spans are grouped into records of a limited size.
//! Does not own: UTF-8 (checked where strings are decoded), where the bytes come from, where the records go.
//! Guarantee: every span of an accepted request is in exactly one record, byte for byte, under the resource, scope and
//! schema URLs it came with; or it is named as rejected. No record and no sum of records is over its limit.

mod check;
mod pack;
mod plan;
mod scan;
#[cfg(test)]
mod tests;
mod write;

use bytes::Bytes;

pub use plan::Plan;

use crate::wire::WireError;
use crate::{ErrorKind, IdError, Partition, TenantSpread, TraceId};

/// Bounds of what a walk may put out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one record's value, at most.
    pub record_bytes_max: usize,
    /// Bytes of all records of a request together, at most. A large resource that is copied into many records would
    /// otherwise turn a small request into a huge one.
    pub output_bytes_max: usize,
}

/// A record to be: plain OTLP `TracesData` whose spans all belong to one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpansRecord {
    /// The partition of all its spans.
    pub partition: Partition,
    /// `TracesData` as protobuf.
    pub value: Bytes,
    /// Number of spans in it.
    pub spans: usize,
}

/// A span that does not fit into a record together with its resource and scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectedSpan {
    /// Its place among all spans of the request, from 0.
    pub index: usize,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Bytes of a record that would hold nothing else.
    pub bytes: usize,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// The records, by partition; none for a request without spans.
    pub records: Vec<SpansRecord>,
    /// Spans that are in none of them.
    pub rejected: Vec<RejectedSpan>,
}

/// Why a whole request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// Not the protobuf that OTLP describes.
    #[error("malformed OTLP {message}: {source}")]
    Wire {
        /// The message that is malformed.
        message: &'static str,
        /// What is wrong with it.
        source: WireError,
    },
    /// Attribute values nested deeper than any decoder must follow.
    #[error("attribute values are nested deeper than {max} messages")]
    TooDeep {
        /// Levels of messages allowed below a span, resource or scope.
        max: u32,
    },
    /// A span with an id that OTLP does not allow.
    #[error("span {index}: {source}")]
    Id {
        /// Its place among all spans of the request, from 0.
        index: usize,
        /// What is wrong with the id.
        source: IdError,
    },
    /// Larger than any request may be.
    #[error("request of {bytes} bytes is larger than the walk takes")]
    TooLarge {
        /// Size of the request.
        bytes: usize,
    },
    /// Its records, with their copies of resources and scopes, would be too large together.
    #[error("request splits into more than {max} bytes of records; send smaller requests or resources")]
    OutputTooLarge {
        /// Bytes allowed.
        max: usize,
    },
}

impl WalkError {
    /// What the caller should do: always reject the request.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// Checks a request and splits it by partition. A request that is one record already is passed on without a copy.
///
/// # Errors
/// [`WalkError`] refuses the request as a whole.
pub fn walk(request: Bytes, spread: TenantSpread, limits: Limits) -> Result<Walked, WalkError> {
    Ok(Plan::new(request, spread, limits)?.into_records())
}
