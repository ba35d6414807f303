//! The vocabulary of Vivace: ids, offsets, tenants, the clock, budgets of work, partitioning and the protobuf wire reader.
//! Owns: types that every other crate speaks in, and the rules that make their values valid.
//! Does not own: any I/O, anything async, any file or message format but OTLP's own.

mod block_id;
mod byte_size;
mod clock;
mod error_kind;
mod ids;
mod offset;
pub mod otlp;
mod overrides;
mod partitioner;
mod random;
pub mod scan;
pub mod schema;
mod secret;
mod settings;
mod spread;
mod tenant;
pub mod wire;
mod work_budget;

pub use block_id::BlockId;
pub use byte_size::{ByteSize, ByteSizeError};
pub use clock::{Clock, ManualClock, SystemClock, UnixNanos};
pub use error_kind::ErrorKind;
pub use ids::{IdError, SpanId, TraceId};
pub use offset::{Offset, OffsetRange, Partition};
pub use overrides::{MatchingTraces, Overrides, RetentionOverrides, SlowTraces, TenantOverrides};
pub use partitioner::partition_of;
pub use random::Random;
pub use secret::Secret;
pub use spread::{Spread, TenantSpread};
pub use tenant::{TenantError, TenantId};
pub use work_budget::{CancelOnDrop, WorkBudget, WorkEnd, WorkMeter};

/// For what [`settings!`] expands to in other crates.
#[doc(hidden)]
pub use humantime_serde;

/// [`settings!`] names this crate by its name, here too.
#[cfg(test)]
extern crate self as vivace_model;
