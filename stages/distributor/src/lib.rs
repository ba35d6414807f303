//! The distributor: OTLP in, records in the log out.
//! Owns: the OTLP ports (gRPC and HTTP), tenancy of requests, the limits on what is in work, when a sender is acked.
//! Does not own: what spans mean (they are split by partition unread), how the log makes them durable.
//! Guarantee: a sender gets an OK only after the log has all spans of the request durably; whatever else it gets says
//! whether to send again.

mod body;
mod config;
mod encoding;
mod error;
mod fail_points;
mod grpc;
mod http;
mod inflight;
mod intake;
mod json;
mod metrics;
mod rpc;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::info;
use vivace_log::SharedLog;
use vivace_memory::Governor;
use vivace_model::Overrides;
use vivace_runtime::{ConnectionMetrics, Server, Watched};

pub use config::Config;
pub use error::DistributorError;
pub use fail_points::FAIL_POINTS;
pub use metrics::Metrics;

use crate::inflight::Inflight;
use crate::intake::Intake;

/// The stage, before its ports are open.
#[derive(Debug)]
pub struct Distributor {
    intake: Intake,
    connections: ConnectionMetrics,
}

impl Distributor {
    /// A distributor that appends to `topic`, which has that many partitions and was passed to
    /// [`Log::ensure_topic`](vivace_log::Log::ensure_topic).
    #[must_use]
    pub fn new(config: Config, log: SharedLog, topic: String, partitions: u32, metrics: Metrics) -> Self {
        let intake = Intake::new(config, log, topic, partitions, metrics);
        Self { intake, connections: ConnectionMetrics::default() }
    }

    /// Sets where connections are counted, and how many each port may have at most, whatever is set: the process has only
    /// so many descriptors.
    #[must_use]
    pub fn connections(mut self, metrics: ConnectionMetrics, max: usize) -> Self {
        self.connections = metrics;
        let config = &mut self.intake.config;
        config.connections_max = config.connections_max.min(max);
        self
    }

    /// Sets whether each request must name its tenant in `X-Scope-OrgID`. If not (the default), all is one tenant's and the
    /// header is ignored.
    #[must_use]
    pub const fn multitenancy(mut self, enabled: bool) -> Self {
        self.intake.multitenancy_enabled = enabled;
        self
    }

    /// Sets how traces of single tenants are spread over the partitions; over all of them, if it is not called.
    #[must_use]
    pub fn overrides(mut self, overrides: Watched<Overrides>) -> Self {
        self.intake.overrides = overrides;
        self
    }

    /// Sets the memory that requests in work are taken from; memory of their own, as much as is set, if it is not called.
    #[must_use]
    pub fn memory(mut self, memory: Arc<Governor>) -> Self {
        self.intake.inflight = Inflight::new(memory, self.intake.metrics.inflight_bytes.clone());
        self
    }

    /// Opens the ports.
    ///
    /// # Errors
    /// [`DistributorError::Config`] if a setting is wrong, [`DistributorError::Listen`] if a port cannot be opened.
    pub async fn bind(self) -> Result<BoundDistributor, DistributorError> {
        let Self { intake, connections } = self;
        intake.config.validate().map_err(DistributorError::Config)?;
        let (grpc, grpc_address) = listen(intake.config.grpc_listen).await?;
        let (http, http_address) = listen(intake.config.http_listen).await?;
        info!(grpc = %grpc_address, http = %http_address, "distributor listens for OTLP");
        Ok(BoundDistributor { intake: Arc::new(intake), connections, grpc, http, grpc_address, http_address })
    }

    /// Opens the ports and serves them until `shutdown`.
    ///
    /// # Errors
    /// [`DistributorError`] as from [`Self::bind`] and [`BoundDistributor::run`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), DistributorError> {
        self.bind().await?.run(shutdown).await
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), DistributorError> {
    let failed = |source| DistributorError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// The stage with open ports; senders can connect and will be served once it runs.
#[derive(Debug)]
pub struct BoundDistributor {
    intake: Arc<Intake>,
    connections: ConnectionMetrics,
    grpc: TcpListener,
    http: TcpListener,
    grpc_address: SocketAddr,
    http_address: SocketAddr,
}

impl BoundDistributor {
    /// Where OTLP over gRPC is taken.
    #[must_use]
    pub const fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where OTLP over HTTP is taken.
    #[must_use]
    pub const fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Serves until `shutdown`, then finishes what has begun.
    ///
    /// # Errors
    /// [`DistributorError::Server`] if a server stops by itself.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), DistributorError> {
        let Self { intake, connections, grpc, http, .. } = self;
        let config = &intake.config;
        let mut health = HealthReporter::new();
        health.set_service_status(grpc::SERVICE, ServingStatus::Serving).await;
        let router = grpc::router(Arc::clone(&intake), health.clone());
        let grpc = Server::new("otlp_grpc", grpc, router, config.server(), connections.clone());
        let router = http::router(Arc::clone(&intake));
        let http = Server::new("otlp_http", http, router, config.server(), connections);

        let stop = CancellationToken::new();
        let mut servers = JoinSet::new();
        servers.spawn(grpc.run(stop.clone()));
        servers.spawn(http.run(stop.clone()));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            Some(Err(panicked)) = servers.join_next() => return Err(DistributorError::Server(panicked)),
        }
        info!("distributor finishes what is in work");
        for service in ["", grpc::SERVICE] {
            health.set_service_status(service, ServingStatus::NotServing).await;
        }
        sleep(config.shutdown_delay).await;
        stop.cancel();
        // Whoever watches has been told. Ends the watches, which would keep their connections open.
        for service in ["", grpc::SERVICE] {
            health.clear_service_status(service).await;
        }
        while let Some(ended) = servers.join_next().await {
            ended.map_err(DistributorError::Server)?;
        }
        Ok(())
    }
}
