//! The load generator and what measures a running Vivace from outside: its CPU time, memory, bytes stored, answers.
//! Owns: sending pre-built OTLP requests, asking for traces by id, reading `/proc` and the ledger of a data folder.
//! Does not own: what the traces look like (`vivace-sample`).

mod lookup;
mod merging;
mod process;
mod search;
mod send;
mod stored;

pub use lookup::{LookFor, LookupReport, Lookups, freshness};
pub use merging::{MergeReport, blocks_to_merge, merging};
pub use process::{CpuSeconds, Server};
pub use search::{Needles, SearchCase, SearchReport, cases};
pub use send::{LoadOptions, LoadReport, Payload, send};
pub use stored::{Stored, stored};

/// The value at a share (0 to 1) of sorted values; zero if there are none.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(0.0)
}
