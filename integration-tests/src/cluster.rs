use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;

use crate::kafka::KafkaBroker;
use crate::s3::S3Server;
use crate::settings::{self, Stage};
use crate::vivace::{Vivace, VivaceOptions};

/// Where in the bucket Vivace keeps its data.
const PREFIX: &str = "vivace";

/// The shortest that a broker allows: how long a killed ingester's partitions stay without an owner.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// A real broker, an S3 server and every stage as a process of its own.
#[derive(Debug)]
pub struct Cluster {
    /// The broker.
    pub kafka: KafkaBroker,
    /// The ingesters; tests kill, restart and add them.
    pub ingesters: Vec<Vivace>,
    /// Takes the spans.
    pub distributor: Vivace,
    /// Reads blocks.
    pub querier: Vivace,
    /// Speaks the API.
    pub frontend: Vivace,
    s3: S3Server,
    partitions: u32,
    block_age: Duration,
}

impl Cluster {
    /// Starts everything and waits until all are ready.
    ///
    /// # Errors
    /// When anything does not start.
    pub async fn start(partitions: u32, ingesters: usize, block_age: Duration) -> anyhow::Result<Self> {
        let (kafka, s3) = futures::try_join!(KafkaBroker::start(), S3Server::start())?;
        let options = |name: &str, stage| options(name, stage, &kafka, &s3, partitions, block_age);
        // The first process makes the topics; the others then find them.
        let distributor = Vivace::start(options("distributor", Stage::Distributor)).await?;
        let ingesters = (0..ingesters)
            .map(|index| Vivace::launch(options(&format!("ingester-{index}"), Stage::Ingester)))
            .collect::<Result<_, _>>()?;
        let querier = Vivace::launch(options("querier", Stage::Querier))?;
        let frontend =
            options("query-frontend", Stage::QueryFrontend).set(settings::QUERIERS, querier.internal());
        let frontend = Vivace::launch(frontend)?;
        let mut cluster =
            Self { kafka, ingesters, distributor, querier, frontend, s3, partitions, block_age };
        for ingester in &mut cluster.ingesters {
            ingester.wait_ready().await?;
        }
        cluster.querier.wait_ready().await?;
        cluster.frontend.wait_ready().await?;
        Ok(cluster)
    }

    /// Starts one more ingester and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn add_ingester(&mut self) -> anyhow::Result<()> {
        let name = format!("ingester-{}", self.ingesters.len());
        let options = options(&name, Stage::Ingester, &self.kafka, &self.s3, self.partitions, self.block_age);
        self.ingesters.push(Vivace::start(options).await?);
        Ok(())
    }

    /// Checks that no process has ended by itself.
    ///
    /// # Errors
    /// Names one that has.
    pub fn running(&mut self) -> anyhow::Result<()> {
        self.distributor.running()?;
        self.querier.running()?;
        self.frontend.running()?;
        self.ingesters.iter_mut().try_for_each(Vivace::running)
    }

    /// The store of blocks and ledger.
    ///
    /// # Errors
    /// When the client refuses the address.
    pub fn store(&self) -> anyhow::Result<Arc<dyn ObjectStore>> {
        self.s3.store(PREFIX)
    }
}

fn options(
    name: &str,
    stage: Stage,
    kafka: &KafkaBroker,
    s3: &S3Server,
    partitions: u32,
    block_age: Duration,
) -> VivaceOptions {
    VivaceOptions::stage(name, stage)
        .set_all(&s3.environment())
        .set(settings::STORAGE_URL, s3.url(PREFIX))
        .set(settings::KAFKA_BROKERS, kafka.brokers())
        .set(settings::KAFKA_SESSION_TIMEOUT, format!("{}s", SESSION_TIMEOUT.as_secs()))
        .partitions(partitions)
        .set(settings::BLOCK_AGE_MAX, format!("{}ms", block_age.as_millis()))
}
