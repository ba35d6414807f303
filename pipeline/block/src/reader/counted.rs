//! A cache whose entries are memory of the process, which it gives back when others need it.
//! Owns: that each entry counts as long as it is kept. Does not own: what is kept, and why.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use futures::FutureExt;
use moka::future::Cache;
use vivace_memory::{CacheAccount, Governor, Registration};

use crate::BlockError;

/// The cache evicts in steps; more of them than any of ours has.
const STEPS_MAX: usize = 10_000;

/// A cache of so many bytes at most.
pub(super) struct CountedCache<K, V> {
    cache: Cache<K, V>,
    weigh: fn(&K, &V) -> usize,
    account: CacheAccount,
    /// Ends before the cache.
    _registration: Registration,
}

impl<K, V> fmt::Debug for CountedCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CountedCache({} bytes)", self.account.bytes())
    }
}

impl<K, V> CountedCache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(memory: &Arc<Governor>, bytes_max: u64, weigh: fn(&K, &V) -> usize) -> Self {
        let account = memory.cache_account();
        let evicted = account.clone();
        let cache: Cache<K, V> = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(move |key, value| u32::try_from(weigh(key, value)).unwrap_or(u32::MAX))
            .eviction_listener(move |key, value, _| evicted.remove(weigh(&key, &value)))
            .build();
        let (own, held) = (cache.clone(), account.clone());
        let registration = memory.register_cache(&account, move || let_go(&own, &held));
        Self { cache, weigh, account, _registration: registration }
    }

    /// The entry, loaded only once however many ask at the same time.
    pub(super) async fn load(
        &self,
        key: &K,
        load: impl Future<Output = Result<V, BlockError>>,
    ) -> Result<V, BlockError> {
        let counted = async {
            let value = load.await?;
            self.count(key, &value);
            Ok::<_, BlockError>(value)
        };
        // Boxed: loading is rare and its state is large.
        let value = self.cache.try_get_with_by_ref(key, Box::pin(counted)).await;
        value.map_err(|error| BlockError::clone(&error))
    }

    pub(super) async fn get(&self, key: &K) -> Option<V> {
        self.cache.get(key).await
    }

    pub(super) async fn insert(&self, key: K, value: V) {
        self.count(&key, &value);
        self.cache.insert(key, value).await;
    }

    /// Bytes of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.account.bytes() as u64
    }

    /// Counts an entry that is about to be kept. Where there is no memory for it, all others go.
    fn count(&self, key: &K, value: &V) {
        let bytes = (self.weigh)(key, value);
        if !self.account.try_add(bytes) {
            let_go(&self.cache, &self.account);
            self.account.add(bytes);
        }
    }
}

/// Drops all entries, now. What comes in meanwhile stays.
fn let_go<K, V>(cache: &Cache<K, V>, account: &CacheAccount)
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    cache.invalidate_all();
    for _ in 0..STEPS_MAX {
        let before = account.bytes();
        // Not ready while another thread does just this.
        if cache.run_pending_tasks().now_or_never().is_none() || account.bytes() >= before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use vivace_memory::{Part, Shares};

    use super::*;

    fn memory() -> Arc<Governor> {
        Governor::new(Shares::exact(10_000, &[(Part::Caches, 10_000, 0), (Part::Answers, 10_000, 0)]))
    }

    fn cache(memory: &Arc<Governor>, bytes_max: u64) -> CountedCache<u32, Bytes> {
        CountedCache::new(memory, bytes_max, |_, value| value.len())
    }

    async fn fill(cache: &CountedCache<u32, Bytes>, keys: std::ops::Range<u32>) {
        for key in keys {
            let loaded = cache.load(&key, async { Ok(Bytes::from(vec![0; 10])) }).await;
            assert_eq!(loaded.unwrap().len(), 10);
        }
    }

    #[tokio::test]
    async fn entries_count_while_they_are_kept() {
        let memory = memory();
        let cache = cache(&memory, 500);
        fill(&cache, 0..30).await;
        fill(&cache, 0..30).await;
        assert_eq!((memory.used(Part::Caches), cache.bytes()), (300, 300));
        fill(&cache, 100..300).await;
        cache.cache.run_pending_tasks().await;
        assert!(memory.used(Part::Caches) <= 500, "{} bytes", memory.used(Part::Caches));
        cache.insert(0, Bytes::from_static(b"another")).await;
        cache.cache.run_pending_tasks().await;
        assert_eq!(memory.used(Part::Caches) as u64, cache.cache.weighted_size());
        drop(cache);
        assert_eq!(memory.total(), 0);
    }

    #[tokio::test]
    async fn others_get_all_of_it() {
        let memory = memory();
        let cache = cache(&memory, 10_000);
        fill(&cache, 0..1000).await;
        let answers = memory.reserve(Part::Answers, 9_990).expect("the cache gives way");
        assert_eq!(cache.bytes(), 0);
        assert!(cache.get(&7).await.is_none());
        fill(&cache, 0..3).await;
        assert!(cache.bytes() <= 10, "there is room for one entry only: {} bytes", cache.bytes());
        drop(answers);
        fill(&cache, 10..20).await;
        assert!(cache.get(&15).await.is_some());
    }
}
