//! Checks of topics, appends and reads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::task::JoinSet;
use vivace_model::{ErrorKind, Offset, OffsetRange, Partition};

use super::{Subject, assert_numbered, read_on, record, within};
use crate::{Log, LogError, NewRecord};

/// A topic may be ensured again; with another partition count it differs.
///
/// # Panics
/// If not.
pub async fn topics_are_compared(subject: &Subject) {
    let topic = subject.topic("compared", 3).await;
    assert_eq!(subject.topic("compared", 3).await, topic);
    for partitions in [2, 4] {
        let result = within(subject.log.ensure_topic(&subject.spec("compared", partitions))).await;
        let Err(LogError::TopicDiffers { expected, actual, .. }) = result else {
            panic!("3 partitions are not {partitions}: {result:?}");
        };
        assert_eq!((expected, actual), (partitions, 3));
    }
    for (topic, partition) in [(topic, 3), (format!("{}.missing", subject.prefix), 0)] {
        let result = within(subject.log.watermarks(&topic, Partition(partition))).await;
        assert!(result.is_err(), "{topic}/{partition} does not exist");
    }
}

/// A topic gets more partitions: what it held stays as it was, the new ones are empty and can be used. None is taken away.
///
/// # Panics
/// If not.
pub async fn topics_grow(subject: &Subject) {
    let topic = subject.topic("grown", 2).await;
    subject.fill(&topic, 1, 5).await;
    within(subject.log.grow_topic(&topic, 2)).await.expect("as many as there are");
    within(subject.log.grow_topic(&topic, 5)).await.expect("it grows");
    assert_eq!(subject.topic("grown", 5).await, topic);
    assert_eq!(subject.watermarks(&topic, 1).await, OffsetRange::new(Offset(0), Offset(5)));
    assert_eq!(subject.watermarks(&topic, 4).await, OffsetRange::new(Offset(0), Offset(0)));
    subject.fill(&topic, 4, 3).await;
    subject.fill(&topic, 1, 2).await;
    assert_eq!(subject.read(&topic, 4, 0, 3).await.len(), 3);
    assert_eq!(subject.read(&topic, 1, 0, 7).await.len(), 7);
    let fewer = within(subject.log.grow_topic(&topic, 4)).await;
    assert!(matches!(fewer, Err(LogError::TopicDiffers { expected: 4, actual: 5, .. })), "{fewer:?}");
    let missing = format!("{}.missing", subject.prefix);
    assert!(matches!(within(subject.log.grow_topic(&missing, 2)).await, Err(LogError::TopicMissing(_))));
}

/// An append gives the offsets in the order of its records, dense in each partition; watermarks follow.
///
/// # Panics
/// If not.
pub async fn offsets_are_dense(subject: &Subject) {
    let topic = subject.topic("dense", 2).await;
    assert_eq!(subject.watermarks(&topic, 0).await, OffsetRange::new(Offset(0), Offset(0)));
    assert_eq!(subject.append(&topic, Vec::new()).await, []);
    let records = vec![record(0, 0), record(1, 0), record(0, 1), record(0, 2), record(1, 1)];
    assert_eq!(subject.append(&topic, records).await, [0, 0, 1, 2, 1].map(Offset));
    assert_eq!(subject.append(&topic, vec![record(1, 2), record(0, 3)]).await, [2, 3].map(Offset));
    assert_eq!(subject.watermarks(&topic, 0).await, OffsetRange::new(Offset(0), Offset(4)));
    assert_eq!(subject.watermarks(&topic, 1).await, OffsetRange::new(Offset(0), Offset(3)));
    assert_numbered(&subject.read(&topic, 0, 0, 4).await, 0, 0);
    assert_numbered(&subject.read(&topic, 1, 0, 3).await, 1, 0);
}

/// Keys, headers, empty and large values are read back as they were given.
///
/// # Panics
/// If not.
pub async fn everything_comes_back(subject: &Subject) {
    let topic = subject.topic("round-trip", 1).await;
    let header = |name: &str, value: &'static [u8]| (name.to_owned(), Bytes::from_static(value));
    let new = |key: Option<&'static [u8]>, headers, value: Bytes| NewRecord {
        partition: Partition(0),
        key: key.map(Bytes::from_static),
        headers,
        value,
    };
    // It repeats itself, so that a broker's limit on compressed batches does not get in the way.
    let large: Bytes = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect::<Vec<_>>().into();
    let records = vec![
        new(Some(b"key"), vec![header("X-Scope-OrgID", b"team-a")], Bytes::from_static(b"value")),
        new(
            None,
            vec![header("a", b"2"), header("b", b""), header("a", b"1")],
            Bytes::from_static(b"\0\xff"),
        ),
        new(Some(b"tombstone"), Vec::new(), Bytes::new()),
        new(None, Vec::new(), large),
        new(None, Vec::new(), Bytes::from_static(b"last")),
    ];
    subject.append(&topic, records.clone()).await;
    let read = subject.read(&topic, 0, 0, records.len()).await;
    for (read, given) in read.iter().zip(&records) {
        assert_eq!((&read.key, &read.headers), (&given.key, &given.headers));
        assert_eq!(read.value.len(), given.value.len());
        assert!(read.value == given.value, "values keep their bytes");
        assert!(read.timestamp.0 > 0, "records bear a time");
    }
    assert_eq!(read[0].header("x-scope-orgid"), Some(b"team-a".as_slice()));
}

/// A reader starts where it is told, gives one record at least, and not much more than it is asked for.
///
/// # Panics
/// If not.
pub async fn reading_starts_anywhere(subject: &Subject) {
    let topic = subject.topic("anywhere", 1).await;
    subject.fill(&topic, 0, 100).await;
    for from in [0, 1, 57, 99] {
        assert_numbered(&subject.read(&topic, 0, from, 100 - from as usize).await, 0, from);
    }
    let mut reader = subject.reader(&topic, 0, 10).await;
    for number in 10..14 {
        let records = within(reader.next(1)).await.expect("records can be read");
        assert_eq!(records.len(), 1, "one record is more than a byte");
        assert_numbered(&records, 0, number);
    }
    assert_numbered(&read_on(&mut *reader, 86).await, 0, 14);
}

/// Readers of several partitions do not mind each other.
///
/// # Panics
/// If not.
pub async fn partitions_are_independent(subject: &Subject) {
    let topic = subject.topic("independent", 3).await;
    let mut readers = Vec::new();
    for partition in 0..3 {
        readers.push(subject.reader(&topic, partition, 0).await);
    }
    for round in 0..5 {
        let records = (0..30).map(|at| record(at % 3, round * 10 + u64::from(at / 3))).collect();
        subject.append(&topic, records).await;
        for (reader, partition) in readers.iter_mut().zip(0..3).rev() {
            assert_numbered(&read_on(&mut **reader, 10).await, partition, round * 10);
        }
    }
    subject.fill(&topic, 1, 1).await;
    assert_eq!(read_on(&mut *readers[1], 1).await[0].offset, Offset(50));
    assert_eq!(subject.watermarks(&topic, 2).await.end, Offset(50));
}

/// A reader at the end gets the next record when it comes.
///
/// # Panics
/// If not.
pub async fn waiting_readers_are_woken(subject: &Subject) {
    let topic = subject.topic("woken", 2).await;
    let mut readers = [subject.reader(&topic, 0, 0).await, subject.reader(&topic, 0, 0).await];
    let [first, second] = &mut readers;
    let appended = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        subject.append(&topic, vec![record(1, 0)]).await;
        subject.append(&topic, vec![record(0, 0)]).await;
    };
    let (one, other, ()) = tokio::join!(read_on(&mut **first, 1), read_on(&mut **second, 1), appended);
    assert_numbered(&one, 0, 0);
    assert_numbered(&other, 0, 0);
}

/// A read that is dropped at any moment loses no record.
///
/// # Panics
/// If not.
pub async fn dropped_reads_lose_nothing(subject: &Subject) {
    const COUNT: u64 = 200;
    let topic = subject.topic("dropped", 1).await;
    let mut reader = subject.reader(&topic, 0, 0).await;
    let appended = async {
        for number in 0..COUNT {
            subject.append(&topic, vec![record(0, number)]).await;
        }
    };
    let read = async {
        let mut records = Vec::new();
        for attempt in 0_u64.. {
            // Dropped after one poll, after some, or when it is done.
            let result = match attempt % 3 {
                0 => reader.next(100).now_or_never(),
                1 => tokio::time::timeout(Duration::from_micros(attempt % 500), reader.next(100)).await.ok(),
                _ => Some(within(reader.next(100)).await),
            };
            if let Some(result) = result {
                records.extend(result.expect("records can be read"));
            }
            if records.len() as u64 >= COUNT {
                break;
            }
        }
        records
    };
    let (records, ()) = tokio::join!(read, appended);
    assert_eq!(records.len() as u64, COUNT);
    assert_numbered(&records, 0, 0);
}

/// A reader that starts above the end is told so, with what there is.
///
/// # Panics
/// If not.
pub async fn out_of_range_above(subject: &Subject) {
    let topic = subject.topic("above", 1).await;
    subject.fill(&topic, 0, 5).await;
    assert_out_of_range(subject, &topic, 0, Offset(7)).await;
}

/// A reader that starts below the first offset kept is told so. To be called when the topic was truncated by whatever
/// means the log has.
///
/// # Panics
/// If not.
pub async fn out_of_range_below(subject: &Subject, topic: &str, partition: u32) {
    let start = subject.watermarks(topic, partition).await.start;
    assert!(start > Offset::ZERO, "nothing was truncated");
    assert_out_of_range(subject, topic, partition, Offset(start.0 - 1)).await;
    let mut reader = subject.reader(topic, partition, start.0).await;
    let records = within(reader.next(1)).await.expect("the first offset kept can be read");
    assert_eq!(records[0].offset, start);
}

async fn assert_out_of_range(subject: &Subject, topic: &str, partition: u32, from: Offset) {
    let expected = subject.watermarks(topic, partition).await;
    let mut reader = subject.reader(topic, partition, from.0).await;
    for _ in 0..2 {
        let error = within(reader.next(1)).await.expect_err("there is no such offset");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let LogError::OffsetOutOfRange { offset, watermarks, .. } = error else { panic!("{error:?}") };
        assert_eq!((offset, watermarks), (from, expected));
    }
}

/// Many appends at once get every offset once, and each appender's records keep their order.
///
/// # Panics
/// If not.
pub async fn appends_of_many_are_dense(subject: &Subject) {
    const APPENDERS: u64 = 16;
    const ROUNDS: u64 = 25;
    let topic = subject.topic("many", 1).await;
    let mut appenders = JoinSet::new();
    for appender in 0..APPENDERS {
        let (subject, topic) = (subject.clone(), topic.clone());
        appenders.spawn(async move {
            let mut given = Vec::new();
            for round in 0..ROUNDS {
                let name = vec![("from".to_owned(), Bytes::from(vec![appender as u8]))];
                let pair = [0, 1].map(|at| NewRecord { headers: name.clone(), ..record(0, round * 2 + at) });
                given.extend(subject.append(&topic, pair.to_vec()).await);
            }
            assert!(given.is_sorted(), "appends that follow each other keep their order");
            given
        });
    }
    let given: Vec<Offset> = appenders.join_all().await.into_iter().flatten().collect();
    let count = APPENDERS * ROUNDS * 2;
    let distinct: BTreeSet<_> = given.iter().map(|offset| offset.0).collect();
    assert_eq!((given.len() as u64, distinct.len() as u64), (count, count));
    assert_eq!(distinct.last(), Some(&(count - 1)));
    let read = subject.read(&topic, 0, 0, given.len()).await;
    for appender in 0..APPENDERS {
        let of_one = read.iter().filter(|record| record.header("from") == Some(&[appender as u8]));
        for (read, number) in of_one.zip(0..) {
            assert_eq!(
                read.value,
                record(0, number).value,
                "records of appender {appender} keep their order"
            );
        }
    }
}

/// What was appended is there when the log is opened again, and offsets go on.
///
/// # Panics
/// If not.
pub async fn survives_reopening<F: Future<Output = Arc<dyn Log>>>(prefix: &str, open: impl Fn() -> F) {
    for round in 0..3 {
        let subject = Subject { log: open().await, prefix: prefix.to_owned() };
        let topic = subject.topic("reopened", 2).await;
        let expected = OffsetRange::new(Offset(0), Offset(round * 10));
        assert_eq!(subject.watermarks(&topic, 1).await, expected);
        let records = (0..10).map(|at| record(1, round * 10 + at)).collect();
        assert_eq!(subject.append(&topic, records).await[0], expected.end);
        assert_numbered(&subject.read(&topic, 1, 0, (round as usize + 1) * 10).await, 1, 0);
        assert_eq!(subject.watermarks(&topic, 0).await.end, Offset(0));
    }
}
