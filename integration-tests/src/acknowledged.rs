use std::collections::{BTreeMap, HashMap, HashSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use vivace_model::{SpanId, TraceId};

/// Names one span.
pub type SpanKey = (TraceId, SpanId);

/// What senders have sent and what of it was acknowledged; shared by them and whoever checks.
#[derive(Debug, Default)]
pub struct Acknowledged {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Spans of each trace, and whether they were acknowledged.
    traces: HashMap<TraceId, HashMap<SpanId, bool>>,
    /// Spans that were sent more than once, since an answer was lost: the log may hold them twice.
    resent: HashSet<SpanKey>,
    acknowledged: usize,
    /// Spans of all requests, as often as they were sent.
    attempted: usize,
    /// How often requests were refused, by the name of the gRPC code.
    refusals: BTreeMap<String, usize>,
}

impl Acknowledged {
    /// Notes that a request is about to be sent.
    pub fn sending(&self, spans: &[SpanKey]) {
        let mut inner = self.inner.lock();
        inner.attempted += spans.len();
        for (trace, span) in spans {
            inner.traces.entry(*trace).or_default().entry(*span).or_default();
        }
    }

    /// Notes that a request was not answered well and is sent again.
    pub fn resending(&self, spans: &[SpanKey]) {
        let mut inner = self.inner.lock();
        inner.attempted += spans.len();
        inner.resent.extend(spans);
    }

    /// Notes a refusal with that code.
    pub fn refused(&self, code: &str) {
        *self.inner.lock().refusals.entry(code.to_owned()).or_default() += 1;
    }

    /// How often requests were refused, by the name of the gRPC code.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<String, usize> {
        self.inner.lock().refusals.clone()
    }

    /// Notes that a request was answered with OK.
    pub fn acknowledged(&self, spans: &[SpanKey]) {
        let mut inner = self.inner.lock();
        for (trace, span) in spans {
            inner.traces.entry(*trace).or_default().insert(*span, true);
        }
        inner.acknowledged += spans.len();
    }

    /// Spans acknowledged so far.
    #[must_use]
    pub fn span_count(&self) -> usize {
        self.inner.lock().acknowledged
    }

    /// Spans sent so far, each as often as it was sent: the log holds no more than that.
    #[must_use]
    pub fn attempted(&self) -> usize {
        self.inner.lock().attempted
    }

    /// Spans of that trace acknowledged so far.
    #[must_use]
    pub fn acknowledged_of(&self, trace: TraceId) -> HashSet<SpanId> {
        let inner = self.inner.lock();
        inner.traces[&trace]
            .iter()
            .filter(|(_, acknowledged)| **acknowledged)
            .map(|(span, _)| *span)
            .collect()
    }

    /// Spans of that trace sent so far, acknowledged or not.
    #[must_use]
    pub fn sent_of(&self, trace: TraceId) -> HashSet<SpanId> {
        self.inner.lock().traces[&trace].keys().copied().collect()
    }

    /// Every acknowledged span.
    #[must_use]
    pub fn spans(&self) -> HashSet<SpanKey> {
        let inner = self.inner.lock();
        let all = inner.traces.iter().flat_map(|(trace, spans)| spans.iter().map(|span| (*trace, span)));
        all.filter(|(_, (_, acknowledged))| **acknowledged).map(|(trace, (span, _))| (trace, *span)).collect()
    }

    /// Whether a span was sent more than once.
    #[must_use]
    pub fn was_resent(&self, span: &SpanKey) -> bool {
        self.inner.lock().resent.contains(span)
    }

    /// Spans that were sent more than once.
    #[must_use]
    pub fn resent_count(&self) -> usize {
        self.inner.lock().resent.len()
    }

    /// At most `count` traces with acknowledged spans, chosen by the seed.
    #[must_use]
    pub fn sample(&self, count: usize, seed: u64) -> Vec<TraceId> {
        let inner = self.inner.lock();
        let mut traces: Vec<_> = inner
            .traces
            .iter()
            .filter(|(_, spans)| spans.values().any(|acknowledged| *acknowledged))
            .map(|(trace, _)| *trace)
            .collect();
        traces.sort_unstable();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        traces.sample(&mut random, count).copied().collect()
    }
}

/// The spans of a request.
///
/// # Panics
/// When ids have a wrong length: the tests' own requests never do.
pub(crate) fn span_keys(request: &ExportTraceServiceRequest) -> Vec<SpanKey> {
    let groups = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
    groups
        .flat_map(|scoped| &scoped.spans)
        .map(|span| {
            let trace = TraceId::new(&span.trace_id).expect("the sender makes trace ids of 16 bytes");
            (trace, SpanId::new(&span.span_id).expect("the sender makes span ids of 8 bytes"))
        })
        .collect()
}
