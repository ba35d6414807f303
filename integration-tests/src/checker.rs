use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep};
use vivace_model::{SpanId, TraceId};

use crate::acknowledged::Acknowledged;
use crate::check::whole;
use crate::client::TraceClient;

/// Questions at a time.
const CONCURRENCY: usize = 8;

/// From acknowledgement to found whole, with an ingester's crash or the broker's restart between. Replaying and
/// electing anew take their time; being wrong does not.
const WHOLE_LIMIT: Duration = Duration::from_secs(60);

/// Asks for acknowledged traces, again and again, while things break.
#[derive(Debug)]
pub struct Checker {
    client: TraceClient,
    noted: Arc<Acknowledged>,
    /// Traces that were whole once, with all that was acknowledged of them then.
    known: Vec<Expected>,
    checks: u64,
}

/// A trace and its spans that had been acknowledged.
type Expected = (TraceId, HashSet<SpanId>);

/// How one question went.
#[derive(Debug, Default)]
struct Asked {
    errors: u32,
    incomplete: u32,
    took: Duration,
}

impl Checker {
    /// Asks that client for what was noted.
    #[must_use]
    pub const fn new(client: TraceClient, noted: Arc<Acknowledged>) -> Self {
        Self {
            client,
            noted,
            known: Vec::new(),
            checks: 0,
        }
    }

    /// Asks for `count` traces with acknowledged spans, and for those of earlier checks again. An error may be
    /// answered for a while, and of a trace that was never asked for the newest spans may still be missing for a while.
    /// But a span twice, a strange span, or a gap in what had been whole before is wrong at any moment.
    ///
    /// # Errors
    /// Names a trace that is not whole.
    pub async fn check(&mut self, when: &str, count: usize) -> anyhow::Result<()> {
        self.checks += 1;
        let sample = self.noted.sample(count, self.checks).into_iter();
        let fresh: Vec<_> = sample
            .map(|trace| (trace, self.noted.acknowledged_of(trace)))
            .collect();
        self.ask_all(&format!("{when}, asked before"), &self.known, false)
            .await?;
        self.ask_all(&format!("{when}, not asked before"), &fresh, true)
            .await?;
        self.known = fresh;
        Ok(())
    }

    async fn ask_all(&self, when: &str, traces: &[Expected], may_lag: bool) -> anyhow::Result<()> {
        let started = Instant::now();
        let asked: Vec<Asked> = stream::iter(traces)
            .map(|expected| async move {
                self.ask(expected, may_lag)
                    .await
                    .with_context(|| format!("{when}: trace {}", expected.0))
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        let slowest = asked.iter().map(|one| one.took).max().unwrap_or_default();
        let errors: u32 = asked.iter().map(|one| one.errors).sum();
        let lagging = asked.iter().filter(|one| one.incomplete > 0).count();
        eprintln!(
            "check: {when}: {} traces whole in {:.1?}; slowest {slowest:.1?}, {errors} errors, {lagging} at first incomplete",
            asked.len(),
            started.elapsed(),
        );
        Ok(())
    }

    async fn ask(&self, (trace, acknowledged): &Expected, may_lag: bool) -> anyhow::Result<Asked> {
        let mut asked = Asked::default();
        let started = Instant::now();
        loop {
            let problem = match self.client.trace(*trace).await {
                Err(error) => {
                    asked.errors += 1;
                    error
                }
                Ok(found) => match whole(acknowledged, &self.noted.sent_of(*trace), &found) {
                    Ok(()) => {
                        asked.took = started.elapsed();
                        return Ok(asked);
                    }
                    Err(fault) if may_lag && fault.is_only_incomplete() => {
                        asked.incomplete += 1;
                        anyhow::anyhow!("{fault}")
                    }
                    Err(fault) => bail!("{fault}: {fault:?}"),
                },
            };
            if started.elapsed() > WHOLE_LIMIT {
                return Err(problem).with_context(|| format!("not whole after {WHOLE_LIMIT:?}"));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}
