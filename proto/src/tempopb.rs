//! Messages of Tempo's query API, see `tempopb/tempo.proto`. Those about one trace hold OTLP's whole tree of types, which
//! comes from another crate, so they are written by hand from their published names and field numbers.

use prost::{Enumeration, Message};

use crate::otlp::trace::ResourceSpans;

mod generated {
    #![allow(
        missing_docs,
        missing_debug_implementations,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::clone_on_ref_ptr,
        clippy::let_underscore_must_use,
        clippy::match_wildcard_for_single_variants,
        clippy::too_many_lines,
        clippy::unwrap_used,
        clippy::use_self,
        reason = "generated; the .proto holds the documentation"
    )]
    tonic::include_proto!("tempopb");
}

pub use generated::*;

/// A trace; the same bytes as OTLP's `TracesData`.
#[derive(Clone, PartialEq, Message)]
pub struct Trace {
    /// The spans, grouped by resource and scope.
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpans>,
}

/// What finding a trace took.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct TraceByIdMetrics {
    /// Bytes read from storage.
    #[prost(uint64, tag = "1")]
    pub inspected_bytes: u64,
}

/// Whether an answer holds everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum PartialStatus {
    /// It does.
    Complete = 0,
    /// It does not; the message beside it says why.
    Partial = 1,
}

/// Answer of `/api/v2/traces/{id}`.
#[derive(Clone, PartialEq, Message)]
pub struct TraceByIdResponse {
    /// The trace. Present even when there is none: then it is empty.
    #[prost(message, optional, tag = "1")]
    pub trace: Option<Trace>,
    /// What finding it took.
    #[prost(message, optional, tag = "2")]
    pub metrics: Option<TraceByIdMetrics>,
    /// Whether it is the whole trace.
    #[prost(enumeration = "PartialStatus", tag = "3")]
    pub status: i32,
    /// Why not.
    #[prost(string, tag = "4")]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_trace_is_an_empty_message_not_an_absent_one() {
        let response = TraceByIdResponse {
            trace: Some(Trace::default()),
            metrics: Some(TraceByIdMetrics { inspected_bytes: 1 }),
            status: PartialStatus::Partial.into(),
            message: "m".into(),
        };
        assert_eq!(response.encode_to_vec(), [0x0a, 0, 0x12, 2, 8, 1, 0x18, 1, 0x22, 1, b'm']);
    }
}
