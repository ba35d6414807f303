//! Panics of jobs: the job gets an error that names what it was reading, and everything else goes on.

use vivace_runtime::caught;

use crate::{JobError, fail_points};

/// Does work on something that has a name. A panic of it becomes the job's error.
pub(crate) async fn named<T>(
    name: impl Fn() -> String + Send,
    work: impl Future<Output = Result<T, JobError>> + Send,
) -> Result<T, JobError> {
    let work = async {
        fail_points::READING
            .strike(fail_points::READING.is_on() && fail_points::READING.poisons(name().as_bytes()));
        work.await
    };
    caught(work).await.unwrap_or_else(|source| Err(JobError::Panicked { what: name(), source }))
}
