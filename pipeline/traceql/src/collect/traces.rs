//! The newest traces that match, with their first matching spans.
//! Memory: at most as many traces and spans as the search asks for, and the rows of the traces of one batch that are among
//! the newest.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, TimestampNanosecondType};
use vivace_model::UnixNanos;
use vivace_model::schema::{NESTED_SET_LEFT, START_TIME};
use vivace_proto::internal::{FoundSpan, FoundSpanset, FoundTrace, FoundTraces, Label};

use super::labels::LabelKey;
use super::rows::{Numbers, Property, WantedRows, missing, mistyped};
use super::summary::SummaryColumns;
use crate::ast::{Attribute, Literal};
use crate::merge::NewestTraces;
use crate::{EvalError, Selected, Spans};

/// Collects the newest traces.
#[derive(Debug)]
pub(super) struct TracesCollector {
    limit: usize,
    spans_max: usize,
    attributes: Vec<(String, Attribute)>,
    newest: NewestTraces,
    more: bool,
    /// Traces whose rows are wanted of the batch at hand.
    pending: Vec<Pending>,
}

/// A trace of the batch that is among the newest, as far as is known.
#[derive(Debug)]
struct Pending {
    start: u64,
    id: [u8; 16],
    /// Its rows in the batch.
    rows: Range<usize>,
    /// Its spansets, by number in the selection.
    spansets: Range<usize>,
}

impl TracesCollector {
    pub(super) fn new(limit: usize, spans_max: usize, attributes: &[Attribute]) -> Self {
        let attributes =
            attributes.iter().map(|attribute| (attribute.answer_key().to_owned(), attribute.clone()));
        Self {
            limit,
            spans_max,
            attributes: attributes.collect(),
            newest: NewestTraces::new(limit, spans_max),
            more: false,
            pending: Vec::new(),
        }
    }

    /// All rows of the traces that may be among the newest: a summary counts all spans.
    pub(super) fn wanted(&mut self, selected: &[Selected], first: &Spans<'_>) -> Result<Vec<u32>, EvalError> {
        self.pending.clear();
        let Some(selected) = selected.first().filter(|selected| !selected.spansets.is_empty()) else {
            return Ok(Vec::new());
        };
        let (mut known, mut fresh) = (Vec::new(), Vec::new());
        for pending in candidates(selected, first)? {
            if self.newest.contains(&pending.id) { known.push(pending) } else { fresh.push(pending) }
        }
        fresh.sort_unstable_by_key(|pending| Reverse((pending.start, pending.id)));
        let kept = self.places(&fresh);
        self.more |= kept < fresh.len();
        fresh.truncate(kept);
        self.pending = known;
        self.pending.append(&mut fresh);
        self.pending.sort_unstable_by_key(|pending| pending.rows.start);
        Ok(self.pending.iter().flat_map(|pending| pending.rows.clone()).map(|row| row as u32).collect())
    }

    /// How many of these traces, newest first, are among the newest together with those that are here.
    fn places(&self, fresh: &[Pending]) -> usize {
        let mut here = self.newest.keys().peekable();
        let (mut before, mut kept) = (0, 0);
        for pending in fresh {
            while here.next_if(|key| *key > (pending.start, pending.id.as_slice())).is_some() {
                before += 1;
            }
            if before + kept >= self.limit {
                break;
            }
            kept += 1;
        }
        kept
    }

    pub(super) fn take(&mut self, selected: &[Selected], wanted: &WantedRows<'_>) -> Result<(), EvalError> {
        let Some(selected) = selected.first().filter(|_| wanted.len() > 0) else {
            return Ok(());
        };
        let columns = TraceColumns::new(wanted, &self.attributes)?;
        let mut at = 0;
        for pending in self.pending.drain(..) {
            let found = FoundTrace {
                trace_id: pending.id.to_vec(),
                summary: Some(columns.summary.summarise(at..at + pending.rows.len())),
                spansets: pending
                    .spansets
                    .map(|number| {
                        let rows = spanset_rows(selected, number);
                        let positions = rows.iter().map(|row| *row as usize - pending.rows.start + at);
                        let attributes = &selected.spansets[number].attributes;
                        columns.spanset(positions.collect(), attributes, self.spans_max)
                    })
                    .collect(),
            };
            at += pending.rows.len();
            self.more |= self.newest.insert(found);
        }
        Ok(())
    }

    /// Start of the last trace, if there are as many as asked for.
    pub(super) fn horizon(&self) -> Option<UnixNanos> {
        self.newest.start_of(self.limit).map(UnixNanos)
    }

    pub(super) const fn bytes(&self) -> usize {
        self.newest.bytes()
    }

    pub(super) fn finish(self) -> FoundTraces {
        FoundTraces { traces: self.newest.into_newest_first(self.limit), more: self.more }
    }
}

/// The traces of a selection.
fn candidates(selected: &Selected, first: &Spans<'_>) -> Result<Vec<Pending>, EvalError> {
    let starts = first.batch().column_by_name(START_TIME).ok_or_else(|| missing(START_TIME))?;
    let starts = starts.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(|| mistyped(START_TIME))?;
    let runs = first.runs();
    let mut begin = 0;
    let of_trace = selected.spansets.chunk_by(|a, b| a.trace == b.trace);
    let pending = of_trace.map(|spansets| {
        let trace = spansets[0].trace as usize;
        let rows = runs.rows_of(trace);
        let spansets = begin..begin + spansets.len();
        begin = spansets.end;
        // Rows are sorted by start within a trace.
        let start = starts.value(rows.start).cast_unsigned();
        Pending { start, id: runs.ids()[trace], rows, spansets }
    });
    Ok(pending.collect())
}

fn spanset_rows(selected: &Selected, number: usize) -> &[u32] {
    let begin = number.checked_sub(1).map_or(0, |before| selected.spansets[before].end);
    &selected.rows[begin as usize..selected.spansets[number].end as usize]
}

/// What is told of traces, for some rows of a batch.
struct TraceColumns<'a> {
    summary: SummaryColumns<'a>,
    left: Numbers<'a, Int32Type>,
    attributes: Vec<(&'a str, Property<'a>)>,
}

impl<'a> TraceColumns<'a> {
    fn new(wanted: &WantedRows<'a>, attributes: &'a [(String, Attribute)]) -> Result<Self, EvalError> {
        let attributes =
            attributes.iter().map(|(key, attribute)| Ok((key.as_str(), wanted.property(attribute)?)));
        Ok(Self {
            summary: SummaryColumns::new(wanted)?,
            left: wanted.column(NESTED_SET_LEFT)?.numbers(NESTED_SET_LEFT)?,
            attributes: attributes.collect::<Result<_, EvalError>>()?,
        })
    }

    fn spanset(
        &self,
        mut positions: Vec<usize>,
        attributes: &[(Arc<str>, Literal)],
        spans_max: usize,
    ) -> FoundSpanset {
        let matched = u32::try_from(positions.len()).unwrap_or(u32::MAX);
        // Ancestors precede those of their descendants that start at the same moment.
        positions.sort_by_key(|&at| (self.summary.start(at), self.left.at(at)));
        positions.truncate(spans_max);
        FoundSpanset {
            matched,
            spans: positions.into_iter().map(|at| self.span(at)).collect(),
            attributes: attributes
                .iter()
                .map(|(name, value)| Label {
                    name: name.to_string(),
                    value: value.value().and_then(|value| LabelKey::of(value).message()),
                })
                .collect(),
        }
    }

    fn span(&self, at: usize) -> FoundSpan {
        let mut attributes: Vec<Label> = Vec::new();
        for (key, property) in &self.attributes {
            let Some(value) = property.at(at) else { continue };
            let label = Label { name: (*key).to_owned(), value: LabelKey::of(value).message() };
            // `span.a` and `resource.a` have one key: both are told where they differ.
            if !attributes.contains(&label) {
                attributes.push(label);
            }
        }
        FoundSpan {
            span_id: self.summary.span_id(at).to_vec(),
            name: self.summary.name(at).to_owned(),
            start: self.summary.start(at),
            duration: self.summary.duration(at),
            attributes,
            nested_set_left: self.left.at(at),
        }
    }
}
