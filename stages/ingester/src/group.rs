//! Membership of the consumer group: starts a pipeline for each partition gained and drops it when the partition is lost.
//! Owns: the tasks of the partitions, commits, and the order of shutting down.
//! Does not own: what a pipeline does.
//! Guarantee: no task outlives the ingester, and no panic of one ends it; a lost partition is not answered for any more and commits nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use vivace_log::{Assignment, LogError, Membership};
use vivace_model::{ErrorKind, Partition};
use vivace_runtime::{Injected, caught};

use crate::error::{IngesterError, causes};
use crate::fail_points;
use crate::pipeline::Pipeline;
use crate::retry::Backoff;
use crate::shared::Shared;
use crate::upkeep;

/// How long one commit may take. It is only a hint for lag monitors.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stop goes on trying where nothing can be stored: the log has all of it, and others begin there.
const STUCK_MAX: Duration = Duration::from_secs(5);
/// How often a stop looks whether that is so, from then on.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Wait before the task of a partition that ended starts again.
const RESTART_PAUSE: Duration = Duration::from_secs(5);
/// How long leaving the group may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

/// The partitions that are ours.
#[derive(Debug)]
pub(crate) struct Group {
    shared: Arc<Shared>,
    pipelines: JoinSet<Partition>,
    held: BTreeMap<Partition, Held>,
}

#[derive(Debug)]
struct Held {
    task: Id,
    /// Drops the pipeline at once.
    cancel: CancellationToken,
    /// Lets the pipeline finish.
    drain: CancellationToken,
}

impl Group {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, pipelines: JoinSet::new(), held: BTreeMap::new() }
    }

    /// Works as a member of the group until `shutdown`, then stores what is open, and leaves.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), IngesterError> {
        loop {
            let membership = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                joined = self.join() => joined?,
            };
            info!(
                group = self.shared.config.group,
                instance = self.shared.instance,
                "joined the consumer group"
            );
            let ended = self.work(membership, &shutdown).await;
            self.shared.status.set_joined(false);
            let Err(error) = ended else { return Ok(()) };
            self.drop_all();
            if error.kind() != ErrorKind::Unavailable {
                return Err(self.lost(error));
            }
            warn!(error = causes(&error), "lost the membership in the consumer group, joining again");
        }
    }

    async fn join(&self) -> Result<Box<dyn Membership>, IngesterError> {
        let shared = &self.shared;
        let mut backoff = Backoff::new();
        loop {
            match shared.log().join(&shared.topics.spans, &shared.config.group).await {
                Ok(membership) => {
                    shared.status.set_joined(true);
                    return Ok(membership);
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    warn!(error = causes(&error), "cannot join the consumer group, trying again");
                    backoff.wait(shared.random()).await;
                }
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    fn lost(&self, source: LogError) -> IngesterError {
        IngesterError::Group { group: self.shared.config.group.clone(), source }
    }

    async fn work(
        &mut self,
        mut membership: Box<dyn Membership>,
        shutdown: &CancellationToken,
    ) -> Result<(), LogError> {
        loop {
            tokio::select! {
                biased; // stop first, then losses and gains; each branch is safe to drop
                () = shutdown.cancelled() => break,
                assignment = membership.next() => self.assign(assignment?),
                Some(ended) = self.pipelines.join_next() => self.ended(ended),
                () = self.shared.commits.pending() => self.commit(membership.as_mut()).await,
            }
        }
        self.drain(membership).await;
        Ok(())
    }

    fn assign(&mut self, assignment: Assignment) {
        match assignment {
            Assignment::Gained(partitions) => {
                info!(?partitions, "partitions gained");
                for partition in partitions {
                    self.start(partition, Duration::ZERO);
                }
            }
            Assignment::Lost(partitions) => {
                info!(?partitions, "partitions lost");
                for partition in partitions {
                    self.drop_partition(partition);
                }
            }
        }
        self.shared.metrics().partitions.set(i64::try_from(self.held.len()).unwrap_or(i64::MAX));
    }

    fn start(&mut self, partition: Partition, pause: Duration) {
        self.drop_partition(partition);
        let (cancel, drain) = (CancellationToken::new(), CancellationToken::new());
        let pipeline = Pipeline::new(Arc::clone(&self.shared), partition, drain.clone());
        let stop = cancel.clone();
        let task = self.pipelines.spawn(async move {
            let work = async {
                if !pause.is_zero() {
                    sleep(pause).await;
                }
                pipeline.run().await;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = work => {}
            }
            partition
        });
        self.held.insert(partition, Held { task: task.id(), cancel, drain });
    }

    /// Nothing of the partition is answered, stored or committed from here on. A put that is on its way may still
    /// happen; the chain decides whether it counts.
    fn drop_partition(&mut self, partition: Partition) {
        let Some(held) = self.held.remove(&partition) else {
            return;
        };
        held.cancel.cancel();
        self.shared.holdings.remove(partition);
        self.shared.commits.forget(partition);
        self.shared.status.gone(partition);
        self.shared.metrics().forget(partition);
    }

    fn drop_all(&mut self) {
        while let Some((&partition, _)) = self.held.first_key_value() {
            self.drop_partition(partition);
        }
        self.shared.metrics().partitions.set(0);
    }

    /// A pipeline catches the panics of its work itself; should one get through, the partition starts over.
    fn ended(&mut self, ended: Result<Partition, JoinError>) {
        let Err(error) = ended else { return };
        let Some(partition) = self.held.iter().find(|(_, held)| held.task == error.id()).map(|(id, _)| *id)
        else {
            return;
        };
        self.shared.metrics().panics.inc();
        error!(%partition, error = causes(&error), "the task of a partition ended, starting it again");
        let drained = self.held.get(&partition).is_some_and(|held| held.drain.is_cancelled());
        self.drop_partition(partition);
        if !drained {
            self.start(partition, RESTART_PAUSE);
        }
    }

    async fn commit(&self, membership: &mut dyn Membership) {
        for (partition, offset) in self.shared.commits.take() {
            let commit = membership.commit(partition, offset);
            let commit = async move {
                fail_points::COMMITTING.pass().await.map_err(injected)?;
                commit.await?;
                fail_points::COMMITTED.pass().await.map_err(injected)
            };
            match timeout(COMMIT_TIMEOUT, caught(commit)).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Err(panicked)) => {
                    self.shared.metrics().panics.inc();
                    error!(%partition, %offset, error = %panicked, "offset not committed");
                }
                Ok(Ok(Err(error))) => {
                    warn!(%partition, %offset, error = causes(&error), "offset not committed")
                }
                Err(_) => warn!(%partition, %offset, "offset not committed in time"),
            }
        }
    }

    /// Stores and lists what is open, takes back the announcements while the partitions are still ours, and leaves.
    async fn drain(&mut self, mut membership: Box<dyn Membership>) {
        info!(partitions = self.held.len(), "storing what is open");
        for held in self.held.values() {
            held.drain.cancel();
        }
        let deadline = Instant::now() + self.shared.config.drain_max;
        let mut look = Instant::now() + STUCK_MAX;
        loop {
            tokio::select! {
                biased;
                () = self.shared.commits.pending() => self.commit(membership.as_mut()).await,
                ended = self.pipelines.join_next() => match ended {
                    Some(ended) => self.ended(ended),
                    None => break,
                },
                assignment = membership.next() => match assignment {
                    Ok(Assignment::Lost(lost)) => lost.into_iter().for_each(|partition| self.drop_partition(partition)),
                    // Whoever comes after us starts at the end of the chain.
                    Ok(Assignment::Gained(_)) => {}
                    Err(error) => {
                        warn!(error = causes(&error), "lost the membership in the consumer group");
                        self.drop_all();
                        return;
                    }
                },
                () = sleep_until(deadline) => {
                    warn!(after = ?self.shared.config.drain_max, "not everything was stored in time, it is left to others");
                    break;
                }
                () = sleep_until(look) => {
                    if self.shared.status.in_trouble() >= self.pipelines.len() {
                        warn!(partitions = self.pipelines.len(), "nothing can be stored at the moment, what is open is left to others");
                        break;
                    }
                    look += LOOK_EVERY;
                }
            }
        }
        self.commit(membership.as_mut()).await;
        let held: Vec<_> = self.held.keys().copied().collect();
        upkeep::retract(&self.shared, &held).await;
        self.drop_all();
        if timeout(LEAVE_TIMEOUT, membership.leave()).await.is_err() {
            warn!("did not leave the consumer group in time");
        }
        self.pipelines.shutdown().await;
    }
}

fn injected(source: Injected) -> LogError {
    LogError::Unavailable { action: "failed to commit".into(), source: source.into() }
}
