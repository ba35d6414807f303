//! Threads for work that takes longer than an async thread should.
//! Owns: how many of them work for queries at the same time. Does not own: what the work is, and when it has to end.
//! Guarantee: work waits its turn in the order in which it came, and what is no longer waited for is not begun.

use std::panic::resume_unwind;
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use tokio_util::task::AbortOnDropHandle;

/// Threads where the machine does not say how many processors it has.
const THREADS_DEFAULT: usize = 2;

/// Those of the process: one for each processor.
static PROCESS: LazyLock<ComputeThreads> = LazyLock::new(|| {
    ComputeThreads::new(available_parallelism().map_or(THREADS_DEFAULT, std::num::NonZero::get))
});

/// A bounded number of threads.
#[derive(Clone, Debug)]
pub struct ComputeThreads {
    permits: Arc<Semaphore>,
    most: usize,
}

impl ComputeThreads {
    /// So many at the same time.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(most)), most }
    }

    /// Those that all queries of the process share.
    #[must_use]
    pub fn of_process() -> &'static Self {
        &PROCESS
    }

    /// Threads that work at present.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.most.saturating_sub(self.permits.available_permits())
    }

    /// Runs work when a thread is free. On a runtime of a single thread, which only tests and simulations have, it runs in
    /// place, so that a simulation repeats. Where the caller goes away meanwhile, work that has begun goes on to its
    /// end, and holds its thread.
    ///
    /// # Errors
    /// [`JoinError`] when the runtime shuts down.
    ///
    /// # Panics
    /// When the work panics: its panic goes on in the caller. Outside of a runtime.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Ok(work());
        }
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("nobody closes the semaphore");
        let running = spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        match AbortOnDropHandle::new(running).await {
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            ended => ended,
        }
    }
}

/// Runs work for a query, on [`ComputeThreads::of_process`].
///
/// # Errors
/// As [`ComputeThreads::run`].
///
/// # Panics
/// As [`ComputeThreads::run`].
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    ComputeThreads::of_process().run(work).await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;
    use crate::caught;

    /// Work that says when it begins and ends when it is told to.
    fn blocked() -> (oneshot::Receiver<()>, mpsc::SyncSender<()>, impl FnOnce() + Send + 'static) {
        let (began, begins) = oneshot::channel();
        let (end, ended) = mpsc::sync_channel(1);
        let work = move || {
            began.send(()).expect("the test waits for it");
            ended.recv().expect("the test ends it");
        };
        (begins, end, work)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn work_waits_for_a_thread_and_gives_it_back_although_nobody_waits() {
        let threads = ComputeThreads::new(1);
        let (begins, end, work) = blocked();
        let mut first = Box::pin(threads.run(work));
        tokio::select! {
            _ = &mut first => unreachable!("it is not told to end"),
            began = begins => began.unwrap(),
        }
        assert_eq!(threads.busy(), 1);
        let mut gone =
            Box::pin(threads.run(|| -> u8 { unreachable!("nobody waits for it when its turn comes") }));
        assert!(gone.as_mut().now_or_never().is_none(), "the only thread is taken");
        let mut next = Box::pin(threads.run(|| 7));
        assert!(next.as_mut().now_or_never().is_none());
        drop((first, gone));
        assert_eq!(threads.busy(), 1, "a thread cannot be taken from work that has begun");
        end.send(()).unwrap();
        assert_eq!(next.await.unwrap(), 7);
        assert_eq!(threads.busy(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_gives_its_thread_back() {
        let threads = ComputeThreads::new(1);
        let panicked = caught(threads.run(|| -> u8 { panic!("on purpose") })).await.map(drop);
        assert_eq!(panicked.unwrap_err().to_string(), "panicked: on purpose");
        assert_eq!(threads.run(|| 7).await.unwrap(), 7);
    }
}
