//! The contract on a real Kafka broker, whose addresses are in `VIVACE_TEST_KAFKA_BROKERS`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset as RdOffset, TopicPartitionList};
use vivace_log::contract::{self, Subject};
use vivace_log::{Assignment, KafkaConfig, KafkaLog, Log, LogError, NewRecord, Retention, TopicSpec};
use vivace_model::{ByteSize, Offset, OffsetRange, Partition};

fn config() -> KafkaConfig {
    let brokers =
        std::env::var("VIVACE_TEST_KAFKA_BROKERS").expect("VIVACE_TEST_KAFKA_BROKERS names a broker");
    KafkaConfig {
        brokers,
        message_bytes_max: ByteSize::mib(2),
        session_timeout: Duration::from_secs(6),
        ..KafkaConfig::default()
    }
}

fn connect() -> Arc<dyn Log> {
    KafkaLog::connect(config()).expect("the settings are right")
}

/// New to the broker, whatever ran on it before.
#[allow(clippy::disallowed_methods, reason = "a name that differs from run to run")]
fn prefix(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970");
    format!("contract-{name}-{}", now.as_micros())
}

fn spec(name: String, retention: Retention) -> TopicSpec {
    TopicSpec { name, partitions: 1, replication: 1, retention }
}

fn record(key: Option<&'static [u8]>, value: &'static [u8]) -> NewRecord {
    let (key, value) = (key.map(Into::into), value.into());
    NewRecord { partition: Partition(0), key, headers: Vec::new(), value }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka"]
async fn keeps_the_contract() {
    Subject { log: connect(), prefix: prefix("all") }.check().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka"]
async fn survives_reconnecting() {
    contract::survives_reopening(&prefix("reopen"), || async { connect() }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka"]
async fn truncated_offsets_are_out_of_range() {
    let subject = Subject { log: connect(), prefix: prefix("truncated") };
    let topic = format!("{}.below", subject.prefix);
    subject.log.ensure_topic(&spec(topic.clone(), Retention::Time(Duration::from_secs(3600)))).await.unwrap();
    subject.log.append(&topic, vec![record(None, b"x"); 20]).await.unwrap();
    let mut before = subject.log.read(&topic, Partition(0), Offset(0)).await.unwrap();
    before.next(1).await.unwrap();

    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", config().brokers).create().unwrap();
    let mut below = TopicPartitionList::new();
    below.add_partition_offset(&topic, 0, RdOffset::Offset(12)).unwrap();
    admin.delete_records(&below, &AdminOptions::new()).await.unwrap();

    let watermarks = subject.log.watermarks(&topic, Partition(0)).await.unwrap();
    assert_eq!(watermarks, OffsetRange::new(Offset(12), Offset(20)));
    contract::out_of_range_below(&subject, &topic, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka"]
async fn compacted_topics_take_keys_and_tombstones() {
    let log = connect();
    let topic = format!("{}.compacted", prefix("owners"));
    log.ensure_topic(&spec(topic.clone(), Retention::Compacted)).await.unwrap();
    let records = vec![record(Some(b"a"), b"1"), record(Some(b"a"), b"")];
    log.append(&topic, records).await.unwrap();
    // A compacted topic refuses what has no key.
    let result = log.append(&topic, vec![record(None, b"x")]).await;
    assert!(matches!(result, Err(LogError::Unavailable { .. })), "{result:?}");
    let mut reader = log.read(&topic, Partition(0), Offset(0)).await.unwrap();
    let mut values = Vec::new();
    while values.len() < 2 {
        values.extend(reader.next(1 << 20).await.unwrap().into_iter().map(|record| record.value));
    }
    assert_eq!(values, [&b"1"[..], b""]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka"]
async fn missing_topics_are_created_only_if_that_is_allowed() {
    let log = KafkaLog::connect(KafkaConfig { topics_create: false, ..config() }).unwrap();
    let spec = spec(prefix("missing"), Retention::Compacted);
    assert!(matches!(log.ensure_topic(&spec).await, Err(LogError::TopicMissing(_))));
    connect().ensure_topic(&spec).await.unwrap();
    log.ensure_topic(&spec).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka"]
async fn commits_reach_the_group() {
    let log = connect();
    let name = prefix("committed");
    log.ensure_topic(&spec(name.clone(), Retention::Time(Duration::from_secs(3600)))).await.unwrap();
    log.append(&name, vec![record(None, b"x"); 5]).await.unwrap();
    let mut member = log.join(&name, &name).await.unwrap();
    assert_eq!(member.next().await.unwrap(), Assignment::Gained(vec![Partition(0)]));
    member.commit(Partition(0), Offset(3)).await.unwrap();
    assert!(matches!(member.commit(Partition(1), Offset(3)).await, Err(LogError::Fenced(_))));

    let other: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", config().brokers)
        .set("group.id", &name)
        .create()
        .unwrap();
    let committed = || {
        let mut list = TopicPartitionList::new();
        list.add_partition(&name, 0);
        let list = other.committed_offsets(list, Duration::from_secs(10)).unwrap();
        list.find_partition(&name, 0).unwrap().offset()
    };
    while committed() != RdOffset::Offset(3) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka"]
async fn static_members_come_back_and_fence_each_other() {
    let name = prefix("static");
    let log = KafkaLog::connect(KafkaConfig { group_instance_id: Some("one".into()), ..config() }).unwrap();
    log.ensure_topic(&spec(name.clone(), Retention::Compacted)).await.unwrap();
    let mine = Assignment::Gained(vec![Partition(0)]);
    let mut first = log.join(&name, &name).await.unwrap();
    assert_eq!(first.next().await.unwrap(), mine);
    first.leave().await;
    let mut second = log.join(&name, &name).await.unwrap();
    assert_eq!(second.next().await.unwrap(), mine, "it comes back under its name");
    let mut third = log.join(&name, &name).await.unwrap();
    assert_eq!(third.next().await.unwrap(), mine, "another takes the name over");
    let mut told = second.next().await;
    if matches!(told, Ok(Assignment::Lost(_))) {
        told = second.next().await;
    }
    assert!(matches!(told, Err(LogError::Fenced(_))), "{told:?}");
}
