use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use object_store::ObjectStore;
use tokio::time::{Instant, sleep};
use vivace_ledger::Chain;
use vivace_log::{KafkaConfig, KafkaLog, Log};
use vivace_model::{ErrorKind, Partition, SystemClock};

use crate::kafka::KafkaBroker;
use crate::s3::S3Server;
use crate::s3_proxy::S3Proxy;
use crate::settings::{self, SPANS_TOPIC, Stage};
use crate::tcp_proxy::{Line, TcpProxy};
use crate::vivace::{Vivace, VivaceOptions};

/// Where in the bucket Vivace keeps its data.
const PREFIX: &str = "vivace";
/// Time between two looks at the lag.
const POLL: Duration = Duration::from_millis(200);

/// Kafka, an S3 server and every stage as a process of its own, all connections between them by way of proxies that can
/// fail.
#[derive(Debug)]
pub struct ProxiedCluster {
    /// The broker, with a line for each of [`KafkaLine`].
    pub kafka: KafkaBroker,
    /// The object store.
    pub s3: S3Server,
    /// Where requests to the object store go wrong.
    pub s3_front: S3Proxy,
    /// The way to the object store.
    pub s3_line: TcpProxy,
    /// The way of senders to the distributor.
    pub send_line: TcpProxy,
    /// The way of the query-frontend to the querier.
    pub jobs_line: TcpProxy,
    /// The way of the querier to the first ingester.
    pub recent_line: TcpProxy,
    /// Takes the spans.
    pub distributor: Vivace,
    /// Two ingesters; the first one fails.
    pub ingesters: Vec<Vivace>,
    /// Reads blocks.
    pub querier: Vivace,
    /// Speaks the API.
    pub frontend: Vivace,
    /// Two compactors; the first one fails.
    pub compactors: Vec<Vivace>,
    partitions: u32,
    log: Arc<KafkaLog>,
}

/// The lines to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaLine {
    /// Of the distributor.
    Distributor,
    /// Of the first ingester.
    Ingester,
    /// Of the querier and the query-frontend.
    Querier,
    /// Of the first compactor.
    Compactor,
    /// Of all others.
    Others,
}

/// How the cluster is set up.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Number of partitions.
    pub partitions: u32,
    /// A silent ingester loses its partitions after so long.
    pub session_timeout: Duration,
    /// Blocks are sealed at that age, and kept in memory no longer than that.
    pub block_age: Duration,
    /// Files of replaced blocks are deleted after so long.
    pub grace: Duration,
}

impl ProxiedCluster {
    /// Starts everything and waits until all are ready.
    ///
    /// # Errors
    /// When anything does not start.
    pub async fn start(timing: Timing) -> anyhow::Result<Self> {
        let (kafka, s3) = futures::try_join!(KafkaBroker::start_with_lines(5), S3Server::start())?;
        let s3_front = S3Proxy::start(&s3.endpoint()).await?;
        let s3_line = TcpProxy::start(&s3_front.address()).await?;
        let options = |name: &str, stage, line: KafkaLine| {
            VivaceOptions::stage(name, stage)
                .set_all(&S3Server::environment_at(&format!("http://{}", s3_line.address())))
                .set(settings::STORAGE_URL, s3.url(PREFIX))
                .set(settings::KAFKA_BROKERS, kafka.line(line as usize).address())
                .set(settings::KAFKA_SESSION_TIMEOUT, millis(timing.session_timeout))
                .partitions(timing.partitions)
                .blocks_every(timing.block_age)
        };
        let distributor = options("distributor", Stage::Distributor, KafkaLine::Distributor);
        // The first process makes the topics; the others then find them.
        let distributor = Vivace::start(distributor).await?;
        let mut failing = Vivace::prepare(options("ingester-0", Stage::Ingester, KafkaLine::Ingester))?;
        let recent_line = TcpProxy::start(&failing.internal()).await?;
        failing.reconfigure(|options| options.set(settings::ADVERTISE_ADDRESS, recent_line.address()));
        failing.spawn()?;
        let other = Vivace::launch(options("ingester-1", Stage::Ingester, KafkaLine::Others))?;
        let mut querier = Vivace::launch(options("querier", Stage::Querier, KafkaLine::Querier))?;
        let jobs_line = TcpProxy::start(&querier.internal()).await?;
        let frontend = options("query-frontend", Stage::QueryFrontend, KafkaLine::Querier)
            .set(settings::QUERIERS, jobs_line.address());
        let mut frontend = Vivace::launch(frontend)?;
        let compactor = |name: &str, line| {
            let options = options(name, Stage::Compactor, line)
                .set("VIVACE_COMPACTOR_INPUTS_MIN", "6")
                .set("VIVACE_COMPACTOR_LOOK_EVERY", "2s")
                .set("VIVACE_COMPACTOR_GRACE", millis(timing.grace));
            Vivace::launch(options)
        };
        let mut compactors = vec![
            compactor("compactor-0", KafkaLine::Compactor)?,
            compactor("compactor-1", KafkaLine::Others)?,
        ];
        let mut ingesters = vec![failing, other];
        for process in ingesters.iter_mut().chain(&mut compactors) {
            process.wait_ready().await?;
        }
        querier.wait_ready().await?;
        frontend.wait_ready().await?;
        let send_line = TcpProxy::start(distributor.otlp_grpc().trim_start_matches("http://")).await?;
        let log = KafkaLog::connect(KafkaConfig { brokers: kafka.brokers(), ..KafkaConfig::default() })?;
        let partitions = timing.partitions;
        Ok(Self {
            kafka,
            s3,
            s3_front,
            s3_line,
            send_line,
            jobs_line,
            recent_line,
            distributor,
            ingesters,
            querier,
            frontend,
            compactors,
            partitions,
            log,
        })
    }

    /// Where spans are sent to, by OTLP over gRPC: `http://host:port`.
    #[must_use]
    pub fn otlp(&self) -> String {
        format!("http://{}", self.send_line.address())
    }

    /// Sets the lines of a process, or of all.
    pub fn set_kafka(&self, line: Option<KafkaLine>, state: Line) {
        match line {
            Some(line) => self.kafka.line(line as usize).set(state),
            None => self.kafka.lines().iter().for_each(|line| line.set(state)),
        }
    }

    /// The store of blocks and ledger, not by way of the proxies.
    ///
    /// # Errors
    /// When the client refuses the address.
    pub fn store(&self) -> anyhow::Result<Arc<dyn ObjectStore>> {
        self.s3.store(PREFIX)
    }

    /// Waits until all that is in the topic now is listed in the ledger; gives how long it took.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub async fn caught_up(&self, limit: Duration) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let store = self.store()?;
        for partition in (0..self.partitions).map(Partition) {
            let end = loop {
                match self.log.watermarks(SPANS_TOPIC, partition).await {
                    Ok(watermarks) => break watermarks.end,
                    Err(error) if started.elapsed() > limit => return Err(error.into()),
                    Err(_) => sleep(POLL).await,
                }
            };
            let chain = Chain::new(Arc::clone(&store), SPANS_TOPIC, partition, Arc::new(SystemClock));
            let mut state = None;
            loop {
                let read = match &state {
                    None => chain.load().await,
                    Some(state) => chain.refresh(state).await,
                };
                let late = started.elapsed() > limit;
                match read {
                    Ok(read) if read.end() >= end => break,
                    Ok(read) => {
                        let lag = end.0 - read.end().0;
                        ensure!(!late, "partition {partition} lags by {lag} after {limit:?}");
                        state = Some(read);
                    }
                    // The store is overtaxed, as it may be for a while after a fault.
                    Err(error) if error.kind() == ErrorKind::Unavailable && !late => {}
                    Err(error) => return Err(error).context("cannot read the ledger"),
                }
                sleep(POLL).await;
            }
        }
        Ok(started.elapsed())
    }

    /// Checks that no process has ended by itself.
    ///
    /// # Errors
    /// Names one that has.
    pub fn running(&mut self) -> anyhow::Result<()> {
        self.distributor.running()?;
        self.querier.running()?;
        self.frontend.running()?;
        self.ingesters.iter_mut().chain(&mut self.compactors).try_for_each(Vivace::running)
    }
}

fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}
