//! How librdkafka's clients are set up, and what their errors mean.
//! Owns: every librdkafka setting, by name. Does not own: the clients.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset as RdOffset, TopicPartitionList};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};
use vivace_model::{ByteSize, Offset, Partition};

use super::brokers::{Brokers, STATISTICS_MILLIS};
use crate::{KafkaConfig, LogError};

/// Longest time between two heartbeats of a member. librdkafka's 3 s would be most of what a rebalance takes, and one small
/// request more each second costs the brokers nothing.
const HEARTBEAT_MILLIS_MAX: u128 = 1000;

/// What all clients have in common.
fn common(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.brokers.trim())
        .set("client.id", &config.client_id)
        .set("security.protocol", config.security_protocol.as_str())
        .set("socket.keepalive.enable", "true")
        // A broker that restarts is back within seconds; librdkafka's 10 s would add to that.
        .set("reconnect.backoff.max.ms", "1000")
        .set_log_level(RDKafkaLogLevel::Info);
    if config.security_protocol.as_str().starts_with("sasl") {
        client
            .set("sasl.mechanism", config.sasl_mechanism.as_str())
            .set("sasl.username", &config.sasl_username)
            .set("sasl.password", config.sasl_password.reveal());
    }
    let files = [
        ("ssl.ca.location", &config.ssl_ca_location),
        ("ssl.certificate.location", &config.ssl_certificate_location),
        ("ssl.key.location", &config.ssl_key_location),
    ];
    for (name, path) in files {
        if let Some(path) = path {
            client.set(name, path.to_string_lossy());
        }
    }
    client
}

pub(super) fn admin(config: &KafkaConfig) -> ClientConfig {
    common(config)
}

pub(super) fn producer(config: &KafkaConfig) -> ClientConfig {
    let mut client = common(config);
    client
        .set("statistics.interval.ms", STATISTICS_MILLIS)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", config.compression.as_str())
        .set("linger.ms", config.linger.as_millis().to_string())
        .set("message.max.bytes", config.message_bytes_max.as_u64().to_string())
        .set("message.timeout.ms", config.delivery_timeout.as_millis().to_string())
        // We count bytes ourselves and refuse before librdkafka would; an append that was dropped frees ours early.
        .set("queue.buffering.max.kbytes", (config.queue_bytes_max.as_u64() * 2 / 1024).max(1).to_string())
        .set("queue.buffering.max.messages", "1000000");
    client
}

/// A reader's queue takes so many fetches.
const READER_FETCHES_MAX: u64 = 2;

/// What a reader holds: its queue, and the fetch that has just arrived. librdkafka looks at the queue before it fetches, so
/// a fetch comes on top of it.
pub(super) fn reader_bytes(config: &KafkaConfig) -> usize {
    let (fetch, message) = (config.fetch_bytes_max.as_u64(), config.message_bytes_max.as_u64());
    ByteSize(fetch * READER_FETCHES_MAX + fetch.max(message)).as_usize()
}

pub(super) fn reader(config: &KafkaConfig) -> ClientConfig {
    let (fetch, message) = (config.fetch_bytes_max.as_u64(), config.message_bytes_max.as_u64());
    let mut client = common(config);
    client
        // Without a group librdkafka lets nobody assign. It is never joined.
        .set("group.id", format!("{}-reader", config.client_id))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("allow.auto.create.topics", "false")
        .set("message.max.bytes", message.to_string())
        .set("fetch.message.max.bytes", fetch.to_string())
        .set("fetch.max.bytes", fetch.max(message).to_string())
        .set("queued.max.messages.kbytes", (fetch * READER_FETCHES_MAX / 1024).max(1).to_string())
        // Records are sent on as soon as there are some (fetch.min.bytes is 1), so a long wait makes none late. It is only how often
        // brokers have to say that there are none.
        .set("fetch.wait.max.ms", config.fetch_wait_max.as_millis().to_string())
        // The queue above is small on purpose; at librdkafka's 1 s a reader that is behind would mostly wait.
        .set("fetch.queue.backoff.ms", "5");
    client
}

pub(super) fn member(config: &KafkaConfig, group: &str) -> ClientConfig {
    let session = config.session_timeout.as_millis();
    let mut client = common(config);
    client
        .set("statistics.interval.ms", STATISTICS_MILLIS)
        .set("group.id", group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session.to_string())
        // Members hear of a rebalance by a heartbeat: a partition that changes hands has no owner for that long.
        .set("heartbeat.interval.ms", (session / 10).clamp(100, HEARTBEAT_MILLIS_MAX).to_string())
        .set("max.poll.interval.ms", session.max(300_000).to_string())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "latest")
        .set("allow.auto.create.topics", "false")
        // It fetches nothing; should it ever, then little.
        .set("queued.max.messages.kbytes", "64")
        .set("fetch.message.max.bytes", "1024");
    if let Some(instance) = &config.group_instance_id {
        client.set("group.instance.id", instance);
    }
    client
}

/// Hands what librdkafka says to tracing, and keeps what it says of its brokers.
#[derive(Clone, Debug, Default)]
pub(super) struct LogContext {
    pub(super) brokers: Arc<Brokers>,
}

impl ClientContext for LogContext {
    fn stats_raw(&self, statistics: &[u8]) {
        self.brokers.note(statistics);
    }

    /// librdkafka says of a broken connection both in its log and by `error`.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        match level {
            _ if ["FAIL", "ERROR"].contains(&facility) => debug!(target: "librdkafka", facility, "{text}"),
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => error!(target: "librdkafka", facility, "{text}"),
            RDKafkaLogLevel::Warning => warn!(target: "librdkafka", facility, "{text}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                info!(target: "librdkafka", facility, "{text}")
            }
            RDKafkaLogLevel::Debug => debug!(target: "librdkafka", facility, "{text}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let connection = code.is_some_and(|code| {
            use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve};
            matches!(code, AllBrokersDown | BrokerTransportFailure | OperationTimedOut | Resolve)
        });
        if connection && !CONNECTION_LINES.may_say() {
            debug!(target: "librdkafka", %error, reason, "client error");
        } else {
            warn!(target: "librdkafka", %error, reason, "client error");
        }
    }
}

/// Of broken connections, that all clients of the process see again and again while a broker is down.
static CONNECTION_LINES: Seldom = Seldom(Mutex::new(None));
/// How often one of them is worth a line.
const CONNECTION_LINES_EVERY: Duration = Duration::from_secs(60);

/// Lets one line through each [`CONNECTION_LINES_EVERY`].
struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    fn may_say(&self) -> bool {
        let mut said = self.0.lock();
        let may = said.is_none_or(|said| said.elapsed() >= CONNECTION_LINES_EVERY);
        if may {
            *said = Some(Instant::now());
        }
        may
    }
}

impl ConsumerContext for LogContext {}

/// What was tried, and what librdkafka said.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) action: String,
    pub(super) error: KafkaError,
}

impl Failure {
    /// Whether the brokers are about to agree on a partition's leader, and will answer then.
    pub(super) fn is_between_leaders(&self) -> bool {
        let code = self.error.rdkafka_error_code();
        code.is_some_and(|code| {
            matches!(
                code,
                RDKafkaErrorCode::NotLeaderForPartition
                    | RDKafkaErrorCode::LeaderNotAvailable
                    | RDKafkaErrorCode::ReplicaNotAvailable
                    | RDKafkaErrorCode::FencedLeaderEpoch
                    | RDKafkaErrorCode::UnknownLeaderEpoch
                    | RDKafkaErrorCode::KafkaStorageError
            )
        })
    }

    /// Whether the client believes that there is no such partition.
    pub(super) fn is_of_no_partition(&self) -> bool {
        self.error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownPartition)
    }

    /// As an error of something that concerns one partition.
    pub(super) fn of_partition(self, topic: &str, partition: Partition) -> LogError {
        match self.is_of_no_partition() {
            true => LogError::PartitionMissing { topic: topic.to_owned(), partition },
            false => self.into(),
        }
    }
}

impl From<Failure> for LogError {
    fn from(Failure { action, error }: Failure) -> Self {
        Self::Unavailable { action, source: error.into() }
    }
}

pub(super) fn unavailable(action: impl Into<String>, error: KafkaError) -> LogError {
    Failure { action: action.into(), error }.into()
}

/// librdkafka's number of a partition; one that cannot exist stays one that does not.
pub(super) fn partition_id(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

/// A list of one partition at an offset.
pub(super) fn at(
    topic: &str,
    partition: Partition,
    offset: Offset,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(1);
    let offset = RdOffset::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX));
    list.add_partition_offset(topic, partition_id(partition), offset)?;
    Ok(list)
}

/// Gets rid of a client, which waits for its threads, without holding up the async thread that drops it.
pub(super) fn drop_aside<T: Send + 'static>(client: T) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(client))),
        Err(_) => drop(client),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_come_once_a_minute() {
        let lines = Seldom(Mutex::new(None));
        assert_eq!((lines.may_say(), lines.may_say()), (true, false));
        tokio::time::sleep(CONNECTION_LINES_EVERY).await;
        assert_eq!((lines.may_say(), lines.may_say()), (true, false));
    }
}
