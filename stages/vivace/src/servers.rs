//! The ports of the process, and the gRPC services that other stages and clients of the streaming API reach it by.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use vivace_ingester::RecentData;
use vivace_proto::internal::recent_server::RecentServer;
use vivace_proto::tempopb::streaming_querier_server::StreamingQuerierServer;
use vivace_querier::Querier;
use vivace_query_frontend::StreamingApi;
use vivace_runtime::Server;

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

    /// All of it, and the health service.
    pub(crate) async fn router(self) -> Router {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let mut routes = Routes::builder();
        routes.add_service(health);
        if let Some(recent) = self.recent {
            routes.add_service(RecentServer::from_arc(recent));
        }
        if let Some(querier) = self.querier {
            routes.add_service(querier.server());
        }
        if let Some(streaming) = self.streaming {
            routes.add_service(streaming);
        }
        routes.routes().into_axum_router()
    }
}

/// Serves until shutdown; running calls are finished.
pub(crate) async fn serve(server: Server, shutdown: CancellationToken) -> Result<(), Infallible> {
    server.run(shutdown).await;
    Ok(())
}
