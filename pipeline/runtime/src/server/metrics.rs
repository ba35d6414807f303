//! What is counted of connections, by listener.

use std::fmt::{self, Write as _};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::activity::WaitsFor;

/// Connections of all listeners of the process.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    open: Family<ListenerLabels, Gauge>,
    evicted: Family<ListenerLabels, Counter>,
    refused: Family<RefusedLabels, Counter>,
    timed_out: Family<TimedOutLabels, Counter>,
}

impl ConnectionMetrics {
    /// Registers the metrics. Once per process: listeners share them.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("vivace_connections");
        registry.register("open", "Open connections", metrics.open.clone());
        let help = "Idle connections closed because the listener was full";
        registry.register("evicted", help, metrics.evicted.clone());
        registry.register("refused", "Connections that were not accepted", metrics.refused.clone());
        let help = "Connections closed, and requests given up, because the client kept them waiting";
        registry.register("timed_out", help, metrics.timed_out.clone());
        metrics
    }

    /// Counts an open connection until it is dropped.
    pub(super) fn opened(&self, listener: &'static str) -> OpenConnection {
        let open = self.open.get_or_create_owned(&ListenerLabels { listener });
        open.inc();
        OpenConnection(open)
    }

    pub(super) fn evicted(&self, listener: &'static str) {
        self.evicted.get_or_create(&ListenerLabels { listener }).inc();
    }

    pub(super) fn refused(&self, listener: &'static str, reason: Refusal) {
        self.refused.get_or_create(&RefusedLabels { listener, reason }).inc();
    }

    pub(super) fn timed_out(&self, listener: &'static str, waited_for: WaitsFor) {
        self.timed_out.get_or_create(&TimedOutLabels { listener, waited_for }).inc();
    }
}

/// Counts itself among the open connections.
#[derive(Debug)]
pub(super) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Refusal {
    /// Its address has all the connections that it may have, and none is idle.
    Address,
    /// The system could not accept it.
    Accept,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    listener: &'static str,
    reason: Refusal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TimedOutLabels {
    listener: &'static str,
    waited_for: WaitsFor,
}

impl EncodeLabelValue for Refusal {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Address => "address",
            Self::Accept => "accept",
        })
    }
}

impl EncodeLabelValue for WaitsFor {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.name())
    }
}
