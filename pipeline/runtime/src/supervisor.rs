//! Runs the tasks of a process and ends them in order.
//! Owns: spawning, naming and watching tasks; stopping all of them when one ends or a signal comes.
//! Does not own: what a task does when it is asked to stop.
//! Guarantee: no task ends unnoticed, and `run_until` returns within the grace period plus [`ABORT_WAIT`].

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::panics::message_of;

/// Any error, as tasks end with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long aborted tasks get to notice; one that blocks its thread never does.
const ABORT_WAIT: Duration = Duration::from_secs(1);

/// Why the process stopped, if not because it was told to.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A task returned although nobody had asked it to.
    #[error("task {name} ended without being asked to")]
    Exited {
        /// The task.
        name: String,
    },
    /// A task returned an error.
    #[error("task {name} failed")]
    Failed {
        /// The task.
        name: String,
        /// What it returned.
        source: BoxError,
    },
    /// A task panicked.
    #[error("task {name} panicked: {message}")]
    Panicked {
        /// The task.
        name: String,
        /// What it said.
        message: String,
    },
    /// Tasks had not stopped by the end of the grace period and were aborted.
    #[error("aborted after the grace period of {grace:?}: {}", names.join(", "))]
    Aborted {
        /// The grace period.
        grace: Duration,
        /// The tasks, by name.
        names: Vec<String>,
    },
}

/// The only one who spawns. The first task that ends, whether it returns, fails or panics, stops all the others.
///
/// Each task belongs to a phase. Stopping goes phase by phase in the order the data flows: the tasks of phase 0 are
/// asked to stop and awaited, then those of phase 1, and so on, all within one grace period. What still runs
/// after it is aborted and named.
#[derive(Debug)]
pub struct Supervisor {
    grace: Duration,
    tasks: JoinSet<Result<(), BoxError>>,
    running: HashMap<Id, Running>,
    stops: BTreeMap<u8, CancellationToken>,
    draining: CancellationToken,
}

#[derive(Debug)]
struct Running {
    name: Cow<'static, str>,
    phase: u8,
}

impl Supervisor {
    /// A supervisor that gives all its tasks together `grace` to stop.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        Self {
            grace,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            stops: BTreeMap::new(),
            draining: CancellationToken::new(),
        }
    }

    /// Cancelled as soon as stopping begins, before any phase: from then on the process is no longer ready.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// Runs a task of phase 0. It gets the token that asks it to stop.
    pub fn spawn<M, F, E>(&mut self, name: impl Into<Cow<'static, str>>, make: M)
    where
        M: FnOnce(CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send,
        E: Into<BoxError> + 'static,
    {
        self.spawn_ordered(0, name, make);
    }

    /// Runs a task as [`Self::spawn_ordered`] does, on another runtime.
    pub fn spawn_on<M, F, E>(
        &mut self,
        runtime: &Handle,
        phase: u8,
        name: impl Into<Cow<'static, str>>,
        make: M,
    ) where
        M: FnOnce(CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send,
        E: Into<BoxError> + 'static,
    {
        let name = name.into();
        debug!(task = %name, phase, "task started");
        let stop = self.stops.entry(phase).or_default().clone();
        let task = self.tasks.spawn_on(async move { make(stop).await.map_err(Into::into) }, runtime);
        self.running.insert(task.id(), Running { name, phase });
    }

    /// Runs a task that is asked to stop only after all tasks of lower phases have ended.
    pub fn spawn_ordered<M, F, E>(&mut self, phase: u8, name: impl Into<Cow<'static, str>>, make: M)
    where
        M: FnOnce(CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send,
        E: Into<BoxError> + 'static,
    {
        self.spawn_on(&Handle::current(), phase, name, make);
    }

    /// Waits for the signal or the first task that ends, then stops everything.
    ///
    /// # Errors
    /// Names the task that ended first, if one did before the signal; else the first that failed while stopping;
    /// else those that had to be aborted.
    pub async fn run_until(mut self, signal: impl Future<Output = ()>) -> Result<(), SupervisorError> {
        let failure = tokio::select! {
            biased; // when both happened, the task's failure is the news
            Some((task, result)) = self.next_ended() => {
                let name = task.name.into_owned();
                Some(failure_of(&name, result).unwrap_or(SupervisorError::Exited { name }))
            }
            () = signal => None,
        };
        match &failure {
            None => info!(grace = ?self.grace, "stopping"),
            Some(failure) => error!(grace = ?self.grace, error = %chain(failure), "stopping"),
        }
        self.stop(failure).await
    }

    /// The next task that ended and how, or `None` if there is none left. Safe to drop.
    async fn next_ended(&mut self) -> Option<(Running, Result<Result<(), BoxError>, JoinError>)> {
        let (id, result) = match self.tasks.join_next_with_id().await? {
            Ok((id, result)) => (id, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let task = self.running.remove(&id).expect("spawn_ordered enters every task");
        Some((task, result))
    }

    async fn stop(mut self, mut failure: Option<SupervisorError>) -> Result<(), SupervisorError> {
        let deadline = Instant::now() + self.grace;
        self.draining.cancel();
        let stops = std::mem::take(&mut self.stops);
        'phases: for (&phase, stop) in &stops {
            stop.cancel();
            while self.running.values().any(|task| task.phase == phase) {
                let Ok(Some((task, result))) = timeout_at(deadline, self.next_ended()).await else {
                    break 'phases;
                };
                match failure_of(&task.name, result) {
                    None => debug!(task = %task.name, "task stopped"),
                    Some(later) => {
                        warn!(error = %chain(&later), "task failed while stopping");
                        failure.get_or_insert(later);
                    }
                }
            }
        }
        if !self.running.is_empty() {
            let mut names: Vec<_> =
                self.running.values().map(|task| task.name.clone().into_owned()).collect();
            names.sort();
            warn!(grace = ?self.grace, tasks = %names.join(", "), "tasks did not stop in time and are aborted");
            failure.get_or_insert(SupervisorError::Aborted { grace: self.grace, names });
            self.abort().await;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Aborts what is left and waits a little, so that destructors run.
    async fn abort(&mut self) {
        self.tasks.abort_all();
        let deadline = Instant::now() + ABORT_WAIT;
        while let Ok(Some(_)) = timeout_at(deadline, self.tasks.join_next()).await {}
    }
}

/// What was wrong with the end of a task, if anything.
fn failure_of(name: &str, result: Result<Result<(), BoxError>, JoinError>) -> Option<SupervisorError> {
    let name = name.to_owned();
    match result {
        Ok(Ok(())) => None,
        Ok(Err(source)) => Some(SupervisorError::Failed { name, source }),
        Err(error) => {
            let panic = error.try_into_panic().ok()?; // else we aborted it
            Some(SupervisorError::Panicked { name, message: message_of(panic.as_ref()) })
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
