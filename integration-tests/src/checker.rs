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

/// Errors are borne for so long: owners change and brokers come back in their own time. A wrong answer never is.
const ERRORS_LIMIT: Duration = Duration::from_secs(60);

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
#[derive(Debug)]
struct Asked {
    errors: u32,
    took: Duration,
}

impl Checker {
    /// Asks that client for what was noted.
    #[must_use]
    pub const fn new(client: TraceClient, noted: Arc<Acknowledged>) -> Self {
        Self { client, noted, known: Vec::new(), checks: 0 }
    }

    /// Asks for `count` traces with acknowledged spans, and for those of the check before again. An error may be the
    /// answer for a while; but an answer without a span that was acknowledged before the question, with a span twice or
    /// with a strange one is wrong at any moment.
    ///
    /// # Errors
    /// Names a trace that is not whole.
    pub async fn check(&mut self, when: &str, count: usize) -> anyhow::Result<()> {
        self.checks += 1;
        self.ask_all(&format!("{when}, asked before"), &self.known).await?;
        let sample = self.noted.sample(count, self.checks).into_iter();
        let fresh: Vec<_> = sample.map(|trace| (trace, self.noted.acknowledged_of(trace))).collect();
        self.ask_all(&format!("{when}, not asked before"), &fresh).await?;
        self.known = fresh;
        Ok(())
    }

    async fn ask_all(&self, when: &str, traces: &[Expected]) -> anyhow::Result<()> {
        if traces.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let asked: Vec<Asked> = stream::iter(traces)
            .map(|expected| async move {
                self.ask(expected).await.with_context(|| format!("{when}: trace {}", expected.0))
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        let slowest = asked.iter().map(|one| one.took).max().unwrap_or_default();
        let errors: u32 = asked.iter().map(|one| one.errors).sum();
        let (whole, took) = (asked.len(), started.elapsed());
        eprintln!(
            "check: {when}: {whole} traces whole in {took:.1?}; slowest {slowest:.1?}, {errors} errors"
        );
        Ok(())
    }

    async fn ask(&self, (trace, acknowledged): &Expected) -> anyhow::Result<Asked> {
        let started = Instant::now();
        let mut errors = 0;
        loop {
            match self.client.trace(*trace).await {
                Ok(found) => {
                    if let Err(fault) = whole(acknowledged, &self.noted.sent_of(*trace), &found) {
                        bail!("{fault}: {fault:?}");
                    }
                    return Ok(Asked { errors, took: started.elapsed() });
                }
                Err(error) if started.elapsed() > ERRORS_LIMIT => {
                    return Err(error).with_context(|| format!("no answer in {ERRORS_LIMIT:?}"));
                }
                Err(_) => errors += 1,
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}
