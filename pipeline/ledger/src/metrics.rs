use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// What the ledger counts, over all partitions of the process. Cheap to clone; the default is registered nowhere.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) appended: Counter,
    pub(crate) conflicts: Counter,
    pub(crate) unanswered: Counter,
    pub(crate) read: Counter,
    pub(crate) retries: Counter,
    pub(crate) snapshots_written: Counter,
    pub(crate) snapshots_failed: Counter,
    pub(crate) snapshots_damaged: Counter,
}

impl Metrics {
    /// Registers all metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("vivace_ledger_{name}"), help, counter.clone());
        };
        counter("entries_appended", "Entries added to a chain", &metrics.appended);
        counter("append_conflicts", "Appends that another writer's entry came before", &metrics.conflicts);
        counter("append_unanswered", "Appends given up without knowing their outcome", &metrics.unanswered);
        counter("entries_read", "Entries read from object storage", &metrics.read);
        counter("retries", "Attempts repeated because the store failed", &metrics.retries);
        counter("snapshots_written", "Snapshots written", &metrics.snapshots_written);
        counter(
            "snapshots_failed",
            "Snapshots not written: harmless, reading takes longer",
            &metrics.snapshots_failed,
        );
        counter("snapshots_damaged", "Snapshots found damaged and passed over", &metrics.snapshots_damaged);
        metrics
    }
}
