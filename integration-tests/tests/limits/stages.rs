//! Every stage as a process of its own in a control group of its own, on a real broker and S3 server.
//! Owns: the limits, starting again who ended by itself (as Kubernetes does), and what each took at most.
//! Does not own: what is done to them, what the figures have to be.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use object_store::ObjectStore;
use vivace_integration_tests::{KafkaBroker, MemoryGroup, S3Server, Stage, Vivace, VivaceOptions};

use crate::rows::Row;

/// The table of limits, in MiB: what containers of the stages are given.
pub(crate) const LIMITS: [(Stage, &str, u64); 5] = [
    (Stage::Distributor, "distributor", 400),
    (Stage::Ingester, "ingester", 600),
    (Stage::Querier, "querier", 400),
    (Stage::QueryFrontend, "query-frontend", 500),
    (Stage::Compactor, "compactor", 700),
];
/// The operator's commands run in a group of their own.
const OPERATOR: &str = "operator";
const OPERATOR_MIB: u64 = 700;

/// Where in the bucket Vivace keeps its data.
const PREFIX: &str = "vivace";
/// A page of metrics is not waited for longer than that.
const METRICS_LIMIT: Duration = Duration::from_secs(2);

/// What the allocator of a process gave out, and what its accounting says, for those that tell.
const ALLOCATED: &str = "vivace_memory_allocated_bytes";
const RESERVED: &str = "vivace_memory_reserved_bytes";

/// A process in its group.
#[derive(Debug)]
pub(crate) struct Grouped {
    pub(crate) name: &'static str,
    pub(crate) process: Vivace,
    /// It was killed by the test.
    stopped: bool,
    /// How often it ended by itself, whoever killed it.
    ended: u64,
    allocated: Option<u64>,
    reserved: Option<u64>,
    anonymous: u64,
    // After the process: it is removed when nobody is inside.
    group: Arc<MemoryGroup>,
}

/// What a stage took in the end.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) name: &'static str,
    pub(crate) limit: u64,
    /// Most that the kernel counted for the group.
    pub(crate) peak: u64,
    /// Most that was seen at a look without what files are behind.
    pub(crate) anonymous: u64,
    /// Most that was seen at a look of what the process says of itself.
    pub(crate) allocated: Option<u64>,
    pub(crate) reserved: Option<u64>,
    pub(crate) kills: u64,
    pub(crate) ended: u64,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Stages {
    stages: Vec<Grouped>,
    _kafka: KafkaBroker,
    s3: S3Server,
    http: reqwest::Client,
}

impl Stages {
    /// Starts everything and waits until all are ready. The other one never runs as a server: it is for the operator's
    /// commands.
    pub(crate) async fn start(row: &Row) -> anyhow::Result<(Self, Grouped)> {
        let (kafka, s3) = futures::try_join!(KafkaBroker::start(), S3Server::start())?;
        let options = |name: &'static str, stage: Stage| {
            let settings = row.settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            VivaceOptions::stage(name, stage)
                .set_all(&s3.environment())
                .set("VIVACE_STORAGE_URL", s3.url(PREFIX))
                .set("VIVACE_KAFKA_BROKERS", kafka.brokers())
                .partitions(row.partitions)
                .set_all(&settings.collect::<Vec<_>>())
        };
        let mut stages: Vec<Grouped> = Vec::new();
        for (stage, name, mebibytes) in LIMITS {
            let querier = stages.iter().find(|other| other.name == "querier").map(|it| it.process.internal());
            let mut options = options(name, stage);
            if let (Stage::QueryFrontend, Some(querier)) = (stage, querier) {
                options = options.set("VIVACE_QUERY_FRONTEND_QUERIERS", querier);
            }
            let mut grouped = Grouped::prepare(name, mebibytes, options)?;
            grouped.process.spawn()?;
            if stage == Stage::Distributor {
                // The first process makes the topics; the others then find them.
                grouped.process.wait_ready().await?;
            }
            stages.push(grouped);
        }
        for grouped in &mut stages {
            grouped.process.wait_ready().await?;
        }
        let operator = Grouped::prepare(OPERATOR, OPERATOR_MIB, options(OPERATOR, Stage::Compactor))?;
        Ok((Self { stages, _kafka: kafka, s3, http: reqwest::Client::new() }, operator))
    }

    pub(crate) fn get(&self, name: &str) -> &Grouped {
        self.stages.iter().find(|it| it.name == name).expect("all stages of the table run")
    }

    fn get_mut(&mut self, name: &str) -> &mut Grouped {
        self.stages.iter_mut().find(|it| it.name == name).expect("all stages of the table run")
    }

    /// The store of blocks and ledger.
    pub(crate) fn store(&self) -> anyhow::Result<Arc<dyn ObjectStore>> {
        self.s3.store(PREFIX)
    }

    /// Kills the ingester, which stays away.
    pub(crate) fn kill_ingester(&mut self) -> anyhow::Result<()> {
        let ingester = self.get_mut("ingester");
        ingester.stopped = true;
        ingester.process.sigkill()
    }

    /// Starts it again.
    pub(crate) fn start_ingester(&mut self) -> anyhow::Result<()> {
        let ingester = self.get_mut("ingester");
        ingester.stopped = false;
        ingester.process.spawn()
    }

    /// Starts again who ended by itself, and looks at how much each takes. To be called all the time, by the thread that
    /// started them: they end with it.
    pub(crate) async fn tend(&mut self) -> anyhow::Result<()> {
        for grouped in &mut self.stages {
            grouped.revive()?;
        }
        let pages = join_all(self.stages.iter().map(|grouped| metrics(&self.http, grouped))).await;
        for (grouped, page) in self.stages.iter_mut().zip(pages) {
            grouped.look(page.as_deref())?;
        }
        Ok(())
    }

    /// A metric of a stage now, over all labels; none while it does not answer.
    pub(crate) async fn metric(&self, stage: &str, name: &str) -> Option<f64> {
        value(&metrics(&self.http, self.get(stage)).await?, name)
    }

    /// What each took.
    pub(crate) fn figures(&self) -> anyhow::Result<Vec<Figures>> {
        self.stages.iter().map(Grouped::figures).collect()
    }
}

impl Grouped {
    fn prepare(name: &'static str, mebibytes: u64, options: VivaceOptions) -> anyhow::Result<Self> {
        let group = Arc::new(MemoryGroup::create(name, mebibytes << 20)?);
        let process = Vivace::prepare(options.within(&group))?;
        let (allocated, reserved) = (None, None);
        Ok(Self { name, process, stopped: false, ended: 0, allocated, reserved, anonymous: 0, group })
    }

    fn revive(&mut self) -> anyhow::Result<()> {
        if self.stopped || self.process.running().is_ok() {
            return Ok(());
        }
        self.ended += 1;
        let kills = self.group.kills()?;
        eprintln!("limits: {} ended by itself, for the {}. time; {kills} kills", self.name, self.ended);
        self.process.spawn()
    }

    fn look(&mut self, page: Option<&str>) -> anyhow::Result<()> {
        self.anonymous = self.anonymous.max(self.group.anonymous_bytes()?);
        let own = |name| page.and_then(|page| value(page, name)).map(|bytes| bytes as u64);
        self.allocated = self.allocated.max(own(ALLOCATED));
        self.reserved = self.reserved.max(own(RESERVED));
        Ok(())
    }

    /// Looks at its group alone, while it runs a command.
    pub(crate) const fn group(&self) -> &Arc<MemoryGroup> {
        &self.group
    }

    /// So much was seen at looks at its group alone.
    pub(crate) fn seen(&mut self, anonymous: u64) {
        self.anonymous = self.anonymous.max(anonymous);
    }

    pub(crate) fn figures(&self) -> anyhow::Result<Figures> {
        Ok(Figures {
            name: self.name,
            limit: self.group.limit_bytes(),
            peak: self.group.peak_bytes()?,
            anonymous: self.anonymous,
            allocated: self.allocated,
            reserved: self.reserved,
            kills: self.group.kills()?,
            ended: self.ended,
        })
    }
}

async fn metrics(http: &reqwest::Client, grouped: &Grouped) -> Option<String> {
    let address = format!("{}/metrics", grouped.process.api());
    let answer = http.get(address).timeout(METRICS_LIMIT).send().await.ok()?;
    // A process that does not answer now is looked at again soon.
    answer.error_for_status().ok()?.text().await.ok()
}

/// The sum of a metric over its labels; none if the page does not have it.
fn value(page: &str, name: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with(['{', ' ']).then(|| rest.rsplit_once(' ')?.1.parse::<f64>().ok())?
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[test]
fn metrics_are_summed_over_their_labels() {
    let page =
        "# TYPE a_bytes gauge\na_bytes{part=\"x y\"} 5\na_bytes{part=\"z\"} 7.5\na_bytes_more 3\nb 1\n";
    assert_eq!([value(page, "a_bytes"), value(page, "b"), value(page, "c")], [Some(12.5), Some(1.0), None]);
}
