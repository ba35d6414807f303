//! Tempo's HTTP API.
//! Owns: routes, and what every route has in common: tenants, limits, counting, compression, the form of errors.
//! Does not own: what a single route does (`traces`, `search`).

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use tokio::time::Instant;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use crate::QueryError;
use crate::frontend::Inner;
use crate::metrics::{Metrics, RequestLabels, RouteLabels};

mod accept;
mod answer;
mod body;
mod logfmt;
mod params;
mod search;
mod tenants;
mod traces;

pub(crate) use answer::check_size;
pub(crate) use tenants::Tenancy;

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
/// When a query that was refused for want of room should come again: most queries are done by then.
const RETRY_AFTER_SECONDS: u16 = 5;
/// What is counted when a client goes away before it has its answer.
const CLIENT_GONE: u16 = 499;

/// All routes, below the prefix that is set. They take GET; anything else is refused (405).
pub(crate) fn router(inner: Arc<Inner>) -> Router {
    let counted = |route: &'static str, handler: MethodRouter<Arc<Inner>>| {
        let counter = RouteCounter { metrics: inner.metrics.clone(), route };
        (route, handler.layer(middleware::from_fn_with_state(counter, count)))
    };
    let routes = [
        counted("/api/echo", get("echo")),
        counted("/api/status/buildinfo", get(build_info)),
        counted("/api/status/services", get(services)),
        counted("/api/traces/{id}", get(traces::v1)),
        counted("/api/v2/traces/{id}", get(traces::v2)),
        counted("/api/search", get(search::traces)),
        counted("/api/search/tags", get(search::tag_names_v1)),
        counted("/api/v2/search/tags", get(search::tag_names_v2)),
        counted("/api/search/tag/{*tag}", get(search::tag_values_v1)),
        counted("/api/v2/search/tag/{*tag}", get(search::tag_values_v2)),
        counted("/api/metrics/query_range", get(search::range)),
        counted("/api/metrics/query", get(search::instant)),
    ];
    let api = routes
        .into_iter()
        .fold(Router::new(), |router, (route, handler)| router.route(route, handler))
        .layer(CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest))
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
        let status = self.status();
        let mut response = (status, [(header::CONTENT_TYPE, PLAIN_TEXT)], self.text()).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}

/// Counts the requests of a route.
#[derive(Clone)]
pub(crate) struct RouteCounter {
    pub(crate) metrics: Metrics,
    pub(crate) route: &'static str,
}

/// A request that has not been counted yet.
pub(crate) struct Counted {
    counter: RouteCounter,
    started: Instant,
    pub(crate) status_code: u16,
}

impl Counted {
    pub(crate) fn new(counter: RouteCounter) -> Self {
        Self { counter, started: Instant::now(), status_code: CLIENT_GONE }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let RouteCounter { metrics, route } = &self.counter;
        metrics.requests.get_or_create(&RequestLabels { route, status_code: self.status_code }).inc();
        let seconds = self.started.elapsed().as_secs_f64();
        metrics.seconds.get_or_create(&RouteLabels { route }).observe(seconds);
    }
}

async fn count(State(counter): State<RouteCounter>, request: Request, next: Next) -> Response {
    let mut counted = Counted::new(counter);
    let response = next.run(request).await;
    counted.status_code = response.status().as_u16();
    response
}

/// The value of a header that may come several times, as one list.
fn joined(headers: &HeaderMap, name: &header::HeaderName) -> String {
    let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

/// 404 as Tempo answers it: without a body.
fn not_found() -> Response {
    StatusCode::NOT_FOUND.into_response()
}
