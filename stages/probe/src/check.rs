//! What is asked about one trace, and about all: until there is an answer, and whether it is right.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, warn};
use vivace_model::Clock;

use crate::api::{Api, ApiError};
use crate::book::Book;
use crate::metrics::Metrics;
use crate::spans::{SLACK_SECONDS, Seen, Sent, count_query};

/// Pauses between two tries.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Wrong answers that are kept for who asks.
const FAULTS_MAX: usize = 20;

/// Asks, and judges what comes back.
#[derive(Debug)]
pub(crate) struct Checker {
    pub(crate) api: Api,
    pub(crate) book: Book,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) instance: String,
    pub(crate) patience: Duration,
    pub(crate) missing_after: Duration,
    pub(crate) faults: Mutex<VecDeque<String>>,
    /// The newest reason why there was no answer.
    pub(crate) last_error: Mutex<String>,
}

/// How a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Id,
    Search,
}

/// How one question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Whole,
    /// Wrong, or given up; it is counted already.
    Not,
}

impl Checker {
    /// Asks for an acknowledged trace until it is whole. A right answer comes at once, or after errors; one that lacks
    /// spans is late, and missing when nothing better comes.
    pub(crate) async fn find(&self, sent: &Sent, way: Way) -> Verdict {
        let started = Instant::now();
        let mut late = false;
        let mut pause = PAUSE_MIN;
        loop {
            match self.ask(sent, way).await {
                Ok(seen) if seen == Seen::default() => return Verdict::Whole,
                Ok(Seen { missing, twice, strange }) if twice + strange > 0 => {
                    let text = format!("{missing} spans missing, {twice} twice, {strange} never sent");
                    self.fault(&format!("trace {} by {way:?}: {text}", sent.id));
                    self.metrics.twice.inc_by(u64::from(twice > 0));
                    self.metrics.strange.inc_by(u64::from(strange > 0));
                    return Verdict::Not;
                }
                Ok(seen) => {
                    let text = format!("trace {} by {way:?}: {} acknowledged spans", sent.id, seen.missing);
                    if !late {
                        late = true;
                        self.metrics.late.inc();
                        self.fault(&format!("{text} are not there yet"));
                    }
                    if started.elapsed() > self.missing_after {
                        self.metrics.missing.inc();
                        self.fault(&format!("{text} are missing"));
                        return Verdict::Not;
                    }
                }
                Err(error) => {
                    if self.give_up(started, &error) {
                        return Verdict::Not;
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Counts all spans that are kept once; none when there are none, or the count took too long to be judged.
    pub(crate) async fn count(&self) -> Option<Verdict> {
        let started = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let asked = self.book.countable()?;
            let from = asked.started.as_secs().saturating_sub(SLACK_SECONDS);
            let seconds = from..self.clock.now().as_secs() + SLACK_SECONDS;
            match self.api.count(&count_query(&self.instance, asked.since), seconds).await {
                Ok(count) => {
                    // What was acknowledged before the question has to be counted; what was not sent must not be.
                    let attempted = self.book.attempted(asked.since)?;
                    if (asked.acknowledged..=attempted).contains(&count) {
                        self.metrics.counts.inc();
                        return Some(Verdict::Whole);
                    }
                    self.metrics.miscounts.inc();
                    let least = asked.acknowledged;
                    self.fault(&format!(
                        "{count} spans counted where {least} were acknowledged and {attempted} sent"
                    ));
                    return Some(Verdict::Not);
                }
                Err(error) => {
                    if self.give_up(started, &error) {
                        return Some(Verdict::Not);
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn ask(&self, sent: &Sent, way: Way) -> Result<Seen, ApiError> {
        match way {
            Way::Id => Ok(sent.compare(&self.api.trace(sent.id).await?)),
            Way::Search => {
                let found = self.api.search(&sent.query(), sent.seconds()).await?;
                let id = sent.id.to_string();
                // Tempo leaves out leading zeros in answers to searches.
                let ours = |found: &str| found.trim_start_matches('0') == id.trim_start_matches('0');
                let matched: u64 =
                    found.iter().filter(|trace| ours(&trace.id)).map(|trace| trace.matched).sum();
                let others = found.iter().filter(|trace| !ours(&trace.id)).count();
                let spans = u64::from(sent.spans);
                let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
                Ok(Seen {
                    missing: narrow(spans.saturating_sub(matched)),
                    twice: narrow(matched.saturating_sub(spans)),
                    strange: narrow(others as u64),
                })
            }
        }
    }

    /// Counts an error; whether that was the last one.
    fn give_up(&self, started: Instant, error: &ApiError) -> bool {
        self.metrics.errors.inc();
        debug!(error = error as &dyn std::error::Error, "no answer yet");
        *self.last_error.lock() = error.to_string();
        let over = started.elapsed() > self.patience;
        if over {
            self.metrics.unanswered.inc();
            warn!(error = error as &dyn std::error::Error, after = ?self.patience, "no answer, given up");
        }
        over
    }

    fn fault(&self, text: &str) {
        error!("{text}");
        let mut faults = self.faults.lock();
        faults.push_back(text.to_owned());
        if faults.len() > FAULTS_MAX {
            faults.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::Router;
    use axum::extract::State;
    use axum::routing::get;
    use prometheus_client::registry::Registry;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use vivace_model::{SystemClock, TraceId};

    use super::*;

    /// A server that finds and counts as many spans as it is told to.
    async fn checker(spans: &Arc<AtomicU64>, tasks: &mut JoinSet<()>) -> Checker {
        let search = |State(spans): State<Arc<AtomicU64>>| async move {
            let (id, matched) = (TraceId::from_bytes([7; 16]), spans.load(Ordering::SeqCst));
            format!(r#"{{"traces":[{{"traceID":"{id}","spanSets":[{{"spans":[],"matched":{matched}}}]}}]}}"#)
        };
        let count = |State(spans): State<Arc<AtomicU64>>| async move {
            format!(r#"{{"series":[{{"labels":[],"value":{}}}]}}"#, spans.load(Ordering::SeqCst))
        };
        let routes = Router::new().route("/api/search", get(search)).route("/api/metrics/query", get(count));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = routes.with_state(Arc::clone(spans));
        tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Checker {
            api: Api::new(&format!("http://{address}"), None, Duration::from_secs(60)).unwrap(),
            book: Book::new(10, 10),
            metrics: Metrics::new(&mut Registry::default()),
            clock: Arc::new(SystemClock),
            instance: "test".into(),
            patience: Duration::ZERO,
            missing_after: Duration::ZERO,
            faults: Mutex::default(),
            last_error: Mutex::default(),
        }
    }

    #[tokio::test]
    async fn answers_are_right_only_if_they_are_exact() {
        let (spans, mut tasks) = (Arc::new(AtomicU64::new(4)), JoinSet::new());
        let checker = checker(&spans, &mut tasks).await;
        let sent = Sent { id: TraceId::from_bytes([7; 16]), round: 0, spans: 4, started: SystemClock.now() };
        assert_eq!(checker.count().await, None, "nothing was sent");
        checker.book.sending(&sent);
        checker.book.acknowledged(&sent);
        assert_eq!(checker.count().await, Some(Verdict::Whole));
        assert_eq!(checker.find(&sent, Way::Search).await, Verdict::Whole);
        for (found, tally) in [(3, [1, 1, 1, 0]), (5, [2, 1, 1, 1])] {
            spans.store(found, Ordering::SeqCst);
            assert_eq!(checker.count().await, Some(Verdict::Not));
            assert_eq!(checker.find(&sent, Way::Search).await, Verdict::Not);
            let now = checker.metrics.tally();
            assert_eq!([now.miscounts, now.late, now.missing, now.twice], tally);
        }
        assert_eq!(checker.find(&sent, Way::Id).await, Verdict::Not, "the server knows no traces by id");
        assert_eq!(checker.metrics.tally().unanswered, 1);
        assert!(checker.last_error.lock().contains("404"), "{}", checker.last_error.lock());
        tasks.shutdown().await;
    }
}
