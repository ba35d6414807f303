//! One partition, as long as it is ours: look, do what there is to do, delete what is due, wait.
//! Owns: when to look, and what counts as a failure of the blocks at hand; a panic of the work ends here.
//! Does not own: what there is to do (`plan`), doing it (`job`).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use vivace_block::BlockError;
use vivace_ledger::{Chain, LedgerError, PartitionState};
use vivace_log::LogError;
use vivace_model::{BlockId, ErrorKind, Offset, Partition};
use vivace_runtime::{ReadinessCheck, caught};

use crate::aside::{Aside, Judged};
use crate::error::{JobError, causes};
use crate::job::{Work, delete};
use crate::plan::{Job, backlog, plan};
use crate::shared::{Backoff, Shared};
use crate::{clock_guard, fail_points};

/// Hints to read at once.
const HINT_BYTES: usize = 64 << 10;
/// Files to delete between two merges, at most: whoever takes a partition over first deletes all that is retired once more, and
/// the merges should not wait for that.
const DELETED_AT_ONCE: usize = 64;

/// Works on one partition until it is stopped.
#[derive(Debug)]
pub(crate) struct PartitionWork {
    shared: Arc<Shared>,
    partition: Partition,
    chain: Chain,
    stop: CancellationToken,
    /// Blocks that nothing could be done with.
    aside: Aside,
    /// The chain is damaged: nothing is done until it is repaired.
    refused: bool,
    /// Retired blocks whose files are gone. Nothing else says so; to delete them again does no harm.
    deleted: HashSet<BlockId>,
    readiness: ReadinessCheck,
    /// Since when nothing worked.
    failing: Option<Instant>,
}

impl PartitionWork {
    pub(crate) fn new(
        shared: Arc<Shared>,
        partition: Partition,
        stop: CancellationToken,
        readiness: ReadinessCheck,
    ) -> Self {
        let chain = shared.chain(partition);
        let (aside, deleted) = (Aside::new(partition, shared.set_aside.clone()), HashSet::new());
        Self { shared, partition, chain, stop, aside, refused: false, deleted, readiness, failing: None }
    }

    pub(crate) async fn run(mut self) {
        let mut known = None;
        let mut backoff = Backoff::new();
        let mut hints = Hints { partition: self.partition, reader: None };
        while !self.stop.is_cancelled() {
            let seen = end_of_hints(&self.shared, self.partition).await;
            let worked = Box::pin(caught(self.work(known.take()))).await;
            let worked = worked.unwrap_or_else(|panicked| Err(Failed::without_blocks(panicked)));
            let stop = self.stop.clone();
            match worked {
                Ok(state) => {
                    known = Some(state);
                    self.refuse(None);
                    self.works();
                    backoff = Backoff::new();
                    if let Some(seen) = seen {
                        self.shared.dealt_with(self.partition, seen);
                    }
                    let pause = self.shared.config.look_every;
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = hints.next(&self.shared) => {}
                        () = sleep(pause) => {}
                    }
                }
                Err(error) => {
                    self.judge(&error);
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = backoff.wait(&self.shared) => {}
                    }
                }
            }
        }
    }

    /// Does all that there is to do now.
    async fn work(&mut self, known: Option<PartitionState>) -> Result<PartitionState, Failed> {
        let read = match &known {
            Some(known) => self.chain.refresh(known).await,
            None => self.chain.load().await,
        };
        let mut state = read.map_err(Failed::without_blocks)?;
        loop {
            if !self.shared.clock_agrees(Some(&state)).await {
                return Ok(state);
            }
            let jobs = self.plan(&state);
            let now = self.shared.environment.clock.now();
            self.shared.metrics().set_backlog(self.partition, backlog(&jobs, now));
            let more_to_delete = self.delete_retired(&state).await;
            if self.stop.is_cancelled() {
                return Ok(state);
            }
            let Some(job) = jobs.first() else {
                if more_to_delete {
                    continue;
                }
                return Ok(state);
            };
            let permit = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(state),
                permit = self.shared.merges.acquire() => permit,
            };
            if !self.shared.clock_agrees(Some(&state)).await {
                return Ok(state);
            }
            // What was planned may be old after waiting; appending finds out.
            let work =
                Work { shared: Arc::clone(&self.shared), chain: self.chain.clone(), stop: self.stop.clone() };
            let done = Box::pin(caught(work.run(&state, job))).await;
            let done = done.unwrap_or_else(|panicked| Err(panicked.into()));
            drop(permit);
            state = done.map_err(|error| {
                let blocks = job.blocks().iter().map(|block| (block.id, block.path())).collect();
                Failed { error, blocks }
            })?;
        }
    }

    fn plan(&mut self, state: &PartitionState) -> Vec<Job> {
        let avoid = self.aside.now(state.live().iter().map(|block| block.id));
        let environment = &self.shared.environment;
        let retention = environment.retention.as_ref();
        plan(state, environment.clock.now(), &self.shared.config, &|tenant| retention(tenant), &avoid)
    }

    /// Deletes files of blocks that were retired long enough ago that no query reads them any more. Says whether to go on with
    /// that: more are due, and the store does delete.
    async fn delete_retired(&mut self, state: &PartitionState) -> bool {
        let now = self.shared.environment.clock.now();
        let grace = self.shared.config.grace;
        let retired: HashSet<_> = state.retired().iter().map(|retired| retired.block.id).collect();
        self.deleted.retain(|id| retired.contains(id));
        let mut due = state
            .retired()
            .iter()
            .filter(|retired| now.since(retired.at) > grace && !self.deleted.contains(&retired.block.id));
        let batch: BTreeMap<_, _> = due
            .by_ref()
            .take(DELETED_AT_ONCE)
            .map(|retired| (retired.block.path(), retired.block.id))
            .collect();
        let more = due.next().is_some();
        if batch.is_empty() || fail_points::DELETING.pass().await.is_err() {
            return false;
        }
        let gone = delete(&self.shared, batch.keys().cloned().collect()).await;
        self.shared.metrics().deleted.inc_by(gone.len() as u64);
        info!(partition = %self.partition, files = gone.len(), "files of replaced and expired blocks deleted");
        self.deleted.extend(gone.iter().filter_map(|path| batch.get(path)));
        more && !gone.is_empty()
    }

    /// Notes that all was done.
    fn works(&mut self) {
        if let Some(since) = self.failing.take() {
            let after = Duration::from_secs(since.elapsed().as_secs());
            info!(partition = %self.partition, ?after, "compaction works again");
        }
        if self.stop.is_cancelled() {
            return;
        }
        if self.shared.metrics().clock_suspect.get() == 0 {
            self.readiness.partition(self.partition.0, "working", None);
        } else {
            self.readiness.partition(self.partition.0, "waiting", Some(clock_guard::SUSPECT.to_owned()));
        }
    }

    /// Notes a failure: what fails again and again is left alone for a while, so that the rest goes on.
    fn judge(&mut self, failed: &Failed) {
        let (partition, causes) = (self.partition, causes(&failed.error));
        if failed.error.kind() == ErrorKind::Unavailable {
            // Only the first of a row is news; the detail of `/ready` has the last one.
            match self.failing {
                None => warn!(%partition, error = causes, "compaction failed, trying again"),
                Some(_) => debug!(%partition, error = causes, "compaction failed, trying again"),
            }
            let since = *self.failing.get_or_insert_with(Instant::now);
            let detail = format!("for {} s: {causes}", since.elapsed().as_secs());
            if !self.stop.is_cancelled() {
                self.readiness.partition(partition.0, "trouble", Some(detail));
            }
            return;
        }
        if matches!(failed.error, JobError::Ledger(LedgerError::Corrupt { .. })) && failed.blocks.is_empty() {
            self.refuse(Some(&causes));
            return;
        }
        if matches!(failed.error, JobError::Panicked(_)) {
            self.shared.metrics().panics.inc();
        }
        let damaged = match &failed.error {
            JobError::Merge { source: BlockError::Corrupt { path, .. }, .. } => Some(path),
            JobError::Merge { .. } | JobError::Ledger(_) | JobError::Injected(_) | JobError::Panicked(_) => {
                None
            }
        };
        let blocks = failed.blocks.iter().filter(|(_, path)| damaged.is_none_or(|damaged| damaged == path));
        let blocks: Vec<BlockId> = blocks.map(|(id, _)| *id).collect();
        if blocks.is_empty() {
            error!(%partition, error = causes, "compaction failed, trying again");
            return;
        }
        match self.aside.failed(&blocks, &causes) {
            Judged::TryAgain => {
                warn!(%partition, blocks = blocks.len(), error = causes, "blocks cannot be compacted, trying once more");
            }
            Judged::SetAside { fresh: 0 } => {
                warn!(%partition, blocks = blocks.len(), error = causes, "blocks still cannot be compacted, they stay aside");
            }
            Judged::SetAside { fresh } => {
                self.shared.metrics().blocks_set_aside.inc_by(fresh as u64);
                error!(
                    %partition, blocks = ?blocks, error = causes,
                    "blocks cannot be compacted and are set aside; they are tried again later, the others go on"
                );
            }
        }
    }
}

impl PartitionWork {
    /// Notes whether the chain is damaged, once.
    fn refuse(&mut self, reason: Option<&str>) {
        let partition = self.partition;
        match reason {
            Some(error) if !self.refused => error!(
                %partition, error,
                "partition refused, nothing of it is compacted or deleted until this is repaired: `vivace audit` names the \
                 entry; restore its file from the bucket's versions or from a backup"
            ),
            None if self.refused => info!(%partition, "the ledger of the partition can be read again"),
            Some(_) | None => {}
        }
        self.refused = reason.is_some();
        if let Some(reason) = reason.filter(|_| !self.stop.is_cancelled()) {
            self.readiness.partition(partition.0, "refused", Some(reason.to_owned()));
        }
        self.shared.metrics().set_refused(partition, self.refused);
    }
}

/// A failure, and the blocks of the job that failed.
#[derive(Debug)]
struct Failed {
    error: JobError,
    blocks: Vec<(BlockId, object_store::path::Path)>,
}

impl Failed {
    fn without_blocks(error: impl Into<JobError>) -> Self {
        Self { error: error.into(), blocks: Vec::new() }
    }
}

/// The records that tell of new entries. They only save time.
#[derive(Debug)]
struct Hints {
    partition: Partition,
    reader: Option<Box<dyn vivace_log::Reader>>,
}

impl Hints {
    /// Waits for a hint. Safe to drop.
    async fn next(&mut self, shared: &Shared) {
        let read = match &mut self.reader {
            Some(reader) => reader.next(HINT_BYTES).await.map(drop),
            None => self.open(shared).await,
        };
        if let Err(error) = read {
            self.reader = None;
            miss(self.partition, &error);
            // The regular look finds what is missed.
            std::future::pending::<()>().await;
        }
    }

    async fn open(&mut self, shared: &Shared) -> Result<(), LogError> {
        let log = &shared.environment.log;
        let end = log.watermarks(&shared.topics.ledger, self.partition).await?.end;
        let reader = self.reader.insert(log.read(&shared.topics.ledger, self.partition, end).await?);
        reader.next(HINT_BYTES).await.map(drop)
    }
}

/// The end of the hints now.
async fn end_of_hints(shared: &Shared, partition: Partition) -> Option<Offset> {
    let watermarks = shared.environment.log.watermarks(&shared.topics.ledger, partition).await;
    watermarks.inspect_err(|error| miss(partition, error)).ok().map(|watermarks| watermarks.end)
}

fn miss(partition: Partition, error: &LogError) {
    warn!(%partition, error = causes(error), "cannot read hints, looking regularly");
}
