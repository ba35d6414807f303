//! Tempo's HTTP API.
//! Owns: routes, and what every route has in common: tenants, limits, counting, compression, the form of errors.
//! Does not own: what a single route does (`traces`).

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::time::Instant;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use crate::QueryError;
use crate::frontend::Inner;
use crate::metrics::{Metrics, RequestLabels, RouteLabels};

mod accept;
mod body;
mod params;
mod tenants;
mod traces;

pub(crate) use tenants::Tenancy;

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
/// What is counted when a client goes away before it has its answer.
const CLIENT_GONE: u16 = 499;

/// All routes, below the prefix that is set. Like Tempo's they take any method.
pub(crate) fn router(inner: Arc<Inner>) -> Router {
    let api = Router::new()
        .route("/api/echo", any("echo"))
        .route("/api/status/buildinfo", any(build_info))
        .route("/api/status/services", any(services))
        .route("/api/traces/{id}", any(traces::v1))
        .route("/api/v2/traces/{id}", any(traces::v2))
        .route_layer(middleware::from_fn_with_state(inner.metrics.clone(), count))
        .layer(
            CompressionLayer::new()
                .gzip(true)
                .quality(CompressionLevel::Fastest),
        )
        .with_state(Arc::clone(&inner));
    match inner.config.http_api_prefix.as_str() {
        "" => api,
        prefix => Router::new().nest(prefix, api),
    }
}

async fn build_info(State(inner): State<Arc<Inner>>) -> impl IntoResponse {
    axum::Json(inner.build)
}

async fn services(State(inner): State<Arc<Inner>>) -> String {
    (inner.services)()
}

impl IntoResponse for QueryError {
    fn into_response(self) -> Response {
        (self.status(), [(header::CONTENT_TYPE, PLAIN_TEXT)], self.text()).into_response()
    }
}

/// A request that has not been counted yet.
struct Counted {
    metrics: Metrics,
    route: String,
    started: Instant,
    status: u16,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let route = std::mem::take(&mut self.route);
        let labels = RequestLabels {
            route: route.clone(),
            status_code: self.status,
        };
        self.metrics.requests.get_or_create(&labels).inc();
        let seconds = self.started.elapsed().as_secs_f64();
        self.metrics
            .seconds
            .get_or_create(&RouteLabels { route })
            .observe(seconds);
    }
}

async fn count(State(metrics): State<Metrics>, path: MatchedPath, request: Request, next: Next) -> Response {
    let route = path.as_str().to_owned();
    let mut counted = Counted {
        metrics,
        route,
        started: Instant::now(),
        status: CLIENT_GONE,
    };
    let response = next.run(request).await;
    counted.status = response.status().as_u16();
    response
}

/// The value of a header that may come several times, as one list.
fn joined(headers: &HeaderMap, name: &header::HeaderName) -> String {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    values.join(",")
}

/// 404 as Tempo answers it: without a body.
fn not_found() -> Response {
    StatusCode::NOT_FOUND.into_response()
}
