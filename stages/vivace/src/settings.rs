//! All settings of the process, read from the environment once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use vivace_block::{BlockConfig, ReaderConfig};
use vivace_log::{KafkaConfig, LocalConfig, LogConfig, TopicsConfig};
use vivace_memory::MemoryConfig;
use vivace_model::settings;
use vivace_runtime::{ConfigError, Environment, ServerOptions, Setting, TelemetryConfig};

settings! {
    /// Settings of the process as a whole.
    pub struct ProcessConfig: "VIVACE_" {
        /// Folder of the embedded log, and of blocks and ledger while no storage URL is set.
        data_dir: PathBuf = PathBuf::from("./vivace-data"),
        /// Where blocks and ledger are kept: `s3://bucket/prefix`, `gs://…`, `az://…` or `file:///folder`. Credentials and
        /// endpoints come from the usual `AWS_*`, `GOOGLE_*` and `AZURE_*` variables. Empty: a folder in the data folder.
        storage_url: String = String::new(),
        /// Where the query API, health, readiness and metrics are served over HTTP.
        http_listen: SocketAddr = SocketAddr::from(([0, 0, 0, 0], 3200)),
        /// Where the streaming query API is served over gRPC, and where other stages reach this process.
        grpc_listen: SocketAddr = SocketAddr::from(([0, 0, 0, 0], 9095)),
        /// Connections to each of these two ports. Where there are as many, the one that has been idle for longest is closed
        /// for a new one. Health, readiness and metrics have room of their own besides.
        #[unit = "connections"]
        connections_max: usize = ServerOptions::CONNECTIONS_MAX,
        /// Connections of one address to each of these two ports.
        #[unit = "connections"]
        connections_per_address_max: usize = ServerOptions::CONNECTIONS_PER_ADDRESS_MAX,
        /// Address, as `host:port`, by which other stages reach this process. Empty: the machine's name and the port of
        /// VIVACE_GRPC_LISTEN.
        advertise_address: String = String::new(),
        /// Whether every request must name its tenant in `X-Scope-OrgID`. If not, all is one tenant's.
        multitenancy_enabled: bool = false,
        /// YAML file of what is set for single tenants. Empty: nothing is.
        overrides_file: PathBuf = PathBuf::new(),
        /// How often that file is looked at for changes.
        overrides_reload: Duration = Duration::from_secs(10),
        /// How long all stages together may take to finish after SIGTERM.
        shutdown_grace: Duration = Duration::from_secs(45),
        /// For tests only: where this process is to fail, as `NAME=ACTION@PASSES;…` with the action `kill`, `stop`, `error` or
        /// `sleep(MILLISECONDS)` and the passes `3`, `3-5` or none for each: `ingester.uploaded=kill@2`. A wrong name lists all.
        fail_points: String = String::new(),
    }
}

/// Everything that can be set.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) process: ProcessConfig,
    pub(crate) memory: MemoryConfig,
    pub(crate) telemetry: TelemetryConfig,
    pub(crate) local: LocalConfig,
    pub(crate) kafka: KafkaConfig,
    pub(crate) topics: TopicsConfig,
    pub(crate) block: BlockConfig,
    pub(crate) reader: ReaderConfig,
    pub(crate) distributor: vivace_distributor::Config,
    pub(crate) ingester: vivace_ingester::Config,
    pub(crate) querier: vivace_querier::Config,
    pub(crate) query_frontend: vivace_query_frontend::Config,
    pub(crate) compactor: vivace_compactor::Config,
}

/// Loads one crate's settings.
macro_rules! load {
    ($environment:ident, $config:ty) => {
        $environment.load(<$config>::PREFIX, <$config>::SETTINGS, <$config>::validate)?
    };
}

impl Settings {
    /// Reads all settings, and lists them for `vivace config`.
    ///
    /// # Errors
    /// One line that names the variable at fault.
    pub(crate) fn load(mut environment: Environment) -> Result<(Self, Vec<Setting>), ConfigError> {
        // A variable of a script that is not set would put the data wherever the process was started.
        environment.refuse_empty("VIVACE_DATA_DIR")?;
        let settings = Self {
            process: load!(environment, ProcessConfig),
            memory: load!(environment, MemoryConfig),
            telemetry: load!(environment, TelemetryConfig),
            local: load!(environment, LocalConfig),
            kafka: load!(environment, KafkaConfig),
            topics: load!(environment, TopicsConfig),
            block: load!(environment, BlockConfig),
            reader: load!(environment, ReaderConfig),
            distributor: load!(environment, vivace_distributor::Config),
            ingester: load!(environment, vivace_ingester::Config),
            querier: load!(environment, vivace_querier::Config),
            query_frontend: load!(environment, vivace_query_frontend::Config),
            compactor: load!(environment, vivace_compactor::Config),
        };
        settings
            .agree()
            .map_err(|problem| ConfigError::Invalid { prefix: ProcessConfig::PREFIX, problem })?;
        Ok((settings, environment.finish()?))
    }

    /// Those of the log.
    pub(crate) fn log(&self) -> LogConfig {
        let Self { local, kafka, topics, .. } = self.clone();
        LogConfig { local, kafka, topics }
    }

    /// Checks settings of different parts against each other.
    fn agree(&self) -> Result<(), String> {
        let record = self.distributor.record_bytes_max;
        let (log, variable) = if self.kafka.brokers.trim().is_empty() {
            (self.local.record_bytes_max, "VIVACE_LOG_RECORD_BYTES_MAX")
        } else {
            (self.kafka.message_bytes_max, "VIVACE_KAFKA_MESSAGE_BYTES_MAX")
        };
        // Room for headers and the record's own frame.
        if record.0.saturating_add(4096) > log.0 {
            return Err(format!(
                "VIVACE_DISTRIBUTOR_RECORD_BYTES_MAX must be at least 4KiB below {variable}"
            ));
        }
        if self.ingester.record_bytes_max < record {
            return Err(
                "VIVACE_INGESTER_RECORD_BYTES_MAX must not be below VIVACE_DISTRIBUTOR_RECORD_BYTES_MAX"
                    .into(),
            );
        }
        if self.process.shutdown_grace < self.distributor.shutdown_delay + self.distributor.shutdown_grace {
            return Err(
                "VIVACE_SHUTDOWN_GRACE must not be below what VIVACE_DISTRIBUTOR_SHUTDOWN_* allow".into()
            );
        }
        if self.distributor.overrides_settle < 2 * self.process.overrides_reload {
            return Err(
                "VIVACE_DISTRIBUTOR_OVERRIDES_SETTLE must be at least twice VIVACE_OVERRIDES_RELOAD".into()
            );
        }
        Ok(())
    }
}

impl ProcessConfig {
    fn validate(&self) -> Result<(), String> {
        if self.shutdown_grace.is_zero() {
            return Err("VIVACE_SHUTDOWN_GRACE must be more than zero".into());
        }
        crate::storage::check_url(&self.storage_url)?;
        if self.overrides_reload.is_zero() {
            return Err("VIVACE_OVERRIDES_RELOAD must be more than zero".into());
        }
        if self.connections_max == 0 || self.connections_per_address_max == 0 {
            return Err(
                "VIVACE_CONNECTIONS_MAX and VIVACE_CONNECTIONS_PER_ADDRESS_MAX must be at least one".into()
            );
        }
        if !self.advertise_address.is_empty() && !self.advertise_address.contains(':') {
            return Err("VIVACE_ADVERTISE_ADDRESS must be host:port".into());
        }
        Ok(())
    }

    /// How connections to the ports of the process are treated; the descriptors allow `connections_max` to each.
    pub(crate) fn server(&self, connections_max: usize) -> ServerOptions {
        ServerOptions {
            connections_max: self.connections_max.min(connections_max),
            connections_per_address_max: self.connections_per_address_max,
            // What is left of it once the stages have finished.
            grace: self.shutdown_grace,
            ..ServerOptions::default()
        }
    }

    /// Address by which others reach this process.
    pub(crate) fn advertised(&self) -> String {
        if !self.advertise_address.is_empty() {
            return self.advertise_address.clone();
        }
        let port = self.grpc_listen.port();
        if !self.grpc_listen.ip().is_unspecified() {
            return self.grpc_listen.to_string();
        }
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        format!("{}:{port}", if name.is_empty() { "localhost" } else { name })
    }
}
