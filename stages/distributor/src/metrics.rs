use std::fmt::{self, Write as _};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What the distributor counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) spans_received: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) records_appended: Counter,
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) spans_rejected: Family<RejectedLabels, Counter>,
    pub(crate) inflight_bytes: Gauge,
    pub(crate) append_seconds: Histogram,
}

impl Metrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            spans_received: Counter::default(),
            bytes_received: Counter::default(),
            records_appended: Counter::default(),
            requests: Family::default(),
            spans_rejected: Family::default(),
            inflight_bytes: Gauge::default(),
            append_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
        };
        let registry = registry.sub_registry_with_prefix("vivace_distributor");
        registry.register("spans_received", "Spans of well-formed requests", metrics.spans_received.clone());
        let help = "Bytes of well-formed requests as protobuf, after decompression";
        registry.register("bytes_received", help, metrics.bytes_received.clone());
        registry.register(
            "records_appended",
            "Records acknowledged by the log",
            metrics.records_appended.clone(),
        );
        registry.register(
            "requests",
            "Requests by protocol and what became of them",
            metrics.requests.clone(),
        );
        let help = "Spans that were not taken out of requests that were";
        registry.register("spans_rejected", help, metrics.spans_rejected.clone());
        registry.register("inflight_bytes", "Bytes of requests in work", metrics.inflight_bytes.clone());
        let help = "Time the log took to make a request durable";
        registry.register("append_seconds", help, metrics.append_seconds.clone());
        metrics
    }

    /// Counts a request once its outcome is known, or as cancelled if it is dropped before.
    pub(crate) const fn request(&self, protocol: Protocol) -> RequestCount<'_> {
        RequestCount { metrics: self, labels: RequestLabels { protocol, outcome: Outcome::Cancelled } }
    }
}

#[derive(Debug)]
pub(crate) struct RequestCount<'a> {
    metrics: &'a Metrics,
    labels: RequestLabels,
}

impl RequestCount<'_> {
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.labels.outcome = outcome;
    }
}

impl Drop for RequestCount<'_> {
    fn drop(&mut self) {
        self.metrics.requests.get_or_create(&self.labels).inc();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) protocol: Protocol,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RejectedLabels {
    pub(crate) reason: RejectReason,
}

/// A closed set of values of a label.
macro_rules! label {
    ($name:ident { $($variant:ident = $text:literal,)+ }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($variant,)+ }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                encoder.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }
    };
}

label!(Protocol {
    Grpc = "grpc",
    HttpProtobuf = "http_protobuf",
    HttpJson = "http_json",
});

label!(Outcome {
    Accepted = "accepted",
    Partial = "partial",
    Invalid = "invalid",
    TooLarge = "too_large",
    Tenant = "tenant",
    Slow = "slow",
    Busy = "busy",
    LogFull = "log_full",
    LogUnavailable = "log_unavailable",
    Internal = "internal",
    Cancelled = "cancelled",
});

label!(RejectReason {
    TooLarge = "too_large",
});
