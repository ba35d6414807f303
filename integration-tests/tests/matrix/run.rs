//! Runs cells on one cluster, one after another: arranges the fault, ends it, waits until all is well again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use tokio::time::{Instant, sleep};
use vivace_integration_tests::{
    Acknowledged, KafkaLine, Line, Prober, ProxiedCluster, Requests, Sender, Timing, Trouble, Vivace,
};
use vivace_model::{Clock, SystemClock};
use vivace_probe::{Config, Tally};

use crate::cell::{Cell, Fault, Step, Target};

const TIMING: Timing = Timing {
    partitions: 4,
    session_timeout: Duration::from_secs(3),
    block_age: Duration::from_secs(1),
    grace: Duration::from_secs(20),
};
/// How long an outage lasts, and how long a step is held for it.
const OUTAGE: Duration = Duration::from_secs(3);
const HELD_MILLIS: u64 = 2500;
/// How long a zombie stands still: the others have taken over by then.
const STILL: Duration = Duration::from_secs(7);
/// Slow steps take so much longer.
const SLOW: Duration = Duration::from_millis(1200);
/// A fault is reached, and over, within that time.
const REACHED_LIMIT: Duration = Duration::from_secs(45);
/// From the end of a fault to no lag and no errors.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// Without an error for so many looks in a row, all is well.
const CALM_LOOKS: u32 = 3;
const LOOK_EVERY: Duration = Duration::from_millis(700);

/// What makes a record poison.
const POISON: &str = "made to panic";

/// A cluster that is probed all the time.
pub(crate) struct Run {
    cluster: ProxiedCluster,
    prober: Prober,
}

/// How a cell went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// From the end of the fault until lag and errors were gone.
    pub(crate) recovered: Duration,
    /// Questions that were answered with an error meanwhile.
    pub(crate) errors: u64,
    /// Traces that were refused meanwhile.
    pub(crate) refused: u64,
}

impl Run {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let cluster = ProxiedCluster::start(TIMING).await?;
        let prober = Prober::start(Config {
            otlp: cluster.otlp(),
            api: cluster.frontend.api(),
            traces_per_second: 10.0,
            round: Duration::from_secs(10),
            rounds_max: 10_000,
            traces_kept_max: 200_000,
            answer_timeout: Duration::from_secs(10),
            // A question may begin with an outage and end with the recovery from it.
            patience: RECOVERY_LIMIT + REACHED_LIMIT,
            missing_after: Duration::from_secs(15),
            ..Config::default()
        })?;
        let mut run = Self { cluster, prober };
        run.recover().await.context("at the start")?;
        Ok(run)
    }

    /// Runs one cell.
    pub(crate) async fn cell(&mut self, cell: Cell) -> anyhow::Result<Outcome> {
        let before = self.prober.tally();
        self.fault(cell).await.context("the fault cannot be made")?;
        let recovered = self.recover().await?;
        let Tally { errors, refused, .. } = self.prober.tally();
        self.prober.right()?;
        self.cluster.running()?;
        Ok(Outcome { recovered, errors: errors - before.errors, refused: refused - before.refused })
    }

    /// Lets `vivace audit` look at the bucket, while everything goes on or not.
    pub(crate) async fn audit(&self, arguments: &[&str]) -> anyhow::Result<()> {
        audit(&self.cluster, arguments).await
    }

    /// Stops everything well, and compares what is stored with what was sent.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Tally> {
        let spans_each = u64::from(Config::default().spans_per_trace);
        let tally = self.prober.finish().await?;
        for process in self.cluster.ingesters.iter_mut().chain(&mut self.cluster.compactors) {
            process.sigterm().await?;
        }
        audit(&self.cluster, &["--deep"]).await?;
        let chains = vivace_integration_tests::read_ledger(&self.cluster.store()?).await?;
        let rows: u64 = chains.values().map(|chain| chain.rows).sum();
        let (least, most) = (tally.acknowledged * spans_each, tally.sent * spans_each);
        ensure!((least..=most).contains(&rows), "{rows} spans stored, {least} acknowledged, {most} sent");
        Ok(tally)
    }

    async fn fault(&mut self, cell: Cell) -> anyhow::Result<()> {
        match (cell.target, cell.step) {
            (Target::Distributor | Target::Ingester | Target::Compactor, _)
            | (Target::Querier, Step::Answering) => self.own_fault(cell).await,
            (Target::ObjectStore, Step::Answering) => self.store_fault(cell).await,
            _ => {
                self.hold(cell.step).await?;
                match cell.target {
                    Target::Querier => self.querier_outage(cell.fault).await,
                    Target::Broker => self.broker_fault(cell.fault).await,
                    _ => self.store_fault(cell).await,
                }
            }
        }
    }

    /// Lets the first ingester, or compactor, stay in a step for a while.
    async fn hold(&mut self, step: Step) -> anyhow::Result<()> {
        let target = if step == Step::Merging { Target::Compactor } else { Target::Ingester };
        let [before, _] = step.points(target);
        let pass = step.pass(target);
        let process = self.process(target);
        arm(process, &format!("{before}=sleep({HELD_MILLIS})@{pass}")).await?;
        reached(process, pass).await
    }

    fn process(&mut self, target: Target) -> &mut Vivace {
        match target {
            Target::Distributor => &mut self.cluster.distributor,
            Target::Querier => &mut self.cluster.querier,
            Target::Compactor => &mut self.cluster.compactors[0],
            _ => &mut self.cluster.ingesters[0],
        }
    }

    /// A fault of a process of ours, at a step of its own.
    async fn own_fault(&mut self, cell: Cell) -> anyhow::Result<()> {
        let ([before, after], pass) = (cell.step.points(cell.target), cell.step.pass(cell.target));
        let process = self.process(cell.target);
        let millis = SLOW.as_millis();
        match cell.fault {
            Fault::Sigkill => {
                arm(process, &format!("{before}=kill@{pass}")).await?;
                process.killed(REACHED_LIMIT).await?;
                disarm(process).await
            }
            Fault::Sigterm => {
                arm(process, &format!("{before}=sleep({HELD_MILLIS})@{pass}")).await?;
                reached(process, pass).await?;
                process.sigterm().await?;
                disarm(process).await
            }
            Fault::Zombie => {
                arm(process, &format!("{before}=stop@{pass}")).await?;
                process.process()?.stopped(REACHED_LIMIT).await?;
                sleep(STILL).await;
                process.process()?.sigcont()
            }
            Fault::Cut => {
                arm(process, &format!("{before}=sleep({HELD_MILLIS})@{pass}")).await?;
                reached(process, pass).await?;
                self.cut(cell.target).await;
                Ok(())
            }
            Fault::ErrorBefore => errors(process, before, "error", pass, 4).await,
            Fault::ErrorAfter => errors(process, after, "error", pass, 4).await,
            Fault::SlowBefore => errors(process, before, &format!("sleep({millis})"), pass, 3).await,
            Fault::SlowAfter => errors(process, after, &format!("sleep({millis})"), pass, 3).await,
            Fault::Poison => self.poison().await,
        }
    }

    /// A record that panics wherever it is sealed, until it is put aside.
    async fn poison(&mut self) -> anyhow::Result<()> {
        for ingester in &mut self.cluster.ingesters {
            arm(ingester, &format!("ingester.sealing=panic({POISON})")).await?;
            ingester.wait_ready().await?;
        }
        let noted = Arc::new(Acknowledged::default());
        Sender::new(&self.cluster.otlp(), &noted)?.send(poison()).await?;
        let deadline = Instant::now() + REACHED_LIMIT;
        let mut put_aside = false;
        while !put_aside {
            ensure!(Instant::now() < deadline, "no ingester has put the poison aside");
            sleep(LOOK_EVERY).await;
            for ingester in &mut self.cluster.ingesters {
                ingester.running()?;
                put_aside |= ingester.process()?.output().contains("record quarantined");
            }
        }
        // Until it is listed as rejected, the next one would store it as a good record.
        self.cluster.caught_up(RECOVERY_LIMIT).await?;
        for ingester in &mut self.cluster.ingesters {
            disarm(ingester).await?;
        }
        Ok(())
    }

    /// Cuts all connections of a process for a while.
    async fn cut(&self, target: Target) {
        let cluster = &self.cluster;
        let set = |state| match target {
            Target::Distributor => {
                cluster.set_kafka(Some(KafkaLine::Distributor), state);
                cluster.send_line.set(state);
            }
            Target::Querier => {
                cluster.set_kafka(Some(KafkaLine::Querier), state);
                cluster.jobs_line.set(state);
            }
            Target::Compactor => {
                cluster.set_kafka(Some(KafkaLine::Compactor), state);
                cluster.s3_line.set(state);
            }
            _ => {
                cluster.set_kafka(Some(KafkaLine::Ingester), state);
                cluster.recent_line.set(state);
                cluster.s3_line.set(state);
            }
        };
        set(Line::Cut);
        sleep(OUTAGE).await;
        set(Line::Open);
    }

    async fn querier_outage(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Sigkill => {
                self.cluster.querier.sigkill()?;
                disarm(&mut self.cluster.querier).await
            }
            Fault::Zombie => {
                self.cluster.querier.process()?.sigstop()?;
                sleep(STILL).await;
                self.cluster.querier.process()?.sigcont()
            }
            _ => {
                self.cut(Target::Querier).await;
                Ok(())
            }
        }
    }

    async fn broker_fault(&mut self, fault: Fault) -> anyhow::Result<()> {
        let cluster = &mut self.cluster;
        match fault {
            Fault::Sigkill => cluster.kafka.restart().await,
            Fault::Sigterm => {
                cluster.kafka.stop().await?;
                cluster.kafka.restart().await
            }
            Fault::Zombie => {
                cluster.kafka.process()?.sigstop()?;
                sleep(STILL).await;
                cluster.kafka.process()?.sigcont()
            }
            Fault::Cut => {
                cluster.set_kafka(None, Line::Cut);
                sleep(OUTAGE).await;
                cluster.set_kafka(None, Line::Open);
                Ok(())
            }
            _ => {
                cluster.set_kafka(None, Line::Slow(SLOW / 4));
                sleep(OUTAGE * 2).await;
                cluster.set_kafka(None, Line::Open);
                Ok(())
            }
        }
    }

    async fn store_fault(&mut self, cell: Cell) -> anyhow::Result<()> {
        let cluster = &mut self.cluster;
        let requests = match cell.step {
            Step::Uploading | Step::Merging => Requests::BlockPuts,
            Step::Listing => Requests::LedgerPuts,
            _ => Requests::Reads,
        };
        let trouble = match cell.fault {
            Fault::Zombie => {
                cluster.s3.process().sigstop()?;
                sleep(STILL).await;
                return cluster.s3.process().sigcont();
            }
            Fault::Sigkill | Fault::Sigterm | Fault::Cut => {
                cluster.s3_line.set(Line::Cut);
                sleep(OUTAGE).await;
                cluster.s3_line.set(Line::Open);
                return Ok(());
            }
            Fault::ErrorBefore => Trouble::ErrorBefore,
            Fault::ErrorAfter => Trouble::ErrorAfter,
            Fault::SlowBefore => Trouble::SlowBefore(SLOW),
            Fault::SlowAfter => Trouble::SlowAfter(SLOW),
            Fault::Poison => bail!("the store has no part in poison"),
        };
        let troubled = cluster.s3_front.troubled();
        cluster.s3_front.set(requests, trouble);
        sleep(OUTAGE * 2).await;
        cluster.s3_front.clear();
        ensure!(cluster.s3_front.troubled() > troubled, "no request went wrong");
        Ok(())
    }

    /// Waits until nothing lags and nothing fails any more; gives how long it took.
    async fn recover(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.cluster.caught_up(RECOVERY_LIMIT).await?;
        let (mut last, mut calm) = (self.prober.tally(), 0);
        while calm < CALM_LOOKS {
            sleep(LOOK_EVERY).await;
            let now = self.prober.tally();
            let well = now.errors == last.errors
                && now.refused == last.refused
                && now.found_by_id > last.found_by_id
                && now.found_by_search > last.found_by_search
                && now.counts > last.counts;
            calm = if well { calm + 1 } else { 0 };
            ensure!(
                started.elapsed() < RECOVERY_LIMIT,
                "no calm after {RECOVERY_LIMIT:?}: {last:?} {now:?}, last error {}",
                self.prober.last_error()
            );
            last = now;
        }
        Ok(started.elapsed().saturating_sub(LOOK_EVERY * CALM_LOOKS))
    }
}

/// A request of one span that is poison.
fn poison() -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![0xee; 16],
        span_id: vec![0xee; 8],
        name: POISON.into(),
        start_time_unix_nano: SystemClock.now().0,
        end_time_unix_nano: SystemClock.now().0 + 1,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

async fn audit(cluster: &ProxiedCluster, arguments: &[&str]) -> anyhow::Result<()> {
    // With the settings of the one that does not fail.
    let output = cluster.compactors[1].operate(&[&["audit", "--grace", "10s"], arguments].concat()).await?;
    ensure!(output.status.success(), "the audit ended with {}", output.status);
    Ok(())
}

async fn arm(process: &mut Vivace, points: &str) -> anyhow::Result<()> {
    process.restart_failing(points).await
}

/// Starts a process that has ended, without fail points.
async fn disarm(process: &mut Vivace) -> anyhow::Result<()> {
    process.restart_failing("").await?;
    process.wait_ready().await
}

/// Waits until a fail point acted at that pass.
async fn reached(process: &mut Vivace, pass: u32) -> anyhow::Result<()> {
    process.process()?.printed(&format!("pass={pass} "), REACHED_LIMIT).await
}

/// Lets a step go wrong some times in a row.
async fn errors(
    process: &mut Vivace,
    point: &str,
    action: &str,
    pass: u32,
    times: u32,
) -> anyhow::Result<()> {
    let last = pass + times - 1;
    arm(process, &format!("{point}={action}@{pass}-{last}")).await?;
    reached(process, last).await
}
