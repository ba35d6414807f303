use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What a prober counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) sent: Counter,
    pub(crate) acknowledged: Counter,
    pub(crate) refused: Counter,
    pub(crate) held_back: Counter,
    pub(crate) waiting: Gauge,
    pub(crate) found_by_id: Counter,
    pub(crate) found_by_search: Counter,
    pub(crate) found_again: Counter,
    pub(crate) counts: Counter,
    pub(crate) late: Counter,
    pub(crate) missing: Counter,
    pub(crate) twice: Counter,
    pub(crate) strange: Counter,
    pub(crate) miscounts: Counter,
    pub(crate) errors: Counter,
    pub(crate) unanswered: Counter,
    pub(crate) ack_seconds: Histogram,
    pub(crate) found_by_id_seconds: Histogram,
    pub(crate) found_by_search_seconds: Histogram,
}

/// How it went so far, in traces unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sent, acknowledged or not.
    pub sent: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// Sent and not acknowledged: they may be there or not.
    pub refused: u64,
    /// Found by id, whole, after they were acknowledged.
    pub found_by_id: u64,
    /// Found by search, whole, after they were acknowledged.
    pub found_by_search: u64,
    /// Looked at again later, and whole again.
    pub found_again: u64,
    /// Counts that were exact.
    pub counts: u64,
    /// Answers that lacked acknowledged spans, which a later answer had.
    pub late: u64,
    /// Traces with acknowledged spans that are gone.
    pub missing: u64,
    /// Answers with a span more than once.
    pub twice: u64,
    /// Answers with a span that nobody sent.
    pub strange: u64,
    /// Counts that were too low or too high.
    pub miscounts: u64,
    /// Questions that were answered with an error, and asked again.
    pub errors: u64,
    /// Questions that were given up without an answer.
    pub unanswered: u64,
}

impl Tally {
    /// Answers that were wrong, of every kind: those that promise more or less than was acknowledged.
    #[must_use]
    pub const fn wrong(&self) -> u64 {
        self.late + self.missing + self.twice + self.strange + self.miscounts
    }

    /// Whether nothing was lost, doubled or miscounted, and every question got its answer in the end.
    #[must_use]
    pub const fn sound(&self) -> bool {
        self.missing + self.twice + self.strange + self.miscounts + self.unanswered == 0
    }
}

impl Metrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 17));
        let metrics = Self {
            sent: Counter::default(),
            acknowledged: Counter::default(),
            refused: Counter::default(),
            held_back: Counter::default(),
            waiting: Gauge::default(),
            found_by_id: Counter::default(),
            found_by_search: Counter::default(),
            found_again: Counter::default(),
            counts: Counter::default(),
            late: Counter::default(),
            missing: Counter::default(),
            twice: Counter::default(),
            strange: Counter::default(),
            miscounts: Counter::default(),
            errors: Counter::default(),
            unanswered: Counter::default(),
            ack_seconds: histogram(),
            found_by_id_seconds: histogram(),
            found_by_search_seconds: histogram(),
        };
        let registry = registry.sub_registry_with_prefix("vivace_probe");
        let counters = [
            ("sent", "Traces sent", &metrics.sent),
            ("acknowledged", "Traces acknowledged", &metrics.acknowledged),
            ("refused", "Traces that were not acknowledged", &metrics.refused),
            ("held_back", "Traces not sent, since too many wait for answers", &metrics.held_back),
            ("found_by_id", "Acknowledged traces found by id", &metrics.found_by_id),
            ("found_by_search", "Acknowledged traces found by search", &metrics.found_by_search),
            ("found_again", "Older traces that were found again", &metrics.found_again),
            ("counts", "Counts that were exact", &metrics.counts),
            ("late", "Answers that lacked acknowledged spans, which a later one had", &metrics.late),
            ("missing", "Traces with acknowledged spans that are gone", &metrics.missing),
            ("twice", "Answers with a span more than once", &metrics.twice),
            ("strange", "Answers with a span that nobody sent", &metrics.strange),
            ("miscounts", "Counts that were too low or too high", &metrics.miscounts),
            ("errors", "Questions answered with an error and asked again", &metrics.errors),
            ("unanswered", "Questions given up without an answer", &metrics.unanswered),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("waiting", "Traces that wait for answers", metrics.waiting.clone());
        let histograms = [
            ("ack_seconds", "From sending to the acknowledgement", &metrics.ack_seconds),
            ("found_by_id_seconds", "From the acknowledgement to found by id", &metrics.found_by_id_seconds),
            (
                "found_by_search_seconds",
                "From the acknowledgement to found by search",
                &metrics.found_by_search_seconds,
            ),
        ];
        for (name, help, histogram) in histograms {
            registry.register(name, help, histogram.clone());
        }
        metrics
    }

    /// How it went so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally {
            sent: self.sent.get(),
            acknowledged: self.acknowledged.get(),
            refused: self.refused.get(),
            found_by_id: self.found_by_id.get(),
            found_by_search: self.found_by_search.get(),
            found_again: self.found_again.get(),
            counts: self.counts.get(),
            late: self.late.get(),
            missing: self.missing.get(),
            twice: self.twice.get(),
            strange: self.strange.get(),
            miscounts: self.miscounts.get(),
            errors: self.errors.get(),
            unanswered: self.unanswered.get(),
        }
    }
}
