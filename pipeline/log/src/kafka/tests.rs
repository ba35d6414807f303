//! On librdkafka's mock cluster, which speaks enough of the protocol to show that our calls are right. The contract is
//! checked on a real broker (tests/kafka.rs).

use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::consumer::{Consumer, ConsumerContext, StreamConsumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use vivace_model::ByteSize;

use super::*;
use crate::contract::{self, Subject};
use crate::{Assignment, Retention};

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(topics: &[(&str, i32)]) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    for (name, partitions) in topics {
        cluster.create_topic(name, *partitions, 1).unwrap();
    }
    cluster
}

fn config(cluster: &Cluster) -> KafkaConfig {
    KafkaConfig {
        brokers: cluster.bootstrap_servers(),
        message_bytes_max: ByteSize::mib(2),
        session_timeout: Duration::from_secs(6),
        request_timeout: Duration::from_secs(5),
        // Unlike a broker, it lets a fetch wait to the end even when records come.
        fetch_wait_max: Duration::from_millis(500),
        ..KafkaConfig::default()
    }
}

fn subject(cluster: &Cluster) -> Subject {
    Subject { log: KafkaLog::connect(config(cluster)).unwrap(), prefix: "c".into() }
}

/// What a client's statistics said last.
#[derive(Default)]
struct Requests(Mutex<serde_json::Value>);

impl ClientContext for Requests {
    fn stats_raw(&self, statistics: &[u8]) {
        *self.0.lock() = serde_json::from_slice(statistics).unwrap();
    }
}

impl ConsumerContext for Requests {}

impl Requests {
    /// Since its start, by the client's own clock.
    fn age(&self) -> Duration {
        Duration::from_micros(self.0.lock()["age"].as_u64().unwrap_or_default())
    }

    /// Requests of these kinds that were sent.
    fn sent(&self, kinds: &[&str]) -> u64 {
        let statistics = self.0.lock();
        let brokers = statistics["brokers"].as_object().into_iter().flat_map(|brokers| brokers.values());
        brokers.flat_map(|broker| kinds.iter().filter_map(|kind| broker["req"][kind].as_u64())).sum()
    }
}

/// A reader's client on an empty partition; ends when `enough` says so.
async fn idle(config: &KafkaConfig, enough: impl Fn(&Requests) -> bool) -> StreamConsumer<Requests> {
    let mut client = client::reader(config);
    client.set("statistics.interval.ms", "100");
    let consumer: StreamConsumer<Requests> = client.create_with_context(Requests::default()).unwrap();
    consumer.assign(&client::at("t", Partition(0), Offset(0)).unwrap()).unwrap();
    {
        let mut messages = consumer.stream();
        while !enough(consumer.context()) {
            // Also what keeps its statistics coming.
            let nothing = tokio::time::timeout(Duration::from_millis(20), messages.next()).await;
            assert!(nothing.is_err(), "{nothing:?}");
        }
    }
    consumer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_reader_sends_a_fetch_each_ten_seconds() {
    let cluster = cluster(&[("t", 1)]);
    let fetches = |requests: &Requests| requests.sent(&["Fetch"]);
    // By librdkafka's own half second.
    let half_second = config(&cluster);
    drop(idle(&half_second, |requests| fetches(requests) >= 5).await);
    let config = KafkaConfig { fetch_wait_max: KafkaConfig::default().fetch_wait_max, ..half_second };
    let begun = |requests: &Requests| fetches(requests) > 0;
    let consumer = idle(&config, |requests| begun(requests) && requests.age() > Duration::from_secs(4)).await;
    let requests = consumer.context();
    let most = 1 + requests.age().as_secs() / 10;
    assert!(fetches(requests) <= most, "{} fetches in {:?}", fetches(requests), requests.age());
}

#[test]
fn members_hear_of_a_rebalance_within_a_second() {
    let interval = |session: u64| {
        let config = KafkaConfig { session_timeout: Duration::from_secs(session), ..KafkaConfig::default() };
        client::member(&config, "g").get("heartbeat.interval.ms").unwrap().parse::<u64>().unwrap()
    };
    assert_eq!([45, 6, 2].map(interval), [1000, 600, 200]);
}

fn spec(name: &str, partitions: u32) -> TopicSpec {
    let retention = Retention::Time(Duration::from_secs(60));
    TopicSpec { name: name.into(), partitions, replication: 1, retention }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_keep_the_contract() {
    let cluster = cluster(&[
        ("c.dense", 2),
        ("c.round-trip", 1),
        ("c.anywhere", 1),
        ("c.independent", 3),
        ("c.woken", 2),
        ("c.dropped", 1),
        ("c.many", 1),
    ]);
    let subject = subject(&cluster);
    contract::offsets_are_dense(&subject).await;
    contract::everything_comes_back(&subject).await;
    contract::reading_starts_anywhere(&subject).await;
    contract::partitions_are_independent(&subject).await;
    contract::waiting_readers_are_woken(&subject).await;
    contract::dropped_reads_lose_nothing(&subject).await;
    contract::appends_of_many_are_dense(&subject).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_compared() {
    let cluster = cluster(&[("t", 3)]);
    let log = KafkaLog::connect(KafkaConfig { topics_create: false, ..config(&cluster) }).unwrap();
    log.ensure_topic(&spec("t", 3)).await.unwrap();
    for partitions in [2, 4] {
        let result = log.ensure_topic(&spec("t", partitions)).await;
        assert!(matches!(result, Err(LogError::TopicDiffers { actual: 3, .. })), "{result:?}");
    }
    let result = log.ensure_topic(&spec("other", 1)).await;
    assert!(matches!(result, Err(LogError::TopicMissing(_))), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_share_partitions() {
    let cluster = cluster(&[("c.shared", 4)]);
    contract::groups_share_partitions(&subject(&cluster)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go() {
    let cluster = cluster(&[("c.come-and-go", 4)]);
    contract::members_come_and_go(&subject(&cluster)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_away_is_found_again() {
    let cluster = cluster(&[("t", 1)]);
    let log = KafkaLog::connect(config(&cluster)).unwrap();
    let record = NewRecord { partition: Partition(0), key: None, headers: Vec::new(), value: "value".into() };
    log.append("t", vec![record.clone()]).await.unwrap();
    let mut reader = log.read("t", Partition(0), Offset(0)).await.unwrap();
    assert_eq!(reader.next(1).await.unwrap()[0].offset, Offset(0));
    cluster.broker_down(1).unwrap();
    let append = log.append("t", vec![record]);
    let up = async {
        sleep(Duration::from_secs(1)).await;
        cluster.broker_up(1).unwrap();
    };
    let (appended, ()) = tokio::join!(append, up);
    assert_eq!(appended.unwrap(), [Offset(1)]);
    // It may say that the log did not answer, and then goes on.
    let records = loop {
        match reader.next(1).await {
            Ok(records) => break records,
            Err(error) => assert!(matches!(error, LogError::Unavailable { .. }), "{error:?}"),
        }
    };
    assert_eq!(records[0].offset, Offset(1));
}

/// librdkafka may forget all brokers and never ask for any again. Nothing is lost by that but time.
#[tokio::test(flavor = "multi_thread")]
async fn clients_without_brokers_are_replaced() {
    let cluster = cluster(&[("t", 1)]);
    let log = KafkaLog::connect(config(&cluster)).unwrap();
    let record = || NewRecord { partition: Partition(0), key: None, headers: Vec::new(), value: "v".into() };
    let brokers = log.shared.producer.brokers();
    log.append("t", vec![record()]).await.unwrap();
    brokers.lose();
    assert_eq!(log.append("t", vec![record()]).await.unwrap(), [Offset(1)]);
    assert!(!Arc::ptr_eq(&brokers, &log.shared.producer.brokers()), "by another client");

    // It is behind, and nothing comes between two looks.
    let mut reader = KafkaReader::open(Arc::clone(&log.shared), "t", Partition(0), Offset(0)).unwrap();
    let silence = reader.silence;
    reader.look().await.unwrap();
    assert_eq!(reader.silence, silence);
    reader.look().await.unwrap();
    assert_eq!(reader.silence, silence * 2, "another client reads");
    let mut offsets = Vec::new();
    while offsets.len() < 2 {
        offsets.extend(reader.next(1).await.unwrap().iter().map(|record| record.offset.0));
    }
    assert_eq!(offsets, [0, 1]);
    for _ in 0..2 {
        reader.look().await.unwrap();
    }
    assert_eq!(reader.silence, silence, "it has all that there is");

    let mut member = KafkaMembership::join(&log.shared.config, "t", "g").unwrap();
    let mine = || vec![Partition(0)];
    assert_eq!(member.next().await.unwrap(), Assignment::Gained(mine()));
    member.lose_brokers();
    assert_eq!(member.next().await.unwrap(), Assignment::Lost(mine()));
    assert_eq!(member.next().await.unwrap(), Assignment::Gained(mine()));
    member.commit(Partition(0), Offset(2)).await.unwrap();
    Box::new(member).leave().await;
}

#[tokio::test]
async fn limits_are_kept_before_anything_is_sent() {
    // Nothing listens there; the first append waits until it is given up.
    let log = KafkaLog::connect(KafkaConfig {
        brokers: "127.0.0.1:1".into(),
        message_bytes_max: ByteSize(1000),
        queue_bytes_max: ByteSize(1500),
        delivery_timeout: Duration::from_secs(1),
        ..KafkaConfig::default()
    })
    .unwrap();
    let record = |bytes| NewRecord {
        partition: Partition(0),
        key: None,
        headers: Vec::new(),
        value: vec![0; bytes].into(),
    };
    let result = log.append("t", vec![record(1001)]).await;
    assert!(matches!(result, Err(LogError::TooLarge { bytes: 1001 })));
    let (first, second) =
        tokio::join!(log.append("t", vec![record(800)]), log.append("t", vec![record(800)]));
    assert!(matches!(first, Err(LogError::Unavailable { .. })), "{first:?}");
    assert!(matches!(second, Err(LogError::Full)), "{second:?}");
}

#[test]
fn passwords_are_not_shown() {
    let password = String::from("hunter2").into();
    let log = KafkaLog::connect(KafkaConfig { sasl_password: password, ..KafkaConfig::default() }).unwrap();
    assert!(!format!("{log:?}").contains("hunter2"));
}

#[test]
fn losses_are_told_before_gains_even_of_the_same_partition() {
    let mut state = member::State::default();
    let [zero, one] = [Partition(0), Partition(1)];
    state.now.extend([(zero, 1), (one, 1)]);
    assert_eq!(state.poll().unwrap(), Some(Assignment::Gained(vec![zero, one])));
    // Lost and regained before anyone asked.
    state.now.insert(one, 2);
    assert_eq!(state.poll().unwrap(), Some(Assignment::Lost(vec![one])));
    assert_eq!(state.poll().unwrap(), Some(Assignment::Gained(vec![one])));
    assert_eq!(state.poll().unwrap(), None);
    state.now.clear();
    state.fenced = Some("taken over".into());
    assert_eq!(state.poll().unwrap(), Some(Assignment::Lost(vec![zero, one])));
    assert!(matches!(state.poll(), Err(LogError::Fenced(_))));
}
