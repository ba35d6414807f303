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
                faults.push(format!(
                    "span {id}: {} expected, {} found",
                    expected.len(),
                    found.len()
                ));
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
            format!(
                "span {id}, {name}:\n  expected {value}\n  found    {}",
                found[name.as_str()]
            )
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

impl TraceFault {
    /// Whether waiting could help: spans are missing, and nothing else is wrong.
    #[must_use]
    pub fn is_only_incomplete(&self) -> bool {
        self.repeated.is_empty() && self.strange.is_empty()
    }
}

impl fmt::Display for TraceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missing, repeated, strange) = (self.missing.len(), self.repeated.len(), self.strange.len());
        write!(
            f,
            "{missing} acknowledged spans missing, {repeated} repeated, {strange} never sent"
        )
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
        missing: acknowledged
            .iter()
            .filter(|id| !counts.contains_key(id))
            .copied()
            .collect(),
        repeated: counts
            .iter()
            .filter(|(_, count)| **count > 1)
            .map(|(id, _)| *id)
            .collect(),
        strange: counts.keys().filter(|id| !sent.contains(id)).copied().collect(),
    };
    if fault == TraceFault::default() {
        Ok(())
    } else {
        Err(fault)
    }
}
