use std::sync::Arc;

use anyhow::{Context, bail};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vivace_model::SystemClock;
use vivace_probe::{Config, Metrics, Probe, Tally};

/// The prober that Vivace ships, at work beside a test. Dropping it stops it.
#[derive(Debug)]
pub struct Prober {
    probe: Probe,
    task: JoinSet<Tally>,
    stop: CancellationToken,
}

impl Prober {
    /// Starts to probe.
    ///
    /// # Errors
    /// When an address is none.
    pub fn start(config: Config) -> anyhow::Result<Self> {
        let probe = Probe::new(config, Arc::new(SystemClock), Metrics::new(&mut Registry::default()))?;
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        let (running, stopped) = (probe.clone(), stop.clone());
        task.spawn(async move { running.run(stopped).await });
        Ok(Self { probe, task, stop })
    }

    /// How it went so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.probe.tally()
    }

    /// The newest reason why there was no answer; empty when there always was one.
    #[must_use]
    pub fn last_error(&self) -> String {
        self.probe.last_error()
    }

    /// Checks that no answer was wrong so far.
    ///
    /// # Errors
    /// Tells the newest ones that were.
    pub fn right(&self) -> anyhow::Result<()> {
        let tally = self.tally();
        if tally.wrong() + tally.unanswered > 0 {
            bail!("{tally:?}:\n{}", self.probe.faults().join("\n"));
        }
        Ok(())
    }

    /// Stops sending, and waits for the last answers.
    ///
    /// # Errors
    /// When an answer was wrong.
    pub async fn finish(mut self) -> anyhow::Result<Tally> {
        self.stop.cancel();
        let tally = self.task.join_next().await.context("the prober had not started")?;
        let tally = tally.context("the prober panicked")?;
        self.right()?;
        Ok(tally)
    }
}
