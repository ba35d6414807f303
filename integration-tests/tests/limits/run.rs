//! Takes the steps of one load, and judges how it went.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use vivace_integration_tests::{Acknowledged, Load, LoadOptions, Sender, read_ledger};

use crate::questions::{Asker, Asking, Tally};
use crate::rows::{Row, Step};
use crate::spans::{fat_request, fat_service, many_values};
use crate::stages::{Figures, Grouped, Stages};

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(250);
/// Between two looks at what is stored, which read all of the ledger.
const LOOK_STORED: Duration = Duration::from_secs(2);
/// Looks without a block that waits for a merge, after which none will come.
const CALM_LOOKS: u32 = 4;
/// Spans in a request of the test's own.
const REQUEST_SPANS: usize = 1_000;
/// The errors that say that there is too much to do: of the API, and of gRPC, where a query that needs too much is invalid.
const TOO_MUCH: [&str; 6] = ["422", "429", "503", "ResourceExhausted", "Unavailable", "InvalidArgument"];

/// A cluster under load that is asked all the time.
pub(crate) struct Run {
    stages: Stages,
    /// Runs the operator's commands.
    operator: Grouped,
    noted: Arc<Acknowledged>,
    asker: Asker,
    asking: Option<Asking>,
    load: Option<Load>,
    sender: Sender,
    patience: Duration,
}

/// How a load went.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) took: Duration,
    pub(crate) spans: usize,
    pub(crate) tally: Tally,
    /// Refusals of senders, by the name of the gRPC code.
    pub(crate) refusals: BTreeMap<String, usize>,
    pub(crate) figures: Vec<Figures>,
    /// The step that could not be taken to its end, and why.
    pub(crate) broken: Option<String>,
}

impl Run {
    pub(crate) async fn start(row: &Row) -> anyhow::Result<Self> {
        let (stages, operator) = Stages::start(row).await?;
        let noted = Arc::<Acknowledged>::default();
        let asker = Asker::new(&stages.get("query-frontend").process.api(), &noted)?;
        let sender = Sender::new(&stages.get("distributor").process.otlp_grpc(), &noted)?;
        let asking = Some(asker.start());
        Ok(Self { stages, operator, noted, asker, asking, load: None, sender, patience: row.patience })
    }

    /// Takes all steps, or those up to one that cannot be taken.
    pub(crate) async fn row(mut self, row: &Row) -> Outcome {
        let started = Instant::now();
        let mut broken = None;
        for step in row.steps {
            let began = Instant::now();
            let taken = timeout_at(started + row.limit, Box::pin(self.step(*step))).await;
            let taken = taken.unwrap_or_else(|_| Err(anyhow!("the load took longer than {:?}", row.limit)));
            if let Err(error) = taken {
                broken = Some(format!("{step:?}: {error:#}"));
                break;
            }
            eprintln!("limits: {step:?} took {:.1?}", began.elapsed());
        }
        // Where a step could not be taken, nobody knows how long the answers take: these are not waited for.
        if let (Some(asking), None) = (self.asking.take(), &broken) {
            let finished = tending(&mut self.stages, asking.finish()).await.flatten();
            broken = finished.err().map(|error| format!("{error:#}"));
        }
        let mut figures = self.stages.figures().expect("the groups are there");
        if row.steps.contains(&Step::Operate) {
            figures.push(self.operator.figures().expect("its group is there"));
        }
        Outcome {
            took: started.elapsed(),
            spans: self.noted.span_count(),
            tally: self.asker.tally(),
            refusals: self.noted.refusals(),
            figures,
            broken,
        }
    }

    async fn step(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Load { spans, per_second } => self.start_load(spans, per_second),
            Step::Pass(seconds) => tending(&mut self.stages, sleep(Duration::from_secs(seconds))).await,
            Step::Loaded => {
                let load = self.load.take().context("no load was started")?;
                tending(&mut self.stages, load.finished()).await?
            }
            Step::KillIngester => self.stages.kill_ingester(),
            Step::StartIngester => self.stages.start_ingester(),
            Step::FatRequest => {
                self.send(fat_request()).await?;
                self.about_fat().await
            }
            Step::FatService(spans) => {
                for _ in 0..spans / REQUEST_SPANS {
                    self.send(fat_service(REQUEST_SPANS)).await?;
                }
                self.about_fat().await
            }
            Step::Cardinality(values) => {
                for first in (0..values).step_by(REQUEST_SPANS) {
                    self.send(many_values(first, REQUEST_SPANS.min(values - first))).await?;
                }
                Ok(())
            }
            Step::GroupByAll => {
                for times in [1, 3] {
                    tending(&mut self.stages, self.asker.clone().group_by_all(times)).await?;
                }
                Ok(())
            }
            Step::Heavy(count) => tending(&mut self.stages, self.asker.clone().heavy(count)).await,
            Step::Merged => self.merged().await,
            Step::Settled => self.settled().await,
            Step::Operate => self.operate().await,
        }
    }

    fn start_load(&mut self, spans: usize, spans_per_second: usize) -> anyhow::Result<()> {
        ensure!(self.load.is_none(), "one load after another");
        let options = LoadOptions { senders: 8, spans, spans_per_second, seed: 1 };
        let address = self.stages.get("distributor").process.otlp_grpc();
        self.load = Some(Load::start(&address, &self.noted, options)?);
        Ok(())
    }

    async fn send(&mut self, request: ExportTraceServiceRequest) -> anyhow::Result<()> {
        tending(&mut self.stages, self.sender.send(request)).await??;
        Ok(())
    }

    async fn about_fat(&mut self) -> anyhow::Result<()> {
        tending(&mut self.stages, self.asker.about_fat()).await
    }

    /// Waits until the blocks have as many spans as were acknowledged, and all are counted.
    async fn settled(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.patience;
        let store = self.stages.store()?;
        loop {
            let stored: u64 = match tending(&mut self.stages, read_ledger(&store)).await? {
                Ok(chains) => chains.values().map(|chain| chain.rows).sum(),
                // An entry may be written while the chain is read.
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => 0,
            };
            let acknowledged = self.noted.span_count() as u64;
            let counted = tending(&mut self.stages, self.asker.count()).await?;
            if stored >= acknowledged && counted.is_some() {
                let most = self.noted.attempted() as u64;
                ensure!(stored <= most, "{stored} spans are stored, and {most} were sent");
                return Ok(());
            }
            let late = Instant::now() > deadline;
            ensure!(!late, "{stored} of {acknowledged} spans are stored, {counted:?} counted");
            tending(&mut self.stages, sleep(LOOK_STORED)).await?;
        }
    }

    async fn merged(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.patience;
        let (mut merged, mut calm) = (false, 0);
        while !(merged && calm >= CALM_LOOKS) {
            let made = self.stages.metric("compactor", "vivace_compactor_output_blocks_total").await;
            let waiting = self.stages.metric("compactor", "vivace_compactor_backlog_blocks").await;
            merged |= made.is_some_and(|blocks| blocks > 0.0);
            calm = if waiting == Some(0.0) { calm + 1 } else { 0 };
            ensure!(Instant::now() < deadline, "merged: {made:?} blocks were made, {waiting:?} wait");
            tending(&mut self.stages, sleep(LOOK_STORED)).await?;
        }
        // Counted after the merges, too.
        tending(&mut self.stages, self.asker.count()).await?.context("no exact count after the merges")?;
        Ok(())
    }

    async fn operate(&mut self) -> anyhow::Result<()> {
        self.operator(&["audit", "--deep"]).await?;
        self.operator(&["replay", "--partition", "all", "--reason", "a test of limits"]).await?;
        self.settled().await?;
        self.operator(&["audit", "--deep"]).await?;
        // From here on there is less than was acknowledged.
        let asking = self.asking.take().context("queries end once")?;
        tending(&mut self.stages, asking.finish()).await??;
        let query = r#"{ resource.service.name = "heavyweight" || resource.service.name = "payment" }"#;
        self.operator(&["redact", "--query", query]).await?;
        self.operator(&["redact", "--query", query, "--yes", "--grace", "0s"]).await?;
        self.operator(&["audit", "--deep"]).await
    }

    async fn operator(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        let group = Arc::clone(self.operator.group());
        let mut anonymous = 0;
        let output = {
            let mut command = pin!(self.operator.process.operate(arguments));
            loop {
                if let Ok(output) = timeout(LOOK, &mut command).await {
                    break output?;
                }
                anonymous = group.anonymous_bytes()?.max(anonymous);
                self.stages.tend().await?;
            }
        };
        self.operator.seen(anonymous);
        ensure!(output.status.success(), "vivace {} ended with {}", arguments.join(" "), output.status);
        Ok(())
    }
}

/// Waits for something, and looks after the processes meanwhile.
async fn tending<F: Future>(stages: &mut Stages, future: F) -> anyhow::Result<F::Output> {
    let mut future = pin!(future);
    loop {
        if let Ok(output) = timeout(LOOK, &mut future).await {
            stages.tend().await?;
            return Ok(output);
        }
        stages.tend().await?;
    }
}

impl Outcome {
    /// All that should not have been.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures: Vec<_> = self.broken.iter().cloned().collect();
        for figures in &self.figures {
            let Figures { name, limit, peak, kills, ended, .. } = figures;
            if *kills > 0 {
                failures.push(format!("{name} was killed {kills} times at its limit of {} MiB", limit >> 20));
            }
            if ended > kills {
                failures.push(format!("{name} ended by itself {} times", ended - kills));
            }
            if peak >= limit {
                failures.push(format!("{name} reached its limit of {} MiB", limit >> 20));
            }
        }
        if self.tally.wrong > 0 {
            failures.push(format!("{} wrong answers: {}", self.tally.wrong, self.tally.shown.join("; ")));
        }
        if self.tally.answers == 0 {
            failures.push("no query was answered".to_owned());
        }
        let refusals = self.refusals.iter().map(|(code, times)| (code, *times as u64));
        for (code, times) in self.tally.errors.iter().map(|(code, times)| (code, *times)).chain(refusals) {
            if !TOO_MUCH.contains(&code.as_str()) {
                failures.push(format!("{times} errors were {code}: {}", self.tally.shown.join("; ")));
            }
        }
        failures
    }

    /// For the table.
    pub(crate) fn to_json(&self) -> Value {
        let stage = |figures: &Figures| {
            let Figures { name, limit, peak, anonymous, allocated, reserved, kills, ended } = figures;
            json!({
                "stage": name, "limit": limit, "peak": peak, "anonymous": anonymous, "allocated": allocated,
                "reserved": reserved, "kills": kills, "ended": ended,
            })
        };
        json!({
            "seconds": self.took.as_secs(), "spans": self.spans, "answers": self.tally.answers,
            "wrong": self.tally.wrong, "errors": self.tally.errors, "refusals": self.refusals,
            "stages": self.figures.iter().map(stage).collect::<Vec<_>>(), "failures": self.failures(),
        })
    }
}
