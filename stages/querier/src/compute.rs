//! Where CPU-heavy steps run.

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::JobError;

/// Runs work that takes longer than an async thread should. On a runtime of a single thread, which only tests and
/// simulations have, it runs in place, so that a simulation repeats. A panic ends the job, and a runtime that shuts down
/// has no use for its result.
pub(crate) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JobError> + Send + 'static,
) -> Result<T, JobError> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(JobError::Stopped))
}
