//! Descriptions of blocks in memory: small filters of many blocks, large indexes of few.
//! Owns: their bounds, and that a block is described only once however many ask at the same time.
//! Does not own: what the descriptions hold, how they are read.

use std::sync::Arc;

use object_store::path::Path;
use vivace_memory::Governor;

use super::ReaderConfig;
use super::counted::CountedCache;
use super::filter::{BlockFilter, Tail};
use super::index::BlockIndex;
use super::source::Source;
use crate::metrics::CacheLabel;
use crate::{BlockError, Metrics};

const FILTERS: CacheLabel = CacheLabel { cache: "filters" };
const INDEXES: CacheLabel = CacheLabel { cache: "indexes" };

/// Both caches. A block's file never changes, so nothing in them grows old.
#[derive(Debug)]
pub(super) struct DescriptionCache {
    filters: CountedCache<Path, Arc<BlockFilter>>,
    indexes: CountedCache<Path, Arc<BlockIndex>>,
    footer_read_bytes: u64,
    metrics: Metrics,
}

impl DescriptionCache {
    pub(super) fn new(config: &ReaderConfig, memory: &Arc<Governor>, metrics: Metrics) -> Self {
        let (filters_max, indexes_max) =
            (config.filter_cache_bytes.as_u64(), config.index_cache_bytes.as_u64());
        Self {
            filters: CountedCache::new(memory, filters_max, |path: &Path, filter: &Arc<BlockFilter>| {
                path.as_ref().len() + filter.memory_bytes()
            }),
            indexes: CountedCache::new(memory, indexes_max, |path: &Path, index: &Arc<BlockIndex>| {
                path.as_ref().len() + index.memory_bytes()
            }),
            footer_read_bytes: config.footer_read_bytes.as_u64(),
            metrics,
        }
    }

    /// The block's filter, and what was read of the file's end if it was read just now.
    pub(super) async fn filter(
        &self,
        source: &Source<'_>,
    ) -> Result<(Arc<BlockFilter>, Option<Tail>), BlockError> {
        let mut read = None;
        let load = async {
            let (filter, tail) = BlockFilter::load(source, self.footer_read_bytes).await?;
            read = Some(tail);
            Ok::<_, BlockError>(Arc::new(filter))
        };
        let filter = self.filters.load(source.path, load).await;
        count(&self.metrics, FILTERS, read.is_some(), self.filters.bytes());
        Ok((filter?, read))
    }

    /// The block's index; `tail` spares reading it again.
    pub(super) async fn index(
        &self,
        source: &Source<'_>,
        filter: &BlockFilter,
        tail: Option<Tail>,
    ) -> Result<Arc<BlockIndex>, BlockError> {
        let mut missed = false;
        let load = async {
            missed = true;
            BlockIndex::load(source, filter, tail).await.map(Arc::new)
        };
        let index = self.indexes.load(source.path, load).await;
        count(&self.metrics, INDEXES, missed, self.indexes.bytes());
        index
    }
}

/// What a cache's lookups were and how full it is.
pub(super) fn count(metrics: &Metrics, label: CacheLabel, missed: bool, bytes: u64) {
    let lookups = if missed { &metrics.cache_misses } else { &metrics.cache_hits };
    lookups.get_or_create(&label).inc();
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    metrics.cache_bytes.get_or_create(&label).set(bytes);
}
