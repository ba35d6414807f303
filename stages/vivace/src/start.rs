//! What happens between opening the ports and starting the stages.
//! Owns: waiting for Kafka, making the topics, and what the HTTP port answers meanwhile.
//! Does not own: the stages, and what the log does once it is there.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;
use tracing::{info, warn};
use vivace_log::{Log, LogConfig, LogError, Measured, SharedLog, TopicSpec};
use vivace_model::ErrorKind;
use vivace_runtime::{ConnectionMetrics, ReadinessCheck, Server, ServerOptions, SharedRegistry};

use crate::settings::Settings;

/// How often it is said that Kafka is waited for.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Pause between two questions to a Kafka that does not answer.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// Routes that are not known yet when the port is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct LateRoutes(Arc<OnceLock<Router>>);

impl LateRoutes {
    /// The server of the HTTP port: `admin` at once and whatever else is busy, the late routes once they are there.
    pub(crate) fn server(
        &self,
        listener: TcpListener,
        admin: Router,
        options: ServerOptions,
        metrics: ConnectionMetrics,
    ) -> Server {
        Server::new("http", listener, self.after(admin.clone()), options, metrics).reserve(admin)
    }

    /// What `first` does not have is looked for in the late routes.
    fn after(&self, first: Router) -> Router {
        let late = self.clone();
        first.fallback(move |request: Request| late.answer(request))
    }

    /// From now on they are there.
    pub(crate) fn set(&self, routes: Router) {
        let set = self.0.set(routes);
        assert!(set.is_ok(), "a process starts once");
    }

    async fn answer(self, request: Request) -> Response {
        match self.0.get() {
            Some(routes) => match routes.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            None => (StatusCode::SERVICE_UNAVAILABLE, "starting, see /ready\n").into_response(),
        }
    }
}

/// Opens the log, and makes its topics as they are set. Waits for a Kafka that does not answer, and says so.
pub(crate) async fn open_log(
    config: &LogConfig,
    settings: &Settings,
    registry: &SharedRegistry,
    starting: &ReadinessCheck,
) -> Result<SharedLog> {
    let log = config.open(&settings.process.data_dir.join("log"))?;
    let log: SharedLog = Measured::new(log, vivace_log::Metrics::new(&mut registry.lock()));
    for spec in settings.topics.specs() {
        ensure_patiently(log.as_ref(), &spec, settings, config.is_kafka(), starting).await?;
    }
    Ok(log)
}

async fn ensure_patiently(
    log: &dyn Log,
    spec: &TopicSpec,
    settings: &Settings,
    patient: bool,
    starting: &ReadinessCheck,
) -> Result<()> {
    let (begun, limit) = (Instant::now(), settings.kafka.start_timeout);
    let mut said: Option<Instant> = None;
    loop {
        let error = match ensure(log, spec, settings.topics.grow).await {
            Err(error) if patient && is_unavailable(&error) => last_cause(&error),
            ensured => {
                if said.is_some() && ensured.is_ok() {
                    info!(after = ?begun.elapsed(), "Kafka answers");
                }
                return ensured;
            }
        };
        let brokers = settings.kafka.brokers.trim();
        if begun.elapsed() >= limit {
            return Err(anyhow!(
                "Kafka at {brokers} (VIVACE_KAFKA_BROKERS) did not answer within {limit:?} (VIVACE_KAFKA_START_TIMEOUT): {error}"
            ));
        }
        starting.not_ready(format!("waiting for Kafka at {brokers}: {error}"));
        if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            said = Some(Instant::now());
            warn!(
                brokers,
                waited = ?begun.elapsed(),
                at_most = ?limit,
                error,
                "Kafka does not answer, waiting for it (VIVACE_KAFKA_BROKERS, VIVACE_KAFKA_START_TIMEOUT)"
            );
        }
        sleep(ASK_PAUSE).await;
    }
}

fn is_unavailable(error: &anyhow::Error) -> bool {
    error.downcast_ref::<LogError>().is_some_and(|error| error.kind() == ErrorKind::Unavailable)
}

/// The innermost cause: librdkafka's errors repeat it in what is around it.
fn last_cause(error: &anyhow::Error) -> String {
    error.root_cause().to_string()
}

/// Makes the topic, or adds partitions to it where that is wanted.
async fn ensure(log: &dyn Log, spec: &TopicSpec, grow: bool) -> Result<()> {
    match log.ensure_topic(spec).await {
        Err(LogError::TopicDiffers { expected, actual, .. }) if actual < expected && grow => {
            log.grow_topic(&spec.name, spec.partitions).await?;
            Ok(log.ensure_topic(spec).await?)
        }
        Err(error @ LogError::TopicDiffers { expected, actual, .. }) => {
            Err(error).context(if actual < expected {
                "VIVACE_TOPICS_GROW=true adds the partitions that are lacking"
            } else {
                "VIVACE_TOPICS_PARTITIONS can be raised, never lowered"
            })
        }
        ensured => Ok(ensured?),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;

    use super::*;

    #[tokio::test]
    async fn late_routes_are_answered_once_they_are_there() {
        let late = LateRoutes::default();
        let router = late.after(Router::new().route("/live", get("alive")));
        let status = async |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap().status().as_u16()
        };
        assert_eq!((status("GET", "/live").await, status("GET", "/api/echo").await), (200, 503));
        late.set(Router::new().route("/api/echo", get("echo")));
        assert_eq!(status("GET", "/api/echo").await, 200);
        assert_eq!(status("DELETE", "/api/echo").await, 405);
        assert_eq!((status("GET", "/live").await, status("GET", "/nothing").await), (200, 404));
    }
}
