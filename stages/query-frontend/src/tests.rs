//! The query-frontend with real queriers, blocks and ledger, on a log in memory; ingesters answer as told. Searches meet a
//! querier that answers as told.

mod api;
mod counting;
mod damage;
mod ends;
mod faults;
mod fixture;
mod large;
mod memory;
mod metrics_queries;
mod requests;
mod retries;
mod scripted;
mod search;
mod spread;
mod streaming;
mod tags;
