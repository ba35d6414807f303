//! Takes steps on one cluster, one after another, under load: ingesters are started or stopped; waits until all
//! partitions are served again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use tokio::time::{Instant, sleep};
use vivace_integration_tests::{
    Acknowledged, Cluster, Counter, Load, LoadOptions, Prober, SHOP_SECONDS, Vivace, read_ledger,
};
use vivace_model::Partition;
use vivace_probe::{Config, Tally};

use crate::markers::{Markers, Target};
use crate::owners::{self, Owners};

/// From the begin of a step until all partitions are served.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// What happens to the ingesters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many are started.
    Start(usize),
    /// So many are asked to stop: SIGTERM.
    Stop(usize),
}

/// How a run goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) partitions: u32,
    /// Settings of all processes that differ from the defaults.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    pub(crate) spans_per_second: usize,
    /// From one marker of a partition to the next.
    pub(crate) marker_every: Duration,
    /// Before the first step, and between two.
    pub(crate) calm: Duration,
    pub(crate) steps: &'static [Step],
}

impl Form {
    pub(crate) const SHORT: Self = Self {
        partitions: 16,
        settings: &[("VIVACE_KAFKA_SESSION_TIMEOUT", "6s"), ("VIVACE_INGESTER_BLOCK_AGE_MAX", "5s")],
        spans_per_second: 1000,
        marker_every: Duration::from_millis(250),
        calm: Duration::from_secs(3),
        steps: &[Step::Start(1), Step::Stop(1)],
    };
    pub(crate) const LONG: Self = Self {
        partitions: 16,
        settings: &[],
        spans_per_second: 2000,
        marker_every: Duration::from_millis(100),
        calm: Duration::from_secs(8),
        steps: &[Step::Start(1), Step::Start(2), Step::Stop(2), Step::Stop(1)],
    };
}

/// How a step went.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) step: Step,
    /// Before and after it.
    pub(crate) ingesters: (usize, usize),
    /// Partitions that have another owner after it.
    pub(crate) changed: BTreeSet<Partition>,
    /// Until all partitions were served.
    pub(crate) settled: Duration,
    /// From SIGTERM to the end of each process.
    pub(crate) handovers: Vec<Duration>,
    /// The longest that a marker of each partition took.
    pub(crate) delays: BTreeMap<Partition, Duration>,
    /// Questions for markers that were answered with an error.
    pub(crate) errors: u64,
}

impl Move {
    pub(crate) fn worst(&self) -> Duration {
        self.delays.values().max().copied().unwrap_or_default()
    }
}

/// What was asked and found right all the time, and at the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact {
    /// Counts of all spans of the load.
    pub(crate) counts: u64,
    pub(crate) tally: Tally,
    pub(crate) markers: usize,
    /// Spans in blocks at the end.
    pub(crate) stored: u64,
}

/// A cluster under load that is asked all the time.
pub(crate) struct Run {
    form: Form,
    cluster: Cluster,
    owners: Owners,
    sent: Arc<Acknowledged>,
    load: Load,
    counter: Counter,
    prober: Prober,
    markers: Markers,
}

impl Run {
    pub(crate) async fn start(form: Form) -> anyhow::Result<Self> {
        let cluster = Cluster::start_with(form.partitions, 1, form.settings).await?;
        let (owners, _) = settled(&cluster, form).await?;
        let (otlp, api) = (cluster.distributor.otlp_grpc(), cluster.frontend.api());
        let sent = Arc::<Acknowledged>::default();
        // It ends when it is told to, and not by itself.
        let spans_per_second = form.spans_per_second;
        let options = LoadOptions { senders: 4, spans: usize::MAX, spans_per_second, seed: 1 };
        let load = Load::start(&otlp, &sent, options)?;
        let counter = Counter::start(&api, SHOP_SECONDS, &sent)?;
        let prober = Prober::start(Config {
            otlp: otlp.clone(),
            api: api.clone(),
            traces_per_second: 5.0,
            round: Duration::from_secs(10),
            rounds_max: 10_000,
            missing_after: Duration::from_secs(15),
            ..Config::default()
        })?;
        let (partitions, every) = (form.partitions, form.marker_every);
        let markers = Markers::start(&Target { otlp: &otlp, api: &api, partitions, every })?;
        Ok(Self { form, cluster, owners, sent, load, counter, prober, markers })
    }

    /// Lets some time pass; gives the longest that a marker of each partition took.
    pub(crate) async fn calm(&mut self) -> anyhow::Result<BTreeMap<Partition, Duration>> {
        // What is asked for the first time takes longer.
        self.markers.fresh_after(Instant::now()).await?;
        let started = Instant::now();
        sleep(self.form.calm).await;
        self.markers.fresh_after(Instant::now()).await?;
        self.right()?;
        Ok(self.markers.worst(started..Instant::now()))
    }

    pub(crate) async fn step(&mut self, step: Step) -> anyhow::Result<Move> {
        let errors = self.markers.errors();
        let before = self.cluster.ingesters.len();
        let started = Instant::now();
        let leaving = match step {
            Step::Start(count) => {
                for _ in 0..count {
                    self.cluster.launch_ingester()?;
                }
                Vec::new()
            }
            // The oldest, which has been leading the group.
            Step::Stop(count) => self.cluster.ingesters.drain(..count).collect(),
        };
        let stopped = try_join_all(leaving.into_iter().map(stop));
        let (handovers, (owners, settled)) = futures::try_join!(stopped, settled(&self.cluster, self.form))?;
        self.markers.fresh_after(settled).await?;
        let delays = self.markers.worst(started..Instant::now());
        let changed = |(partition, owner): (&Partition, &String)| {
            (self.owners.get(partition) != Some(owner)).then_some(*partition)
        };
        let changed = owners.iter().filter_map(changed).collect();
        self.owners = owners;
        let moved = Move {
            step,
            ingesters: (before, self.cluster.ingesters.len()),
            changed,
            settled: settled - started,
            handovers,
            delays,
            errors: self.markers.errors() - errors,
        };
        self.calm().await?;
        Ok(moved)
    }

    /// Checks that no answer was wrong so far, and that no process ended by itself.
    fn right(&mut self) -> anyhow::Result<()> {
        let last = self.prober.last_error();
        self.prober.right().with_context(|| format!("the last error was {last:?}"))?;
        self.cluster.running()
    }

    /// Stops everything well, and compares what is stored with what was sent.
    pub(crate) async fn finish(self) -> anyhow::Result<Exact> {
        let Self { mut cluster, sent, load, counter, prober, markers, .. } = self;
        let found = markers.found();
        let marked = markers.finish().await.context("markers")?;
        load.stop().await.context("load")?;
        let counts = counter.finish().await.context("counts")?;
        let tally = prober.finish().await?;
        for ingester in &mut cluster.ingesters {
            ingester.sigterm().await?;
        }
        let audit = cluster.distributor.operate(&["audit", "--deep"]).await?;
        ensure!(audit.status.success(), "the audit ended with {}", audit.status);
        let chains = read_ledger(&cluster.store()?).await?;
        let stored: u64 = chains.values().map(|chain| chain.rows).sum();
        let probed = u64::from(Config::default().spans_per_trace);
        let counted = |count: fn(&Acknowledged) -> usize| (count(&sent) + count(&marked)) as u64;
        let least = counted(Acknowledged::span_count) + tally.acknowledged * probed;
        let most = counted(Acknowledged::attempted) + tally.sent * probed;
        ensure!((least..=most).contains(&stored), "{stored} spans stored, {least} acknowledged, {most} sent");
        Ok(Exact { counts, tally, markers: found, stored })
    }
}

async fn stop(mut ingester: Vivace) -> anyhow::Result<Duration> {
    let started = Instant::now();
    ingester.sigterm().await?;
    Ok(started.elapsed())
}

async fn settled(cluster: &Cluster, form: Form) -> anyhow::Result<(Owners, Instant)> {
    let addresses: Vec<_> = cluster.ingesters.iter().map(Vivace::api).collect();
    owners::settled(&addresses, form.partitions, SETTLE_LIMIT).await
}
