//! One topic of the embedded log: what appenders, readers, groups, its writer and the keeper share.
//! Owns: what may be read (the index), waking readers, what may be deleted. Does not own: writing, opening.
//! Guarantee: what is in the index is durable.

use std::fs;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};
use tracing::info;
use vivace_model::{Offset, OffsetRange, Partition};

use super::disk::{storage, sync_dir};
use super::frame::Unplaced;
use super::groups::Groups;
use super::index::{Index, Plan};
use super::keeper::Signal;
use super::queue::{Batch, Queue};
use super::segment;
use crate::{LocalConfig, LogError, NewRecord, Retention};

/// Why nothing works any more, once something failed that must not; shared by the whole log.
#[derive(Debug, Default)]
pub(super) struct Poison(OnceLock<String>);

impl Poison {
    pub(super) fn set(&self, reason: String) {
        self.0.get_or_init(|| reason);
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        match self.0.get() {
            None => Ok(()),
            Some(reason) => Err(LogError::Storage {
                action: format!("the log has stopped and the process must be restarted: {reason}"),
                source: std::io::ErrorKind::Other.into(),
            }),
        }
    }
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) partitions: u32,
    pub(super) config: LocalConfig,
    pub(super) queue: Queue,
    pub(super) index: RwLock<Index>,
    pub(super) groups: Groups,
    pub(super) poison: Arc<Poison>,
    pub(super) keeper: Arc<Signal>,
    /// As it was ensured last; nothing is deleted before.
    pub(super) retention: Mutex<Option<Retention>>,
    /// One per partition, notified when it has new records.
    pub(super) news: Vec<Notify>,
}

impl Topic {
    pub(super) fn check_partition(&self, partition: Partition) -> Result<(), LogError> {
        if partition.0 < self.partitions {
            return Ok(());
        }
        Err(LogError::PartitionMissing { topic: self.name.clone(), partition })
    }

    pub(super) async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        self.poison.check()?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let mut unplaced = Vec::with_capacity(records.len());
        for record in records {
            self.check_partition(record.partition)?;
            unplaced.push(Unplaced::new(record, self.config.record_bytes_max.as_usize())?);
        }
        let bytes = unplaced.iter().map(Unplaced::frame_len).sum();
        let (answer, answered) = oneshot::channel();
        self.queue.push(Batch { records: unplaced, bytes, answer })?;
        answered.await.map_err(|source| LogError::Unavailable {
            action: format!("the writer of topic {} has ended", self.name),
            source: source.into(),
        })?
    }

    pub(super) fn watermarks(&self, partition: Partition) -> Result<OffsetRange, LogError> {
        self.poison.check()?;
        self.check_partition(partition)?;
        Ok(self.index.read().watermarks(partition))
    }

    /// Waits until there is something to read at an offset, and says where it lies.
    pub(super) async fn plan(
        &self,
        partition: Partition,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Plan, LogError> {
        loop {
            let mut news = pin!(self.news[partition.0 as usize].notified());
            news.as_mut().enable();
            self.poison.check()?;
            {
                let index = self.index.read();
                self.check_range(partition, from, index.watermarks(partition))?;
                if let Some(plan) = index.plan(partition, from, bytes_max) {
                    return Ok(plan);
                }
            }
            news.await;
        }
    }

    fn check_range(
        &self,
        partition: Partition,
        offset: Offset,
        watermarks: OffsetRange,
    ) -> Result<(), LogError> {
        if watermarks.contains(offset) || offset == watermarks.end {
            return Ok(());
        }
        Err(self.out_of_range(partition, offset))
    }

    pub(super) fn out_of_range(&self, partition: Partition, offset: Offset) -> LogError {
        let watermarks = self.index.read_recursive().watermarks(partition);
        LogError::OffsetOutOfRange { topic: self.name.clone(), partition, offset, watermarks }
    }

    /// Wakes every reader, to see new records or that the log has stopped.
    pub(super) fn wake_all(&self) {
        for news in &self.news {
            news.notify_waiters();
        }
    }

    /// Deletes the segments that nobody needs any more, oldest first, each gone for good before the next: so a crash
    /// never leaves a hole.
    pub(super) fn truncate(&self) -> Result<(), LogError> {
        let Some(retention) = *self.retention.lock() else { return Ok(()) };
        let floors = match retention {
            Retention::Time(_) => self.groups.floors(),
            Retention::Compacted => None,
        };
        let bytes_max = self.config.unjoined_bytes_max.as_u64();
        loop {
            let dropped = self.index.write().drop_oldest(|index, oldest| match &floors {
                Some(floors) => oldest.is_below(floors),
                None => index.length() > bytes_max,
            });
            let Some(sequence) = dropped else { return Ok(()) };
            let path = segment::path(&self.dir, sequence);
            let action = || format!("failed to delete {}", path.display());
            fs::remove_file(&path).map_err(storage(action()))?;
            sync_dir(&self.dir).map_err(storage(action()))?;
            info!(topic = self.name, sequence, "segment deleted");
        }
    }
}
