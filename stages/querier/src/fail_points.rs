//! Where a test can make the querier fail: when a job begins, when it reads a block, and when its answer is ready. An error is as
//! if the querier could not be reached; a panic is the end of the job.

use vivace_runtime::FailPoint;

pub(crate) static STARTED: FailPoint = FailPoint::new("querier.started");
/// Struck by a block, whose path is the data.
pub(crate) static READING: FailPoint = FailPoint::new("querier.reading");
pub(crate) static ANSWERED: FailPoint = FailPoint::new("querier.answered");

/// All of them.
pub static FAIL_POINTS: &[&FailPoint] = &[&STARTED, &READING, &ANSWERED];
