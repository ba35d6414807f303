//! Caches: memory that may be had back at any time.
//! Owns: what caches hold in the accounting, and the order in which they are asked to let go.
//! Does not own: the caches, their bounds and their ways to choose what to keep.
//! A cache adds what it takes in, removes what it evicts, and lets go when another part needs the memory.

use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::{Governor, Part, Permit};

type Shrink = dyn Fn() + Send + Sync;

/// How registered caches let go.
#[derive(Default)]
pub(crate) struct Shrinkers(Mutex<Vec<(Weak<Entries>, Arc<Shrink>)>>);

impl fmt::Debug for Shrinkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shrinkers({})", self.0.lock().len())
    }
}

impl Shrinkers {
    /// Asks caches, the fullest first, until they gave back that much; false if none had anything.
    pub(crate) fn shrink(&self, bytes: usize) -> bool {
        let caches = self.0.lock();
        let mut full: Vec<_> = caches
            .iter()
            .filter_map(|(entries, shrink)| {
                let held = entries.upgrade()?.bytes();
                (held > 0).then(|| (held, Arc::clone(shrink)))
            })
            .collect();
        // The callbacks give bytes back, and may drop the last of a cache.
        drop(caches);
        full.sort_by_key(|(held, _)| std::cmp::Reverse(*held));
        let mut freed = 0;
        for (held, shrink) in &full {
            if freed >= bytes {
                break;
            }
            shrink();
            freed += held;
        }
        !full.is_empty()
    }
}

/// What entries of one cache hold.
#[derive(Debug)]
struct Entries(Mutex<Permit>);

impl Entries {
    fn bytes(&self) -> usize {
        self.0.lock().bytes()
    }
}

/// The account of one cache. Clones are the same account; it is closed with [`Registration`]'s end and the last of them.
#[derive(Clone, Debug)]
pub struct CacheAccount(Arc<Entries>);

impl CacheAccount {
    /// Counts an entry; false where there is no memory for it: then it should not be kept.
    #[must_use]
    pub fn try_add(&self, bytes: usize) -> bool {
        self.0.0.lock().grow(bytes).is_ok()
    }

    /// Counts an entry that is kept in any case, as a cache that cannot turn away what it has loaded must do.
    pub fn add(&self, bytes: usize) {
        let mut permit = self.0.0.lock();
        let held = permit.bytes();
        permit.settle(held + bytes);
    }

    /// Discounts an entry that is gone.
    pub fn remove(&self, bytes: usize) {
        let mut permit = self.0.0.lock();
        let held = permit.bytes();
        permit.shrink_to(held.saturating_sub(bytes));
    }

    /// Bytes of all entries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// As long as it lives, the cache is asked to let go when memory is short.
#[derive(Debug)]
pub struct Registration {
    governor: Arc<Governor>,
    account: CacheAccount,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut caches = self.governor.shrinkers.0.lock();
        let gone: Vec<_> =
            caches.extract_if(.., |(entries, _)| entries.as_ptr() == Arc::as_ptr(&self.account.0)).collect();
        drop(caches);
        // The callback may hold the last reference to the cache, whose entries are discounted as they go.
        drop(gone);
    }
}

impl Governor {
    /// An account for a cache.
    #[must_use]
    pub fn cache_account(self: &Arc<Self>) -> CacheAccount {
        CacheAccount(Arc::new(Entries(Mutex::new(self.empty(Part::Caches)))))
    }

    /// From now on `let_go` is called when other parts need what the account holds. It has to discount what it lets go of
    /// before it returns, and must reserve nothing itself.
    #[must_use]
    pub fn register_cache(
        self: &Arc<Self>,
        account: &CacheAccount,
        let_go: impl Fn() + Send + Sync + 'static,
    ) -> Registration {
        self.shrinkers.0.lock().push((Arc::downgrade(&account.0), Arc::new(let_go)));
        Registration { governor: Arc::clone(self), account: account.clone() }
    }
}
