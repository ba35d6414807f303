use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use vivace_probe::Api;

use crate::acknowledged::Acknowledged;

/// Errors are borne for so long, as the checker bears them. A wrong count never is.
const ERRORS_LIMIT: Duration = Duration::from_secs(60);

const QUERY: &str = "{ } | count_over_time()";

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
    api: Api,
    seconds: Range<u64>,
    noted: Arc<Acknowledged>,
}

impl Counter {
    /// Starts to count the spans of `seconds` (since the epoch) at the query API `http://host:port`.
    ///
    /// # Errors
    /// When that is no address.
    pub fn start(base: &str, seconds: Range<u64>, noted: &Arc<Acknowledged>) -> anyhow::Result<Self> {
        let asker = Asker { api: Api::new(base, None, ERRORS_LIMIT)?, seconds, noted: Arc::clone(noted) };
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(asker.run(stop.clone()));
        Ok(Self { task, stop })
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
            match self.api.count(QUERY, self.seconds.clone()).await {
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
                    return Err(error).context(format!("no count in {ERRORS_LIMIT:?}"));
                }
                Err(_) => errors += 1,
            }
            sleep(PAUSE).await;
        }
    }
}
