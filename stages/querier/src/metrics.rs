use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tonic::Code;

use crate::JobError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Source {
    Blocks,
    Recent,
    Search,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    Done,
    /// The asker's View was too old.
    Stale,
    /// Too many jobs wait.
    Refused,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct JobLabels {
    source: Source,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    source: Source,
}

/// Where recent data came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum RecentOutcome {
    /// The owner.
    Owner,
    /// The log, for the records that the owner had not reached.
    CatchUp,
    /// The log, because no owner answered.
    Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RecentLabels {
    from: RecentOutcome,
}

/// What the querier counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    jobs: Family<JobLabels, Counter>,
    job_seconds: Family<SourceLabels, Histogram>,
    pub(crate) jobs_running: Gauge,
    recent: Family<RecentLabels, Counter>,
    pub(crate) owner_failures: Counter,
    /// Answers given although the log did not tell its end.
    pub(crate) without_end: Counter,
    pub(crate) log_bytes: Counter,
    pub(crate) panics: Counter,
}

impl Metrics {
    /// Registers all metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            jobs: Family::default(),
            // From 0.25 ms to 8 s.
            job_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
            }),
            jobs_running: Gauge::default(),
            recent: Family::default(),
            owner_failures: Counter::default(),
            without_end: Counter::default(),
            log_bytes: Counter::default(),
            panics: Counter::default(),
        };
        registry.register("vivace_querier_jobs", "Jobs by source and outcome", metrics.jobs.clone());
        let seconds = metrics.job_seconds.clone();
        registry.register("vivace_querier_job_duration_seconds", "Time of jobs that were done", seconds);
        let running = metrics.jobs_running.clone();
        registry.register("vivace_querier_jobs_running", "Jobs that run or give out their answer", running);
        let help = "Answers about recent data by where it came from";
        registry.register("vivace_querier_recent_answers", help, metrics.recent.clone());
        let help = "Questions that an owner did not answer";
        registry.register("vivace_querier_owner_failures", help, metrics.owner_failures.clone());
        let help = "Answers that may lack the newest spans, because the log did not tell its end";
        registry.register("vivace_querier_answers_without_log_end", help, metrics.without_end.clone());
        let help = "Jobs that panicked, and were answered with an internal error";
        registry.register("vivace_querier_panics", help, metrics.panics.clone());
        let help = "Bytes of records read from the log for queries";
        registry.register("vivace_querier_log_read_bytes", help, metrics.log_bytes.clone());
        metrics
    }

    pub(crate) fn recent(&self, from: RecentOutcome) {
        self.recent.get_or_create(&RecentLabels { from }).inc();
    }

    pub(crate) fn job<T>(&self, source: Source, started: Instant, result: &Result<T, JobError>) {
        let outcome = match result.as_ref().map_err(JobError::code) {
            Ok(_) => Outcome::Done,
            Err(Code::FailedPrecondition) => Outcome::Stale,
            Err(Code::ResourceExhausted) => Outcome::Refused,
            Err(_) => Outcome::Failed,
        };
        if matches!(result, Err(JobError::Panicked { .. })) {
            self.panics.inc();
        }
        self.jobs.get_or_create(&JobLabels { source, outcome }).inc();
        if outcome == Outcome::Done {
            let seconds = started.elapsed().as_secs_f64();
            self.job_seconds.get_or_create(&SourceLabels { source }).observe(seconds);
        }
    }
}
