//! What scans learn of row groups, in memory.
//! Owns: its bounds. Does not own: what is learnt, how it is read.

use std::sync::Arc;

use moka::future::Cache;
use object_store::path::Path;
use vivace_model::scan::TraceRuns;

use super::facts::{Fact, FactKey};
use crate::metrics::CacheLabel;
use crate::reader::ReaderConfig;
use crate::reader::cache::count;
use crate::{BlockError, Metrics};

const RUNS: CacheLabel = CacheLabel { cache: "runs" };
const FACTS: CacheLabel = CacheLabel { cache: "facts" };

/// Both caches. A block's file never changes, so nothing in them grows old.
#[derive(Debug)]
pub(in crate::reader) struct ScanCache {
    runs: Cache<(Path, usize), Arc<TraceRuns>>,
    facts: Cache<(Path, FactKey), Arc<Fact>>,
    metrics: Metrics,
}

impl ScanCache {
    pub(in crate::reader) fn new(config: &ReaderConfig, metrics: Metrics) -> Self {
        let weight = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let runs = Cache::builder().max_capacity(config.runs_cache_bytes.as_u64()).weigher(
            move |key: &(Path, usize), runs: &Arc<TraceRuns>| {
                weight(key.0.as_ref().len() + 64 + runs.memory_bytes())
            },
        );
        let facts = Cache::builder().max_capacity(config.facts_cache_bytes.as_u64()).weigher(
            move |key: &(Path, FactKey), fact: &Arc<Fact>| {
                weight(key.0.as_ref().len() + 64 + fact.memory_bytes())
            },
        );
        Self { runs: runs.build(), facts: facts.build(), metrics }
    }

    /// The runs of a row group, loaded only once however many ask at the same time.
    pub(super) async fn runs(
        &self,
        path: &Path,
        group: usize,
        load: impl Future<Output = Result<Arc<TraceRuns>, BlockError>> + Unpin,
    ) -> Result<Arc<TraceRuns>, BlockError> {
        let mut missed = false;
        let load = async {
            missed = true;
            load.await
        };
        let runs = self.runs.try_get_with((path.clone(), group), Box::pin(load)).await;
        count(&self.metrics, RUNS, missed, self.runs.weighted_size());
        runs.map_err(|error| BlockError::clone(&error))
    }

    pub(super) async fn fact(&self, path: &Path, key: FactKey) -> Option<Arc<Fact>> {
        let fact = self.facts.get(&(path.clone(), key)).await;
        count(&self.metrics, FACTS, fact.is_none(), self.facts.weighted_size());
        fact
    }

    pub(super) async fn learn(&self, path: &Path, key: FactKey, fact: Arc<Fact>) {
        self.facts.insert((path.clone(), key), fact).await;
    }
}
