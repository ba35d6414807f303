//! What was read of files, in memory. A fresh block is small and asked about by every query on recent times: a read of its own
//! for each of its parts, and for each query, would cost the store more than the bytes are worth. So small files are read whole.
//! Of others the ranges are kept that a query read, because most queries are asked again and again.
//! Owns: which files are small, which ranges are kept, the bound of both together, and that a small file is read only once
//! however many ask at the same time.
//! Does not own: how files are read.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use vivace_memory::Governor;

use super::ReaderConfig;
use super::cache::count;
use super::counted::CountedCache;
use super::source::Source;
use crate::metrics::CacheLabel;
use crate::{BlockError, Metrics};

const SMALL_FILES: CacheLabel = CacheLabel { cache: "small_files" };
/// Larger ranges are not kept: few of them would push out all others.
const RANGE_BYTES_MAX: u64 = 1 << 20;
/// What an entry takes beside its path and bytes.
const ENTRY_BYTES: usize = 96;

/// A block's file never changes, so nothing in it grows old.
#[derive(Debug)]
pub(super) struct SmallFiles {
    /// By file and range; a small file is one range.
    parts: CountedCache<Part, Bytes>,
    /// 0: none is small.
    file_bytes_max: u64,
    /// 0: none is kept.
    range_bytes_max: u64,
    metrics: Metrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Part {
    path: Path,
    start: u64,
    end: u64,
}

impl Part {
    fn new(path: &Path, range: &Range<u64>) -> Self {
        Self { path: path.clone(), start: range.start, end: range.end }
    }
}

impl SmallFiles {
    pub(super) fn new(config: &ReaderConfig, memory: &Arc<Governor>, metrics: Metrics) -> Self {
        let cache_bytes = config.small_file_cache_bytes.as_u64();
        let parts = CountedCache::new(memory, cache_bytes, |part: &Part, bytes: &Bytes| {
            part.path.as_ref().len() + ENTRY_BYTES + bytes.len()
        });
        let within = |bytes: u64| if cache_bytes == 0 { 0 } else { bytes };
        let file_bytes_max = within(config.small_file_bytes_max.as_u64());
        Self { parts, file_bytes_max, range_bytes_max: within(RANGE_BYTES_MAX), metrics }
    }

    /// The file, if it is small.
    pub(super) async fn get(&self, source: &Source<'_>) -> Result<Option<Bytes>, BlockError> {
        if source.file_bytes > self.file_bytes_max {
            return Ok(None);
        }
        let mut missed = false;
        let whole = 0..source.file_bytes;
        let part = Part::new(source.path, &whole);
        let load = async {
            missed = true;
            let mut parts = source.fetch(std::slice::from_ref(&whole)).await?;
            Ok::<_, BlockError>(parts.pop().unwrap_or_default())
        };
        let file = self.parts.load(&part, load).await;
        count(&self.metrics, SMALL_FILES, missed, self.parts.bytes());
        file.map(Some)
    }

    /// Ranges of a file that is not small; those that are not known are read in one request.
    pub(super) async fn ranges(
        &self,
        source: &Source<'_>,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, BlockError> {
        if self.range_bytes_max == 0 {
            return source.fetch(ranges).await;
        }
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            parts.push(self.parts.get(&Part::new(source.path, range)).await);
        }
        let unknown: Vec<_> = ranges.iter().zip(&parts).filter(|(_, part)| part.is_none()).collect();
        let unknown: Vec<_> = unknown.into_iter().map(|(range, _)| range.clone()).collect();
        if !unknown.is_empty() {
            let mut read = source.fetch(&unknown).await?.into_iter();
            for (part, range) in parts.iter_mut().zip(ranges).filter(|(part, _)| part.is_none()) {
                let bytes = read.next().unwrap_or_default();
                self.keep(source.path, range, &bytes).await;
                *part = Some(bytes);
            }
        }
        count(&self.metrics, SMALL_FILES, !unknown.is_empty(), self.parts.bytes());
        Ok(parts.into_iter().flatten().collect())
    }

    async fn keep(&self, path: &Path, range: &Range<u64>, bytes: &Bytes) {
        if range.end - range.start <= self.range_bytes_max {
            // A copy: the bytes may be part of a larger answer, which would stay in memory with them.
            self.parts.insert(Part::new(path, range), Bytes::copy_from_slice(bytes)).await;
        }
    }
}
