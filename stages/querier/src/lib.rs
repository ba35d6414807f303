//! Runs jobs: finds the spans of a trace, or what a search asks for, in blocks, at the ingester that owns a partition, or
//! in the log's tail.
//! Owns: who owns a partition at present, how recent data is asked for and what happens when nobody answers, the
//! limits of a job.
//! Does not own: which jobs make up a query, the View, putting pieces of a trace together (query-frontend); reading a
//! block (vivace-block); what a query means (vivace-traceql); recent data itself (ingester).
//! Guarantee: the answer to a job about recent data holds every record from the asked offset up to the offset that it
//! names, each once; and that offset is not below the end of the log when the job began, if the log could tell it.

mod answer;
mod blocks;
mod compute;
mod config;
mod error;
mod fail_points;
mod metrics;
mod owners;
mod panics;
mod querier;
mod recent;
mod recent_columns;
mod recent_services;
mod recent_trace;
mod search;
mod tail;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use error::JobError;
pub use fail_points::FAIL_POINTS;
pub use metrics::Metrics;
pub use querier::{Parts, Querier};
pub use recent_services::RecentServices;
