//! Where a test can make the distributor fail: before and after the log has a request's records. An error at either is
//! as if the log had not answered.

use vivace_runtime::FailPoint;

pub(crate) static APPENDING: FailPoint = FailPoint::new("distributor.appending");
pub(crate) static APPENDED: FailPoint = FailPoint::new("distributor.appended");

/// All of them.
pub static FAIL_POINTS: &[&FailPoint] = &[&APPENDING, &APPENDED];
