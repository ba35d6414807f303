use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Which cache of the reader: `filters`, `indexes`, `runs`, `facts` or `small_files`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CacheLabel {
    pub(crate) cache: &'static str,
}

/// What reading blocks costs. Cheap to clone; the default is registered nowhere.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) reads: Counter,
    pub(crate) read_bytes: Counter,
    pub(crate) skipped: Counter,
    pub(crate) searched: Counter,
    pub(crate) cache_hits: Family<CacheLabel, Counter>,
    pub(crate) cache_misses: Family<CacheLabel, Counter>,
    pub(crate) cache_bytes: Family<CacheLabel, Gauge>,
}

impl Metrics {
    /// Registers all metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("vivace_block_{name}"), help, counter.clone());
        };
        counter("reads", "Ranges of blocks asked of object storage", &metrics.reads);
        counter("read_bytes", "Bytes of blocks read from object storage", &metrics.read_bytes);
        counter(
            "lookups_skipped",
            "Lookups of a trace in a block that its filter answered",
            &metrics.skipped,
        );
        counter("lookups_searched", "Lookups of a trace in a block that read rows", &metrics.searched);
        let hits = "Lookups of what is remembered of blocks that found it in memory";
        registry.register("vivace_block_cache_hits", hits, metrics.cache_hits.clone());
        let misses = "Lookups of what is remembered of blocks that had to read it";
        registry.register("vivace_block_cache_misses", misses, metrics.cache_misses.clone());
        let bytes = "Memory that what is remembered of blocks takes";
        registry.register("vivace_block_cache_bytes", bytes, metrics.cache_bytes.clone());
        metrics
    }
}
