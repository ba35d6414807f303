//! Offsets on their way from the partitions to the consumer group.
//! Guarantee: only what a ledger entry names gets here, and of each partition only the newest waits.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::Notify;
use vivace_model::{Offset, Partition};

use crate::store::ListedSet;

/// Offsets to commit.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    waiting: Mutex<BTreeMap<Partition, Offset>>,
    news: Notify,
}

impl Commits {
    pub(crate) fn note(&self, partition: Partition, listed: &ListedSet) {
        self.waiting.lock().insert(partition, listed.commit_offset());
        self.news.notify_one();
    }

    /// Waits until there is something to commit. Safe to drop.
    pub(crate) async fn pending(&self) {
        self.news.notified().await;
    }

    pub(crate) fn take(&self) -> BTreeMap<Partition, Offset> {
        std::mem::take(&mut self.waiting.lock())
    }

    pub(crate) fn forget(&self, partition: Partition) {
        self.waiting.lock().remove(&partition);
    }
}
