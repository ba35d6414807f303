//! Where CPU-heavy steps run.
//! Owns: the choice between blocking threads (production) and the caller's own thread (simulations, which need one
//! order of events per seed). Does not own: how many steps run at once; each partition has at most one decode and one
//! encode under way.

use std::panic;

use tokio::task;

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
