//! Puts together what several jobs found.
//! Owns: when two findings are the same trace, span or tag, what stays of both, and what is left out when there is too much.
//! Guarantee: the answer is the same whatever the order in which jobs come.
//! Does not own: series (their label sets, second stages and math).

mod newest;
mod summary;
mod tags;

pub(crate) use newest::NewestTraces;
pub use summary::merge_summary;
pub use tags::TagsMerger;
pub(crate) use tags::{TAG_SCOPES, TagSets};

use vivace_model::UnixNanos;
use vivace_proto::internal::{FoundTrace, FoundTraces};

/// Traces kept beyond the limit, as a share of it and at least this many: a further piece may show that a trace begins
/// earlier than its first piece said, and then others take its place.
const SPARE_TRACES_MIN: usize = 256;

/// The newest traces of several jobs.
#[derive(Debug)]
pub struct TracesMerger {
    limit: usize,
    traces: NewestTraces,
    more: bool,
}

impl TracesMerger {
    /// Nothing yet; `limit` traces at most, and `spans_max` spans of each spanset.
    #[must_use]
    pub fn new(limit: usize, spans_max: usize) -> Self {
        let kept = limit.saturating_add(limit.max(SPARE_TRACES_MIN));
        Self { limit, traces: NewestTraces::new(kept, spans_max), more: false }
    }

    /// Adds what a job found.
    pub fn add(&mut self, found: FoundTraces) {
        self.more |= found.more;
        for trace in found.traces {
            self.more |= self.traces.insert(trace);
        }
    }

    /// Bytes of memory held, about.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.traces.bytes()
    }

    /// The start of the last trace that would be told now, if there are as many as asked for: what ends before it cannot
    /// add any.
    #[must_use]
    pub fn horizon(&self) -> Option<UnixNanos> {
        self.traces.start_of(self.limit).map(UnixNanos)
    }

    /// What would be told now, newest first.
    pub fn best(&self) -> impl Iterator<Item = &FoundTrace> {
        self.traces.newest_first().take(self.limit)
    }

    /// Whether there were more traces than told.
    #[must_use]
    pub fn more(&self) -> bool {
        self.more || self.traces.len() > self.limit
    }

    /// The newest traces, newest first: by (start, trace id) descending.
    #[must_use]
    pub fn finish(self) -> Vec<FoundTrace> {
        self.traces.into_newest_first(self.limit)
    }
}

#[cfg(test)]
mod tests;
