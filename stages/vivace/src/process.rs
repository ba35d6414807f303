//! One process: which stages it runs, what they share, and the order of start and stop.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use anyhow::{Result, bail};
use axum::Router;
use object_store::ObjectStore;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tracing::info;
use vivace_block::BlockReader;
use vivace_compactor::Compactor;
use vivace_distributor::{BoundDistributor, Distributor};
use vivace_ingester::{Compute, Ingester, Random};
use vivace_ledger::ViewKeeper;
use vivace_log::SharedLog;
use vivace_memory::{Governor, MemoryCollector};
use vivace_model::{Clock, Overrides, SystemClock};
use vivace_proto::owners::LOCAL_ADDRESS;
use vivace_querier::{Querier, RecentServices};
use vivace_query_frontend::QueryFrontend;
use vivace_runtime::{
    AdminState, BuildInfo, ConnectionMetrics, Dependency, FailPoint, LogWriter, Readiness, Server, Setting,
    SharedRegistry, Supervisor, Watched, admin_router, answered_on, arm_fail_points,
    connections_per_listener, new_registry, shutdown_signal,
};

use crate::monitored_log::MonitoredLog;
use crate::settings::Settings;
use crate::start::{self, LateRoutes};
use crate::storage::MonitoredStore;
use crate::{compactor, demo, memory, overrides, servers, storage};

/// Stop what takes spans in first, then what stores them, then what answers: in the order the data flows.
const PHASE_INTAKE: u8 = 0;
const PHASE_STORE: u8 = 1;
const PHASE_ANSWER: u8 = 2;
const PHASE_SERVE: u8 = 3;

/// The stages of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stages {
    pub(crate) distributor: bool,
    pub(crate) ingester: bool,
    pub(crate) querier: bool,
    pub(crate) query_frontend: bool,
    pub(crate) compactor: bool,
}

impl Stages {
    pub(crate) const NONE: Self =
        Self { distributor: false, ingester: false, querier: false, query_frontend: false, compactor: false };
    pub(crate) const ALL: Self =
        Self { distributor: true, ingester: true, querier: true, query_frontend: true, compactor: true };

    const fn is_all(self) -> bool {
        self.distributor && self.ingester && self.querier && self.query_frontend && self.compactor
    }

    /// Whether they are asked anything over gRPC.
    const fn serve_grpc(self) -> bool {
        self.ingester || self.querier || self.query_frontend
    }

    /// How many ports they open.
    const fn listeners(self) -> usize {
        1 + self.serve_grpc() as usize + 2 * self.distributor as usize
    }

    /// One line for each that runs.
    fn names(self) -> String {
        let names = [
            (self.distributor, "distributor"),
            (self.ingester, "ingester"),
            (self.querier, "querier"),
            (self.query_frontend, "query-frontend"),
            (self.compactor, "compactor"),
        ];
        names.iter().filter(|(runs, _)| *runs).map(|(_, name)| format!("{name}\n")).collect()
    }
}

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) settings: Settings,
    pub(crate) list: Vec<Setting>,
    pub(crate) stages: Stages,
    pub(crate) demo: bool,
    /// The runtime of queries and compaction. Whatever these do, ingest, health and metrics go on, on a runtime of their
    /// own.
    pub(crate) queries: Handle,
    pub(crate) log_writer: LogWriter,
}

/// What the stages of a process share.
struct Common {
    settings: Settings,
    stages: Stages,
    memory: Arc<Governor>,
    log: SharedLog,
    store: Arc<dyn ObjectStore>,
    /// The same for queries and compaction: connections belong to the runtime that opened them.
    queries_store: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    registry: SharedRegistry,
    readiness: Readiness,
    overrides: Watched<Overrides>,
    build: BuildInfo,
    connections: ConnectionMetrics,
    /// Connections that each port may have, by the descriptors of the process.
    connections_max: usize,
    /// All stages are here and reach each other without the network.
    embedded: bool,
    /// Address by which queriers reach the ingester of this process.
    address: String,
    /// See [`Process::queries`].
    queries: Handle,
}

impl Process {
    /// Runs until SIGTERM or SIGINT, or until something fails.
    pub(crate) async fn run(self) -> Result<()> {
        let Self { settings, list, stages, demo, queries, log_writer } = self;
        let (settings, memory) = memory::share_out(settings, stages);
        memory::announce(&memory);
        let log_config = settings.log();
        let embedded = !log_config.is_kafka();
        if embedded && !stages.is_all() {
            bail!("VIVACE_KAFKA_BROKERS must be set to run a stage as a process of its own");
        }
        arm_fail_points(&settings.process.fail_points, &fail_points())?;
        let mut supervisor = Supervisor::new(settings.process.shutdown_grace);
        let readiness = Readiness::new(supervisor.draining());
        let build = BuildInfo::new(env!("CARGO_PKG_VERSION"));
        let registry = registry(&build, &memory, &log_writer);
        // Ports first: a port that is taken should stop the start before anything is touched.
        let http = servers::listen(settings.process.http_listen, "VIVACE_HTTP_LISTEN").await?;
        // Alone in its process, a distributor or a compactor is asked nothing over gRPC.
        let grpc = match stages.serve_grpc() {
            true => Some(servers::listen(settings.process.grpc_listen, "VIVACE_GRPC_LISTEN").await?),
            false => None,
        };
        let connections_max = connections_per_listener(stages.listeners());
        let connections = ConnectionMetrics::new(&mut registry.lock());
        let (late, starting) = (LateRoutes::default(), readiness.check("start"));
        let admin = admin_router(AdminState {
            registry: Arc::clone(&registry),
            readiness: readiness.clone(),
            build,
            settings: list.into(),
        });
        let http_address = http.local_addr()?;
        let http = late.server(http, admin, settings.process.server(connections_max), connections.clone());
        supervisor.spawn_ordered(PHASE_SERVE, "http", |shutdown| servers::serve(http, shutdown));
        let overrides = overrides::open(&settings.process)?;
        overrides.register(&mut registry.lock(), "vivace_overrides");
        let dependency =
            |name, metric| Dependency::new(name, metric, readiness.dependency(metric), &mut registry.lock());
        let answers = dependency("object store", "store");
        let (store, queries_store) = (open_store(&settings, &answers)?, open_store(&settings, &answers)?);
        let log_answers = dependency("message log", "log");
        let mut signal = pin!(shutdown_signal());
        let log = tokio::select! {
            biased;
            () = &mut signal => return Ok(()),
            log = start::open_log(&log_config, &settings, &registry, &starting) => MonitoredLog::new(log?, log_answers),
        };
        let address = if embedded { LOCAL_ADDRESS.to_owned() } else { settings.process.advertised() };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let common = Common {
            settings,
            stages,
            memory,
            log,
            store,
            queries_store,
            clock,
            registry,
            readiness,
            overrides,
            build,
            connections,
            connections_max,
            embedded,
            address,
            queries,
        };
        late.set(common.start(&mut supervisor, http_address, grpc, demo).await?);
        starting.ready();
        supervisor.run_until(signal).await?;
        info!("stopped");
        Ok(())
    }
}

/// What the process as a whole measures.
fn registry(build: &BuildInfo, memory: &Arc<Governor>, log_writer: &LogWriter) -> SharedRegistry {
    let registry = new_registry(build);
    let collector = MemoryCollector::new(Arc::clone(memory), memory::allocator_stats);
    registry.lock().register_collector(Box::new(collector));
    log_writer.register(&mut registry.lock());
    registry
}

/// A client of the store with connections of its own.
fn open_store(settings: &Settings, answers: &Dependency) -> Result<Arc<dyn ObjectStore>> {
    let store = storage::open(&settings.process.storage_url, &settings.process.data_dir)?;
    Ok(Arc::new(MonitoredStore::new(store, answers.clone())))
}

/// The fail points of all stages.
fn fail_points() -> Vec<&'static FailPoint> {
    [
        vivace_distributor::FAIL_POINTS,
        vivace_ingester::FAIL_POINTS,
        vivace_compactor::FAIL_POINTS,
        vivace_querier::FAIL_POINTS,
    ]
    .concat()
}

impl Common {
    /// Starts the stages; gives what they serve over HTTP.
    async fn start(
        self,
        supervisor: &mut Supervisor,
        http_address: SocketAddr,
        grpc: Option<TcpListener>,
        demo: bool,
    ) -> Result<Router> {
        let mut routes = Router::new();
        let mut recent = RecentServices::default();
        let mut services = servers::Services::default();
        if self.stages.ingester {
            let ingester = self.ingester()?;
            let data = ingester.recent();
            if !self.embedded {
                services.recent = Some(Arc::clone(&data));
            }
            recent = recent.with_local(self.address.clone(), data);
            supervisor.spawn_ordered(PHASE_STORE, "ingester", |shutdown| ingester.run(shutdown));
        }
        let (overrides, every) = (self.overrides.clone(), self.settings.process.overrides_reload);
        supervisor.spawn("overrides", move |shutdown| overrides.follow(every, shutdown));
        let mut local_querier = None;
        if self.stages.querier {
            let querier = self.querier(recent);
            local_querier = Some(querier.service());
            if !self.embedded {
                services.querier = Some(querier.clone());
            }
            let ready = self.readiness.check("querier");
            let run = |shutdown| querier.run(ready, shutdown);
            supervisor.spawn_on(&self.queries, PHASE_ANSWER, "querier", run);
        }
        if self.stages.query_frontend {
            let frontend = self.query_frontend(local_querier);
            routes = answered_on(self.queries.clone(), frontend.router());
            services.streaming = Some(frontend.streaming_server());
            let ready = self.readiness.check("query-frontend");
            let run = |shutdown| frontend.run(ready, shutdown);
            supervisor.spawn_on(&self.queries, PHASE_ANSWER, "query-frontend", run);
        }
        if self.stages.compactor {
            let compactor = self.compactor()?;
            let ready = self.readiness.check("compactor");
            let run = |shutdown| compactor.run(ready, shutdown);
            supervisor.spawn_on(&self.queries, PHASE_STORE, "compactor", run);
        }
        if self.stages.distributor {
            let distributor = self.distributor().await?;
            self.say_where(&distributor, http_address);
            if demo {
                let (target, clock) = (distributor.grpc_address(), Arc::clone(&self.clock));
                supervisor.spawn_ordered(PHASE_INTAKE, "demo", move |shutdown| {
                    demo::run(target, http_address.port(), clock, shutdown)
                });
            }
            supervisor.spawn_ordered(PHASE_INTAKE, "distributor", |shutdown| distributor.run(shutdown));
        } else {
            info!(http = %http_address, address = self.address, stages = self.stages.names().trim(), "started");
        }
        if let Some(listener) = grpc.filter(|_| services.any()) {
            let options = self.settings.process.server(self.connections_max);
            let router = services.router().await;
            let server = Server::new("grpc", listener, router, options, self.connections.clone());
            // Only queries come here.
            let serve = |shutdown| servers::serve(server, shutdown);
            supervisor.spawn_on(&self.queries, PHASE_SERVE, "grpc", serve);
        }
        Ok(routes)
    }

    fn say_where(&self, distributor: &BoundDistributor, http: SocketAddr) {
        let (grpc_port, http_port) = (distributor.grpc_address().port(), distributor.http_address().port());
        info!("send spans by OTLP: gRPC to port {grpc_port}, HTTP to port {http_port} at /v1/traces");
        if self.stages.query_frontend {
            let port = http.port();
            info!(
                "look at a trace: http://localhost:{port}/api/v2/traces/<id>; Grafana: a Tempo data source at http://localhost:{port}"
            );
        }
        let storage = &self.settings.process.storage_url;
        let data = self.settings.process.data_dir.display();
        if storage.is_empty() {
            info!("data is kept in {data}");
        } else {
            info!("blocks and ledger are kept in {storage}");
        }
    }

    async fn distributor(&self) -> Result<BoundDistributor> {
        let Settings { distributor, topics, process, .. } = &self.settings;
        let metrics = vivace_distributor::Metrics::new(&mut self.registry.lock());
        let distributor = Distributor::new(
            distributor.clone(),
            Arc::clone(&self.log),
            topics.spans.clone(),
            topics.partitions,
            metrics,
        );
        let distributor = distributor
            .multitenancy(process.multitenancy_enabled)
            .memory(Arc::clone(&self.memory))
            .connections(self.connections.clone(), self.connections_max);
        let bound = distributor.overrides(self.overrides.clone()).bind().await?;
        self.readiness.check("distributor").ready();
        Ok(bound)
    }

    fn ingester(&self) -> Result<Ingester> {
        let mut registry = self.registry.lock();
        let environment = vivace_ingester::Environment {
            log: Arc::clone(&self.log),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            random: Arc::new(Random::from_system()),
            compute: Compute::Threads,
            memory: Arc::clone(&self.memory),
            metrics: vivace_ingester::Metrics::new(&mut registry),
            ledger_metrics: vivace_ledger::Metrics::new(&mut registry),
        };
        let Settings { ingester, block, topics, .. } = self.settings.clone();
        let ready = self.readiness.check("ingester");
        Ok(Ingester::new(ingester, block, topics, environment, self.address.clone(), ready)?)
    }

    fn compactor(&self) -> Result<Compactor> {
        let metrics = vivace_compactor::Metrics::new(&mut self.registry.lock());
        let (store, memory) = (&self.queries_store, &self.memory);
        compactor::new(&self.settings, &self.log, store, memory, &self.overrides, metrics)
    }

    fn querier(&self, recent: RecentServices) -> Querier {
        let Settings { querier, reader, topics, .. } = self.settings.clone();
        let mut registry = self.registry.lock();
        let block_metrics = vivace_block::Metrics::new(&mut registry);
        let parts = vivace_querier::Parts {
            blocks: Arc::new(BlockReader::with_memory(
                Arc::clone(&self.queries_store),
                reader,
                &self.memory,
                block_metrics,
            )),
            log: Arc::clone(&self.log),
            spans_topic: topics.spans,
            owners_topic: topics.owners,
            recent,
            memory: Arc::clone(&self.memory),
            metrics: vivace_querier::Metrics::new(&mut registry),
        };
        Querier::new(querier, parts)
    }

    fn query_frontend(&self, querier: Option<vivace_proto::internal::QuerierService>) -> QueryFrontend {
        let Settings { query_frontend, topics, process, .. } = self.settings.clone();
        let stages = self.stages;
        let parts = vivace_query_frontend::Parts {
            views: ViewKeeper::new(
                Arc::clone(&self.queries_store),
                &topics.spans,
                topics.partitions,
                Arc::clone(&self.clock),
            ),
            log: Arc::clone(&self.log),
            ledger_topic: topics.ledger,
            overrides: self.overrides.clone(),
            querier,
            clock: Arc::clone(&self.clock),
            multitenancy_enabled: process.multitenancy_enabled,
            build: self.build,
            services: Arc::new(move || stages.names()),
            memory: Arc::clone(&self.memory),
            metrics: vivace_query_frontend::Metrics::new(&mut self.registry.lock()),
        };
        QueryFrontend::new(query_frontend, parts)
    }
}
