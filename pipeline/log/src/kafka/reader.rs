//! Reads one partition of Kafka at exact offsets.
//! Owns: a consumer of its own, with small queues and no group, and replacing it when it broke; its position.
//! Does not own: where to start.
//! Records are taken from librdkafka's queue in batches: one wait, then all that is at hand.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use tokio::time::{Duration, Instant, timeout_at};
use tracing::{debug, warn};
use vivace_model::{Offset, Partition, UnixNanos};

use super::Shared;
use super::client::{self, Failure, LogContext, at, drop_aside, unavailable};
use crate::{LogError, Reader, Record};

/// A reader that gets nothing for that long looks whether there is something, and if so again after a quarter of it. Each time
/// that it is replaced it waits twice as long, lest a slow way to the brokers is tried over and over.
const SILENCE: Duration = Duration::from_secs(20);
const SILENCE_MAX: Duration = Duration::from_secs(120);

pub(super) struct KafkaReader {
    shared: Arc<Shared>,
    /// There until it is dropped.
    consumer: Option<StreamConsumer<LogContext>>,
    topic: String,
    partition: Partition,
    next: Offset,
    /// Fetching has stopped at an offset that is out of range: look again before waiting for records.
    stopped: bool,
    /// What the client said behind records that were given first.
    pending: Option<KafkaError>,
    pub(super) silence: Duration,
    /// When to look whether the log has what does not come, if nothing comes until then.
    look_at: Instant,
    /// The log had records from there on when that was looked at last.
    missing: Option<Offset>,
}

impl fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, next, .. } = self;
        write!(f, "KafkaReader({topic}/{partition} at {next})")
    }
}

/// What an error of the client means.
enum Meaning {
    OutOfRange,
    /// To be told.
    Failed,
    /// librdkafka deals with it.
    Passing,
}

fn meaning(error: &KafkaError) -> Meaning {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => Meaning::OutOfRange,
        Some(
            RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::MessageSizeTooLarge,
        ) => Meaning::Failed,
        _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => Meaning::Failed,
        _ => Meaning::Passing,
    }
}

impl KafkaReader {
    pub(super) fn open(
        shared: Arc<Shared>,
        topic: &str,
        partition: Partition,
        from: Offset,
    ) -> Result<Self, LogError> {
        let consumer = Some(create(&shared)?);
        let reader = Self {
            shared,
            consumer,
            topic: topic.to_owned(),
            partition,
            next: from,
            stopped: false,
            pending: None,
            silence: SILENCE,
            look_at: Instant::now() + SILENCE,
            missing: None,
        };
        reader.assign()?;
        Ok(reader)
    }

    fn consumer(&self) -> &StreamConsumer<LogContext> {
        self.consumer.as_ref().expect("it is there until the reader is dropped")
    }

    fn assign(&self) -> Result<(), LogError> {
        let assigned =
            at(&self.topic, self.partition, self.next).and_then(|list| self.consumer().assign(&list));
        assigned
            .map_err(|error| unavailable(format!("failed to read {}/{}", self.topic, self.partition), error))
    }

    /// Goes on with another consumer, at the same place.
    fn replace(&mut self) -> Result<(), LogError> {
        warn!(topic = self.topic, partition = %self.partition, offset = %self.next, "reader gives nothing of what the log has and is replaced");
        self.silence = (self.silence * 2).min(SILENCE_MAX);
        let new = create(&self.shared)?;
        drop_aside(self.consumer.replace(new));
        self.assign()
    }

    /// Nothing has come for a while. A client may be silent for ever, see [`super::brokers`]; statistics would tell here, too, but
    /// pile up in one that is not read from. So the brokers are asked; what has not come when they are asked again does not.
    pub(super) async fn look(&mut self) -> Result<(), LogError> {
        let end = match self.shared.watermarks(&self.topic, self.partition).await {
            Ok(watermarks) => watermarks.end,
            Err(error) => {
                debug!(topic = self.topic, partition = %self.partition, %error, "brokers do not answer either");
                self.next
            }
        };
        let missing = (end > self.next).then_some(self.next);
        self.look_at = Instant::now() + if missing.is_some() { self.silence / 4 } else { self.silence };
        let still = missing.is_some() && missing == self.missing;
        self.missing = missing.filter(|_| !still);
        if still { self.replace() } else { Ok(()) }
    }

    /// Looks whether the offset is in range (again, or after all), and goes on if it is.
    async fn go_on(&mut self) -> Result<(), LogError> {
        let watermarks = self.shared.watermarks(&self.topic, self.partition).await?;
        if !watermarks.contains(self.next) && self.next != watermarks.end {
            let (topic, partition, offset) = (self.topic.clone(), self.partition, self.next);
            return Err(LogError::OffsetOutOfRange { topic, partition, offset, watermarks });
        }
        self.assign()?;
        self.stopped = false;
        Ok(())
    }

    /// Waits for the first record or error, then takes what else is there. No await lies behind the first, so nothing
    /// is lost when this is dropped.
    async fn take(&self, bytes_max: usize) -> (Vec<Record>, Option<KafkaError>) {
        let mut messages = self.consumer().stream();
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut message = messages.next().await;
        loop {
            match message {
                Some(Ok(message)) => {
                    let record = record(&message);
                    bytes += record.value.len().max(1);
                    if record.offset >= self.next {
                        records.push(record);
                    }
                }
                Some(Err(error)) => return (records, Some(error)),
                None => return (records, None),
            }
            if bytes >= bytes_max {
                return (records, None);
            }
            message = messages.next().now_or_never().flatten();
        }
    }
}

#[async_trait]
impl Reader for KafkaReader {
    async fn next(&mut self, bytes_max: usize) -> Result<Vec<Record>, LogError> {
        loop {
            if let Some(error) = self.pending.take() {
                match meaning(&error) {
                    Meaning::OutOfRange => self.stopped = true,
                    Meaning::Failed => {
                        let action = format!("failed to read {}/{}", self.topic, self.partition);
                        let failure = Failure { action, error };
                        if failure.is_of_no_partition() {
                            // Told again by the next call, should this one be dropped while it waits.
                            self.pending = Some(failure.error.clone());
                            let asked = self.shared.watermarks(&self.topic, self.partition).await;
                            self.pending = None;
                            // Fails if the brokers say so, too; otherwise another reader will find it.
                            asked?;
                        }
                        return Err(failure.into());
                    }
                    Meaning::Passing => {
                        debug!(topic = self.topic, partition = %self.partition, %error, "passing")
                    }
                }
            }
            if self.stopped {
                self.go_on().await?;
            }
            let Ok((records, error)) = timeout_at(self.look_at, self.take(bytes_max)).await else {
                self.look().await?;
                continue;
            };
            self.look_at = Instant::now() + self.silence;
            self.pending = error;
            if let Some(last) = records.last() {
                self.silence = SILENCE;
                self.next = last.offset.next();
                return Ok(records);
            }
        }
    }
}

fn create(shared: &Shared) -> Result<StreamConsumer<LogContext>, LogError> {
    let consumer = client::reader(&shared.config).create_with_context(LogContext::default());
    consumer.map_err(|error| unavailable("failed to set up a Kafka consumer", error))
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        drop_aside(self.consumer.take());
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let millis = u64::try_from(message.timestamp().to_millis().unwrap_or_default()).unwrap_or_default();
    let header = |header: rdkafka::message::Header<'_, &[u8]>| {
        (header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap_or_default()))
    };
    Record {
        offset: Offset(u64::try_from(message.offset()).unwrap_or_default()),
        timestamp: UnixNanos(millis.saturating_mul(1_000_000)),
        key: message.key().map(Bytes::copy_from_slice),
        headers: message.headers().map(|headers| headers.iter().map(header).collect()).unwrap_or_default(),
        value: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
    }
}
