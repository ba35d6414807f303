use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};
use vivace_model::{Clock, TraceId};

use crate::api::{Api, ApiError};
use crate::book::Book;
use crate::check::{Checker, Verdict, Way};
use crate::config::Config;
use crate::metrics::{Metrics, Tally};
use crate::sender::Sender;
use crate::spans::Sent;

/// How often it is said how it goes.
const SAY_EVERY: Duration = Duration::from_secs(30);
/// Pause between two counts.
const COUNT_PAUSE: Duration = Duration::from_millis(250);

/// A prober. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Probe {
    config: Config,
    sender: Sender,
    checker: Arc<Checker>,
}

impl Probe {
    /// A prober that has sent nothing yet.
    ///
    /// # Errors
    /// [`ApiError`] when an address or the tenant cannot be used.
    pub fn new(config: Config, clock: Arc<dyn Clock>, metrics: Metrics) -> Result<Self, ApiError> {
        let api = Api::new(&config.api, config.tenant.clone(), config.answer_timeout)?;
        let sender = Sender::new(&config.otlp, config.tenant.as_deref(), config.answer_timeout)?;
        let checker = Checker {
            api,
            book: Book::new(config.rounds_max, config.traces_kept_max),
            metrics,
            clock,
            instance: format!("{:016x}", rand::random::<u64>()),
            patience: config.patience,
            missing_after: config.missing_after,
            faults: Mutex::default(),
            last_error: Mutex::default(),
        };
        Ok(Self { config, sender, checker: Arc::new(checker) })
    }

    /// How it went so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.checker.metrics.tally()
    }

    /// The newest wrong answers, in words.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.checker.faults.lock().iter().cloned().collect()
    }

    /// The newest reason why there was no answer; empty when there always was one.
    #[must_use]
    pub fn last_error(&self) -> String {
        self.checker.last_error.lock().clone()
    }

    /// Sends and asks until `shutdown`, then waits for the answers that are open and counts once more.
    ///
    /// # Panics
    /// When one of its tasks did.
    pub async fn run(&self, shutdown: CancellationToken) -> Tally {
        let mut asking = JoinSet::new();
        asking.spawn(self.clone().count_on(shutdown.clone()));
        asking.spawn(self.clone().look_again(shutdown.clone()));
        let mut waiting = JoinSet::new();
        let mut pace = interval(Duration::from_secs_f64(1.0 / self.config.traces_per_second));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut say = interval(SAY_EVERY);
        let started = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = waiting.join_next() => ended.expect("no task panics"),
                _ = say.tick() => info!(tally = ?self.tally(), "probing"),
                _ = pace.tick() => {
                    if waiting.len() < self.config.waiting_max {
                        let round = started.elapsed().as_nanos() / self.config.round.as_nanos().max(1);
                        waiting.spawn(self.clone().probe(u64::try_from(round).unwrap_or(u64::MAX)));
                    } else {
                        self.checker.metrics.held_back.inc();
                    }
                }
            }
            self.checker.metrics.waiting.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        }
        while let Some(ended) = waiting.join_next().await {
            ended.expect("no task panics");
        }
        while let Some(ended) = asking.join_next().await {
            ended.expect("no task panics");
        }
        self.checker.count().await;
        info!(tally = ?self.tally(), "probing ended");
        self.tally()
    }

    /// Sends one trace and, if it is acknowledged, finds it.
    async fn probe(self, round: u64) {
        let Checker { metrics, book, clock, instance, .. } = &*self.checker;
        let id = TraceId::from_bytes(rand::random());
        let sent = Sent { id, round, spans: self.config.spans_per_trace, started: clock.now() };
        let started = Instant::now();
        book.sending(&sent);
        metrics.sent.inc();
        if let Err(status) = self.sender.send(sent.request(instance)).await {
            debug!(%status, "not acknowledged");
            metrics.refused.inc();
            return;
        }
        book.acknowledged(&sent);
        metrics.acknowledged.inc();
        metrics.ack_seconds.observe(started.elapsed().as_secs_f64());
        let acknowledged = Instant::now();
        if self.checker.find(&sent, Way::Id).await == Verdict::Whole {
            metrics.found_by_id.inc();
            metrics.found_by_id_seconds.observe(acknowledged.elapsed().as_secs_f64());
        }
        let acknowledged = Instant::now();
        if self.checker.find(&sent, Way::Search).await == Verdict::Whole {
            metrics.found_by_search.inc();
            metrics.found_by_search_seconds.observe(acknowledged.elapsed().as_secs_f64());
        }
    }

    async fn count_on(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            self.checker.count().await;
            sleep(COUNT_PAUSE).await;
        }
    }

    /// Asks for any older trace, as often as new ones are sent, by turns in either way.
    async fn look_again(self, shutdown: CancellationToken) {
        let mut pace = interval(Duration::from_secs_f64(1.0 / self.config.traces_per_second));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut way = Way::Id;
        while !shutdown.is_cancelled() {
            pace.tick().await;
            let Some(sent) = self.checker.book.any() else { continue };
            if self.checker.find(&sent, way).await == Verdict::Whole {
                self.checker.metrics.found_again.inc();
            }
            way = if way == Way::Id { Way::Search } else { Way::Id };
        }
    }
}
