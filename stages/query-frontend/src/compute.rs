//! Where CPU-heavy steps of queries run.

use crate::QueryError;

/// Runs work that takes longer than an async thread should. A panic ends the query, and a runtime that shuts down has no
/// use for its result.
pub(crate) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
) -> Result<T, QueryError> {
    vivace_runtime::compute(work).await.unwrap_or(Err(QueryError::Stopped))
}
