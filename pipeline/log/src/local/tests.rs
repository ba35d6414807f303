//! Tests of the embedded log as a whole.

mod damage;
mod faults;
mod retention;

use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use vivace_model::{ByteSize, ManualClock, UnixNanos};

use super::*;
use crate::contract::{Subject, survives_reopening};
use crate::{Record, Retention};

const TOPIC: &str = "t";
const ZERO: Partition = Partition(0);

fn config() -> LocalConfig {
    LocalConfig { segment_bytes: ByteSize::kib(16), ..LocalConfig::default() }
}

fn spec(partitions: u32) -> TopicSpec {
    let retention = Retention::Time(Duration::from_secs(1));
    TopicSpec { name: TOPIC.into(), partitions, replication: 1, retention }
}

fn open(dir: &Path) -> Arc<LocalLog> {
    LocalLog::open(dir, config()).unwrap()
}

async fn open_topic(dir: &Path, partitions: u32) -> Arc<LocalLog> {
    let log = open(dir);
    log.ensure_topic(&spec(partitions)).await.unwrap();
    log
}

/// A record of about that many bytes that tells its number.
fn record(partition: u32, number: usize, bytes: usize) -> NewRecord {
    let digits = number.to_string();
    let value = Bytes::from("0".repeat(bytes.saturating_sub(digits.len())) + &digits);
    NewRecord { partition: Partition(partition), key: None, headers: Vec::new(), value }
}

async fn append(log: &LocalLog, record: NewRecord) -> Result<Offset, LogError> {
    log.append(TOPIC, vec![record]).await.map(|offsets| offsets[0])
}

/// All records of a partition from an offset on.
async fn read(log: &LocalLog, partition: Partition, from: Offset) -> Result<Vec<Record>, LogError> {
    let end = log.watermarks(TOPIC, partition).await?.end;
    let mut reader = log.read(TOPIC, partition, from).await?;
    let mut records: Vec<Record> = Vec::new();
    while records.last().map_or(from, |last| last.offset.next()) < end {
        records.extend(reader.next(4000).await?);
    }
    Ok(records)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let dir = dir.join(TOPIC);
    segment::list(&dir).unwrap().into_iter().map(|sequence| segment::path(&dir, sequence)).collect()
}

#[tokio::test]
async fn keeps_the_contract() {
    let dir = TempDir::new().unwrap();
    Subject { log: open(dir.path()), prefix: "contract".into() }.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keeps_the_contract_on_threads() {
    let dir = TempDir::new().unwrap();
    Subject { log: open(dir.path()), prefix: "contract".into() }.check().await;
}

#[tokio::test]
async fn survives_being_opened_again() {
    let dir = TempDir::new().unwrap();
    survives_reopening("reopen", || async {
        let log: Arc<dyn Log> = open(dir.path());
        log
    })
    .await;
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let dir = TempDir::new().unwrap();
    let first = open(dir.path());
    let error = LocalLog::open(dir.path(), config()).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    drop(first);
    open(dir.path());
}

#[tokio::test]
async fn readers_cross_segments_and_keep_times() {
    let dir = TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::new(UnixNanos::from_secs(1000)));
    let log =
        LocalLog::open_with(dir.path(), config(), Arc::<ManualClock>::clone(&clock), Arc::new(SystemDisk))
            .unwrap();
    log.ensure_topic(&spec(2)).await.unwrap();
    for number in 0..100 {
        append(&log, record(number as u32 % 2, number, 1000)).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    drop(log);
    assert!(segments(dir.path()).len() > 5);
    let log = open(dir.path());
    for from in [0, 17, 49] {
        let records = read(&log, Partition(1), Offset(from)).await.unwrap();
        assert_eq!(records.len() as u64, 50 - from);
        for (record, offset) in records.iter().zip(from..) {
            assert_eq!(
                (record.offset, record.timestamp),
                (Offset(offset), UnixNanos::from_secs(1001 + offset * 2))
            );
            assert!(record.value.ends_with(format!("{}", offset * 2 + 1).as_bytes()));
        }
    }
}

#[tokio::test]
async fn large_reads_leave_the_thread_and_come_back_whole() {
    let dir = TempDir::new().unwrap();
    let log = LocalLog::open(dir.path(), LocalConfig::default()).unwrap();
    log.ensure_topic(&spec(2)).await.unwrap();
    let records = (0..40).map(|number| record(number as u32 % 2, number, 100_000)).collect();
    log.append(TOPIC, records).await.unwrap();
    let mut reader = log.read(TOPIC, ZERO, Offset(0)).await.unwrap();
    let records = reader.next(8 << 20).await.unwrap();
    assert_eq!(records.len(), 20);
    for (at, read) in records.iter().enumerate() {
        assert_eq!(read.value, record(0, at * 2, 100_000).value);
    }
}

#[tokio::test]
async fn too_much_is_refused() {
    let dir = TempDir::new().unwrap();
    let small = LocalConfig {
        queue_bytes_max: ByteSize(10_000),
        record_bytes_max: ByteSize(5000),
        ..LocalConfig::default()
    };
    let log = LocalLog::open(dir.path(), small).unwrap();
    log.ensure_topic(&spec(1)).await.unwrap();
    assert!(matches!(append(&log, record(0, 0, 6000)).await, Err(LogError::TooLarge { bytes: 6000 })));
    let three = (0..3).map(|number| record(0, number, 4000)).collect();
    assert!(matches!(log.append(TOPIC, three).await, Err(LogError::TooLarge { .. })));
    assert!(matches!(append(&log, record(1, 0, 1)).await, Err(LogError::PartitionMissing { .. })));
    assert!(matches!(log.append("other", vec![record(0, 0, 1)]).await, Err(LogError::TopicMissing(_))));
    assert_eq!(append(&log, record(0, 0, 4000)).await.unwrap(), Offset(0));
    let bad = TopicSpec { name: "../up".into(), ..spec(1) };
    assert!(matches!(log.ensure_topic(&bad).await, Err(LogError::Storage { .. })));
}

#[tokio::test]
async fn readers_that_outlive_the_log_are_told() {
    let dir = TempDir::new().unwrap();
    let log = open_topic(dir.path(), 1).await;
    let mut reader = log.read(TOPIC, ZERO, Offset(0)).await.unwrap();
    let (result, ()) = tokio::join!(reader.next(1), async {
        tokio::task::yield_now().await;
        drop(log);
    });
    assert!(result.unwrap_err().to_string().contains("closed"));
}
