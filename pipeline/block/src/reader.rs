//! Reading stored blocks: finding a trace here, scanning columns in `scan`.
//! Owns: what of a file is read, and in which order: its filter, its index, then only the pages of the trace.
//! Does not own: which blocks to look into, how many at once, what is made of the rows.
//! Guarantee: either all rows of the trace in the block are returned, or an error.

mod cache;
mod config;
mod counted;
mod decode;
mod delta;
mod fetched;
mod filter;
mod hybrid;
mod index;
mod inflate;
mod levels;
mod page_rows;
mod pages;
mod scan;
mod small_files;
mod source;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use vivace_memory::Governor;
use vivace_model::TraceId;

use self::cache::DescriptionCache;
pub use self::config::ReaderConfig;
use self::decode::RowGroup;
use self::fetched::Fetched;
use self::index::BlockIndex;
pub use self::scan::BlockScan;
use self::scan::ScanCache;
pub(crate) use self::scan::{LoadedGroup, LoadedRows};
use self::small_files::SmallFiles;
use self::source::{Counters, Source, blocking};
use crate::{BlockError, Metrics};

/// Row groups of a block that are read at once. A trace is in one, or in two neighbours.
const ROW_GROUPS_AT_ONCE: usize = 2;

/// Reads blocks of one store. Share it: it holds what it learnt about blocks.
#[derive(Debug)]
pub struct BlockReader {
    store: Arc<dyn ObjectStore>,
    config: ReaderConfig,
    cache: Arc<DescriptionCache>,
    scan_cache: Arc<ScanCache>,
    small_files: Arc<SmallFiles>,
    metrics: Metrics,
}

/// A trace's rows in one block.
#[derive(Clone, Debug, Default)]
pub struct TraceRows {
    /// The rows, in the block's order, in batches that may differ in their columns: those without any value in the
    /// rows are left out.
    pub batches: Vec<RecordBatch>,
    /// Bytes read from the store, descriptions of the block included.
    pub bytes_read: u64,
    /// Whether it was known without reading rows that the trace is not in the block.
    pub skipped: bool,
}

impl BlockReader {
    /// A reader that knows nothing yet. Its caches are bounded by their settings alone.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, config: ReaderConfig, metrics: Metrics) -> Self {
        Self::with_memory(store, config, &Governor::unlimited(), metrics)
    }

    /// The same, with caches that are memory of the process and give way when it is short.
    #[must_use]
    pub fn with_memory(
        store: Arc<dyn ObjectStore>,
        config: ReaderConfig,
        memory: &Arc<Governor>,
        metrics: Metrics,
    ) -> Self {
        let cache = Arc::new(DescriptionCache::new(&config, memory, metrics.clone()));
        let scan_cache = Arc::new(ScanCache::new(&config, memory, metrics.clone()));
        let small_files = Arc::new(SmallFiles::new(&config, memory, metrics.clone()));
        Self { store, config, cache, scan_cache, small_files, metrics }
    }

    /// The rows of a trace in the block at `path`, whose file has `file_bytes` bytes.
    ///
    /// # Errors
    /// [`BlockError::Missing`], [`BlockError::Corrupt`], or [`BlockError::Read`] when the store fails.
    pub async fn trace(&self, path: &Path, file_bytes: u64, id: &TraceId) -> Result<TraceRows, BlockError> {
        let counters = Counters::default();
        let Self { store, small_files, metrics, .. } = self;
        let source = Source { store, path, file_bytes, small_files, metrics, counters: &counters };
        let batches = self.find(&source, id).await?;
        let bytes_read = counters.bytes.load(Ordering::Relaxed);
        let counter = if batches.is_some() { &self.metrics.searched } else { &self.metrics.skipped };
        counter.inc();
        Ok(TraceRows { skipped: batches.is_none(), batches: batches.unwrap_or_default(), bytes_read })
    }

    /// Opens the block at `path`, whose file has `file_bytes` bytes, for scanning.
    ///
    /// # Errors
    /// As for [`Self::trace`].
    pub async fn open(&self, path: &Path, file_bytes: u64) -> Result<BlockScan, BlockError> {
        BlockScan::open(self, path, file_bytes).await
    }

    /// None if no rows had to be read.
    async fn find(&self, source: &Source<'_>, id: &TraceId) -> Result<Option<Vec<RecordBatch>>, BlockError> {
        let (filter, tail) = self.cache.filter(source).await?;
        let row_groups = filter.candidates(id);
        if row_groups.is_empty() {
            return Ok(None);
        }
        let index = self.cache.index(source, &filter, tail).await?;
        let mut candidates = Vec::new();
        for number in row_groups {
            let rows = index.candidates(number, id);
            if !rows.is_empty() {
                candidates.push((number, rows));
            }
        }
        if candidates.is_empty() {
            return Ok(None);
        }
        let reads = candidates.into_iter().map(|(number, rows)| self.read(source, &index, number, rows, id));
        let batches: Vec<Vec<_>> = stream::iter(reads).buffered(ROW_GROUPS_AT_ONCE).try_collect().await?;
        Ok(Some(batches.into_iter().flatten().collect()))
    }

    async fn read(
        &self,
        source: &Source<'_>,
        index: &Arc<BlockIndex>,
        number: usize,
        candidates: Vec<Range<usize>>,
        id: &TraceId,
    ) -> Result<Vec<RecordBatch>, BlockError> {
        let id = *id;
        let all = ranges(index, number, |_| true, &candidates);
        if bytes(&all) <= self.config.lookup_read_bytes_max.as_u64() {
            let fetched = Arc::new(source.ranges(all).await?);
            let group = RowGroup { index: Arc::clone(index), number, fetched };
            return blocking(source.path, move || group.rows(&group.find(&candidates, &id)?, &id)).await;
        }
        let leaf = index.trace_id_leaf;
        let ids = ranges(index, number, |other| other == leaf, &candidates);
        let fetched = Arc::new(source.ranges(ids).await?);
        let group = RowGroup { index: Arc::clone(index), number, fetched };
        let (mut group, rows) = blocking(source.path, move || {
            let rows = group.find(&candidates, &id)?;
            Ok((group, rows))
        })
        .await?;
        let mut fetched = source.ranges(ranges(index, number, |other| other != leaf, &rows)).await?;
        fetched.merge(Fetched::clone(&group.fetched));
        group.fetched = Arc::new(fetched);
        blocking(source.path, move || group.rows(&rows, &id)).await
    }
}

/// Ranges of the file that hold what leaves have in the rows.
fn ranges(
    index: &BlockIndex,
    row_group: usize,
    wanted: impl Fn(usize) -> bool,
    rows: &[Range<usize>],
) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let leaves = index.leaves(row_group).iter().enumerate().filter(|(leaf, _)| wanted(*leaf));
    leaves.for_each(|(_, leaf)| leaf.ranges(rows, &mut ranges));
    ranges
}

fn bytes(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}
