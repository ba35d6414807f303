use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use vivace_model::{Offset, Partition};

use super::*;
use crate::contract::{Subject, out_of_range_below};
use crate::{Assignment, Retention, SharedLog};

const TOPIC: &str = "t";
const ZERO: Partition = Partition(0);

async fn log(seed: u64) -> (Arc<MemoryLog>, MemoryHandle) {
    let log = MemoryLog::new(seed);
    let retention = Retention::Time(Duration::from_secs(1));
    let spec = TopicSpec { name: TOPIC.into(), partitions: 2, replication: 1, retention };
    log.ensure_topic(&spec).await.unwrap();
    let handle = log.handle();
    (log, handle)
}

async fn append(log: &MemoryLog, value: &'static str) -> Result<Offset, LogError> {
    let record = NewRecord {
        partition: ZERO,
        key: None,
        headers: Vec::new(),
        value: Bytes::from_static(value.as_bytes()),
    };
    log.append(TOPIC, vec![record]).await.map(|offsets| offsets[0])
}

fn values(handle: &MemoryHandle) -> Vec<Bytes> {
    handle.records(TOPIC, ZERO).into_iter().map(|record| record.value).collect()
}

#[tokio::test(start_paused = true)]
async fn keeps_the_contract() {
    for seed in 0..3 {
        let log = MemoryLog::new(seed);
        if seed > 0 {
            let delay = Duration::from_millis(20);
            log.handle().set_faults(Faults {
                append_delay_max: delay,
                read_delay_max: delay,
                ..Faults::default()
            });
        }
        let log: SharedLog = log;
        Subject { log, prefix: "contract".into() }.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn truncation_raises_the_low_watermark() {
    let (log, handle) = log(0).await;
    for value in ["a", "b", "c"] {
        append(&log, value).await.unwrap();
    }
    handle.truncate(TOPIC, ZERO, Offset(2));
    assert_eq!(values(&handle), ["c"]);
    out_of_range_below(&Subject { log, prefix: "t".into() }, TOPIC, 0).await;
}

#[tokio::test(start_paused = true)]
async fn commanded_fates_happen_in_order() {
    let (log, handle) = log(0).await;
    handle.fail_next_append(Moment::Before);
    handle.fail_next_append(Moment::After);
    handle.pass_next_append();
    handle.duplicate_next_append();
    handle.refuse_next_append();
    assert!(matches!(append(&log, "a").await, Err(LogError::Unavailable { .. })));
    assert!(matches!(append(&log, "b").await, Err(LogError::Unavailable { .. })));
    assert_eq!(append(&log, "c").await.unwrap(), Offset(1));
    assert_eq!(append(&log, "d").await.unwrap(), Offset(3));
    assert!(matches!(append(&log, "e").await, Err(LogError::Full)));
    assert_eq!(append(&log, "f").await.unwrap(), Offset(4));
    assert_eq!(values(&handle), ["b", "c", "d", "d", "f"]);
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_its_run() {
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        let (log, handle) = log(seed).await;
        handle.set_faults(Faults {
            append_delay_max: Duration::from_secs(1),
            append_refused: 0.2,
            append_unanswered: 0.2,
            append_duplicated: 0.2,
            ..Faults::default()
        });
        let mut answers = Vec::new();
        for _ in 0..100 {
            answers.push(append(&log, "x").await.ok());
        }
        runs.push((answers, tokio::time::Instant::now().elapsed(), values(&handle).len()));
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    let (answers, _, stored) = &runs[0];
    assert!(answers.contains(&None) && *stored > answers.iter().flatten().count());
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_may_be_tried_again() {
    let (log, handle) = log(0).await;
    append(&log, "a").await.unwrap();
    let mut reader = log.read(TOPIC, ZERO, Offset(0)).await.unwrap();
    handle.set_faults(Faults { read_failed: 1.0, ..Faults::default() });
    assert!(reader.next(1).await.is_err());
    handle.set_faults(Faults::default());
    assert_eq!(reader.next(1).await.unwrap()[0].offset, Offset(0));
}

#[tokio::test(start_paused = true)]
async fn groups_obey_commands() {
    let (log, handle) = log(3).await;
    let mut first = log.join(TOPIC, "g").await.unwrap();
    let all = vec![Partition(0), Partition(1)];
    assert_eq!(first.next().await.unwrap(), Assignment::Gained(all.clone()));
    handle.rebalance(TOPIC, "g");
    assert_eq!(first.next().await.unwrap(), Assignment::Lost(all.clone()));
    assert_eq!(first.next().await.unwrap(), Assignment::Gained(all.clone()));
    first.commit(ZERO, Offset(0)).await.unwrap();
    assert_eq!(handle.committed(TOPIC, "g", ZERO), Some(Offset(0)));

    let mut second = log.join(TOPIC, "g").await.unwrap();
    assert!(handle.drop_member(TOPIC, "g", 0));
    assert_eq!(second.next().await.unwrap(), Assignment::Gained(all.clone()), "behind the first one's back");
    assert!(matches!(first.commit(ZERO, Offset(1)).await, Err(LogError::Fenced(_))));
    assert_eq!(first.next().await.unwrap(), Assignment::Lost(all));
    assert!(handle.fence_member(TOPIC, "g", 0));
    assert!(matches!(first.next().now_or_never(), Some(Err(LogError::Fenced(_)))));
    assert!(!handle.drop_member(TOPIC, "g", 2) && !handle.drop_member("other", "g", 0));
}
