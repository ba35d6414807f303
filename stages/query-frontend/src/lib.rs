//! Takes questions over HTTP and gRPC, plans them as jobs for queriers, puts the answers together and gives them out in the form
//! of Tempo's API.
//! Owns: the View that questions go by, which jobs make up a question, how jobs are spread and retried, the API's
//! parameters, forms and errors.
//! Does not own: finding spans (querier), the chain behind the View (vivace-ledger), when spans are the same
//! (vivace-block), listening (the binary).
//! Guarantee: blocks and recent data of a partition in one answer go by one state of its ledger, so that no span is
//! missed or counted twice; an answer that lacks something says so.

mod answers;
mod budget;
mod compute;
mod config;
mod damage;
mod dispatch;
mod duration;
mod error;
mod frontend;
mod grpc;
mod http;
mod json;
mod metrics;
mod plan;
mod queriers;
mod queries;
mod replan;
mod request;
mod search;
#[cfg(test)]
mod tests;
mod trace_by_id;
mod trace_filter;
mod views;

pub use config::{Config, DamagedBlocks};
pub use error::QueryError;
pub use frontend::{Parts, QueryFrontend};
pub use grpc::StreamingApi;
pub use metrics::Metrics;
