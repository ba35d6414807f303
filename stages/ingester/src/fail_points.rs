//! Where a test can make the ingester fail: at each step between fetch and commit.
//! An error or panic at any of them is as if the step had failed: work on the partition starts over at the end of its chain.

use vivace_runtime::FailPoint;

pub(crate) static FETCHED: FailPoint = FailPoint::new("ingester.fetched");
/// Struck by a record.
pub(crate) static DECODING: FailPoint = FailPoint::new("ingester.decoding");
pub(crate) static DECODED: FailPoint = FailPoint::new("ingester.decoded");
/// Struck by a record of the set.
pub(crate) static SEALING: FailPoint = FailPoint::new("ingester.sealing");
/// Struck by a record of the set.
pub(crate) static ENCODING: FailPoint = FailPoint::new("ingester.encoding");
pub(crate) static SEALED: FailPoint = FailPoint::new("ingester.sealed");
pub(crate) static UPLOADING: FailPoint = FailPoint::new("ingester.uploading");
pub(crate) static UPLOADED: FailPoint = FailPoint::new("ingester.uploaded");
pub(crate) static LISTING: FailPoint = FailPoint::new("ingester.listing");
pub(crate) static LISTED: FailPoint = FailPoint::new("ingester.listed");
pub(crate) static COMMITTING: FailPoint = FailPoint::new("ingester.committing");
pub(crate) static COMMITTED: FailPoint = FailPoint::new("ingester.committed");

/// All of them.
pub static FAIL_POINTS: &[&FailPoint] = &[
    &FETCHED,
    &DECODING,
    &DECODED,
    &SEALING,
    &ENCODING,
    &SEALED,
    &UPLOADING,
    &UPLOADED,
    &LISTING,
    &LISTED,
    &COMMITTING,
    &COMMITTED,
];
