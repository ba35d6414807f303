//! Machines that each run one ingester, until it crashes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use vivace_block::BlockConfig;
use vivace_ingester::{Compute, Environment, Ingester, IngesterError, Random, RecentData};
use vivace_memory::Governor;
use vivace_proto::internal::recent_server::Recent;
use vivace_proto::internal::{
    PartStream, RecentColumnsPart, RecentColumnsRequest, RecentService, RecentTracePart, RecentTraceRequest,
};
use vivace_runtime::Readiness;

use crate::plan::dice;
use crate::sabotage::{Reads, Sabotage};
use crate::sluggish::SluggishLog;
use crate::world::{MachineClock, World};

/// A question may be on its way that long, and so may its answer.
const NETWORK_DELAY_MAX: Duration = Duration::from_millis(40);
/// Share of questions that get lost.
const NETWORK_LOSS: f64 = 0.03;

/// A machine.
#[derive(Debug)]
pub(crate) struct Node {
    world: Arc<World>,
    index: usize,
    /// Starts so far.
    lives: u64,
    running: Option<Running>,
    service: Arc<NodeService>,
    pub(crate) clock: Arc<MachineClock>,
}

#[derive(Debug)]
struct Running {
    tasks: JoinSet<Result<(), IngesterError>>,
    shutdown: CancellationToken,
    readiness: Readiness,
}

impl Node {
    pub(crate) fn new(world: &Arc<World>, index: usize) -> Self {
        let dice = Mutex::new(dice(world.plan.seed, &format!("network {index}")));
        let forgets = world.plan.sabotage == Some(Sabotage::IngestersForget);
        let service = NodeService { dice, forgets, calm: Mutex::new(false), ingester: Mutex::new(None) };
        let (service, clock) = (Arc::new(service), MachineClock::new(&world.clock));
        Self { world: Arc::clone(world), index, lives: 0, running: None, service, clock }
    }

    pub(crate) fn address(&self) -> String {
        format!("node-{}:9095", self.index)
    }

    /// How others reach whatever runs on this machine.
    pub(crate) fn service(&self) -> RecentService {
        Arc::<NodeService>::clone(&self.service)
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts an ingester, if none runs.
    pub(crate) fn start(&mut self, sluggish_max: Duration) {
        if self.is_running() {
            return;
        }
        let (world, index) = (&self.world, self.index);
        self.lives += 1;
        let life = format!("node {index} life {}", self.lives);
        world.journal.note(format_args!("{life} starts"));
        let dice = dice(world.plan.seed, &life);
        let random = Random::seeded(world.plan.seed ^ ((index as u64) << 32) ^ (self.lives << 40));
        let dice = Arc::new(Mutex::new(dice));
        let sabotage = world.plan.sabotage.filter(|sabotage| sabotage.strikes(Reads::Ingester));
        let (inner, delay_max) = (world.shared_log(), sluggish_max);
        let log = SluggishLog { inner, delay_max, dice, sabotage, lags: world.plan.loses };
        let environment = Environment {
            log: Arc::new(log),
            store: world.shared_store(),
            clock: Arc::<MachineClock>::clone(&self.clock),
            random: Arc::new(random),
            compute: Compute::Inline,
            memory: Governor::unlimited(),
            metrics: world.metrics.clone(),
            ledger_metrics: vivace_ledger::Metrics::default(),
        };
        let readiness = Readiness::new(CancellationToken::new());
        let (config, topics) = (world.plan.ingester.clone(), world.topics.clone());
        let check = readiness.check("ingester");
        let ingester =
            Ingester::new(config, BlockConfig::default(), topics, environment, self.address(), check);
        let ingester = ingester.expect("the settings are valid");
        *self.service.ingester.lock() = Some(ingester.recent());
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(ingester.run(shutdown.clone()));
        self.running = Some(Running { tasks, shutdown, readiness });
    }

    /// Pulls the plug.
    pub(crate) fn crash(&mut self) {
        if self.running.take().is_some() {
            *self.service.ingester.lock() = None;
            self.world.journal.note(format_args!("node {} crashes", self.index));
        }
    }

    /// Asks the ingester to stop and waits for it.
    pub(crate) async fn stop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        running.shutdown.cancel();
        while let Some(ended) = running.tasks.join_next().await {
            self.check_end(ended.map_err(|error| error.to_string()));
        }
        *self.service.ingester.lock() = None;
        self.world.journal.note(format_args!("node {} has stopped", self.index));
    }

    /// An ingester that ends by itself is a failure.
    pub(crate) fn check(&mut self) {
        let ended = self.running.as_mut().and_then(|running| running.tasks.try_join_next());
        if let Some(ended) = ended {
            self.world.fail(format_args!("node {} ended by itself: {ended:?}", self.index));
        }
    }

    fn check_end(&self, ended: Result<Result<(), IngesterError>, String>) {
        if !matches!(ended, Ok(Ok(()))) {
            self.world.fail(format_args!("node {} ended badly: {ended:?}", self.index));
        }
    }

    pub(crate) fn readiness(&self) -> Result<(), String> {
        self.running.as_ref().map_or(Ok(()), |running| running.readiness.state())
    }

    /// From now on no question gets lost.
    pub(crate) fn calm_network(&self) {
        *self.service.calm.lock() = true;
    }
}

/// Reaches the ingester of a machine over a bad network.
#[derive(Debug)]
struct NodeService {
    dice: Mutex<ChaCha8Rng>,
    calm: Mutex<bool>,
    forgets: bool,
    ingester: Mutex<Option<Arc<RecentData>>>,
}

impl NodeService {
    async fn travel(&self) -> Result<(), Status> {
        let (lost, delay) = {
            let mut dice = self.dice.lock();
            (dice.random_bool(NETWORK_LOSS), NETWORK_DELAY_MAX.mul_f64(dice.random_range(0.0..=1.0)))
        };
        tokio::time::sleep(delay).await;
        if lost && !*self.calm.lock() {
            return Err(Status::unavailable("connection reset"));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Recent for NodeService {
    type TraceStream = PartStream<RecentTracePart>;
    type ColumnsStream = PartStream<RecentColumnsPart>;

    async fn columns(
        &self,
        request: Request<RecentColumnsRequest>,
    ) -> Result<Response<Self::ColumnsStream>, Status> {
        self.travel().await?;
        let ingester = self.ingester.lock().clone();
        let ingester = ingester.ok_or_else(|| Status::unavailable("connection refused"))?;
        let answer = ingester.columns(request).await;
        self.travel().await?;
        if !self.forgets {
            return answer;
        }
        let parts = answer?.into_inner().map_ok(|part| RecentColumnsPart { arrow: Bytes::new(), ..part });
        Ok(Response::new(parts.boxed()))
    }

    async fn trace(
        &self,
        request: Request<RecentTraceRequest>,
    ) -> Result<Response<Self::TraceStream>, Status> {
        self.travel().await?;
        let ingester = self.ingester.lock().clone();
        let ingester = ingester.ok_or_else(|| Status::unavailable("connection refused"))?;
        let answer = ingester.trace(request).await;
        self.travel().await?;
        if !self.forgets {
            return answer;
        }
        let parts = answer?.into_inner().map_ok(|part| RecentTracePart { traces_data: Bytes::new(), ..part });
        Ok(Response::new(parts.boxed()))
    }
}
