//! Where a test can make the querier fail: when a job begins, and when its answer is ready. An error at either is as if the
//! querier could not be reached.

use vivace_runtime::FailPoint;

pub(crate) static STARTED: FailPoint = FailPoint::new("querier.started");
pub(crate) static ANSWERED: FailPoint = FailPoint::new("querier.answered");

/// All of them.
pub static FAIL_POINTS: &[&FailPoint] = &[&STARTED, &ANSWERED];
