//! Every setting of the binary that the tests use, in one place.

use std::path::Path;

/// What one process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// All stages.
    All,
    /// Takes spans in.
    Distributor,
    /// Makes blocks of them.
    Ingester,
    /// Reads blocks.
    Querier,
    /// Speaks the API.
    QueryFrontend,
    /// Merges blocks.
    Compactor,
}

impl Stage {
    /// The argument that chooses it; none for all stages.
    pub(crate) const fn argument(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Distributor => Some("distributor"),
            Self::Ingester => Some("ingester"),
            Self::Querier => Some("querier"),
            Self::QueryFrontend => Some("query-frontend"),
            Self::Compactor => Some("compactor"),
        }
    }

    pub(crate) const fn takes_spans(self) -> bool {
        matches!(self, Self::All | Self::Distributor)
    }
}

/// Where one process listens, all on loopback.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// OTLP over gRPC.
    pub(crate) otlp_grpc: u16,
    /// OTLP over HTTP.
    pub(crate) otlp_http: u16,
    /// API, health, metrics.
    pub(crate) http: u16,
    /// Calls between stages.
    pub(crate) grpc: u16,
}

/// The variables that every process gets.
pub(crate) fn base(stage: Stage, ports: &Ports, folder: &Path) -> Vec<(String, String)> {
    let mut all = vec![
        ("VIVACE_DATA_DIR", folder.join("data").display().to_string()),
        ("VIVACE_HTTP_LISTEN", loopback(ports.http)),
        ("VIVACE_GRPC_LISTEN", loopback(ports.grpc)),
        // The sample's spans are of one day, which is long ago at some time.
        ("VIVACE_COMPACTOR_RETENTION", "0s".to_owned()),
    ];
    if stage.takes_spans() {
        all.push(("VIVACE_DISTRIBUTOR_GRPC_LISTEN", loopback(ports.otlp_grpc)));
        all.push(("VIVACE_DISTRIBUTOR_HTTP_LISTEN", loopback(ports.otlp_http)));
    }
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Number of partitions of the spans topic.
pub(crate) const PARTITIONS: &str = "VIVACE_TOPICS_PARTITIONS";

/// Seal the open block at this age.
pub(crate) const BLOCK_AGE_MAX: &str = "VIVACE_INGESTER_BLOCK_AGE_MAX";

/// Keep listed spans in memory for so long.
pub(crate) const RECENT_RETENTION: &str = "VIVACE_INGESTER_RECENT_RETENTION";

/// Address of the Kafka brokers; without it the embedded log is used.
pub(crate) const KAFKA_BROKERS: &str = "VIVACE_KAFKA_BROKERS";

/// A silent member of a consumer group loses its partitions after so long.
pub(crate) const KAFKA_SESSION_TIMEOUT: &str = "VIVACE_KAFKA_SESSION_TIMEOUT";

/// Where blocks and ledger lie; without it in the data folder.
pub(crate) const STORAGE_URL: &str = "VIVACE_STORAGE_URL";

/// The queriers that a query-frontend gives jobs to.
pub(crate) const QUERIERS: &str = "VIVACE_QUERY_FRONTEND_QUERIERS";

/// Folder of the object store below the data folder, when no storage is set.
pub(crate) const STORAGE_FOLDER: &str = "data/store";

/// Name of the topic that takes the spans.
pub(crate) const SPANS_TOPIC: &str = "vivace.spans";

/// Where a process fails.
pub(crate) const FAIL_POINTS: &str = "VIVACE_FAIL_POINTS";

/// By which address other stages reach a process.
pub(crate) const ADVERTISE_ADDRESS: &str = "VIVACE_ADVERTISE_ADDRESS";

pub(crate) fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
