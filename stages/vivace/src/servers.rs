//! The gRPC server that other stages reach this process by, and clients of the streaming API.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use vivace_ingester::RecentData;
use vivace_proto::internal::recent_server::RecentServer;
use vivace_proto::tempopb::streaming_querier_server::StreamingQuerierServer;
use vivace_querier::Querier;
use vivace_query_frontend::StreamingApi;

/// Opens a port.
pub(crate) async fn listen(address: SocketAddr, variable: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address} ({variable})"))
}

/// What this process serves over gRPC.
#[derive(Default)]
pub(crate) struct Services {
    pub(crate) recent: Option<Arc<RecentData>>,
    pub(crate) querier: Option<Querier>,
    pub(crate) streaming: Option<StreamingQuerierServer<StreamingApi>>,
}

impl Services {
    /// Whether there is anything to serve.
    pub(crate) const fn any(&self) -> bool {
        self.recent.is_some() || self.querier.is_some() || self.streaming.is_some()
    }

    /// Serves until shutdown; running calls are finished.
    pub(crate) async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result<()> {
        let recent = self.recent.map(RecentServer::from_arc);
        let querier = self.querier.map(|querier| querier.server());
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        Server::builder()
            .add_service(health)
            .add_optional_service(recent)
            .add_optional_service(querier)
            .add_optional_service(self.streaming)
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), shutdown.cancelled())
            .await
            .context("the gRPC server failed")
    }
}
