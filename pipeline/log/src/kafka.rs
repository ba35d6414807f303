//! The log on Kafka, through librdkafka.
//! Owns: the clients and how they are set up; what librdkafka's errors mean for the log.
//! Does not own: retries across calls (callers do), which offset to start from.
//! Broker restarts heal by themselves: librdkafka reconnects, and a client that broke for good is replaced.

mod brokers;
mod client;
mod member;
mod producer;
mod reader;
#[cfg(test)]
mod tests;
mod topics;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use rdkafka::producer::Producer as _;
use tokio::time::{Duration, Instant, sleep};
use vivace_model::{Offset, OffsetRange, Partition};

use self::client::{Failure, partition_id};
use self::member::KafkaMembership;
use self::producer::Producer;
use self::reader::KafkaReader;
use crate::{KafkaConfig, Log, LogError, Membership, NewRecord, Reader, TopicSpec};

/// Between questions about something that settles soon: a new topic, a partition that changes its leader.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// The log on Kafka.
pub struct KafkaLog {
    shared: Arc<Shared>,
}

/// What readers need as well.
struct Shared {
    config: KafkaConfig,
    producer: Producer,
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Sets the clients up. Brokers are asked only later: a broker that is down is no reason not to start.
    ///
    /// # Errors
    /// When librdkafka refuses a setting.
    pub fn connect(config: KafkaConfig) -> Result<Arc<Self>, LogError> {
        let producer = Producer::new(&config)?;
        Ok(Arc::new(Self { shared: Arc::new(Shared { config, producer }) }))
    }
}

impl Shared {
    /// Asks a broker something that blocks, off the async threads.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        action: impl Into<String>,
        question: impl FnOnce(&Self) -> Result<T, rdkafka::error::KafkaError> + Send + 'static,
    ) -> Result<T, Failure> {
        let (shared, action) = (Arc::clone(self), action.into());
        let answer = tokio::task::spawn_blocking(move || question(&shared)).await;
        match answer {
            Ok(result) => result.map_err(|error| Failure { action, error }),
            Err(_) => Err(Failure { action, error: rdkafka::error::KafkaError::Canceled }),
        }
    }

    /// Asks until the partition's leader is settled, within the request timeout.
    async fn watermarks(
        self: &Arc<Self>,
        topic: &str,
        partition: Partition,
    ) -> Result<OffsetRange, LogError> {
        let deadline = Instant::now() + self.config.request_timeout;
        loop {
            match self.ask_watermarks(topic, partition).await {
                Ok((low, high)) => {
                    let offset = |number: i64| Offset(u64::try_from(number).unwrap_or_default());
                    return Ok(OffsetRange::new(offset(low), offset(high.max(low))));
                }
                Err(failure) if failure.is_between_leaders() && Instant::now() < deadline => {
                    sleep(ASK_AGAIN).await;
                }
                // A broker that starts may name too few partitions for a moment, and librdkafka believes it for minutes.
                Err(failure)
                    if failure.is_of_no_partition()
                        && Instant::now() < deadline
                        && topics::has_partition(self, topic, partition).await? =>
                {
                    sleep(ASK_AGAIN).await;
                }
                Err(failure) => return Err(failure.of_partition(topic, partition)),
            }
        }
    }

    async fn ask_watermarks(
        self: &Arc<Self>,
        topic: &str,
        partition: Partition,
    ) -> Result<(i64, i64), Failure> {
        let (name, id) = (topic.to_owned(), partition_id(partition));
        let action = format!("failed to get the watermarks of {topic}/{partition}");
        self.ask(action, move |shared| {
            let producer = shared.producer.current();
            producer.client().fetch_watermarks(&name, id, shared.config.request_timeout)
        })
        .await
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        topics::ensure(&self.shared, spec).await
    }

    async fn grow_topic(&self, topic: &str, partitions: u32) -> Result<(), LogError> {
        topics::grow(&self.shared, topic, partitions).await
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        self.shared.producer.append(topic, records).await
    }

    async fn watermarks(&self, topic: &str, partition: Partition) -> Result<OffsetRange, LogError> {
        self.shared.watermarks(topic, partition).await
    }

    async fn read(
        &self,
        topic: &str,
        partition: Partition,
        from: Offset,
    ) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(KafkaReader::open(Arc::clone(&self.shared), topic, partition, from)?))
    }

    fn reader_bytes(&self) -> usize {
        client::reader_bytes(&self.shared.config)
    }

    fn copies_appended(&self) -> bool {
        true
    }

    async fn join(&self, topic: &str, group: &str) -> Result<Box<dyn Membership>, LogError> {
        Ok(Box::new(KafkaMembership::join(&self.shared.config, topic, group)?))
    }
}
