//! Who serves the recent data of each partition, learnt from the compacted topic of owners.
//! Owns: the newest announcement of every partition, and following the topic.
//! Does not own: whether an owner answers (see `recent`).

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use vivace_log::{LogError, Record, SharedLog};
use vivace_model::{Offset, Partition};
use vivace_proto::owners::Owner;

/// The topic has one partition: it is small, and one order of all announcements is easy to reason about.
const PARTITION: Partition = Partition(0);
/// Read about that much at once.
const FETCH_BYTES: usize = 1 << 20;
/// Pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The topic counts as read to its end after that long without a record, even when its last offsets were compacted
/// away.
const IDLE: Duration = Duration::from_secs(1);

/// The newest announcement about a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// Its place in the topic: a newer one is another number.
    pub(crate) version: Offset,
    /// None when the owner has gone.
    pub(crate) owner: Option<Owner>,
}

/// Announcements of all partitions of one spans topic.
#[derive(Debug)]
pub(crate) struct Owners {
    spans_topic: String,
    table: RwLock<HashMap<Partition, Announcement>>,
    /// Notified at each change. No watch channel: that wakes its receivers in random order, and simulations must repeat.
    changes: Notify,
    /// Whether the end of the topic was reached.
    loaded: watch::Sender<bool>,
}

impl Owners {
    pub(crate) fn new(spans_topic: String) -> Self {
        Self {
            spans_topic,
            table: RwLock::default(),
            changes: Notify::new(),
            loaded: watch::Sender::new(false),
        }
    }

    /// Waits until the topic was read to its end once.
    pub(crate) async fn loaded(&self) {
        let mut loaded = self.loaded.subscribe();
        // The sender lives as long as self.
        drop(loaded.wait_for(|loaded| *loaded).await);
    }

    fn is_loaded(&self) -> bool {
        *self.loaded.borrow()
    }

    /// The newest announcement about a partition, if there ever was one.
    pub(crate) fn get(&self, partition: Partition) -> Option<Announcement> {
        self.table.read().get(&partition).cloned()
    }

    /// Every address that is announced now.
    pub(crate) fn addresses(&self) -> HashSet<String> {
        let table = self.table.read();
        table.values().filter_map(|announcement| Some(announcement.owner.as_ref()?.address.clone())).collect()
    }

    /// Waits until somebody owns the partition by another announcement than `version`. False when `deadline` is first.
    pub(crate) async fn newer(
        &self,
        partition: Partition,
        version: Option<Offset>,
        deadline: Instant,
    ) -> bool {
        let found = async {
            loop {
                let mut changed = pin!(self.changes.notified());
                // From here on no change is missed, not even one before the await.
                changed.as_mut().enable();
                let announced = self.get(partition);
                if announced.is_some_and(|it| it.owner.is_some() && Some(it.version) != version) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout_at(deadline, found).await.is_ok()
    }

    fn take(&self, record: &Record) {
        let key = record.key.as_deref().unwrap_or_default();
        let Some((topic, number)) = Owner::parse_key(key) else {
            warn!(offset = %record.offset, "owner record has a strange key");
            return;
        };
        if topic != self.spans_topic {
            return;
        }
        let owner = match Owner::from_value(&record.value) {
            Ok(owner) => owner,
            Err(error) => {
                warn!(offset = %record.offset, %error, "owner record cannot be read");
                return;
            }
        };
        let announcement = Announcement { version: record.offset, owner: owner.clone() };
        let before = self.table.write().insert(Partition(number), announcement);
        self.changes.notify_waiters();
        // Owners repeat themselves now and then.
        if before.and_then(|before| before.owner) != owner {
            let (address, instance) = owner.map(|owner| (owner.address, owner.instance)).unzip();
            info!(partition = number, address, instance, "partition has another owner");
        }
    }

    /// Follows the topic until shutdown.
    pub(crate) async fn follow(&self, log: &SharedLog, topic: &str, shutdown: &CancellationToken) {
        let mut next = None;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                result = self.read_on(log, topic, &mut next) => {
                    let Err(error) = result;
                    if matches!(error, LogError::OffsetOutOfRange { .. }) {
                        // The topic was compacted past us or made anew: what we know may be wrong.
                        next = None;
                        self.table.write().clear();
                    }
                    warn!(topic, %error, "failed to read who owns the partitions; trying again");
                }
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
    }

    async fn read_on(
        &self,
        log: &SharedLog,
        topic: &str,
        next: &mut Option<Offset>,
    ) -> Result<std::convert::Infallible, LogError> {
        let watermarks = log.watermarks(topic, PARTITION).await?;
        let from = *next.get_or_insert(watermarks.start);
        let mut reader = log.read(topic, PARTITION, from).await?;
        loop {
            if next.is_some_and(|next| next >= watermarks.end) {
                self.loaded.send_replace(true);
            }
            let records = if self.is_loaded() {
                reader.next(FETCH_BYTES).await?
            } else if let Ok(records) = tokio::time::timeout(IDLE, reader.next(FETCH_BYTES)).await {
                records?
            } else {
                self.loaded.send_replace(true);
                continue;
            };
            for record in &records {
                self.take(record);
                *next = Some(record.offset.next());
            }
        }
    }
}
