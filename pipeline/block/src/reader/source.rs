//! One file in object storage.
//! Owns: which ranges become one request, what is counted, and what the store's errors mean.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::fetched::Fetched;
use super::small_files::SmallFiles;
use crate::{BlockError, Metrics};

/// Ranges at most that far apart are one request: less time than another round trip, at the price of some bytes.
const GAP_BYTES_MAX: u64 = 128 << 10;
/// Requests for one file at once.
const REQUESTS_MAX: usize = 8;

/// A file to read ranges of.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) store: &'a Arc<dyn ObjectStore>,
    pub(super) path: &'a Path,
    pub(super) file_bytes: u64,
    pub(super) small_files: &'a SmallFiles,
    pub(super) metrics: &'a Metrics,
    pub(super) counters: &'a Counters,
}

/// What was read of a file.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) bytes: AtomicU64,
    pub(super) reads: AtomicU64,
}

impl Source<'_> {
    pub(super) fn corrupt(&self, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BlockError {
        BlockError::corrupt(self.path, reason)
    }

    /// Reads one range, whose contents the caller keeps.
    pub(super) async fn range(&self, range: Range<u64>) -> Result<Bytes, BlockError> {
        self.check(&range)?;
        match self.small_files.get(self).await? {
            Some(file) => Ok(slice(&file, &range)),
            None => Ok(self.fetch(&[range]).await?.pop().unwrap_or_default()),
        }
    }

    /// Reads all of the ranges, neighbours together.
    pub(super) async fn ranges(&self, ranges: Vec<Range<u64>>) -> Result<Fetched, BlockError> {
        let requests = stream::iter(clusters(ranges)).map(|cluster| self.cluster(cluster));
        let parts: Vec<_> = requests.buffer_unordered(REQUESTS_MAX).try_collect().await?;
        Ok(Fetched::new(self.file_bytes, parts.into_iter().flatten().collect()))
    }

    async fn cluster(&self, ranges: Vec<Range<u64>>) -> Result<Vec<(u64, Bytes)>, BlockError> {
        ranges.iter().try_for_each(|range| self.check(range))?;
        let parts = match self.small_files.get(self).await? {
            Some(file) => ranges.iter().map(|range| slice(&file, range)).collect(),
            None => self.small_files.ranges(self, &ranges).await?,
        };
        Ok(ranges.iter().map(|range| range.start).zip(parts).collect())
    }

    fn check(&self, range: &Range<u64>) -> Result<(), BlockError> {
        if range.start > range.end || range.end > self.file_bytes {
            return Err(self.corrupt("it refers to bytes beyond its end"));
        }
        Ok(())
    }

    /// Reads ranges of the file from the store in one request.
    pub(super) async fn fetch(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlockError> {
        self.metrics.reads.inc();
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        let parts = match self.store.get_ranges(self.path, ranges).await {
            Ok(parts) => parts,
            Err(error) => return Err(self.explain(error).await),
        };
        for (range, bytes) in ranges.iter().zip(&parts) {
            if bytes.len() as u64 != range.end - range.start {
                return Err(self.corrupt("it is shorter than it should be"));
            }
            self.metrics.read_bytes.inc_by(bytes.len() as u64);
            self.counters.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(parts)
    }

    /// A store says in its own words that a range is not in the file; only its size tells for sure.
    async fn explain(&self, error: object_store::Error) -> BlockError {
        if matches!(error, object_store::Error::NotFound { .. }) {
            return BlockError::Missing { path: self.path.clone() };
        }
        match self.store.head(self.path).await {
            Ok(found) if found.size < self.file_bytes => {
                self.corrupt(format!("it has {} bytes instead of {}", found.size, self.file_bytes))
            }
            _ => BlockError::Read { path: self.path.clone(), source: Arc::new(error) },
        }
    }
}

fn slice(file: &Bytes, range: &Range<u64>) -> Bytes {
    file.slice(range.start as usize..range.end as usize)
}

/// Runs work on the bytes of a file. A panic, which damaged bytes may cause in the Parquet library, becomes an error.
pub(super) fn caught<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, Box<dyn std::error::Error + Send + Sync>>,
) -> Result<T, BlockError> {
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("decoding it panicked".into()));
    result.map_err(|error| BlockError::corrupt(path, error))
}

/// The same for work that takes longer than an async thread should. On a runtime of a single thread, which only tests and simulations have, the work runs in
/// place, so that a simulation repeats.
pub(super) async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
) -> Result<T, BlockError> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return caught(path, work);
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| BlockError::corrupt(path, error)),
        Err(error) if error.is_panic() => Err(BlockError::corrupt(path, error)),
        Err(error) => {
            let source = Arc::new(object_store::Error::JoinError { source: error });
            Err(BlockError::Read { path: path.clone(), source })
        }
    }
}

/// Ranges in groups of neighbours, in the order of the file, none twice.
fn clusters(mut ranges: Vec<Range<u64>>) -> Vec<Vec<Range<u64>>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut clusters: Vec<Vec<Range<u64>>> = Vec::new();
    for range in ranges {
        let Some(cluster) = clusters.last_mut() else {
            clusters.push(vec![range]);
            continue;
        };
        let end = cluster.last().map_or(0, |last| last.end);
        match cluster.last_mut() {
            Some(last) if range.start <= end => last.end = end.max(range.end),
            _ if range.start - end <= GAP_BYTES_MAX => cluster.push(range),
            _ => clusters.push(vec![range]),
        }
    }
    clusters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read_together() {
        assert!(clusters(Vec::new()).is_empty());
        let far = GAP_BYTES_MAX + 31;
        let ranges = vec![far..far + 5, 20..30, 0..10, 10..12, 22..25, 25..28, 7..7];
        let clusters = clusters(ranges);
        assert_eq!(clusters.concat(), [0..12, 20..30, far..far + 5]);
        assert_eq!(clusters.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }
}
