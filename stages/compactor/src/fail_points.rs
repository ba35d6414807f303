//! Where a test can make the compactor fail. An error or panic at any of them is as if the step had failed: what was merged is
//! dropped, unless it is listed, and the ledger is looked at anew.

use vivace_runtime::FailPoint;

/// Also struck by a block, whose id is the data.
pub(crate) static MERGING: FailPoint = FailPoint::new("compactor.merging");
pub(crate) static MERGED: FailPoint = FailPoint::new("compactor.merged");
pub(crate) static LISTED: FailPoint = FailPoint::new("compactor.listed");
pub(crate) static DELETING: FailPoint = FailPoint::new("compactor.deleting");

/// All of them.
pub static FAIL_POINTS: &[&FailPoint] = &[&MERGING, &MERGED, &LISTED, &DELETING];
