use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, spawn_blocking};

/// Runs work that takes longer than an async thread should, on a blocking thread. On a runtime of a single thread, which
/// only tests and simulations have, it runs in place, so that a simulation repeats.
///
/// # Errors
/// [`JoinError`] when the work panics, or the runtime shuts down; in place, a panic is the caller's.
///
/// # Panics
/// Outside of a runtime.
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    spawn_blocking(work).await
}
