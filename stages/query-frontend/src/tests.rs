//! The query-frontend with real queriers, blocks and ledger, on a log in memory; ingesters answer as told.

mod api;
mod faults;
mod fixture;
mod large;
mod retries;
