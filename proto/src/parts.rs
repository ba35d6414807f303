//! Cuts a trace into messages of bounded size.

use bytes::Bytes;
use prost::Message;

use crate::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};

/// Size that parts of an answer are cut at. A single span that is larger goes alone.
pub const PART_BYTES_MAX: usize = 1 << 20;

/// Bytes allowed for tags and lengths around one nested message.
const FRAME_BYTES: usize = 16;

/// Gives `traces` as encoded `TracesData` messages of at most about `bytes_max` bytes each, or of one span. Spans keep
/// their order; resource and scope are repeated in each part. No spans: no parts.
pub fn split(traces: TracesData, bytes_max: usize) -> impl Iterator<Item = Bytes> {
    let size = traces.encoded_len();
    let whole = size <= bytes_max;
    let one = (whole && size > 0).then(|| traces.encode_to_vec().into());
    let many = (!whole).then(|| Splitter::new(traces, bytes_max));
    one.into_iter().chain(many.into_iter().flatten())
}

/// Goes through the spans in order and fills one part after the other.
struct Splitter {
    resources: std::vec::IntoIter<ResourceSpans>,
    /// The resource in work, without its scopes, and what is left of these.
    resource: Option<(ResourceSpans, std::vec::IntoIter<ScopeSpans>)>,
    /// The scope in work, without its spans, and what is left of these.
    scope: Option<(ScopeSpans, std::iter::Peekable<std::vec::IntoIter<Span>>)>,
    bytes_max: usize,
}

impl Splitter {
    fn new(traces: TracesData, bytes_max: usize) -> Self {
        Self { resources: traces.resource_spans.into_iter(), resource: None, scope: None, bytes_max }
    }

    /// Makes sure that there is a scope with a span left; false at the end.
    fn advance(&mut self) -> bool {
        loop {
            if self.scope.as_mut().is_some_and(|(_, spans)| spans.peek().is_some()) {
                return true;
            }
            self.scope = None;
            if let Some((_, scopes)) = &mut self.resource
                && let Some(mut scope) = scopes.next()
            {
                let spans = std::mem::take(&mut scope.spans);
                self.scope = Some((scope, spans.into_iter().peekable()));
                continue;
            }
            let Some(mut resource) = self.resources.next() else {
                return false;
            };
            let scopes = std::mem::take(&mut resource.scope_spans);
            self.resource = Some((resource, scopes.into_iter()));
        }
    }
}

impl Iterator for Splitter {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut part: Vec<ResourceSpans> = Vec::new();
        let mut size = 0;
        while self.advance() {
            let (resource, _) = self.resource.as_ref()?;
            let (scope, spans) = self.scope.as_mut()?;
            size += resource.encoded_len() + scope.encoded_len() + 2 * FRAME_BYTES;
            let mut taken = Vec::new();
            while let Some(span) = spans.peek() {
                let span_size = span.encoded_len() + FRAME_BYTES;
                if size + span_size > self.bytes_max && !(part.is_empty() && taken.is_empty()) {
                    break;
                }
                size += span_size;
                taken.extend(spans.next());
            }
            let full = spans.peek().is_some();
            if !taken.is_empty() {
                let scope_spans = vec![ScopeSpans { spans: taken, ..scope.clone() }];
                part.push(ResourceSpans { scope_spans, ..resource.clone() });
            }
            if full {
                break;
            }
        }
        (!part.is_empty()).then(|| TracesData { resource_spans: part }.encode_to_vec().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::common::InstrumentationScope;

    fn traces(resources: usize, scopes: usize, spans: usize) -> TracesData {
        let span = |number: usize| Span { name: format!("span {number}"), ..Span::default() };
        let scope = |number: usize| ScopeSpans {
            scope: Some(InstrumentationScope { name: format!("scope {number}"), ..Default::default() }),
            spans: (0..spans).map(span).collect(),
            schema_url: "s".into(),
        };
        let resource = |number: usize| ResourceSpans {
            resource: Some(Default::default()),
            scope_spans: (0..scopes).map(scope).collect(),
            schema_url: format!("resource {number}"),
        };
        TracesData { resource_spans: (0..resources).map(resource).collect() }
    }

    /// Every span with its surroundings, in order.
    fn flat(traces: &TracesData) -> Vec<(String, String, String)> {
        let mut all = Vec::new();
        for resource in &traces.resource_spans {
            for scope in &resource.scope_spans {
                let name = scope.scope.as_ref().unwrap().name.clone();
                all.extend(
                    scope
                        .spans
                        .iter()
                        .map(|span| (resource.schema_url.clone(), name.clone(), span.name.clone())),
                );
            }
        }
        all
    }

    #[test]
    fn parts_are_bounded_and_together_hold_everything_in_order() {
        let whole = traces(3, 2, 50);
        for bytes_max in [1, 200, 1000, 100_000] {
            let parts: Vec<_> = split(whole.clone(), bytes_max).collect();
            let mut all = Vec::new();
            for part in &parts {
                let decoded = TracesData::decode(part.clone()).unwrap();
                assert!(part.len() <= bytes_max || flat(&decoded).len() == 1, "{} > {bytes_max}", part.len());
                all.extend(flat(&decoded));
            }
            assert_eq!(all, flat(&whole), "{bytes_max}");
        }
        assert_eq!(split(whole.clone(), 1).count(), 300);
        assert_eq!(split(whole, 100_000).count(), 1);
    }

    #[test]
    fn nothing_gives_no_part() {
        assert_eq!(split(TracesData::default(), 10).count(), 0);
        assert_eq!(split(traces(2, 3, 0), 10).count(), 0);
    }
}
