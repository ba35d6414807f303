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
    /// Settings of all processes.
    settings: Vec<(String, String)>,
    /// Ingesters started so far, whether they still run or not.
    launched: usize,
}

impl Cluster {
    /// Starts everything and waits until all are ready. An ingester that is killed is missed soon, and blocks are sealed at
    /// that age.
    ///
    /// # Errors
    /// When anything does not start.
    pub async fn start(partitions: u32, ingesters: usize, block_age: Duration) -> anyhow::Result<Self> {
        let session = format!("{}s", SESSION_TIMEOUT.as_secs());
        let block_age = format!("{}ms", block_age.as_millis());
        let settings = [(settings::KAFKA_SESSION_TIMEOUT, &*session), (settings::BLOCK_AGE_MAX, &*block_age)];
        Self::start_with(partitions, ingesters, &settings).await
    }

    /// The same with these settings of all processes; all others are as Vivace has them by itself.
    ///
    /// # Errors
    /// When anything does not start.
    pub async fn start_with(
        partitions: u32,
        ingesters: usize,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let (kafka, s3) = futures::try_join!(KafkaBroker::start(), S3Server::start())?;
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings: Vec<_> = settings.collect();
        let options = |name: &str, stage| options(name, stage, &kafka, &s3, partitions, &settings);
        // The first process makes the topics; the others then find them.
        let distributor = Vivace::start(options("distributor", Stage::Distributor)).await?;
        let launched = ingesters;
        let ingesters = (0..launched)
            .map(|index| Vivace::launch(options(&format!("ingester-{index}"), Stage::Ingester)))
            .collect::<Result<_, _>>()?;
        let querier = Vivace::launch(options("querier", Stage::Querier))?;
        let frontend =
            options("query-frontend", Stage::QueryFrontend).set(settings::QUERIERS, querier.internal());
        let frontend = Vivace::launch(frontend)?;
        let mut cluster =
            Self { kafka, ingesters, distributor, querier, frontend, s3, partitions, settings, launched };
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
        self.launch_ingester()?.wait_ready().await
    }

    /// Starts one more ingester and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_ingester(&mut self) -> anyhow::Result<&mut Vivace> {
        let name = format!("ingester-{}", self.launched);
        self.launched += 1;
        let options = options(&name, Stage::Ingester, &self.kafka, &self.s3, self.partitions, &self.settings);
        self.ingesters.push(Vivace::launch(options)?);
        Ok(self.ingesters.last_mut().expect("it was pushed"))
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
    own: &[(String, String)],
) -> VivaceOptions {
    VivaceOptions::stage(name, stage)
        .set_all(&s3.environment())
        .set(settings::STORAGE_URL, s3.url(PREFIX))
        .set(settings::KAFKA_BROKERS, kafka.brokers())
        .partitions(partitions)
        .set_all(own)
}
