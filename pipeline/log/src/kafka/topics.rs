//! Creates topics on Kafka, adds partitions to them, and compares those that are there.

use std::sync::Arc;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use vivace_model::Partition;

use super::client::{self, LogContext, drop_aside, unavailable};
use super::{ASK_AGAIN, Shared};
use crate::{KafkaConfig, LogError, Retention, TopicSpec};

/// Room that a batch of one record takes besides the record.
const BATCH_BYTES: u64 = 4096;
/// Largest batch that brokers take by themselves.
const BROKER_BATCH_BYTES_MAX: u64 = 1_048_588;

/// A topic as the brokers describe it.
struct Found {
    partitions: u32,
    /// Whether every partition has a leader.
    ready: bool,
    /// Of the partition that has the fewest.
    replicas: usize,
    /// In the cluster.
    brokers: usize,
}

impl Found {
    /// Acknowledged spans would be lost with one broker, where others could keep them as well.
    fn warn_of_one_replica(&self, topic: &str) {
        if self.is_risky() {
            warn!(
                topic,
                brokers = self.brokers,
                "the topic has one replica in a cluster of several brokers: a broker that is lost takes acknowledged \
                 spans with it; set VIVACE_TOPICS_REPLICATION=3 before topics are created, or reassign their partitions"
            );
        }
    }

    const fn is_risky(&self) -> bool {
        self.brokers > 1 && self.replicas == 1
    }
}

pub(super) async fn ensure(shared: &Arc<Shared>, spec: &TopicSpec) -> Result<(), LogError> {
    let deadline = Instant::now() + shared.config.request_timeout;
    let mut created = false;
    loop {
        match find(shared, &spec.name).await? {
            None if created => {}
            None if !shared.config.topics_create => return Err(LogError::TopicMissing(spec.name.clone())),
            None => {
                create(&shared.config, spec).await?;
                created = true;
                continue;
            }
            // Brokers may tell of a new topic before they tell of its partitions.
            Some(found) if created && found.partitions == 0 => {}
            Some(found) if found.partitions != spec.partitions => {
                let (expected, actual) = (spec.partitions, found.partitions);
                return Err(LogError::TopicDiffers { topic: spec.name.clone(), expected, actual });
            }
            // Metadata names leaders before they lead.
            Some(found) if found.ready && (!created || is_led(shared, &spec.name, spec.partitions).await) => {
                found.warn_of_one_replica(&spec.name);
                return Ok(());
            }
            Some(_) => {}
        }
        if Instant::now() >= deadline {
            let code = KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable);
            return Err(unavailable(format!("topic {} did not become ready", spec.name), code));
        }
        sleep(ASK_AGAIN).await;
    }
}

/// Adds partitions, and waits until each can be used.
pub(super) async fn grow(shared: &Arc<Shared>, topic: &str, partitions: u32) -> Result<(), LogError> {
    let deadline = Instant::now() + shared.config.request_timeout;
    let mut asked = false;
    loop {
        let Some(found) = find(shared, topic).await? else {
            return Err(LogError::TopicMissing(topic.to_owned()));
        };
        let actual = found.partitions;
        if actual > partitions {
            return Err(LogError::TopicDiffers { topic: topic.to_owned(), expected: partitions, actual });
        }
        if actual == partitions && found.ready && (!asked || is_led(shared, topic, partitions).await) {
            return Ok(());
        }
        if actual < partitions && !asked {
            add(&shared.config, topic, partitions).await?;
            asked = true;
            continue;
        }
        if Instant::now() >= deadline {
            let code = KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable);
            return Err(unavailable(format!("partitions of topic {topic} did not become ready"), code));
        }
        sleep(ASK_AGAIN).await;
    }
}

async fn add(config: &KafkaConfig, topic: &str, partitions: u32) -> Result<(), LogError> {
    let action = || format!("failed to add partitions to topic {topic}");
    let admin: AdminClient<LogContext> = client::admin(config)
        .create_with_context(LogContext::default())
        .map_err(|error| unavailable(action(), error))?;
    let options = AdminOptions::new()
        .request_timeout(Some(config.request_timeout))
        .operation_timeout(Some(config.request_timeout));
    let count = usize::try_from(partitions).unwrap_or(usize::MAX);
    let result = admin.create_partitions(&[NewPartitions::new(topic, count)], &options).await;
    drop_aside(admin);
    for result in result.map_err(|error| unavailable(action(), error))? {
        match result {
            Ok(_) => info!(topic, partitions, "partitions added"),
            // Another process was faster; the next look tells whether it asked for as many.
            Err((_, RDKafkaErrorCode::InvalidPartitions)) => {}
            Err((_, code)) => return Err(unavailable(action(), KafkaError::AdminOp(code))),
        }
    }
    Ok(())
}

async fn is_led(shared: &Arc<Shared>, topic: &str, partitions: u32) -> bool {
    for partition in 0..partitions {
        if shared.watermarks(topic, Partition(partition)).await.is_err() {
            return false;
        }
    }
    true
}

/// Whether the brokers name the partition now. The client has learnt anew of all partitions by that.
pub(super) async fn has_partition(
    shared: &Arc<Shared>,
    topic: &str,
    partition: Partition,
) -> Result<bool, LogError> {
    Ok(find(shared, topic).await?.is_some_and(|found| partition.0 < found.partitions))
}

async fn find(shared: &Arc<Shared>, topic: &str) -> Result<Option<Found>, LogError> {
    let name = topic.to_owned();
    let found = shared.ask(format!("failed to look topic {topic} up"), move |shared| {
        let producer = shared.producer.current();
        // All topics: asked for one alone, brokers would create it if they may.
        let metadata = producer.client().fetch_metadata(None, shared.config.request_timeout)?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == name);
        let brokers = metadata.brokers().len();
        Ok(topic.map(|topic| Found {
            brokers,
            replicas: topic
                .partitions()
                .iter()
                .map(|partition| partition.replicas().len())
                .min()
                .unwrap_or(0),
            partitions: u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX),
            ready: topic.partitions().iter().all(|partition| partition.leader() >= 0),
        }))
    });
    Ok(found.await?)
}

async fn create(config: &KafkaConfig, spec: &TopicSpec) -> Result<(), LogError> {
    let action = || format!("failed to create topic {}", spec.name);
    let admin: AdminClient<LogContext> = client::admin(config)
        .create_with_context(LogContext::default())
        .map_err(|error| unavailable(action(), error))?;
    let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
    let replication = TopicReplication::Fixed(i32::from(spec.replication));
    let retention = match spec.retention {
        Retention::Time(time) => ("retention.ms", time.as_millis().to_string()),
        Retention::Compacted => ("cleanup.policy", "compact".to_owned()),
    };
    let batch_bytes_max = (config.message_bytes_max.as_u64() + BATCH_BYTES).to_string();
    let mut topic = NewTopic::new(&spec.name, partitions, replication).set(retention.0, &retention.1);
    if config.message_bytes_max.as_u64() + BATCH_BYTES > BROKER_BATCH_BYTES_MAX {
        topic = topic.set("max.message.bytes", &batch_bytes_max);
    }
    let options = AdminOptions::new()
        .request_timeout(Some(config.request_timeout))
        .operation_timeout(Some(config.request_timeout));
    let result = admin.create_topics([&topic], &options).await;
    drop_aside(admin);
    for result in result.map_err(|error| unavailable(action(), error))? {
        match result {
            Ok(_) => info!(topic = spec.name, partitions, "topic created"),
            // Another process was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(unavailable(action(), KafkaError::AdminOp(code))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_replica_is_a_risk_where_there_could_be_more() {
        let risky = |brokers, replicas| Found { partitions: 4, ready: true, replicas, brokers }.is_risky();
        assert!(risky(3, 1));
        assert!(!risky(1, 1) && !risky(3, 3) && !risky(3, 0));
    }
}
