//! Where CPU-heavy steps run.

use crate::JobError;

/// Runs work that takes longer than an async thread should. A panic ends the job, and a runtime that shuts down has no
/// use for its result.
pub(crate) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JobError> + Send + 'static,
) -> Result<T, JobError> {
    vivace_runtime::compute(work).await.unwrap_or(Err(JobError::Stopped))
}
