use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::acknowledged::Acknowledged;

/// Errors are borne for so long, as the checker bears them. A wrong count never is.
const ERRORS_LIMIT: Duration = Duration::from_secs(60);

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// Counts all spans by `{ } | count_over_time()` without pause, beside whatever else goes on.
#[derive(Debug)]
pub struct Counter {
    task: JoinSet<anyhow::Result<u64>>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Asker {
    http: reqwest::Client,
    url: String,
    noted: Arc<Acknowledged>,
}

impl Counter {
    /// Starts to count the spans of `seconds` (since the epoch) at the query API `http://host:port`.
    #[must_use]
    pub fn start(base: &str, seconds: RangeInclusive<u64>, noted: &Arc<Acknowledged>) -> Self {
        let query = "%7B%20%7D%20%7C%20count_over_time()";
        let (start, end) = seconds.into_inner();
        let asker = Asker {
            http: reqwest::Client::new(),
            url: format!("{base}/api/metrics/query?q={query}&start={start}&end={end}"),
            noted: Arc::clone(noted),
        };
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(asker.run(stop.clone()));
        Self { task, stop }
    }

    /// Ends it, after one more count; gives how many answers there were, all of them right.
    ///
    /// # Errors
    /// Tells a count that was too low or too high, or that there was no answer for too long.
    pub async fn finish(mut self) -> anyhow::Result<u64> {
        self.stop.cancel();
        self.task.join_next().await.context("the counter had not started")?.context("the counter panicked")?
    }
}

impl Asker {
    async fn run(self, stop: CancellationToken) -> anyhow::Result<u64> {
        let (mut answers, mut errors) = (0, 0_u64);
        let mut last_answer = Instant::now();
        loop {
            let last = stop.is_cancelled();
            // What was acknowledged before the question has to be counted; what was not sent after it must not be.
            let least = self.noted.span_count() as u64;
            match self.count().await {
                Ok(count) => {
                    let most = self.noted.attempted() as u64;
                    ensure!(
                        (least..=most).contains(&count),
                        "{count} spans counted where {least} were acknowledged and {most} sent"
                    );
                    answers += 1;
                    last_answer = Instant::now();
                    if last {
                        eprintln!("counter: {answers} counts, all exact, {errors} errors; {count} at last");
                        return Ok(answers);
                    }
                }
                Err(error) if last_answer.elapsed() > ERRORS_LIMIT => {
                    return Err(error.context(format!("no count in {ERRORS_LIMIT:?}")));
                }
                Err(_) => errors += 1,
            }
            sleep(PAUSE).await;
        }
    }

    async fn count(&self) -> anyhow::Result<u64> {
        let answer = self.http.get(&self.url).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{status}: {text}");
        }
        let answer: Value = serde_json::from_str(&text)?;
        ensure!(answer.get("status").is_none_or(|status| status == "COMPLETE"), "partial: {text}");
        let series = answer["series"].as_array().map_or(&[][..], Vec::as_slice);
        match series {
            // Nothing is counted yet.
            [] => Ok(0),
            [only] => Ok(only["value"].as_f64().unwrap_or_default() as u64),
            _ => bail!("one series was expected: {text}"),
        }
    }
}
