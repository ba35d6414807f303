//! Keeps the View fresh.
//! Owns: when the ledger is read: at start, at every hint, regularly, and when someone found the View too old.
//! Does not own: reading it (vivace-ledger).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use vivace_ledger::{LedgerError, PartitionState, View, ViewKeeper};
use vivace_log::{LogError, Record, SharedLog};
use vivace_model::{ErrorKind, Overrides, Partition, Spread, TenantId};
use vivace_runtime::Watched;

use crate::damage::LEDGER_ADVICE;
use crate::{Metrics, QueryError};

/// Pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
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
    /// Partitions whose chain is damaged, and how.
    refused: RwLock<BTreeMap<Partition, LedgerError>>,
    metrics: Metrics,
    /// How records of each tenant were spread, by the blocks of each partition, as of a sequence.
    spreads: Mutex<Vec<(u64, TenantSpreads)>>,
}

impl Views {
    pub(crate) fn new(keeper: ViewKeeper, overrides: Watched<Overrides>, metrics: Metrics) -> Self {
        let (loaded, refused) = (watch::Sender::new(false), RwLock::default());
        Self { keeper, overrides, loaded, refused, metrics, spreads: Mutex::default() }
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
        shutdown: &CancellationToken,
    ) {
        let partitions = (0..).map(Partition).take(self.keeper.current().partitions().len());
        let hints =
            futures::future::join_all(partitions.map(|partition| self.follow_hints(log, topic, partition)));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = self.refresh_regularly(every) => {}
            _ = hints => {}
        }
    }

    async fn refresh_regularly(&self, every: Duration) {
        loop {
            let (damaged, unread): (BTreeMap<_, _>, Vec<_>) = self.refresh_each().await;
            self.refuse(damaged);
            let pause = match unread.first() {
                None => {
                    self.loaded.send_replace(true);
                    every
                }
                Some(error) => {
                    let cause = std::error::Error::source(error).map(ToString::to_string);
                    warn!(%error, cause, "failed to refresh the View; trying again");
                    RETRY_PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Reads what is new; gives the partitions whose chain is damaged, and why others could not be read.
    async fn refresh_each(&self) -> (BTreeMap<Partition, LedgerError>, Vec<LedgerError>) {
        let (mut damaged, mut unread) = (BTreeMap::new(), Vec::new());
        for (partition, error) in self.keeper.refresh_each().await {
            if error.kind() == ErrorKind::Corrupt {
                damaged.insert(partition, error);
            } else {
                // Whether it is damaged is not known now.
                damaged.extend(self.refused(partition).map(|error| (partition, error)));
                unread.push(error);
            }
        }
        (damaged, unread)
    }

    /// Others go on while the chain of a partition is damaged.
    fn refuse(&self, damaged: BTreeMap<Partition, LedgerError>) {
        let before = std::mem::replace(&mut *self.refused.write(), damaged.clone());
        for (partition, error) in &damaged {
            if !before.contains_key(partition) {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                error!(%partition, %error, cause, "partition refused: queries answer without it. {LEDGER_ADVICE}");
            }
        }
        for partition in before.keys().filter(|partition| !damaged.contains_key(partition)) {
            info!(%partition, "the ledger of the partition can be read again");
        }
        self.metrics.partitions_refused.set(i64::try_from(damaged.len()).unwrap_or(i64::MAX));
    }

    async fn follow_hints(&self, log: &SharedLog, topic: &str, partition: Partition) {
        loop {
            // What a hint would have told is read regularly anyway, so none from before is needed.
            let Err(error) = self.read_hints(log, topic, partition).await;
            debug!(%partition, %error, "failed to read hints; trying again");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn read_hints(
        &self,
        log: &SharedLog,
        topic: &str,
        partition: Partition,
    ) -> Result<std::convert::Infallible, LogError> {
        let end = log.watermarks(topic, partition).await?.end;
        let mut reader = log.read(topic, partition, end).await?;
        loop {
            let records = reader.next(FETCH_BYTES).await?;
            let Some(newest) = records.iter().filter_map(|record| sequence(record, partition)).max() else {
                continue;
            };
            let known = self.keeper.current().partition(partition).map_or(0, PartitionState::sequence);
            if newest > known
                && let Err(error) = self.keeper.refresh(partition).await
            {
                warn!(%partition, %error, "failed to refresh the View at a hint");
            }
        }
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
