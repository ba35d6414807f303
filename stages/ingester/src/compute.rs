//! Where CPU-heavy steps run.
//! Owns: the choice between blocking threads (production) and the caller's own thread (simulations, which need one
//! order of events per seed), and that answers of queries take turns on threads of their own. Does not own: how many other
//! steps run at once; each partition has at most one decode and one encode under way.

use std::panic;

use tokio::task;
use tonic::Status;
use vivace_model::{WorkBudget, WorkEnd};

/// Where CPU-heavy steps run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compute {
    /// On tokio's blocking threads.
    #[default]
    Threads,
    /// Right here, before the call returns.
    Inline,
}

impl Compute {
    /// Runs work for a query, when its turn comes, and charges it to the query. A panic goes on in the caller.
    pub(crate) async fn answer<T: Send + 'static>(
        self,
        budget: &WorkBudget,
        work: impl FnOnce() -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let budget = budget.clone();
        let metered = move || {
            let meter = budget.meter();
            meter.check().map_err(ended)?;
            work()
        };
        match self {
            Self::Inline => metered(),
            Self::Threads => vivace_runtime::compute(metered)
                .await
                .unwrap_or_else(|_| Err(Status::unavailable("the ingester stops"))),
        }
    }

    /// Runs `work` and gives its result. A panic of `work` goes on in the caller. If the caller is dropped meanwhile,
    /// `work` still runs to its end and its result is dropped.
    pub(crate) async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self {
            Self::Inline => work(),
            Self::Threads => match task::spawn_blocking(work).await {
                Ok(result) => result,
                Err(error) => match error.try_into_panic() {
                    Ok(payload) => panic::resume_unwind(payload),
                    // The runtime shuts down: whoever waits here is about to be dropped too.
                    Err(_) => std::future::pending().await,
                },
            },
        }
    }
}

/// What a query is told that has to end.
pub(crate) fn ended(end: WorkEnd) -> Status {
    match end {
        WorkEnd::Cancelled => Status::cancelled(end.to_string()),
        WorkEnd::OutOfTime { cpu_max } => Status::out_of_range(format!(
            "the query needs more than {} of processor time for the recent data of a partition (VIVACE_INGESTER_ANSWER_CPU_MAX): narrow its conditions, or use fewer regular expressions",
            humantime::format_duration(cpu_max)
        )),
    }
}
