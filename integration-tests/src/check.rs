use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use anyhow::bail;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use vivace_model::SpanId;

use crate::canonical::Canonical;

/// Differences that one message shows.
const SHOWN: usize = 5;

/// Compares two traces span by span and field by field.
///
/// # Errors
/// Names the spans and fields that differ.
pub fn compare(expected: &Canonical, found: &Canonical) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    let ids: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    for id in ids {
        match (expected.get(id), found.get(id)) {
            (Some(_), None) => faults.push(format!("span {id} is missing")),
            (None, Some(_)) => faults.push(format!("span {id} was never sent")),
            (Some(expected), Some(found)) if expected.len() != found.len() => {
                faults.push(format!("span {id}: {} expected, {} found", expected.len(), found.len()));
            }
            (Some(expected), Some(found)) => {
                for (expected, found) in expected.iter().zip(found) {
                    faults.extend(differing_fields(id, expected, found));
                }
            }
            (None, None) => {}
        }
    }
    if !faults.is_empty() {
        let more = faults.len().saturating_sub(SHOWN);
        faults.truncate(SHOWN);
        bail!("the traces differ:\n{}\n({more} more)", faults.join("\n"));
    }
    Ok(())
}

fn differing_fields(id: &str, expected: &serde_json::Value, found: &serde_json::Value) -> Vec<String> {
    let Some(fields) = expected.as_object() else {
        return Vec::new();
    };
    fields
        .iter()
        .filter(|(name, value)| found[name.as_str()] != **value)
        .map(|(name, value)| {
            format!("span {id}, {name}:\n  expected {value}\n  found    {}", found[name.as_str()])
        })
        .collect()
}

/// How an answer differs from the trace that was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceFault {
    /// Acknowledged spans that the answer lacks.
    pub missing: Vec<SpanId>,
    /// Spans that the answer holds more than once.
    pub repeated: Vec<SpanId>,
    /// Spans in the answer that were never sent.
    pub strange: Vec<SpanId>,
}

impl fmt::Display for TraceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missing, repeated, strange) = (self.missing.len(), self.repeated.len(), self.strange.len());
        write!(f, "{missing} acknowledged spans missing, {repeated} repeated, {strange} never sent")
    }
}

/// Checks that a trace holds each acknowledged span once, and nothing that was not sent.
///
/// # Errors
/// Names the spans at fault.
pub fn whole(
    acknowledged: &HashSet<SpanId>,
    sent: &HashSet<SpanId>,
    found: &TracesData,
) -> Result<(), TraceFault> {
    let mut counts: HashMap<SpanId, u32> = HashMap::new();
    for group in &found.resource_spans {
        for span in group.scope_spans.iter().flat_map(|scoped| &scoped.spans) {
            let mut id = [0; 8];
            id.copy_from_slice(&span.span_id);
            *counts.entry(SpanId::from_bytes(id)).or_default() += 1;
        }
    }
    let fault = TraceFault {
        missing: acknowledged.iter().filter(|id| !counts.contains_key(id)).copied().collect(),
        repeated: counts.iter().filter(|(_, count)| **count > 1).map(|(id, _)| *id).collect(),
        strange: counts.keys().filter(|id| !sent.contains(id)).copied().collect(),
    };
    if fault == TraceFault::default() { Ok(()) } else { Err(fault) }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

    use super::*;
    use crate::canonical::canonical;

    fn trace(spans: Vec<Span>) -> TracesData {
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
    }

    fn span(id: u8, value: Value) -> Span {
        let value = Some(AnyValue { value: Some(value) });
        let attributes = vec![KeyValue { key: "key".into(), value, ..KeyValue::default() }];
        Span { trace_id: vec![1; 16], span_id: vec![id; 8], attributes, ..Span::default() }
    }

    fn ids(ids: &[u8]) -> HashSet<SpanId> {
        ids.iter().map(|id| SpanId::from_bytes([*id; 8])).collect()
    }

    #[test]
    fn comparing_sees_values_types_and_spans() {
        let of = |value| canonical(&trace(vec![span(1, value)]));
        let values = [
            Value::IntValue(1),
            Value::IntValue(2),
            Value::DoubleValue(1.0),
            Value::DoubleValue(0.0),
            Value::DoubleValue(-0.0),
            Value::BoolValue(true),
            Value::StringValue("1".into()),
            Value::BytesValue(vec![1]),
        ];
        for (index, one) in values.iter().enumerate() {
            for (other_index, other) in values.iter().enumerate() {
                let same = compare(&of(one.clone()), &of(other.clone())).is_ok();
                assert_eq!(same, index == other_index, "{one:?} and {other:?}");
            }
        }
        let one = of(Value::IntValue(1));
        let two = canonical(&trace(vec![span(1, Value::IntValue(1)), span(2, Value::IntValue(1))]));
        let twice = canonical(&trace(vec![span(1, Value::IntValue(1)), span(1, Value::IntValue(1))]));
        for (expected, found) in [(&one, &two), (&two, &one), (&one, &twice), (&twice, &one)] {
            assert!(compare(expected, found).is_err());
        }
    }

    #[test]
    fn wholeness_is_each_acknowledged_span_once_and_nothing_else() {
        let of = |ids: &[u8]| trace(ids.iter().map(|id| span(*id, Value::IntValue(1))).collect());
        let check = |found: &[u8]| whole(&ids(&[1, 2]), &ids(&[1, 2, 3]), &of(found));
        assert_eq!(check(&[1, 2]), Ok(()));
        assert_eq!(check(&[1, 2, 3]), Ok(()), "sent, and only not acknowledged yet");
        assert_eq!(check(&[1]).unwrap_err().missing, [SpanId::from_bytes([2; 8])]);
        assert_eq!(check(&[1, 2, 2]).unwrap_err().repeated, [SpanId::from_bytes([2; 8])]);
        assert_eq!(check(&[1, 2, 4]).unwrap_err().strange, [SpanId::from_bytes([4; 8])]);
    }
}
