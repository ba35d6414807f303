use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Time between two tries of [`eventually`].
const PAUSE: Duration = Duration::from_millis(50);

/// Runs a test's body with an end to its patience. It panics while the body's processes are still alive, so that
/// their drop shows their logs.
///
/// # Panics
/// When the limit passes.
pub async fn bounded<F: Future>(limit: Duration, body: F) -> F::Output {
    let mut body = pin!(body);
    match timeout(limit, &mut body).await {
        Ok(output) => output,
        Err(_) => panic!("the test took longer than its limit of {limit:?}"),
    }
}

/// Tries until it succeeds; the last error when `limit` has passed.
///
/// # Errors
/// What the last try said.
pub async fn eventually<T, F, Fut>(limit: Duration, mut attempt: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("still failing after {limit:?}")));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}
