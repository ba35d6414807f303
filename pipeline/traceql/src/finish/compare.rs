//! `compare()`: the values of each attribute that are most frequent in the selection or in the baseline.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::merged::{Merged, Partial};
use super::{Labels, Line, functions};
use crate::EvalError;
use crate::collect::labels::LabelKey;
use crate::collect::series::compare::{META_ERROR, META_TYPE, TOO_MANY_VALUES, TOTAL_TYPES, TYPES};
use crate::limits::Room;

/// Values of an attribute at most, whatever the query asks for.
const VALUES_MAX: usize = 1000;

/// What is known of one attribute; by baseline and selection.
#[derive(Default)]
struct AttributeParts<'a> {
    values: BTreeMap<&'a LabelKey, [Option<&'a Partial>; 2]>,
    totals: [Vec<&'a Partial>; 2],
    cut: bool,
}

/// The series of a comparison.
pub(super) fn lines(merged: &Merged, top_n: usize, room: &Room) -> Result<Vec<Line>, EvalError> {
    let mut attributes: BTreeMap<&Arc<str>, AttributeParts<'_>> = BTreeMap::new();
    for partial in &merged.partials {
        let Some((name, value)) = partial.labels.iter().find(|(name, _)| !name.starts_with("__")) else {
            continue;
        };
        let attribute = attributes.entry(name).or_default();
        let kind = text_of(&partial.labels, META_TYPE);
        if let Some(part) = TYPES.iter().position(|other| kind == Some(other)) {
            attribute.values.entry(value).or_default()[part] = Some(partial);
        } else if let Some(part) = TOTAL_TYPES.iter().position(|other| kind == Some(other)) {
            // One for the jobs that cut values, one for the others.
            attribute.totals[part].push(partial);
            attribute.cut |= text_of(&partial.labels, META_ERROR).is_some();
        }
    }
    let mut lines = Vec::new();
    for (name, attribute) in attributes {
        let top_n = top_n.min(VALUES_MAX);
        // Of each value, and of all together, in selection and baseline.
        room.take(2 * (1 + attribute.values.len().min(top_n)), merged.grid.intervals)?;
        attribute.lines(name, merged, top_n, &mut lines);
    }
    Ok(lines)
}

impl AttributeParts<'_> {
    fn lines(&self, name: &Arc<str>, merged: &Merged, top_n: usize, lines: &mut Vec<Line>) {
        for (totals, kind) in self.totals.iter().zip(TOTAL_TYPES) {
            let Some((first, others)) = totals.split_first() else { continue };
            let mut samples = functions::counts(merged, first);
            for other in others {
                samples.iter_mut().zip(functions::counts(merged, other)).for_each(|(sum, more)| *sum += more);
            }
            let mut labels = labels(kind, name, &LabelKey::Nil);
            if self.cut {
                labels.push((META_ERROR.into(), LabelKey::text(TOO_MANY_VALUES)));
            }
            lines.push(Line { labels, samples, exemplars: Vec::new() });
        }
        let mut ranked: Vec<_> =
            self.values.iter().map(|(value, parts)| (Reverse(self.rank(parts)), value, parts)).collect();
        ranked.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        for (_, value, parts) in ranked.into_iter().take(top_n) {
            for (partial, kind) in parts.iter().zip(TYPES) {
                if let Some(partial) = partial {
                    let labels = labels(kind, name, value);
                    lines.push(Line {
                        labels,
                        samples: functions::counts(merged, partial),
                        exemplars: Vec::new(),
                    });
                }
            }
        }
    }

    /// A value's larger share, so that what is frequent in one of selection and baseline is told of both.
    fn rank(&self, parts: &[Option<&Partial>; 2]) -> u64 {
        let share = |part: usize| {
            let total: u64 = self.totals[part].iter().map(|partial| partial.total()).sum();
            parts[part].map_or(0.0, |partial| partial.total() as f64 / total.max(1) as f64)
        };
        // Shares are never negative, so their bits are in order.
        share(0).max(share(1)).to_bits()
    }
}

fn labels(kind: &str, name: &Arc<str>, value: &LabelKey) -> Labels {
    vec![(META_TYPE.into(), LabelKey::text(kind)), (Arc::clone(name), value.clone())]
}

fn text_of<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    labels.iter().find_map(|(other, value)| match value {
        LabelKey::Text(text) if &**other == name => Some(&**text),
        _ => None,
    })
}
