//! Appends to Kafka: idempotent, acknowledged by all replicas in sync.
//! Owns: the bound on what is under way, and replacing a client that broke for good.
//! Does not own: batching and retries within the delivery timeout (librdkafka's).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::future::try_join_all;
use parking_lot::RwLock;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::{DeliveryFuture, OwnedDeliveryResult};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig};
use tracing::warn;
use vivace_model::{Offset, Partition};

use super::brokers::Brokers;
use super::client::{self, LogContext, drop_aside, partition_id, unavailable};
use crate::{KafkaConfig, LogError, NewRecord};

type Client = FutureProducer<LogContext>;

pub(super) struct Producer {
    config: KafkaConfig,
    current: RwLock<Current>,
    bytes_in_flight: AtomicUsize,
}

/// The client of the moment, and what it knows of its brokers.
#[derive(Clone)]
struct Current {
    client: Client,
    brokers: Arc<Brokers>,
}

/// Bytes counted as under way until this is dropped.
struct Reserved<'a> {
    count: &'a AtomicUsize,
    bytes: usize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Producer {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self, LogError> {
        let current = RwLock::new(create(config)?);
        Ok(Self { config: config.clone(), current, bytes_in_flight: AtomicUsize::new(0) })
    }

    /// The client of the moment, also for questions that any client can ask.
    pub(super) fn current(&self) -> Client {
        self.working().client
    }

    /// What the client of the moment knows of its brokers.
    #[cfg(test)]
    pub(super) fn brokers(&self) -> Arc<Brokers> {
        Arc::clone(&self.current.read().brokers)
    }

    fn working(&self) -> Current {
        let current = self.current.read().clone();
        if !current.brokers.are_lost() {
            return current;
        }
        self.replace(&current, "it has lost its brokers");
        // Those who wait for its answers have others to ask sooner.
        current.client.purge(PurgeConfig::default().queue().inflight());
        drop_aside(current);
        self.current.read().clone()
    }

    pub(super) async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        let _reserved = self.reserve(&records)?;
        let current = self.working();
        let result = send_all(&current.client, topic, &records).await;
        if result.is_err() {
            // An idempotent producer whose sequence broke (say, because the brokers forgot it) refuses everything from then on.
            if let Some((code, reason)) = current.client.client().fatal_error() {
                self.replace(&current, &format!("{code}: {reason}"));
            }
            drop_aside(current);
        }
        result
    }

    fn reserve(&self, records: &[NewRecord]) -> Result<Reserved<'_>, LogError> {
        let bytes_max = self.config.message_bytes_max.as_usize();
        if let Some(record) = records.iter().find(|record| record.value.len() > bytes_max) {
            return Err(LogError::TooLarge { bytes: record.value.len() });
        }
        let bytes = records.iter().map(size).sum();
        let limit = self.config.queue_bytes_max.as_usize();
        let add =
            |in_flight: usize| in_flight.checked_add(bytes).filter(|sum| *sum <= limit || in_flight == 0);
        match self.bytes_in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(Reserved { count: &self.bytes_in_flight, bytes }),
            Err(_) => Err(LogError::Full),
        }
    }

    fn replace(&self, broken: &Current, reason: &str) {
        let mut current = self.current.write();
        if !Arc::ptr_eq(&current.brokers, &broken.brokers) {
            return; // Someone else was faster.
        }
        warn!(reason, "producer broke and is replaced");
        match create(&self.config) {
            Ok(new) => drop_aside(std::mem::replace(&mut *current, new)),
            Err(error) => warn!(error = &error as &dyn std::error::Error, "failed to replace the producer"),
        }
    }
}

fn create(config: &KafkaConfig) -> Result<Current, LogError> {
    let context = LogContext::default();
    let brokers = Arc::clone(&context.brokers);
    let client = client::producer(config).create_with_context(context);
    let client = client.map_err(|error| unavailable("failed to set up a Kafka producer", error))?;
    Ok(Current { client, brokers })
}

/// Bytes of a record as librdkafka counts them, about.
fn size(record: &NewRecord) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.value.len() + record.key.as_ref().map_or(0, Bytes::len) + headers
}

async fn send_all(client: &Client, topic: &str, records: &[NewRecord]) -> Result<Vec<Offset>, LogError> {
    // All are handed over before the first is waited for, so that they travel together.
    let mut deliveries = Vec::with_capacity(records.len());
    for record in records {
        deliveries.push(delivered(send(client, topic, record)?, topic, record));
    }
    try_join_all(deliveries).await
}

fn send(client: &Client, topic: &str, record: &NewRecord) -> Result<DeliveryFuture, LogError> {
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
    for (key, value) in &record.headers {
        headers = headers.insert(Header { key, value: Some(&value[..]) });
    }
    let mut message = FutureRecord::<[u8], [u8]>::to(topic).partition(partition_id(record.partition));
    if !record.headers.is_empty() {
        message = message.headers(headers);
    }
    if let Some(key) = &record.key {
        message = message.key(key);
    }
    // Compaction removes a key whose newest value is none, not one whose value is empty.
    if !(record.value.is_empty() && record.key.is_some()) {
        message = message.payload(&record.value);
    }
    client.send_result(message).map_err(|(error, _)| failed(error, topic, record))
}

async fn delivered(delivery: DeliveryFuture, topic: &str, record: &NewRecord) -> Result<Offset, LogError> {
    let result: OwnedDeliveryResult = match delivery.await {
        Ok(result) => result,
        Err(_) => return Err(unavailable("the producer was closed", KafkaError::Canceled)),
    };
    let delivery = result.map_err(|(error, _)| failed(error, topic, record))?;
    // Brokers acknowledge an old repetition without its offset: stored, but nobody knows where.
    Ok(Offset(u64::try_from(delivery.offset).map_err(|_| {
        let code = RDKafkaErrorCode::DuplicateSequenceNumber;
        unavailable(
            format!("no offset was given for a record of {topic}"),
            KafkaError::MessageProduction(code),
        )
    })?))
}

fn failed(error: KafkaError, topic: &str, record: &NewRecord) -> LogError {
    let Partition(partition) = record.partition;
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => LogError::Full,
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => LogError::TooLarge { bytes: record.value.len() },
        Some(RDKafkaErrorCode::UnknownPartition) => {
            LogError::PartitionMissing { topic: topic.to_owned(), partition: record.partition }
        }
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
            LogError::TopicMissing(topic.to_owned())
        }
        _ => unavailable(format!("failed to append to {topic}/{partition}"), error),
    }
}
