//! The prober: writes unique traces by OTLP at a steady small rate and reads them back by id, by search and by exact
//! counts, all the time. It is a client like any other and knows nothing of how Vivace works.
//! Owns: what is sent, what an answer must hold, and the count of what did not.
//! Does not own: a process, ports or signals (the binary); what is broken meanwhile (the tests).
//! Guarantee: no answer is taken for right that lacks an acknowledged span or holds one twice; memory is bounded.

mod api;
mod book;
mod check;
mod config;
mod metrics;
mod probe;
mod sender;
mod spans;

pub use api::{Api, ApiError, FoundTrace};
pub use config::Config;
pub use metrics::{Metrics, Tally};
pub use probe::Probe;
