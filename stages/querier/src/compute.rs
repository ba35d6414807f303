//! Where CPU-heavy steps of jobs run.

use vivace_model::WorkBudget;

use crate::JobError;

/// Runs work that takes longer than an async thread should, and charges it to the job. A panic goes on in the caller, and
/// ends the job. A runtime that shuts down has no use for the result.
pub(crate) async fn compute<T: Send + 'static>(
    budget: &WorkBudget,
    work: impl FnOnce() -> Result<T, JobError> + Send + 'static,
) -> Result<T, JobError> {
    let budget = budget.clone();
    let metered = move || {
        let meter = budget.meter();
        meter.check()?;
        work()
    };
    vivace_runtime::compute(metered).await.unwrap_or(Err(JobError::Stopped))
}
