//! Where CPU-heavy steps run.

use crate::JobError;

/// Runs work that takes longer than an async thread should. A panic goes on in the caller, and ends the job. A runtime
/// that shuts down has no use for the result.
pub(crate) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JobError> + Send + 'static,
) -> Result<T, JobError> {
    vivace_runtime::compute(work).await.unwrap_or(Err(JobError::Stopped))
}
