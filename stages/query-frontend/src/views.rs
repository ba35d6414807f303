//! Keeps the View fresh.
//! Owns: when the ledger is read: at start, at every hint, when someone found the View too old, and regularly: rarely while hints
//! are read, often while they are not.
//! Does not own: reading it (vivace-ledger).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use vivace_ledger::{LedgerError, PartitionState, View, ViewKeeper};
use vivace_log::{LogError, Record, SharedLog};
use vivace_model::{ErrorKind, Overrides, Partition, Spread, TenantId};
use vivace_runtime::{ReadinessCheck, Watched};

use crate::damage::LEDGER_ADVICE;
use crate::{Metrics, QueryError};

/// Pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// While hints cannot be read, the ledger is read that often.
const UNHINTED_REFRESH: Duration = Duration::from_secs(10);
/// Read about that much of the hints at once.
const FETCH_BYTES: usize = 64 << 10;

/// A record of the ledger topic: that entry of that partition exists.
#[derive(Debug, Deserialize)]
struct Hint {
    partition: Partition,
    sequence: u64,
}

type TenantSpreads = HashMap<TenantId, BTreeSet<Spread>>;

/// The newest View.
#[derive(Debug)]
pub(crate) struct Views {
    keeper: ViewKeeper,
    overrides: Watched<Overrides>,
    loaded: watch::Sender<bool>,
    /// Of each partition: whether its hints are read, and what those before said is known.
    hinted: Box<[AtomicBool]>,
    /// Partitions whose chain is damaged, and how.
    refused: RwLock<BTreeMap<Partition, LedgerError>>,
    metrics: Metrics,
    /// How records of each tenant were spread, by the blocks of each partition, as of a sequence.
    spreads: Mutex<Vec<(u64, TenantSpreads)>>,
}

impl Views {
    pub(crate) fn new(keeper: ViewKeeper, overrides: Watched<Overrides>, metrics: Metrics) -> Self {
        let hinted = keeper.current().partitions().iter().map(|_| AtomicBool::new(false)).collect();
        let (loaded, refused) = (watch::Sender::new(false), RwLock::default());
        Self { keeper, overrides, loaded, hinted, refused, metrics, spreads: Mutex::default() }
    }

    /// Why a partition cannot be asked: its chain is damaged, so nobody knows which blocks it has.
    pub(crate) fn refused(&self, partition: Partition) -> Option<LedgerError> {
        self.refused.read().get(&partition).cloned()
    }

    /// Name of the spans topic.
    pub(crate) fn topic(&self) -> &str {
        self.keeper.topic()
    }

    /// The newest View.
    pub(crate) fn current(&self) -> Result<View, QueryError> {
        if *self.loaded.borrow() { Ok(self.keeper.current()) } else { Err(QueryError::Starting) }
    }

    /// The state of a partition, with every entry that there is now.
    pub(crate) async fn refresh(&self, partition: Partition) -> Result<PartitionState, QueryError> {
        self.keeper.refresh(partition).await.map_err(|source| QueryError::Ledger { partition, source })
    }

    /// Waits until the ledger was read once.
    pub(crate) async fn loaded(&self) {
        let mut loaded = self.loaded.subscribe();
        // The sender lives as long as self.
        drop(loaded.wait_for(|loaded| *loaded).await);
    }

    /// How records of a tenant are and were spread: by the overrides of lately, and by all blocks of the View. Looks only
    /// at partitions that changed since the last call.
    pub(crate) fn spreads(&self, view: &View, tenant: &TenantId) -> BTreeSet<Spread> {
        let mut known = self.spreads.lock();
        known.resize_with(view.partitions().len(), || (u64::MAX, TenantSpreads::new()));
        for (known, state) in known.iter_mut().zip(view.partitions()) {
            if known.0 != state.sequence() {
                *known = (state.sequence(), TenantSpreads::new());
                for block in state.live() {
                    known.1.entry(block.tenant.clone()).or_default().insert(block.spread);
                }
            }
        }
        let stored = known.iter().filter_map(|(_, spreads)| spreads.get(tenant)).flatten().copied();
        let present = view.partitions().len() as u32;
        let set = self.overrides.lately().into_iter().map(|overrides| overrides.spread(tenant, present));
        stored.chain(set).collect()
    }

    /// Keeps the View fresh until shutdown.
    pub(crate) async fn follow(
        &self,
        log: &SharedLog,
        topic: &str,
        every: Duration,
        ready: &ReadinessCheck,
        shutdown: &CancellationToken,
    ) {
        let hints =
            join_all(self.partitions().map(|partition| self.follow_hints(log, topic, partition, ready)));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = self.refresh_regularly(every, ready) => {}
            _ = hints => {}
        }
    }

    async fn refresh_regularly(&self, every: Duration, ready: &ReadinessCheck) {
        join_all(self.partitions().map(|partition| self.catch_up(partition, ready))).await;
        self.loaded.send_replace(true);
        join_all(self.partitions().map(|partition| self.poll(partition, every, ready))).await;
    }

    /// Reads what is new in a partition every so often, in case that a hint got lost.
    async fn poll(&self, partition: Partition, every: Duration, ready: &ReadinessCheck) {
        // One after the other, not all partitions at once.
        let mut due = Instant::now() + every * (partition.0 + 1) / self.hinted.len() as u32;
        loop {
            tokio::time::sleep_until(due.min(Instant::now() + UNHINTED_REFRESH)).await;
            let hinted = self.is_hinted(partition) && self.refused(partition).is_none();
            if Instant::now() >= due || !hinted {
                self.catch_up(partition, ready).await;
                due = Instant::now() + every;
            }
        }
    }

    /// Reads what is new in a partition, trying again until that succeeds or its chain is found to be damaged.
    async fn catch_up(&self, partition: Partition, ready: &ReadinessCheck) {
        let mut failed = false;
        loop {
            let error = match self.keeper.refresh(partition).await {
                Ok(_) => return self.refuse(partition, None, ready),
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    return self.refuse(partition, Some(error), ready);
                }
                Err(error) => error,
            };
            if !failed {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(%partition, %error, cause, "failed to refresh the View; trying again");
            }
            failed = true;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Notes whether the chain of a partition is damaged. Others go on while it is.
    fn refuse(&self, partition: Partition, damage: Option<LedgerError>, ready: &ReadinessCheck) {
        let mut refused = self.refused.write();
        match damage {
            Some(error) => {
                if !refused.contains_key(&partition) {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    error!(%partition, %error, cause, "partition refused: queries answer without it. {LEDGER_ADVICE}");
                    ready.partition(partition.0, "refused", Some(format!("{error}; {LEDGER_ADVICE}")));
                }
                refused.insert(partition, error);
            }
            None => {
                if refused.remove(&partition).is_some() {
                    info!(%partition, "the ledger of the partition can be read again");
                    ready.partition_gone(partition.0);
                }
            }
        }
        self.metrics.partitions_refused.set(i64::try_from(refused.len()).unwrap_or(i64::MAX));
    }

    async fn follow_hints(&self, log: &SharedLog, topic: &str, partition: Partition, ready: &ReadinessCheck) {
        loop {
            let Err(error) = self.read_hints(log, topic, partition, ready).await;
            self.set_hinted(partition, false);
            debug!(%partition, %error, "failed to read hints; trying again");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn read_hints(
        &self,
        log: &SharedLog,
        topic: &str,
        partition: Partition,
        ready: &ReadinessCheck,
    ) -> Result<std::convert::Infallible, LogError> {
        let end = log.watermarks(topic, partition).await?.end;
        let mut reader = log.read(topic, partition, end).await?;
        // What the hints before said.
        self.catch_up(partition, ready).await;
        self.set_hinted(partition, true);
        loop {
            let records = reader.next(FETCH_BYTES).await?;
            let Some(newest) = records.iter().filter_map(|record| sequence(record, partition)).max() else {
                continue;
            };
            let known = self.keeper.current().partition(partition).map_or(0, PartitionState::sequence);
            if newest > known {
                self.catch_up(partition, ready).await;
            }
        }
    }

    fn partitions(&self) -> impl Iterator<Item = Partition> {
        (0..).map(Partition).take(self.hinted.len())
    }

    fn is_hinted(&self, partition: Partition) -> bool {
        self.hinted[partition.0 as usize].load(Ordering::Relaxed)
    }

    fn set_hinted(&self, partition: Partition, hinted: bool) {
        self.hinted[partition.0 as usize].store(hinted, Ordering::Relaxed);
    }
}

fn sequence(record: &Record, partition: Partition) -> Option<u64> {
    match serde_json::from_slice::<Hint>(&record.value) {
        Ok(hint) if hint.partition == partition => Some(hint.sequence),
        Ok(_) | Err(_) => {
            warn!(%partition, offset = %record.offset, "record of the ledger topic is no hint");
            None
        }
    }
}
