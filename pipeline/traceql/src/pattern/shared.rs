//! Compiled patterns of the whole process, so that the jobs of a query, which each plan it, share them.
//! Owns: how many are kept. Does not own: what a pattern means.
//! Guarantee: a pattern that several threads ask for at the same time is compiled by one of them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::{DFA_BYTES_MAX, Pattern};

/// Bytes of all patterns that are kept, with what one thread keeps of each while it runs it.
const BYTES_MAX: usize = 64 << 20;

/// Those of the process.
pub(super) static PATTERNS: SharedPatterns = SharedPatterns::new(BYTES_MAX);

/// What a text compiles to.
type Slot = Arc<OnceLock<Result<Pattern, Arc<str>>>>;

/// Patterns by their text; those that were used longest ago go first.
#[derive(Debug)]
pub(super) struct SharedPatterns {
    bytes_max: usize,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    by_text: HashMap<Arc<str>, Entry>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    slot: Slot,
    /// Counted among [`Kept::bytes`]; 0 until it is compiled.
    bytes: usize,
    used: u64,
}

impl SharedPatterns {
    const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Mutex::new(None) }
    }

    /// The pattern of a text; compiled if it is not kept.
    pub(super) fn get(
        &self,
        text: &str,
        compile: impl FnOnce(&str) -> Result<Pattern, String>,
    ) -> Result<Pattern, Arc<str>> {
        let slot = self.slot(text);
        let mut fresh = false;
        let compiled = slot.get_or_init(|| {
            fresh = true;
            compile(text).map_err(Arc::from)
        });
        if fresh {
            self.count(text, compiled.as_ref().map_or(0, Pattern::bytes));
        }
        compiled.clone()
    }

    fn slot(&self, text: &str) -> Slot {
        let mut kept = self.kept.lock();
        let kept = kept.get_or_insert_default();
        kept.uses += 1;
        let used = kept.uses;
        if let Some(entry) = kept.by_text.get_mut(text) {
            entry.used = used;
            return Arc::clone(&entry.slot);
        }
        let slot = Slot::default();
        kept.by_text.insert(text.into(), Entry { slot: Arc::clone(&slot), bytes: 0, used });
        slot
    }

    /// Counts a pattern that was compiled, and drops others for it.
    fn count(&self, text: &str, compiled: usize) {
        let mut kept = self.kept.lock();
        let kept = kept.get_or_insert_default();
        let bytes = compiled + DFA_BYTES_MAX + text.len();
        if let Some(entry) = kept.by_text.get_mut(text) {
            kept.bytes = kept.bytes - entry.bytes + bytes;
            entry.bytes = bytes;
        }
        while kept.bytes > self.bytes_max {
            // A few hundred at most. What is being compiled is not counted yet, and stays.
            let counted = kept.by_text.iter().filter(|(_, entry)| entry.bytes > 0);
            let Some((oldest, _)) = counted.min_by_key(|(_, entry)| entry.used) else { break };
            let oldest = Arc::clone(oldest);
            if let Some(entry) = kept.by_text.remove(&oldest) {
                kept.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::pattern;

    #[test]
    fn threads_that_ask_at_the_same_time_share_one_compilation() {
        let patterns = SharedPatterns::new(BYTES_MAX);
        let (compiled, barrier) = (AtomicUsize::new(0), Barrier::new(4));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    let found = patterns.get("a+", |text| {
                        compiled.fetch_add(1, Ordering::Relaxed);
                        pattern::compile(text)
                    });
                    assert!(found.unwrap().is_match("aa"));
                });
            }
        });
        assert_eq!(compiled.into_inner(), 1);
    }

    #[test]
    fn what_was_used_longest_ago_is_dropped_first() {
        let patterns = SharedPatterns::new(3 * (DFA_BYTES_MAX + (32 << 10)));
        let compiled = |text: &str| {
            let mut fresh = false;
            let found = patterns.get(text, |text| {
                fresh = true;
                pattern::compile(text)
            });
            assert!(found.is_ok());
            fresh
        };
        assert!(compiled("a") && compiled("b") && compiled("c"));
        assert!(!compiled("a"), "it is kept");
        assert!(compiled("d"));
        assert!(!compiled("a") && compiled("b"), "b was used longest ago");
        let refused = |text: &str| patterns.get(text, pattern::compile).map(drop).unwrap_err();
        assert_eq!(refused("("), refused("("), "what is no pattern is kept as such");
        let bytes = patterns.kept.lock().as_ref().map_or(0, |kept| kept.bytes);
        assert!(bytes <= patterns.bytes_max, "{bytes}");
    }
}
