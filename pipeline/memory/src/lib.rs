//! The memory of one process, in one accounting that every stage uses:
//! `limit -> budget -> shares of the parts -> permits`.
//! Owns: finding the limit, how it is shared out, permits and who waits for them, what caches give back, metrics.
//! Does not own: what the memory is used for; who reserves says how much, before it is taken.
//! Guarantee: what is reserved never adds up to more than the budget, and what a part is guaranteed is always there for it.
//! Only [`Permit::settle`], which corrects an estimate, may pass it; then nothing more is given until it is back under it.

mod cache;
mod cgroup;
mod config;
mod governor;
mod limit;
mod metrics;
mod part;
mod permit;
mod shares;
mod short;
mod state;
#[cfg(test)]
mod tests;

pub use cache::{CacheAccount, Registration};
pub use config::MemoryConfig;
pub use governor::Governor;
pub use limit::{Limit, LimitSource};
pub use metrics::{AllocatorProbe, AllocatorStats, MemoryCollector};
pub use part::Part;
pub use permit::Permit;
pub use shares::{Claim, Demand, Share, Shares};
pub use short::Short;
