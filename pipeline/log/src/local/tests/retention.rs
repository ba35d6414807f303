//! What is deleted, and when.

use super::*;
use crate::contract::out_of_range_below;

async fn fill(log: &LocalLog, partition: u32, count: usize) {
    for number in 0..count {
        append(log, record(partition, number, 1000)).await.unwrap();
    }
}

async fn start(log: &LocalLog, partition: u32) -> u64 {
    log.watermarks(TOPIC, Partition(partition)).await.unwrap().start.0
}

#[tokio::test]
async fn segments_go_when_every_group_is_past_them() {
    let dir = TempDir::new().unwrap();
    let log = open_topic(dir.path(), 2).await;
    let mut first = log.join(TOPIC, "first").await.unwrap();
    let mut second = log.join(TOPIC, "second").await.unwrap();
    first.next().await.unwrap();
    second.next().await.unwrap();
    fill(&log, 0, 100).await;
    let files = segments(dir.path()).len();
    assert!(files >= 6);
    first.commit(ZERO, Offset(100)).await.unwrap();
    log.keep();
    assert_eq!(start(&log, 0).await, 0, "the second group has committed nothing");
    second.commit(ZERO, Offset(50)).await.unwrap();
    log.keep();
    let kept = start(&log, 0).await;
    assert!((30..=50).contains(&kept), "whole segments below 50 went: {kept}");
    assert!(segments(dir.path()).len() < files);
    out_of_range_below(&Subject { log: Arc::<LocalLog>::clone(&log), prefix: "p".into() }, TOPIC, 0).await;

    // A record of the other partition pins its segment.
    fill(&log, 1, 1).await;
    fill(&log, 0, 100).await;
    for member in [&first, &second] {
        member.commit(ZERO, Offset(200)).await.unwrap();
    }
    log.keep();
    assert!(start(&log, 0).await <= 100);
    for member in [&first, &second] {
        member.commit(Partition(1), Offset(1)).await.unwrap();
    }
    log.keep();
    assert!(start(&log, 0).await > 150);
    assert_eq!(start(&log, 1).await, 1);
}

#[tokio::test]
async fn commits_and_offsets_outlive_the_segments() {
    let dir = TempDir::new().unwrap();
    let log = open_topic(dir.path(), 2).await;
    let mut member = log.join(TOPIC, "g").await.unwrap();
    member.next().await.unwrap();
    fill(&log, 1, 5).await;
    fill(&log, 0, 100).await;
    member.commit(ZERO, Offset(100)).await.unwrap();
    member.commit(Partition(1), Offset(5)).await.unwrap();
    log.keep();
    drop((log, member));
    let log = open_topic(dir.path(), 2).await;
    let groups = log.topic(TOPIC).unwrap();
    assert_eq!(groups.groups.committed("g"), Some(vec![Some(Offset(100)), Some(Offset(5))]));
    assert_eq!(append(&log, record(1, 5, 10)).await.unwrap(), Offset(5), "all of its records are gone");
    assert_eq!(append(&log, record(0, 100, 10)).await.unwrap(), Offset(100));
}

#[tokio::test]
async fn the_keeper_saves_commits_by_itself_and_at_the_end() {
    let dir = TempDir::new().unwrap();
    let log = open_topic(dir.path(), 1).await;
    fill(&log, 0, 3).await;
    let mut member = log.join(TOPIC, "g").await.unwrap();
    member.next().await.unwrap();
    let file = dir.path().join(TOPIC).join("groups.json");
    for offset in 1..=3 {
        member.commit(ZERO, Offset(offset)).await.unwrap();
    }
    while !fs::read_to_string(&file).unwrap().contains("[3]") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    member.commit(ZERO, Offset(2)).await.unwrap();
    drop((log, member));
    assert!(fs::read_to_string(&file).unwrap().contains("[2]"));
}

#[tokio::test]
async fn what_no_group_reads_is_kept_by_size() {
    for retention in [Retention::Compacted, Retention::Time(Duration::from_secs(1))] {
        let dir = TempDir::new().unwrap();
        let config = LocalConfig { unjoined_bytes_max: ByteSize::kib(40), ..config() };
        let log = LocalLog::open(dir.path(), config).unwrap();
        log.ensure_topic(&TopicSpec { retention, ..spec(1) }).await.unwrap();
        fill(&log, 0, 100).await;
        log.keep();
        let start = start(&log, 0).await;
        assert!((50..90).contains(&start), "{start}");
    }
}

#[tokio::test]
async fn a_compacted_topic_ignores_groups() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    log.ensure_topic(&TopicSpec { retention: Retention::Compacted, ..spec(1) }).await.unwrap();
    let mut member = log.join(TOPIC, "g").await.unwrap();
    member.next().await.unwrap();
    fill(&log, 0, 100).await;
    member.commit(ZERO, Offset(100)).await.unwrap();
    log.keep();
    assert_eq!(start(&log, 0).await, 0);
}

#[tokio::test]
async fn a_topic_is_left_alone_until_it_is_ensured() {
    let dir = TempDir::new().unwrap();
    drop(open_topic(dir.path(), 1).await);
    let log =
        LocalLog::open(dir.path(), LocalConfig { unjoined_bytes_max: ByteSize(0), ..config() }).unwrap();
    fill(&log, 0, 40).await;
    log.keep();
    assert_eq!(start(&log, 0).await, 0);
}
