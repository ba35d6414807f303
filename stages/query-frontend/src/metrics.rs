use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) route: &'static str,
    pub(crate) status_code: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteLabels {
    pub(crate) route: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum JobOutcome {
    Done,
    Stale,
    Unreadable,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum JobKind {
    Trace,
    Search,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct JobLabels {
    pub(crate) kind: JobKind,
    pub(crate) outcome: JobOutcome,
}

/// What the query-frontend counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) seconds: Family<RouteLabels, Histogram>,
    pub(crate) jobs: Family<JobLabels, Counter>,
    pub(crate) retries: Counter,
    pub(crate) stale_views: Counter,
    pub(crate) damaged_blocks: Counter,
    pub(crate) queries_running: Gauge,
    pub(crate) queriers: Gauge,
    pub(crate) partitions_refused: Gauge,
    pub(crate) bytes_read: Counter,
    pub(crate) spans_inspected: Counter,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    pub(crate) cache_bytes: Gauge,
}

impl Metrics {
    /// Registers all metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            // From 0.5 ms to 16 s.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_5, 2.0, 16))),
            jobs: Family::default(),
            retries: Counter::default(),
            stale_views: Counter::default(),
            damaged_blocks: Counter::default(),
            queries_running: Gauge::default(),
            queriers: Gauge::default(),
            partitions_refused: Gauge::default(),
            bytes_read: Counter::default(),
            spans_inspected: Counter::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            cache_bytes: Gauge::default(),
        };
        let mut register = |name: &str, help: &str, metric: &dyn Fn(&mut Registry, String, &str)| {
            metric(registry, format!("vivace_query_frontend_{name}"), help);
        };
        register("requests", "Requests answered; 499: the client went away", &|registry, name, help| {
            registry.register(name, help, metrics.requests.clone());
        });
        register("request_duration_seconds", "Time until an answer begins", &|registry, name, help| {
            registry.register(name, help, metrics.seconds.clone());
        });
        register("jobs", "Jobs given to queriers", &|registry, name, help| {
            registry.register(name, help, metrics.jobs.clone());
        });
        for (name, help, counter) in [
            ("job_retries", "Jobs tried again, elsewhere if possible", &metrics.retries),
            (
                "stale_views",
                "Times that a partition was planned anew with a fresh View",
                &metrics.stale_views,
            ),
            (
                "damaged_blocks",
                "Blocks that could not be read because their file is damaged or missing, each once; the log names them",
                &metrics.damaged_blocks,
            ),
            ("read_bytes", "Bytes that queriers read for queries", &metrics.bytes_read),
            ("inspected_spans", "Spans that searches looked at", &metrics.spans_inspected),
            ("result_cache_hits", "Jobs whose answer was known from before", &metrics.cache_hits),
            (
                "result_cache_misses",
                "Jobs whose answer could have been known from before",
                &metrics.cache_misses,
            ),
        ] {
            register(name, help, &|registry, name, help| registry.register(name, help, counter.clone()));
        }
        for (name, help, gauge) in [
            ("queries_running", "Queries that are being answered", &metrics.queries_running),
            ("queriers", "Queriers known", &metrics.queriers),
            (
                "partitions_refused",
                "Partitions that queries leave out because their ledger is damaged; the log says what helps",
                &metrics.partitions_refused,
            ),
            ("result_cache_bytes", "Answers of jobs that are kept", &metrics.cache_bytes),
        ] {
            register(name, help, &|registry, name, help| registry.register(name, help, gauge.clone()));
        }
        metrics
    }
}
