//! The newest traces, so many at most; pieces of one trace become one.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use hashbrown::HashMap;
use prost::Message;
use vivace_proto::internal::{FoundSpan, FoundSpanset, FoundTrace};

use super::merge_summary;

/// Traces by (start, trace id). Holds `capacity` of them, with the spans that an answer tells and no more.
#[derive(Debug)]
pub(crate) struct NewestTraces {
    capacity: usize,
    spans_max: usize,
    traces: HashMap<Vec<u8>, FoundTrace, ahash::RandomState>,
    order: BTreeSet<(u64, Vec<u8>)>,
    /// Memory of the traces.
    bytes: usize,
}

/// Beside what a trace tells: its places in the map and in the order.
const TRACE_OVERHEAD: usize = 256;

impl NewestTraces {
    pub(crate) fn new(capacity: usize, spans_max: usize) -> Self {
        Self { capacity, spans_max, traces: HashMap::default(), order: BTreeSet::new(), bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Bytes of memory held, about.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn contains(&self, trace_id: &[u8]) -> bool {
        self.traces.contains_key(trace_id)
    }

    /// (start, trace id), newest first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.order.iter().rev().map(|(start, id)| (*start, id.as_slice()))
    }

    /// Start of the n-th newest, counted from 1.
    pub(crate) fn start_of(&self, nth: usize) -> Option<u64> {
        self.order.iter().rev().nth(nth.checked_sub(1)?).map(|(start, _)| *start)
    }

    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &FoundTrace> {
        self.order.iter().rev().map(|(_, id)| &self.traces[id])
    }

    pub(crate) fn into_newest_first(mut self, limit: usize) -> Vec<FoundTrace> {
        let newest = self.order.iter().rev().take(limit);
        newest.filter_map(|(_, id)| self.traces.remove(id)).collect()
    }

    /// Adds a trace, or a piece of one that is here already. Says whether a trace had to be left out.
    pub(crate) fn insert(&mut self, trace: FoundTrace) -> bool {
        if let Some(known) = self.traces.get_mut(&trace.trace_id) {
            self.order.remove(&(start_of(known), trace.trace_id.clone()));
            self.bytes -= bytes_of(known);
            merge_trace(known, trace, self.spans_max);
            self.bytes += bytes_of(known);
            self.order.insert((start_of(known), known.trace_id.clone()));
            return false;
        }
        self.bytes += bytes_of(&trace);
        self.order.insert((start_of(&trace), trace.trace_id.clone()));
        self.traces.insert(trace.trace_id.clone(), trace);
        if self.order.len() <= self.capacity {
            return false;
        }
        if let Some((_, id)) = self.order.pop_first()
            && let Some(left_out) = self.traces.remove(&id)
        {
            self.bytes -= bytes_of(&left_out);
        }
        true
    }
}

/// Messages take about twice as much as their bytes.
fn bytes_of(trace: &FoundTrace) -> usize {
    TRACE_OVERHEAD + 2 * trace.encoded_len()
}

fn start_of(trace: &FoundTrace) -> u64 {
    trace.summary.as_ref().map_or(0, |summary| summary.start)
}

fn merge_trace(known: &mut FoundTrace, piece: FoundTrace, spans_max: usize) {
    match (&mut known.summary, piece.summary) {
        (Some(known), Some(more)) => merge_summary(known, more),
        (known, more) => *known = known.take().or(more),
    }
    for spanset in piece.spansets {
        match known.spansets.iter_mut().find(|known| known.attributes == spanset.attributes) {
            Some(known) => merge_spanset(known, spanset, spans_max),
            None => known.spansets.push(spanset),
        }
    }
}

fn merge_spanset(known: &mut FoundSpanset, more: FoundSpanset, spans_max: usize) {
    known.matched = known.matched.saturating_add(more.matched);
    known.spans.extend(more.spans);
    // Of spans that are one, the same one stays whichever came first: the order is total.
    known.spans.sort_by(|a, b| identity(a).cmp(&identity(b)).then_with(|| rest(a, b)));
    known.spans.dedup_by(|a, b| identity(a) == identity(b));
    known.spans.sort_by(|a, b| told_before(a).cmp(&told_before(b)));
    known.spans.truncate(spans_max);
}

/// What makes two findings the same span.
fn identity(span: &FoundSpan) -> (u64, &[u8], &str) {
    (span.start, &span.span_id, &span.name)
}

/// By start, ancestors first where they start together with their descendants.
fn told_before(span: &FoundSpan) -> (u64, i32, &[u8], &str) {
    (span.start, span.nested_set_left, &span.span_id, &span.name)
}

fn rest(a: &FoundSpan, b: &FoundSpan) -> Ordering {
    let numbers = |span: &FoundSpan| (span.nested_set_left, span.duration);
    numbers(a).cmp(&numbers(b)).then_with(|| a.encode_to_vec().cmp(&b.encode_to_vec()))
}
