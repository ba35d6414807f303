//! What operators do with a bucket, besides running Vivace on it.
//! Owns: proving that chains and blocks keep the rules ([`Auditor`]), listing what is live ([`live_blocks`]), removing
//! traces ([`Redactor`]), giving up what a replay replaced ([`discard`]).
//! Does not own: the rules of a chain (`vivace_ledger::invariants`), building blocks from records (the ingester), the
//! command line.
//! Guarantee: whatever runs beside it goes on; what it changes, it changes by one ledger entry each.

mod audit;
mod bucket;
mod discard;
mod error;
mod listing;
mod redact;
#[cfg(test)]
mod tests;

pub use audit::{AuditOptions, Auditor, Findings, Orphans, PartitionReport, Quarantined, Verdict};
pub use bucket::Bucket;
pub use discard::discard;
pub use error::OperateError;
pub use listing::{Wanted, duckdb, files, live_blocks};
pub use redact::{Affected, RedactLimits, Redaction, Redactor, Target};
