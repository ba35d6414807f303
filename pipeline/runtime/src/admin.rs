//! The pages that probes, Prometheus and operators ask for, the same for every stage.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex;
use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::process_metrics::ProcessCollector;
use crate::{BuildInfo, Readiness, Setting, render};

/// Where all metrics of the process are registered.
pub type SharedRegistry = Arc<Mutex<Registry>>;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// What the pages show.
#[derive(Clone, Debug)]
pub struct AdminState {
    /// For `/metrics`.
    pub registry: SharedRegistry,
    /// For `/ready`.
    pub readiness: Readiness,
    /// For `/status/version`.
    pub build: BuildInfo,
    /// For `/status/config`.
    pub settings: Arc<[Setting]>,
}

/// A registry with the metrics of the process and `vivace_build_info` in it.
#[must_use]
pub fn new_registry(build: &BuildInfo) -> SharedRegistry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ProcessCollector));
    registry.register("vivace_build", "Which build this is", Info::new(build.labels().to_vec()));
    Arc::new(Mutex::new(registry))
}

/// `/live`, `/ready`, `/metrics`, `/status/version` and `/status/config`; merge it into a stage's own routes.
///
/// `/live` answers as long as requests are answered at all: a process that waits for a bucket must not be killed for it.
pub fn admin_router(state: AdminState) -> Router {
    Router::new()
        .route("/live", get("alive\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route(
            "/status/version",
            get(|State(state): State<AdminState>| async move { state.build.to_string() }),
        )
        .route(
            "/status/config",
            get(|State(state): State<AdminState>| async move { render(&state.settings) }),
        )
        .with_state(state)
}

/// Plain text for probes; with `?detail`, or where JSON is accepted, how each check stands.
async fn ready(State(state): State<AdminState>, uri: Uri, headers: HeaderMap) -> Response {
    let accepts = |value: &header::HeaderValue| value.as_bytes().starts_with(JSON.as_bytes());
    let asked = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .any(|name| name == "detail" || name.starts_with("detail="));
    if asked || headers.get_all(header::ACCEPT).iter().any(accepts) {
        let report = state.readiness.report();
        let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        return (status, axum::Json(report)).into_response();
    }
    let (status, text) = match state.readiness.state() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(problems) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{problems}")),
    };
    (status, text).into_response()
}

async fn metrics(State(state): State<AdminState>) -> impl IntoResponse {
    // Reads files and writes thousands of lines.
    let page = tokio::task::spawn_blocking(move || {
        let mut page = String::new();
        text::encode(&mut page, &state.registry.lock()).map(|()| page)
    });
    match page.await {
        Ok(Ok(page)) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], page),
        Ok(Err(_)) | Err(_) => {
            let problem = "failed to encode the metrics\n".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, PLAIN_TEXT)], problem)
        }
    }
}
