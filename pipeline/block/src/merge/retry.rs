//! Trying again: a merge is minutes of work, which one lost answer must not end.

use std::time::Duration;

use vivace_model::ErrorKind;

use crate::BlockError;

/// Attempts in all.
const ATTEMPTS_MAX: u32 = 5;
/// Wait before the second attempt; doubled before each further one.
const WAIT_FIRST: Duration = Duration::from_millis(100);

/// Does something that may be done twice, until it is done or the store has failed too often. A file that is not there
/// is not waited for.
pub(super) async fn retry<T, F: Future<Output = Result<T, BlockError>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T, BlockError> {
    let mut wait = WAIT_FIRST;
    for _ in 1..ATTEMPTS_MAX {
        match attempt().await {
            Err(error)
                if error.kind() == ErrorKind::Unavailable && !matches!(error, BlockError::Missing { .. }) =>
            {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            ended => return ended,
        }
    }
    attempt().await
}
