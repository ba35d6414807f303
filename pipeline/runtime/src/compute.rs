//! Threads for work that takes longer than an async thread should.
//! Owns: how many of them work for queries at the same time. Does not own: what the work is, and when it has to end.
//! Guarantee: work waits its turn in the order in which it came, and what is no longer waited for is not begun. Its turn does not
//! depend on whether its caller is polled: one that awaits something else meanwhile keeps no thread from others.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

/// Threads where the machine does not say how many processors it has.
const THREADS_DEFAULT: usize = 2;

/// Those of the process: one for each processor.
static PROCESS: LazyLock<ComputeThreads> = LazyLock::new(|| {
    ComputeThreads::new(available_parallelism().map_or(THREADS_DEFAULT, std::num::NonZero::get))
});

/// The runtime shut down before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the runtime shuts down")]
pub struct ComputeStopped;

/// A bounded number of threads.
#[derive(Clone)]
pub struct ComputeThreads {
    queue: Arc<Mutex<Queue>>,
    most: usize,
}

/// Work that waits. As many as callers wait, which are bounded elsewhere.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    busy: usize,
}

type Work = Box<dyn FnOnce() + Send>;

impl std::fmt::Debug for ComputeThreads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ComputeThreads({} of {} busy)", self.busy(), self.most)
    }
}

impl ComputeThreads {
    /// So many at the same time.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { queue: Arc::default(), most }
    }

    /// Those that all queries of the process share.
    #[must_use]
    pub fn of_process() -> &'static Self {
        &PROCESS
    }

    /// Threads that work at present.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.queue.lock().busy
    }

    /// Runs work when a thread is free. On a runtime of a single thread, which only tests and simulations have, it runs in
    /// place, so that a simulation repeats. Where the caller goes away meanwhile, work that has begun goes on to its
    /// end, and holds its thread.
    ///
    /// # Errors
    /// [`ComputeStopped`] when the runtime shuts down.
    ///
    /// # Panics
    /// When the work panics: its panic goes on in the caller. Outside of a runtime.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ComputeStopped> {
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Ok(work());
        }
        let (done, result) = oneshot::channel::<Result<T, Box<dyn Any + Send>>>();
        self.submit(Box::new(move || {
            if !done.is_closed() {
                // Nobody may wait for the result any more.
                drop(done.send(catch_unwind(AssertUnwindSafe(work))));
            }
        }));
        match result.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(ComputeStopped),
        }
    }

    fn submit(&self, work: Work) {
        let mut queue = self.queue.lock();
        queue.waiting.push_back(work);
        if queue.busy == self.most {
            return;
        }
        queue.busy += 1;
        drop(queue);
        let worker = Worker { queue: Arc::clone(&self.queue), ended: false };
        // It ends by itself.
        drop(spawn_blocking(move || worker.run()));
    }
}

/// A thread that works until nothing waits.
struct Worker {
    queue: Arc<Mutex<Queue>>,
    /// It is not among the busy ones any more.
    ended: bool,
}

impl Worker {
    fn run(mut self) {
        while let Some(work) = self.next() {
            work();
        }
    }

    /// The next work. Without any it ends under the same lock, so that whoever comes next begins another one.
    fn next(&mut self) -> Option<Work> {
        let mut queue = self.queue.lock();
        let next = queue.waiting.pop_front();
        if next.is_none() {
            queue.busy -= 1;
            self.ended = true;
        }
        next
    }
}

/// Where a runtime that shuts down never begins it: what waits for its thread is stopped.
impl Drop for Worker {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut queue = self.queue.lock();
        queue.busy -= 1;
        let stopped = if queue.busy == 0 { std::mem::take(&mut queue.waiting) } else { VecDeque::new() };
        drop(queue);
        drop(stopped);
    }
}

/// Runs work for a query, on [`ComputeThreads::of_process`].
///
/// # Errors
/// As [`ComputeThreads::run`].
///
/// # Panics
/// As [`ComputeThreads::run`].
pub async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ComputeStopped> {
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
        while threads.busy() > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// A stream polls several callers in turn, and none of them while it awaits one.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_caller_that_is_not_polled_keeps_no_thread_from_others() {
        let threads = ComputeThreads::new(1);
        let (begins, end, work) = blocked();
        let mut first = Box::pin(threads.run(work));
        let mut not_polled = Box::pin(threads.run(|| 1));
        let mut next = Box::pin(threads.run(|| 2));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(not_polled.as_mut().now_or_never().is_none());
        assert!(next.as_mut().now_or_never().is_none());
        begins.await.unwrap();
        end.send(()).unwrap();
        assert_eq!(next.await.unwrap(), 2);
        assert_eq!(not_polled.await.unwrap(), 1, "its result waited for it");
        first.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_gives_its_thread_back() {
        let threads = ComputeThreads::new(1);
        let panicked = caught(threads.run(|| -> u8 { panic!("on purpose") })).await.map(drop);
        assert_eq!(panicked.unwrap_err().to_string(), "panicked: on purpose");
        assert_eq!(threads.run(|| 7).await.unwrap(), 7);
    }
}
