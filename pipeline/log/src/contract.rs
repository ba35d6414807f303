//! What every log must do, as checks that panic. Run by the tests of all three implementations.
//! Owns: the promises of the traits, one check each. Does not own: starting a log, faults, crashes.

mod groups;
mod records;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vivace_model::{Offset, OffsetRange, Partition};

pub use self::groups::{groups_share_partitions, members_come_and_go};
pub use self::records::{
    appends_of_many_are_dense, dropped_reads_lose_nothing, everything_comes_back, offsets_are_dense,
    out_of_range_above, out_of_range_below, partitions_are_independent, reading_starts_anywhere,
    survives_reopening, topics_are_compared, topics_grow, waiting_readers_are_woken,
};
use crate::{Log, NewRecord, Reader, Record, Retention, TopicSpec};

/// Nothing here takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log to be checked.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Topics made by the checks begin with that; it must be new to the log.
    pub prefix: String,
}

impl Subject {
    /// All checks that need nothing but the log.
    ///
    /// # Panics
    /// When the log does not keep what the traits promise.
    pub async fn check(&self) {
        topics_are_compared(self).await;
        topics_grow(self).await;
        offsets_are_dense(self).await;
        everything_comes_back(self).await;
        reading_starts_anywhere(self).await;
        partitions_are_independent(self).await;
        waiting_readers_are_woken(self).await;
        dropped_reads_lose_nothing(self).await;
        out_of_range_above(self).await;
        appends_of_many_are_dense(self).await;
        groups_share_partitions(self).await;
        members_come_and_go(self).await;
    }

    /// Makes a topic and gives its name.
    async fn topic(&self, name: &str, partitions: u32) -> String {
        let spec = self.spec(name, partitions);
        within(self.log.ensure_topic(&spec)).await.expect("a topic can be made");
        spec.name
    }

    fn spec(&self, name: &str, partitions: u32) -> TopicSpec {
        let name = format!("{}.{name}", self.prefix);
        TopicSpec {
            name,
            partitions,
            replication: 1,
            retention: Retention::Time(Duration::from_secs(24 * 3600)),
        }
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Vec<Offset> {
        within(self.log.append(topic, records)).await.expect("records can be appended")
    }

    /// Appends that many small records to one partition.
    async fn fill(&self, topic: &str, partition: u32, count: u64) {
        let records = (0..count).map(|number| record(partition, number)).collect();
        self.append(topic, records).await;
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> OffsetRange {
        within(self.log.watermarks(topic, Partition(partition))).await.expect("there are watermarks")
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Box<dyn Reader> {
        within(self.log.read(topic, Partition(partition), Offset(from)))
            .await
            .expect("a reader can be opened")
    }

    /// Reads until there are that many.
    async fn read(&self, topic: &str, partition: u32, from: u64, count: usize) -> Vec<Record> {
        let mut reader = self.reader(topic, partition, from).await;
        read_on(&mut *reader, count).await
    }
}

async fn read_on(reader: &mut dyn Reader, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        let more = within(reader.next(64 << 10)).await.expect("records can be read");
        assert!(!more.is_empty(), "a read gives one record at least");
        records.extend(more);
    }
    assert_eq!(records.len(), count, "no more than were appended");
    records
}

/// A small record that tells its number.
fn record(partition: u32, number: u64) -> NewRecord {
    let value = Bytes::from(format!("record {number} of partition {partition}"));
    NewRecord { partition: Partition(partition), key: None, headers: Vec::new(), value }
}

/// Asserts that these are the records `from..` that [`record`] makes, at the offsets of the same numbers.
fn assert_numbered(records: &[Record], partition: u32, from: u64) {
    for (read, number) in records.iter().zip(from..) {
        assert_eq!(read.offset, Offset(number), "offsets are dense");
        assert_eq!(read.value, record(partition, number).value, "records keep their order");
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("the log answers within a minute")
}
