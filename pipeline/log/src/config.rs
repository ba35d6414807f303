//! Settings of the log: which one, how to reach it, how its topics are made.
//! Owns: names, defaults and bounds of the settings. Does not own: reading variables, where the local log's folder is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vivace_model::{ByteSize, Secret, settings};

use crate::{KafkaLog, LocalLog, LogError, Retention, SharedLog, TopicSpec};

settings! {
    /// Settings of the embedded log, which is used while no Kafka brokers are set.
    pub struct LocalConfig: "VIVACE_LOG_" {
        /// Start a new segment file when the last one is that large. At most 1 GiB.
        segment_bytes: ByteSize = ByteSize::mib(64),
        /// Refuse records while that much of a topic waits to be written. At most 1 GiB.
        queue_bytes_max: ByteSize = ByteSize::mib(64),
        /// Keep that much of a compacted topic, and of a topic that no consumer group ever joined; what is older goes.
        unjoined_bytes_max: ByteSize = ByteSize::mib(256),
        /// Refuse records larger than that.
        record_bytes_max: ByteSize = ByteSize::mib(16),
    }
}

impl LocalConfig {
    /// Largest segment and queue: positions in a segment are kept in 32 bits.
    const BYTES_MAX: ByteSize = ByteSize::gib(1);
    /// Smallest segment that is not silly; smaller ones would be mostly files.
    const SEGMENT_BYTES_MIN: ByteSize = ByteSize::kib(4);

    /// Checks what types alone cannot.
    ///
    /// # Errors
    /// One line that names the variable at fault.
    pub fn validate(&self) -> Result<(), String> {
        if self.segment_bytes < Self::SEGMENT_BYTES_MIN || self.segment_bytes > Self::BYTES_MAX {
            return Err(format!(
                "VIVACE_LOG_SEGMENT_BYTES must be from {} to {}",
                Self::SEGMENT_BYTES_MIN,
                Self::BYTES_MAX
            ));
        }
        if self.queue_bytes_max > Self::BYTES_MAX {
            return Err(format!("VIVACE_LOG_QUEUE_BYTES_MAX must be at most {}", Self::BYTES_MAX));
        }
        if self.record_bytes_max.0 == 0 || self.record_bytes_max.0 > self.queue_bytes_max.0 / 2 {
            return Err(
                "VIVACE_LOG_RECORD_BYTES_MAX must be above 0 and at most half of VIVACE_LOG_QUEUE_BYTES_MAX"
                    .into(),
            );
        }
        Ok(())
    }
}

/// How to talk to the brokers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    #[default]
    Plaintext,
    /// TLS, with a client certificate if one is set.
    Ssl,
    /// User and password over an open connection.
    SaslPlaintext,
    /// User and password over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// What librdkafka calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    const fn is_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// How user and password are proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// Sent as they are.
    #[default]
    #[serde(rename = "PLAIN")]
    Plain,
    /// By a salted challenge with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// By a salted challenge with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// What Kafka calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How records are compressed on their way to Kafka and in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// Cheap.
    #[default]
    Lz4,
    /// Smaller, and dearer.
    Zstd,
}

impl Compression {
    /// What librdkafka calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

settings! {
    /// Settings of the Kafka log. It is used when brokers are set.
    pub struct KafkaConfig: "VIVACE_KAFKA_" {
        /// Brokers to ask first, as `host:port` with commas between. Empty: the embedded log is used instead of Kafka.
        brokers: String = String::new(),
        /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
        security_protocol: SecurityProtocol = SecurityProtocol::Plaintext,
        /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
        sasl_mechanism: SaslMechanism = SaslMechanism::Plain,
        /// User for SASL.
        sasl_username: String = String::new(),
        /// Password for SASL.
        sasl_password: Secret = Secret::default(),
        /// File with the authorities that the brokers' certificates are checked by. None: the system's.
        ssl_ca_location: Option<PathBuf> = None,
        /// File with our certificate, where brokers ask for one.
        ssl_certificate_location: Option<PathBuf> = None,
        /// File with the key of our certificate.
        ssl_key_location: Option<PathBuf> = None,
        /// Name that brokers show for us. Readers use a group of the name `<client_id>-reader`, which commits nothing.
        client_id: String = "vivace".into(),
        /// Name of this process in its consumer groups (static membership): a quick restart then moves no partition. It
        /// must differ between processes.
        group_instance_id: Option<String> = None,
        /// A group member that was silent for that long loses its partitions. Until then nobody ingests them, and every
        /// question reads what is not stored of them from the log. Brokers allow at least 6 s.
        session_timeout: Duration = Duration::from_secs(15),
        /// How long a record may wait for others to travel with.
        linger: Duration = Duration::from_millis(5),
        /// `lz4`, `zstd` or `none`.
        compression: Compression = Compression::Lz4,
        /// Largest record. Brokers and topics have limits of their own (message.max.bytes), which this must not exceed.
        message_bytes_max: ByteSize = ByteSize(1_000_000),
        /// Refuse records while that much is on its way.
        queue_bytes_max: ByteSize = ByteSize::mib(64),
        /// Most that one reader fetches at a time; it holds about twice that.
        fetch_bytes_max: ByteSize = ByteSize::mib(4),
        /// A broker that has nothing new for a reader says so after that long; records are sent on at once.
        fetch_wait_max: Duration = Duration::from_secs(10),
        /// Create missing topics at start.
        topics_create: bool = true,
        /// Give up on a record that was not delivered within that time.
        delivery_timeout: Duration = Duration::from_secs(30),
        /// Give up on any other question to the brokers after that time.
        request_timeout: Duration = Duration::from_secs(15),
        /// At a start, wait that long for brokers that do not answer.
        start_timeout: Duration = Duration::from_secs(5 * 60),
    }
}

impl KafkaConfig {
    /// Checks what types alone cannot.
    ///
    /// # Errors
    /// One line that names the variable at fault.
    pub fn validate(&self) -> Result<(), String> {
        if self.security_protocol.is_sasl()
            && (self.sasl_username.is_empty() || self.sasl_password.is_empty())
        {
            return Err(
                "VIVACE_KAFKA_SASL_USERNAME and VIVACE_KAFKA_SASL_PASSWORD are needed for SASL".into()
            );
        }
        if self.ssl_certificate_location.is_some() != self.ssl_key_location.is_some() {
            return Err(
                "VIVACE_KAFKA_SSL_CERTIFICATE_LOCATION and VIVACE_KAFKA_SSL_KEY_LOCATION go together".into(),
            );
        }
        if self.client_id.is_empty() {
            return Err("VIVACE_KAFKA_CLIENT_ID must not be empty".into());
        }
        // librdkafka's own bounds, said by our names.
        let bytes = [
            ("MESSAGE_BYTES_MAX", self.message_bytes_max, 1000, 1_000_000_000),
            ("QUEUE_BYTES_MAX", self.queue_bytes_max, self.message_bytes_max.0, 1 << 40),
            ("FETCH_BYTES_MAX", self.fetch_bytes_max, 1000, 1_000_000_000),
        ];
        for (name, value, min, max) in bytes {
            if !(min..=max).contains(&value.0) {
                return Err(format!("VIVACE_KAFKA_{name} must be from {min} to {max} bytes"));
            }
        }
        let times = [
            ("LINGER", self.linger, 0, 10_000),
            ("SESSION_TIMEOUT", self.session_timeout, 1000, 3_600_000),
            // A connection without an answer counts as broken after a minute (socket.timeout.ms).
            ("FETCH_WAIT_MAX", self.fetch_wait_max, 10, 30_000),
            ("DELIVERY_TIMEOUT", self.delivery_timeout, 1000, 3_600_000),
            ("REQUEST_TIMEOUT", self.request_timeout, 1000, 300_000),
            ("START_TIMEOUT", self.start_timeout, 0, 86_400_000),
        ];
        for (name, value, min, max) in times {
            if !(min..=max).contains(&value.as_millis()) {
                return Err(format!("VIVACE_KAFKA_{name} must be from {min} to {max} ms"));
            }
        }
        if self.linger >= self.delivery_timeout {
            return Err("VIVACE_KAFKA_LINGER must be below VIVACE_KAFKA_DELIVERY_TIMEOUT".into());
        }
        Ok(())
    }
}

settings! {
    /// Names and shape of the topics.
    pub struct TopicsConfig: "VIVACE_TOPICS_" {
        /// Topic of the spans.
        spans: String = "vivace.spans".into(),
        /// Topic that says which ledger entries exist.
        ledger: String = "vivace.ledger".into(),
        /// Topic that says which ingester serves which partition.
        owners: String = "vivace.owners".into(),
        /// Topic of records that could not be stored.
        rejected: String = "vivace.rejected".into(),
        /// Partitions of the spans topic, and of the ledger topic with it. It may be raised (see VIVACE_TOPICS_GROW), never
        /// lowered. A trace whose spans come before and after that is found whole by its id, but searched in two parts.
        #[unit = "partitions"]
        partitions: u32 = 4,
        /// Add partitions to topics that have fewer than are set. Restart query-frontends first, then ingesters and
        /// compactors, distributors last.
        grow: bool = false,
        /// Replicas of each partition, on Kafka.
        #[unit = "replicas"]
        replication: u16 = 1,
        /// How long Kafka keeps spans; a recovery can go back that far. The embedded log keeps what is not stored yet.
        retention: Duration = Duration::from_secs(24 * 3600),
        /// How long Kafka keeps rejected records.
        rejected_retention: Duration = Duration::from_secs(7 * 24 * 3600),
    }
}

impl TopicsConfig {
    const PARTITIONS_MAX: u32 = 10_000;

    /// Checks what types alone cannot.
    ///
    /// # Errors
    /// One line that names the variable at fault.
    pub fn validate(&self) -> Result<(), String> {
        let names = [&self.spans, &self.ledger, &self.owners, &self.rejected];
        for (index, name) in names.iter().enumerate() {
            if !topic_name_valid(name) {
                return Err(format!("VIVACE_TOPICS_*: '{name}' cannot be the name of a topic"));
            }
            if names[..index].contains(name) {
                return Err(format!("VIVACE_TOPICS_*: '{name}' is given to two topics"));
            }
        }
        if self.partitions == 0 || self.partitions > Self::PARTITIONS_MAX {
            return Err(format!("VIVACE_TOPICS_PARTITIONS must be from 1 to {}", Self::PARTITIONS_MAX));
        }
        if self.replication == 0 {
            return Err("VIVACE_TOPICS_REPLICATION must not be 0".into());
        }
        Ok(())
    }

    /// How each of the topics is to be made: spans, ledger, owners, rejected.
    #[must_use]
    pub fn specs(&self) -> [TopicSpec; 4] {
        let spec = |name: &String, partitions, retention| TopicSpec {
            name: name.clone(),
            partitions,
            replication: self.replication,
            retention,
        };
        [
            spec(&self.spans, self.partitions, Retention::Time(self.retention)),
            spec(&self.ledger, self.partitions, Retention::Time(self.retention)),
            spec(&self.owners, 1, Retention::Compacted),
            spec(&self.rejected, 1, Retention::Time(self.rejected_retention)),
        ]
    }
}

/// What Kafka takes as a topic's name; it is also safe as the name of a folder.
pub(crate) fn topic_name_valid(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.chars().all(allowed)
}

/// All settings of the log.
#[derive(Clone, Debug, Default)]
pub struct LogConfig {
    /// Of the embedded log.
    pub local: LocalConfig,
    /// Of Kafka; chosen by its brokers being set.
    pub kafka: KafkaConfig,
    /// Of the topics, on either.
    pub topics: TopicsConfig,
}

impl LogConfig {
    /// Whether Kafka is to be used instead of the embedded log.
    #[must_use]
    pub fn is_kafka(&self) -> bool {
        !self.kafka.brokers.trim().is_empty()
    }

    /// Checks what types alone cannot.
    ///
    /// # Errors
    /// One line that names the variable at fault.
    pub fn validate(&self) -> Result<(), String> {
        self.topics.validate()?;
        if self.is_kafka() { self.kafka.validate() } else { self.local.validate() }
    }

    /// Opens the log that the settings choose; the embedded one lies in `dir`. Topics are ensured by the caller.
    ///
    /// # Errors
    /// When the log cannot be opened or what it holds is damaged.
    pub fn open(&self, dir: &Path) -> Result<SharedLog, LogError> {
        if self.is_kafka() {
            let log: Arc<KafkaLog> = KafkaLog::connect(self.kafka.clone())?;
            Ok(log)
        } else {
            let log: Arc<LocalLog> = LocalLog::open(dir, self.local.clone())?;
            Ok(log)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_embedded() {
        let config = LogConfig::default();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.kafka.validate(), Ok(()));
        assert!(!config.is_kafka());
        let names: Vec<_> = config.topics.specs().into_iter().map(|spec| spec.name).collect();
        assert_eq!(names, ["vivace.spans", "vivace.ledger", "vivace.owners", "vivace.rejected"]);
    }

    #[test]
    fn wrong_settings_are_named() {
        let local = LocalConfig { record_bytes_max: ByteSize::mib(40), ..LocalConfig::default() };
        assert!(local.validate().unwrap_err().contains("VIVACE_LOG_RECORD_BYTES_MAX"));
        let kafka = KafkaConfig { security_protocol: SecurityProtocol::SaslSsl, ..KafkaConfig::default() };
        assert!(kafka.validate().unwrap_err().contains("VIVACE_KAFKA_SASL_USERNAME"));
        let kafka = KafkaConfig { linger: Duration::from_secs(30), ..KafkaConfig::default() };
        assert!(kafka.validate().unwrap_err().contains("VIVACE_KAFKA_LINGER"));
        let topics = TopicsConfig { ledger: "vivace.spans".into(), ..TopicsConfig::default() };
        assert!(topics.validate().unwrap_err().contains("two topics"));
        let topics = TopicsConfig { owners: "a/b".into(), ..TopicsConfig::default() };
        assert!(topics.validate().unwrap_err().contains("'a/b'"));
    }

    #[test]
    fn settings_are_read_from_text() {
        let text = r#"{"brokers": "a:1,b:2", "security_protocol": "sasl_ssl", "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_password": "hunter2", "linger": "7ms", "compression": "zstd", "message_bytes_max": "2MiB"}"#;
        let config: KafkaConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.sasl_mechanism.as_str(), "SCRAM-SHA-512");
        assert_eq!(config.linger, Duration::from_millis(7));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
