//! Messages of Tempo's query API, written by hand from their published names and field numbers: OTLP's types come from
//! another crate, and its .proto files are not ours to copy.

use prost::{Enumeration, Message};

use crate::otlp::trace::ResourceSpans;

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
