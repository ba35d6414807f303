//! Small files in memory, whole. A fresh block is small and asked about by every query on recent times: a read of its own
//! for each of its parts, and for each query, would cost the store more than the bytes are worth.
//! Owns: which files are small, the bound, and that a file is read only once however many ask at the same time.
//! Does not own: how files are read.

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

/// A block's file never changes, so nothing in it grows old.
#[derive(Debug)]
pub(super) struct SmallFiles {
    files: CountedCache<Path, Bytes>,
    /// 0: none is small.
    file_bytes_max: u64,
    metrics: Metrics,
}

impl SmallFiles {
    pub(super) fn new(config: &ReaderConfig, memory: &Arc<Governor>, metrics: Metrics) -> Self {
        let cache_bytes = config.small_file_cache_bytes.as_u64();
        let files = CountedCache::new(memory, cache_bytes, |path: &Path, file: &Bytes| {
            path.as_ref().len() + 64 + file.len()
        });
        let file_bytes_max = config.small_file_bytes_max.as_u64();
        Self { files, file_bytes_max: if cache_bytes == 0 { 0 } else { file_bytes_max }, metrics }
    }

    /// The file, if it is small.
    pub(super) async fn get(&self, source: &Source<'_>) -> Result<Option<Bytes>, BlockError> {
        if source.file_bytes > self.file_bytes_max {
            return Ok(None);
        }
        let mut missed = false;
        let load = async {
            missed = true;
            let whole = 0..source.file_bytes;
            let mut parts = source.fetch(std::slice::from_ref(&whole)).await?;
            Ok::<_, BlockError>(parts.pop().unwrap_or_default())
        };
        let file = self.files.load(source.path, load).await;
        count(&self.metrics, SMALL_FILES, missed, self.files.bytes());
        let file = file?;
        // Kept for whoever asked first; one who was told another size has to see for himself.
        Ok((file.len() as u64 == source.file_bytes).then_some(file))
    }
}
