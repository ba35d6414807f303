//! The calls between Vivace's own stages, see `vivace/internal.proto`.
//!
//! A service's server trait is also the seam inside of one process: who asks holds a [`RecentService`] or
//! [`QuerierService`], and does not know whether behind it is the stage itself or a connection to one.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tonic::Status;

mod generated {
    #![allow(
        missing_docs,
        missing_debug_implementations,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::clone_on_ref_ptr,
        clippy::let_underscore_must_use,
        clippy::match_wildcard_for_single_variants,
        clippy::too_many_lines,
        clippy::unwrap_used,
        clippy::use_self,
        reason = "generated; the .proto holds the documentation"
    )]
    tonic::include_proto!("vivace.internal.v1");
}

pub use generated::*;

/// The stream of a call's answer, whoever answers.
pub type PartStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Recent data of an ingester, in this process or elsewhere.
pub type RecentService = Arc<
    dyn recent_server::Recent<
            TraceStream = PartStream<RecentTracePart>,
            ColumnsStream = PartStream<RecentColumnsPart>,
        >,
>;

/// A querier, in this process or elsewhere.
pub type QuerierService = Arc<
    dyn querier_server::Querier<
            TraceStream = PartStream<TraceJobPart>,
            SearchStream = PartStream<SearchJobPart>,
        >,
>;

/// Largest message that our clients take. A part is small (see [`crate::parts`]) unless a single span is not.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Metadata of a querier's error that names the block which cannot be read: with `DATA_LOSS` its file is damaged, with
/// `FAILED_PRECONDITION` the store has no such file.
pub const BLOCK_METADATA: &str = "x-vivace-block-bin";
