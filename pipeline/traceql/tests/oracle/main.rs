//! The language's meaning, written down as plainly as possible and compared with the engine.
//! An interpreter over plain structs (`filter`, `spansets`, `metrics`) says what random queries (`queries`) find in random
//! traces (`traces`); the engine has to find the same in blocks made of them (`blocks`, `engine`).
//!
//! `PROPTEST_CASES=100000 cargo test -p vivace-traceql --test oracle` looks for longer.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod answer;
mod blocks;
mod condition;
mod engine;
mod filter;
mod lookup;
mod metrics;
mod queries;
mod spansets;
mod storage;
mod tags;
mod trace;
mod traces;
mod whole_traces;
