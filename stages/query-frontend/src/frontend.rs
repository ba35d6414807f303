//! The query-frontend itself: what it is made of and how it runs.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use vivace_ledger::ViewKeeper;
use vivace_log::SharedLog;
use vivace_memory::Governor;
use vivace_model::{Clock, Overrides};
use vivace_proto::internal::QuerierService;
use vivace_proto::tempopb::streaming_querier_server::StreamingQuerierServer;
use vivace_runtime::{BuildInfo, ReadinessCheck, Watched};

use crate::budget::Budget;
use crate::damage::Damage;
use crate::dispatch::Dispatcher;
use crate::grpc::StreamingApi;
use crate::http::{self, Tenancy};
use crate::queriers::Queriers;
use crate::search::{ResultCache, Searcher};
use crate::trace_by_id::TraceFinder;
use crate::views::Views;
use crate::{Config, Metrics, QueryError};

/// What a query-frontend works with.
pub struct Parts {
    /// Keeps the View of the spans topic. May be shared with other stages of the process.
    pub views: ViewKeeper,
    /// Where hints about new ledger entries come from.
    pub log: SharedLog,
    /// Topic of these hints; as many partitions as the spans topic.
    pub ledger_topic: String,
    /// The querier of this process; used if no others are set.
    pub querier: Option<QuerierService>,
    /// How traces of single tenants are spread over partitions.
    pub overrides: Watched<Overrides>,
    /// What "lately" means.
    pub clock: Arc<dyn Clock>,
    /// Whether requests must say whose data they ask for.
    pub multitenancy_enabled: bool,
    /// For `/api/status/buildinfo`.
    pub build: BuildInfo,
    /// For `/api/status/services`: the page as text, one line for each part that runs.
    pub services: Arc<dyn Fn() -> String + Send + Sync>,
    /// Where memory is reserved.
    pub memory: Arc<Governor>,
    /// What is counted.
    pub metrics: Metrics,
}

/// How long a query waits for its turn.
const QUERY_WAIT_MAX: Duration = Duration::from_secs(10);

/// Answers questions. Cheap to clone; all clones are one query-frontend.
#[derive(Clone)]
pub struct QueryFrontend(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) finder: TraceFinder,
    pub(crate) searcher: Searcher,
    pub(crate) tenancy: Tenancy,
    pub(crate) build: BuildInfo,
    pub(crate) services: Arc<dyn Fn() -> String + Send + Sync>,
    pub(crate) metrics: Metrics,
    pub(crate) memory: Arc<Governor>,
    /// Queries that run or wait.
    queries: Semaphore,
    running: Semaphore,
    log: SharedLog,
    ledger_topic: String,
}

impl QueryFrontend {
    /// A query-frontend that refuses questions until [`QueryFrontend::run`] has read the ledger.
    #[must_use]
    pub fn new(config: Config, parts: Parts) -> Self {
        let queriers = match parts.querier {
            Some(local) if config.queriers.is_empty() => Queriers::fixed(vec![local]),
            _ => Queriers::remote(config.queriers.clone()),
        };
        let budget = Budget::new(config.bytes_in_flight_max.as_usize(), Arc::clone(&parts.memory));
        let dispatcher =
            Arc::new(Dispatcher::new(queriers, budget, parts.metrics.clone(), config.jobs_in_flight_max));
        let views = Arc::new(Views::new(parts.views, parts.overrides, parts.metrics.clone()));
        let damage = Arc::new(Damage::new(config.damaged_blocks, parts.metrics.clone()));
        let searcher = Searcher {
            config: config.clone(),
            views: Arc::clone(&views),
            dispatcher: Arc::clone(&dispatcher),
            damage: Arc::clone(&damage),
            cache: ResultCache::new(&config, parts.metrics.clone()),
            clock: parts.clock,
            memory: Arc::clone(&parts.memory),
        };
        Self(Arc::new(Inner {
            finder: TraceFinder { config: config.clone(), views, dispatcher, damage },
            searcher,
            tenancy: Tenancy {
                enabled: parts.multitenancy_enabled,
                several: config.multi_tenant_queries_enabled,
            },
            build: parts.build,
            services: parts.services,
            metrics: parts.metrics,
            memory: parts.memory,
            queries: Semaphore::new(config.queries_max.min(Semaphore::MAX_PERMITS)),
            running: Semaphore::new(config.queries_running_max.min(Semaphore::MAX_PERMITS)),
            log: parts.log,
            ledger_topic: parts.ledger_topic,
            config,
        }))
    }

    /// The routes of the API, and of its streams over gRPC.
    pub fn router(&self) -> Router {
        // Tonic's own router would answer unknown paths as gRPC does.
        let calls = format!("/{}/{{*call}}", <StreamingQuerierServer<StreamingApi> as NamedService>::NAME);
        http::router(Arc::clone(&self.0)).route_service(&calls, self.streaming_server())
    }

    /// The streams of the API as a gRPC service.
    #[must_use]
    pub fn streaming_server(&self) -> StreamingQuerierServer<StreamingApi> {
        StreamingQuerierServer::new(self.streaming_api())
    }

    pub(crate) fn streaming_api(&self) -> StreamingApi {
        StreamingApi::new(Arc::clone(&self.0))
    }

    /// Keeps the View fresh and the queriers known, until shutdown. Ready when the ledger was read and there is a
    /// querier.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub async fn run(self, ready: ReadinessCheck, shutdown: CancellationToken) -> Result<(), Infallible> {
        let inner = &self.0;
        let queriers = &inner.finder.dispatcher.queriers;
        let views = &inner.finder.views;
        tokio::join!(
            views.follow(&inner.log, &inner.ledger_topic, inner.config.view_refresh, &ready, &shutdown),
            queriers.follow(&shutdown),
            async {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => {}
                    () = inner.announce(&ready) => {}
                }
            },
        );
        Ok(())
    }
}

impl Inner {
    /// Tells how ready it is, whenever that changes.
    async fn announce(&self, ready: &ReadinessCheck) {
        self.finder.views.loaded().await;
        let mut known = self.finder.dispatcher.queriers.known();
        loop {
            let count = *known.borrow_and_update();
            self.metrics.queriers.set(i64::try_from(count).unwrap_or(i64::MAX));
            if count > 0 {
                ready.ready();
            } else {
                ready.not_ready("no querier found");
            }
            if known.changed().await.is_err() {
                return;
            }
        }
    }

    /// Runs a query within the limits of number and time; it may wait for its turn.
    pub(crate) async fn limited<T>(
        &self,
        query: impl Future<Output = Result<T, QueryError>>,
    ) -> Result<T, QueryError> {
        let refused =
            "too many queries at the same time (VIVACE_QUERY_FRONTEND_QUERIES_MAX), try again later";
        let _admitted = self.queries.try_acquire().map_err(|_| QueryError::Busy(refused))?;
        let limit = self.config.query_timeout;
        let late = |_| QueryError::Timeout(humantime::format_duration(limit));
        let run = async {
            let waited = "query waited too long for its turn (VIVACE_QUERY_FRONTEND_QUERIES_RUNNING_MAX), try again later";
            let turn = tokio::time::timeout(QUERY_WAIT_MAX, self.running.acquire()).await;
            let _turn = turn.map_err(|_| QueryError::Busy(waited))?.map_err(|_| QueryError::Stopped)?;
            let _running = Running::new(&self.metrics);
            query.await
        };
        tokio::time::timeout(limit, run).await.map_err(late)?
    }
}

/// A query that runs, until it is dropped.
struct Running<'a>(&'a Metrics);

impl<'a> Running<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.queries_running.inc();
        Self(metrics)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.queries_running.dec();
    }
}

impl fmt::Debug for QueryFrontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryFrontend").field("finder", &self.0.finder).finish_non_exhaustive()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("views", &self.views).field("log", &self.log).finish_non_exhaustive()
    }
}
