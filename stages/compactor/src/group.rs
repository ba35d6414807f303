//! Membership of the consumer group: works on each partition gained, and stops when it is lost.
//! Owns: the tasks of the partitions, commits, and the order of shutting down.
//! Does not own: what is done for a partition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use vivace_log::{Assignment, LogError, Membership};
use vivace_model::{ErrorKind, Partition};
use vivace_runtime::ReadinessCheck;

use crate::error::{CompactorError, causes};
use crate::orphans::Orphans;
use crate::partition::PartitionWork;
use crate::shared::{Backoff, Shared};

/// How long one commit may take. It is a hint for lag monitors, and what the embedded log truncates by.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long leaving the group may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Wait before the task of a partition that ended starts again.
const RESTART_PAUSE: Duration = Duration::from_secs(5);
/// Who has this partition looks for orphans, of all partitions.
const ORPHANS_PARTITION: Partition = Partition(0);

/// The partitions that are ours.
#[derive(Debug)]
pub(crate) struct Group {
    shared: Arc<Shared>,
    readiness: ReadinessCheck,
    tasks: JoinSet<()>,
    held: BTreeMap<Partition, Held>,
}

#[derive(Debug)]
struct Held {
    task: Id,
    stop: CancellationToken,
}

impl Group {
    pub(crate) fn new(shared: Arc<Shared>, readiness: ReadinessCheck) -> Self {
        Self { shared, readiness, tasks: JoinSet::new(), held: BTreeMap::new() }
    }

    /// Works as a member of the group until `shutdown`, and leaves.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), CompactorError> {
        loop {
            let membership = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                joined = self.join() => joined?,
            };
            info!(group = self.shared.config.group, "joined the consumer group");
            self.readiness.ready();
            let ended = self.work(membership, &shutdown).await;
            self.stop_all();
            let Err(error) = ended else {
                self.drain().await;
                return Ok(());
            };
            self.readiness.not_ready("not a member of the consumer group");
            if error.kind() != ErrorKind::Unavailable {
                return Err(self.lost(error));
            }
            warn!(error = causes(&error), "lost the membership in the consumer group, joining again");
        }
    }

    async fn join(&self) -> Result<Box<dyn Membership>, CompactorError> {
        let mut backoff = Backoff::new();
        loop {
            match self
                .shared
                .environment
                .log
                .join(&self.shared.topics.ledger, &self.shared.config.group)
                .await
            {
                Ok(membership) => return Ok(membership),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    warn!(error = causes(&error), "cannot join the consumer group, trying again");
                    backoff.wait(&self.shared).await;
                }
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    fn lost(&self, source: LogError) -> CompactorError {
        CompactorError::Group { group: self.shared.config.group.clone(), source }
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
                Some(ended) = self.tasks.join_next() => self.ended(&ended),
                () = self.shared.commits() => self.commit(membership.as_mut()).await,
            }
        }
        self.commit(membership.as_mut()).await;
        if timeout(LEAVE_TIMEOUT, membership.leave()).await.is_err() {
            warn!("did not leave the consumer group in time");
        }
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
                    self.stop(partition);
                }
            }
        }
        self.shared.metrics().partitions.set(i64::try_from(self.held.len()).unwrap_or(i64::MAX));
    }

    fn start(&mut self, partition: Partition, pause: Duration) {
        self.stop(partition);
        let stop = CancellationToken::new();
        let work =
            PartitionWork::new(Arc::clone(&self.shared), partition, stop.clone(), self.readiness.clone());
        let stopped = stop.clone();
        let task = self.tasks.spawn(async move {
            // Without a pause there is not even a timer.
            if pause.is_zero() || timeout(pause, stopped.cancelled()).await.is_err() {
                work.run().await;
            }
        });
        let task = task.id();
        if partition == ORPHANS_PARTITION && !self.shared.config.orphans_every.is_zero() {
            let orphans = Orphans::new(Arc::clone(&self.shared));
            let stop = stop.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = orphans.run() => {}
                }
            });
        }
        self.held.insert(partition, Held { task, stop });
    }

    /// A merge is given up; an entry on its way may still get there, and the chain decides whether it counts.
    fn stop(&mut self, partition: Partition) {
        if let Some(held) = self.held.remove(&partition) {
            held.stop.cancel();
            self.readiness.partition_gone(partition.0);
            self.shared.metrics().forget(partition);
        }
    }

    fn stop_all(&mut self) {
        while let Some((&partition, _)) = self.held.first_key_value() {
            self.stop(partition);
        }
        self.shared.metrics().partitions.set(0);
    }

    /// Tasks catch the panics of their work themselves; should one get through, the partition starts over.
    fn ended(&mut self, ended: &Result<(), JoinError>) {
        let Err(error) = ended else { return };
        self.shared.metrics().panics.inc();
        error!(error = causes(error), "a task ended, starting the work of its partition again");
        let partition = self.held.iter().find(|(_, held)| held.task == error.id()).map(|(id, _)| *id);
        if let Some(partition) = partition {
            self.start(partition, RESTART_PAUSE);
        }
    }

    /// Waits a little for tasks that clean up after themselves.
    async fn drain(&mut self) {
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(self.shared.config.drain_max, ended).await.is_err() {
            warn!(after = ?self.shared.config.drain_max, "compaction did not come to its end in time");
        }
        self.tasks.shutdown().await;
    }

    async fn commit(&self, membership: &mut dyn Membership) {
        for (partition, offset) in self.shared.take_commits() {
            if !self.held.contains_key(&partition) {
                continue;
            }
            match timeout(COMMIT_TIMEOUT, membership.commit(partition, offset)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%partition, %offset, error = causes(&error), "offset not committed"),
                Err(_) => warn!(%partition, %offset, "offset not committed in time"),
            }
        }
    }
}
