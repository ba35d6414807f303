//! Gives out the shop's traces, one by one or as collectors would send them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vivace_proto::otlp::collector::trace::ExportTraceServiceRequest;
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};

use crate::trace::{Sent, Trace};
use crate::world::{NODES, World};

const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";
/// Most spans of one trace that reach a collector together.
const BURST_MAX: usize = 4;

/// What a [`Shop`] is a function of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Everything random comes from it.
    pub seed: u64,
    /// When the first trace begins, in nanoseconds since 1970-01-01 UTC.
    pub start: u64,
    /// Mean time from the begin of one trace to that of the next.
    pub trace_interval: Duration,
    /// Traces whose spans are mixed in what the collectors hold.
    pub traces_in_flight: usize,
    /// Spans in a request.
    pub spans_per_request: usize,
}

/// As the prototypes measured with; starts at 2026-01-01T00:00:00Z, 200 traces a second.
impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            start: 1_767_225_600_000_000_000,
            trace_interval: Duration::from_millis(5),
            traces_in_flight: 120,
            spans_per_request: 300,
        }
    }
}

/// A shop whose services never stop sending. [`next_trace`](Self::next_trace) gives whole traces,
/// [`next_request`](Self::next_request) mixed ones; use one or the other.
#[derive(Debug)]
pub struct Shop {
    options: Options,
    rng: ChaCha8Rng,
    world: World,
    next_start: u64,
    /// A span of a recent trace, for links.
    earlier: Option<([u8; 16], [u8; 8])>,
    /// What is left of each trace in flight, in the order in which its spans end.
    in_flight: Vec<VecDeque<Sent>>,
    /// What each node's collector holds.
    collected: [Vec<Sent>; NODES],
}

impl Shop {
    /// A shop that opens at `options.start`.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        let world = World::new(&mut rng);
        let next_start = options.start;
        Self {
            options,
            rng,
            world,
            next_start,
            earlier: None,
            in_flight: Vec::new(),
            collected: Default::default(),
        }
    }

    /// Lets the next trace begin at that time (nanoseconds since 1970-01-01 UTC), as a demo in real time wants it.
    pub const fn set_time(&mut self, now: u64) {
        self.next_start = now;
    }

    /// The next trace, whole.
    #[must_use]
    pub fn next_trace(&mut self) -> TracesData {
        let spans = self.play();
        TracesData { resource_spans: self.grouped(spans) }
    }

    /// The next batch that some collector sends: exactly `spans_per_request` spans of many traces.
    #[must_use]
    pub fn next_request(&mut self) -> ExportTraceServiceRequest {
        loop {
            if let Some(node) = self.step() {
                let spans = std::mem::take(&mut self.collected[node]);
                return ExportTraceServiceRequest { resource_spans: self.grouped(spans) };
            }
        }
    }

    /// [`next_request`](Self::next_request) as it goes over the wire.
    #[must_use]
    pub fn next_request_bytes(&mut self) -> Bytes {
        self.next_request().encode_to_vec().into()
    }

    /// What is still missing of the traces in flight, in full requests and a smaller one for each collector. After it,
    /// each trace that was begun has been given out whole.
    #[must_use]
    pub fn drain(&mut self) -> Vec<ExportTraceServiceRequest> {
        let rest = std::mem::take(&mut self.in_flight);
        for sent in rest.into_iter().flatten() {
            self.collected[self.world.pods[sent.pod].node].push(sent);
        }
        let mut requests = Vec::new();
        for mut spans in std::mem::take(&mut self.collected) {
            while !spans.is_empty() {
                let later = spans.split_off(spans.len().min(self.options.spans_per_request.max(1)));
                requests.push(ExportTraceServiceRequest { resource_spans: self.grouped(spans) });
                spans = later;
            }
        }
        requests
    }

    /// Some trace's next spans reach their collectors. Gives the first node whose collector is full.
    fn step(&mut self) -> Option<usize> {
        let full = self.options.spans_per_request.max(1);
        while self.in_flight.len() < self.options.traces_in_flight.max(1) {
            let mut spans = self.play();
            spans.sort_by_key(|sent| sent.span.end_time_unix_nano);
            self.in_flight.push(spans.into());
        }
        let index = self.rng.random_range(0..self.in_flight.len());
        for _ in 0..self.rng.random_range(1..=BURST_MAX) {
            let Some(sent) = self.in_flight[index].pop_front() else {
                break;
            };
            let node = self.world.pods[sent.pod].node;
            self.collected[node].push(sent);
            if self.collected[node].len() == full {
                return Some(node);
            }
        }
        if self.in_flight[index].is_empty() {
            self.in_flight.swap_remove(index);
        }
        None
    }

    fn play(&mut self) -> Vec<Sent> {
        let spans = Trace::new(&self.world, &mut self.rng, self.next_start, self.earlier).play().spans;
        let interval = u64::try_from(self.options.trace_interval.as_nanos()).unwrap_or(u64::MAX);
        self.next_start += self.rng.random_range(0..=interval.saturating_mul(2));
        let last = spans.last().map(|sent| &sent.span);
        self.earlier = last.and_then(|span| {
            Some((span.trace_id.as_slice().try_into().ok()?, span.span_id.as_slice().try_into().ok()?))
        });
        spans
    }

    /// Spans by resource and scope, as an SDK or a collector groups them.
    fn grouped(&self, spans: Vec<Sent>) -> Vec<ResourceSpans> {
        let mut pods: BTreeMap<usize, [Vec<Span>; 2]> = BTreeMap::new();
        for Sent { pod, scope, span } in spans {
            pods.entry(pod).or_default()[scope].push(span);
        }
        let resource_spans = |(pod, spans): (usize, [Vec<Span>; 2])| {
            let pod = &self.world.pods[pod];
            let scopes = pod.scopes.iter().zip(spans).filter(|(_, spans)| !spans.is_empty());
            ResourceSpans {
                resource: Some(pod.resource.clone()),
                scope_spans: scopes
                    .map(|(scope, spans)| ScopeSpans {
                        scope: Some(scope.clone()),
                        spans,
                        schema_url: String::new(),
                    })
                    .collect(),
                schema_url: SCHEMA_URL.to_owned(),
            }
        };
        pods.into_iter().map(resource_spans).collect()
    }
}

#[cfg(test)]
mod tests;
