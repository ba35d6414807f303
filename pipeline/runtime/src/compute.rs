use std::panic::resume_unwind;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, spawn_blocking};

/// Runs work that takes longer than an async thread should, on a blocking thread. On a runtime of a single thread, which
/// only tests and simulations have, it runs in place, so that a simulation repeats.
///
/// # Errors
/// [`JoinError`] when the runtime shuts down.
///
/// # Panics
/// When the work panics: its panic goes on in the caller. Outside of a runtime.
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    match spawn_blocking(work).await {
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        ended => ended,
    }
}
