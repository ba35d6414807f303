//! Spans that a client sent again: seen before, as long as their original is in the retained window.

use std::hash::BuildHasherDefault;
use std::sync::Arc;

use hashbrown::HashMap;
use vivace_model::TenantId;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed, xxh3_128_with_seed};

/// What makes two spans one: equal ids, kind and content, told by 128 bits of a keyed hash over all of its bytes, its
/// resource, scope and tenant. At a trillion spans and a window of a million the chance of one false match is 10^-20.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u128);

/// Remembers the fingerprints of the spans in one partition's open and retained blocks.
///
/// One generation per sealed set of blocks: [`Self::next_generation`] when one is sealed, [`Self::forget_oldest`] when
/// one is dropped.
#[derive(Debug)]
pub struct DuplicateFilter {
    seed: u64,
    seen: HashMap<u128, u32, BuildHasherDefault<TakeBits>>,
    generation: u32,
    oldest: u32,
    /// What is seen beside `seen`, and grows no more.
    below: Option<Arc<Self>>,
}

impl DuplicateFilter {
    /// An empty filter. The seed should be random, so that nobody can prepare spans that collide.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, seen: HashMap::default(), generation: 0, oldest: 0, below: None }
    }

    /// A filter that knows what another knows, and remembers what comes for itself.
    #[must_use]
    pub fn above(below: &Arc<Self>) -> Self {
        Self { below: Some(Arc::clone(below)), ..Self::new(below.seed) }
    }

    /// What comes now belongs to a new generation.
    pub const fn next_generation(&mut self) {
        self.generation += 1;
    }

    /// Forgets the oldest generation that is not the present one.
    pub fn forget_oldest(&mut self) {
        if self.oldest < self.generation {
            let oldest = self.oldest;
            self.seen.retain(|_, generation| *generation > oldest);
            self.oldest += 1;
            // A table keeps its size by itself.
            if self.seen.len() < self.seen.capacity() / 4 {
                self.seen.shrink_to(self.seen.len() * 2);
            }
        }
    }

    /// Fingerprints remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether it remembers nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Bytes of memory held, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        // Of eight places seven are filled at most; each has 32 bytes and one of its hash.
        self.seen.capacity() / 7 * 8 * 33
    }

    /// What the fingerprints of all spans under this resource and scope have in common.
    pub(crate) fn context(&self, tenant: &TenantId, resource: [&[u8]; 2], scope: [&[u8]; 2]) -> u64 {
        let mut hasher = Xxh3::with_seed(self.seed);
        for part in [tenant.as_str().as_bytes(), resource[0], resource[1], scope[0], scope[1]] {
            hasher.update(&part.len().to_le_bytes());
            hasher.update(part);
        }
        hasher.digest()
    }

    /// The fingerprint of a span. Its bytes hold its ids and kind.
    pub(crate) fn fingerprint(context: u64, span: &[u8]) -> Fingerprint {
        Fingerprint(xxh3_128_with_seed(span, context))
    }

    /// Notes a span; false if it was seen before.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint) -> bool {
        if self.below.as_ref().is_some_and(|below| below.seen.contains_key(&fingerprint.0)) {
            return false;
        }
        let generation = self.generation;
        let mut new = false;
        self.seen.entry(fingerprint.0).or_insert_with(|| {
            new = true;
            generation
        });
        new
    }

    /// Takes a span back, because it was not stored after all.
    pub(crate) fn remove(&mut self, fingerprint: Fingerprint) {
        self.seen.remove(&fingerprint.0);
    }
}

/// Fingerprints are hashes already: takes 64 of their bits, mixed once, as the table uses the highest ones too.
#[derive(Debug, Default)]
pub(crate) struct TakeBits(u64);

impl std::hash::Hasher for TakeBits {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }
    fn write_u128(&mut self, bits: u128) {
        self.0 = (bits >> 64) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_until_its_generation_is_forgotten() {
        let mut filter = DuplicateFilter::new(7);
        let context = filter.context(&TenantId::default(), [b"r", b""], [b"s", b""]);
        let span = DuplicateFilter::fingerprint(context, b"span");
        assert!(filter.insert(span));
        filter.next_generation();
        assert!(!filter.insert(span));
        filter.forget_oldest();
        assert!(filter.insert(span));
        filter.forget_oldest();
        assert!(!filter.insert(span), "the present generation is never forgotten");
        filter.remove(span);
        assert!(filter.insert(span));
    }

    #[test]
    fn context_tells_parts_apart() {
        let filter = DuplicateFilter::new(7);
        let tenant = TenantId::default();
        let a = filter.context(&tenant, [b"ab", b"c"], [b"", b""]);
        let b = filter.context(&tenant, [b"a", b"bc"], [b"", b""]);
        assert_ne!(a, b);
    }
}
