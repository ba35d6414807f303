//! Puts the pieces of a trace, from several blocks and from recent data, together.
//! Owns: which spans are the same, and how many are kept.
//! Does not own: where the pieces come from, what equal means (`equality`).
//! Guarantee: a span is dropped only if an equal one, of an equal resource and scope, is kept, or at the limit.

use hashbrown::HashTable;
use vivace_proto::otlp::trace::{Span, TracesData};

use crate::groups::{Groups, ScopeAt, SpanAt};

/// Collects pieces, in any order, into one message.
#[derive(Debug)]
pub struct TraceCombiner {
    spans_max: usize,
    spans: usize,
    truncated: bool,
    groups: Groups,
    seen: HashTable<Seen>,
}

#[derive(Debug)]
struct Seen {
    hash: u64,
    at: SpanAt,
}

/// What became of the pieces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Combined {
    /// The whole trace: no two equal resources, scopes or spans; spans in order of their start.
    pub traces_data: TracesData,
    /// Number of its spans.
    pub spans: usize,
    /// Whether there were more spans than the limit, so that some are missing.
    pub truncated: bool,
}

impl TraceCombiner {
    /// A combiner that keeps `spans_max` spans: those that come first.
    #[must_use]
    pub fn new(spans_max: usize) -> Self {
        Self { spans_max, spans: 0, truncated: false, groups: Groups::default(), seen: HashTable::new() }
    }

    /// Adds a piece.
    pub fn push(&mut self, piece: TracesData) {
        for resource_spans in piece.resource_spans {
            let resource = resource_spans.resource.unwrap_or_default();
            let resource = self.groups.resource(resource, resource_spans.schema_url);
            for scope_spans in resource_spans.scope_spans {
                let scope = scope_spans.scope.unwrap_or_default();
                let group = self.groups.scope(resource, scope, scope_spans.schema_url);
                for span in scope_spans.spans {
                    self.push_span(group, span);
                }
            }
        }
    }

    fn push_span(&mut self, group: ScopeAt, span: Span) {
        let Self { groups, seen, .. } = self;
        let hash = groups.equality.hash_one((group, groups.equality.hash_span(&span)));
        let same =
            |seen: &Seen| seen.at.group == group && groups.equality.same_span(groups.span(seen.at), &span);
        if seen.find(hash, same).is_some() {
            return;
        }
        if self.spans >= self.spans_max {
            self.truncated = true;
            return;
        }
        let at = groups.push(group, span);
        seen.insert_unique(hash, Seen { hash, at }, |seen| seen.hash);
        self.spans += 1;
    }

    /// Number of different spans so far.
    #[must_use]
    pub const fn spans(&self) -> usize {
        self.spans
    }

    /// Whether the limit was reached and spans were left out.
    #[must_use]
    pub const fn truncated(&self) -> bool {
        self.truncated
    }

    /// The whole.
    #[must_use]
    pub fn finish(self) -> Combined {
        let traces_data = self.groups.into_sorted_traces_data();
        Combined { traces_data, spans: self.spans, truncated: self.truncated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vivace_proto::otlp::common::any_value::Value;
    use vivace_proto::otlp::common::{AnyValue, KeyValue};
    use vivace_proto::otlp::resource::Resource;
    use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans};

    fn attribute(key: &str, number: f64) -> KeyValue {
        let value = Some(AnyValue { value: Some(Value::DoubleValue(number)) });
        KeyValue { key: key.into(), value, key_strindex: 0 }
    }

    fn span(id: u8, start: u64) -> Span {
        Span {
            trace_id: vec![7; 16],
            span_id: vec![id; 8],
            start_time_unix_nano: start,
            attributes: vec![attribute("a", f64::NAN), attribute("b", 2.0)],
            ..Span::default()
        }
    }

    fn piece(service: f64, spans: Vec<Span>) -> TracesData {
        let resource = Resource { attributes: vec![attribute("service", service)], ..Resource::default() };
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans =
            vec![ResourceSpans { resource: Some(resource), scope_spans, schema_url: String::new() }];
        TracesData { resource_spans }
    }

    fn combine(pieces: &[TracesData], spans_max: usize) -> Combined {
        let mut combiner = TraceCombiner::new(spans_max);
        for piece in pieces {
            combiner.push(piece.clone());
        }
        assert_eq!(combiner.truncated(), combiner.truncated);
        combiner.finish()
    }

    fn starts(combined: &Combined) -> Vec<Vec<u64>> {
        let groups = combined.traces_data.resource_spans.iter();
        groups
            .map(|group| {
                group
                    .scope_spans
                    .iter()
                    .flat_map(|scope| &scope.spans)
                    .map(|s| s.start_time_unix_nano)
                    .collect()
            })
            .collect()
    }

    #[test]
    fn equal_spans_are_kept_once_whatever_the_order_of_their_attributes() {
        let mut turned = span(1, 10);
        turned.attributes.reverse();
        let combined =
            combine(&[piece(1.0, vec![span(1, 10), span(2, 5)]), piece(1.0, vec![turned])], usize::MAX);
        assert_eq!(combined.spans, 2);
        assert_eq!(starts(&combined), [[5, 10]]);
        assert!(!combined.truncated);
    }

    #[test]
    fn spans_that_differ_in_anything_are_kept() {
        let changes: [fn(&mut Span); 8] = [
            |span| span.kind = 3,
            |span| span.name = "other".into(),
            |span| span.end_time_unix_nano = 1,
            |span| span.attributes[1] = attribute("b", 3.0),
            |span| span.dropped_links_count = 1,
            |span| span.parent_span_id = vec![9; 8],
            |span| span.events.push(Default::default()),
            |span| span.links.push(Default::default()),
        ];
        for change in changes {
            let mut changed = span(1, 10);
            change(&mut changed);
            let combined = combine(&[piece(1.0, vec![span(1, 10), changed.clone()])], usize::MAX);
            assert_eq!(combined.spans, 2, "{changed:?}");
        }
        let elsewhere = combine(&[piece(1.0, vec![span(1, 10)]), piece(2.0, vec![span(1, 10)])], usize::MAX);
        assert_eq!(elsewhere.spans, 2);
    }

    #[test]
    fn the_whole_does_not_depend_on_the_order_of_the_pieces() {
        let pieces =
            [piece(1.0, vec![span(1, 10)]), piece(2.0, vec![span(2, 3)]), piece(1.0, vec![span(3, 4)])];
        let mut turned = pieces.clone();
        turned.reverse();
        assert_eq!(starts(&combine(&pieces, 9)), [vec![3], vec![4, 10]]);
        assert_eq!(starts(&combine(&turned, 9)), [vec![3], vec![4, 10]]);
    }

    #[test]
    fn more_spans_than_the_limit_are_left_out_and_said() {
        let full = combine(&[piece(1.0, vec![span(1, 1), span(2, 2), span(1, 1)])], 2);
        assert_eq!((full.spans, full.truncated), (2, false));
        let more = combine(&[piece(1.0, vec![span(1, 1), span(2, 2)]), piece(2.0, vec![span(3, 3)])], 2);
        assert_eq!((more.spans, more.truncated), (2, true));
        assert_eq!(starts(&more), [[1, 2]]);
    }
}
