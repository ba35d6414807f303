//! What scans learn of row groups, in memory.
//! Owns: its bounds. Does not own: what is learnt, how it is read.

use std::sync::Arc;

use object_store::path::Path;
use vivace_memory::Governor;
use vivace_model::scan::TraceRuns;

use super::facts::{Fact, FactKey};
use crate::metrics::CacheLabel;
use crate::reader::ReaderConfig;
use crate::reader::cache::count;
use crate::reader::counted::CountedCache;
use crate::{BlockError, Metrics};

const RUNS: CacheLabel = CacheLabel { cache: "runs" };
const FACTS: CacheLabel = CacheLabel { cache: "facts" };

/// Both caches. A block's file never changes, so nothing in them grows old.
#[derive(Debug)]
pub(in crate::reader) struct ScanCache {
    runs: CountedCache<(Path, usize), Arc<TraceRuns>>,
    facts: CountedCache<(Path, FactKey), Arc<Fact>>,
    metrics: Metrics,
}

impl ScanCache {
    pub(in crate::reader) fn new(config: &ReaderConfig, memory: &Arc<Governor>, metrics: Metrics) -> Self {
        let (runs_max, facts_max) = (config.runs_cache_bytes.as_u64(), config.facts_cache_bytes.as_u64());
        let runs = CountedCache::new(memory, runs_max, |key: &(Path, usize), runs: &Arc<TraceRuns>| {
            key.0.as_ref().len() + 64 + runs.memory_bytes()
        });
        let facts = CountedCache::new(memory, facts_max, |key: &(Path, FactKey), fact: &Arc<Fact>| {
            key.0.as_ref().len() + 64 + fact.memory_bytes()
        });
        Self { runs, facts, metrics }
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
        let runs = self.runs.load(&(path.clone(), group), load).await;
        count(&self.metrics, RUNS, missed, self.runs.bytes());
        runs
    }

    pub(super) async fn fact(&self, path: &Path, key: FactKey) -> Option<Arc<Fact>> {
        let fact = self.facts.get(&(path.clone(), key)).await;
        count(&self.metrics, FACTS, fact.is_none(), self.facts.bytes());
        fact
    }

    pub(super) async fn learn(&self, path: &Path, key: FactKey, fact: Arc<Fact>) {
        self.facts.insert((path.clone(), key), fact).await;
    }
}
