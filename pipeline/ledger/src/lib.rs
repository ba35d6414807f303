//! The offset ledger: which offsets of a partition are in which blocks, as a chain of numbered entries in object
//! storage, and the [`View`] that readers take of it.
//! Owns: the format and the names of entries and snapshots, the rules that an entry must keep, how an entry is added
//! when others try the same and the store loses answers, and the newest state of every partition in memory.
//! Does not own: the blocks' files (only their names), when to seal, merge or expire a block, recent data, the topic
//! that tells of new entries.
//! Guarantee: the chain of a partition has no gap and no overlap, and an entry that was proposed once is in it at
//! most once, whoever races and whatever answer gets lost. The store must have create-only puts and must give back
//! what was put by name; a listing may be as old as it likes.

mod block_meta;
mod chain;
mod entry;
mod error;
#[cfg(any(test, feature = "faults"))]
pub mod faults;
mod files;
pub mod invariants;
mod metrics;
mod operated;
mod paths;
#[cfg(test)]
mod races;
mod rules;
mod snapshots;
mod state;
#[cfg(test)]
mod testing;
mod view;
mod view_keeper;
mod violation;

pub use block_meta::{BlockMeta, block_path};
pub use chain::Chain;
pub use entry::{Entry, EntryBody, Fingerprint, Proposal, Rejected};
pub use error::LedgerError;
pub use metrics::Metrics;
pub use paths::ledger_folder;
pub use state::{PartitionState, RETIRED_KEEP, Retired, Totals};
pub use view::View;
pub use view_keeper::ViewKeeper;
pub use violation::Violation;
