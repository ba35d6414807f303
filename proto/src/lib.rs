//! The messages that Vivace speaks: OTLP, Tempo's query API, the calls between its own stages.
//! Owns: their Rust types, and how a trace is cut into messages.
//! Does not own: any meaning; nothing here reads, plans or stores.

pub mod internal;
pub mod owners;
pub mod parts;
pub mod tempopb;

/// OTLP's messages as the `opentelemetry-proto` crate generates them.
pub mod otlp {
    pub use opentelemetry_proto::tonic::common::v1 as common;
    pub use opentelemetry_proto::tonic::resource::v1 as resource;
    pub use opentelemetry_proto::tonic::trace::v1 as trace;

    /// Export requests and the trace service.
    pub mod collector {
        pub use opentelemetry_proto::tonic::collector::trace::v1 as trace;
    }
}
