//! What is told of traces besides their matching spans.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use hashbrown::HashMap;
use vivace_model::schema::{
    AttributeScope, DURATION_NANOS, NAME, PARENT_SPAN_ID, SPAN_ID, START_TIME, STATUS_CODE,
};
use vivace_proto::internal::{FoundRoot, FoundTrace, FoundTraces, ServiceStats, TraceSummary};

use super::rows::{Ids, Numbers, Property, Texts, WantedRows, text};
use crate::ast::{Attribute, Status, Target};
use crate::merge::merge_summary;
use crate::{EvalError, Spans};

/// What summaries are made of, for some rows of a batch.
#[derive(Debug)]
pub(super) struct SummaryColumns<'a> {
    start: Numbers<'a, TimestampNanosecondType>,
    duration: Numbers<'a, Int64Type>,
    status: Numbers<'a, Int32Type>,
    span_id: Ids<'a>,
    parent_id: Ids<'a>,
    name: Texts<'a>,
    service: Property<'a>,
}

impl<'a> SummaryColumns<'a> {
    pub(super) fn new(wanted: &WantedRows<'a>) -> Result<Self, EvalError> {
        let service = Target::Scoped(AttributeScope::Resource, "service.name".into());
        let service = Attribute { parent: false, target: service, written: "resource.service.name".into() };
        Ok(Self {
            start: wanted.column(START_TIME)?.numbers(START_TIME)?,
            duration: wanted.column(DURATION_NANOS)?.numbers(DURATION_NANOS)?,
            status: wanted.column(STATUS_CODE)?.numbers(STATUS_CODE)?,
            span_id: wanted.column(SPAN_ID)?.ids(SPAN_ID)?,
            parent_id: wanted.column(PARENT_SPAN_ID)?.ids(PARENT_SPAN_ID)?,
            name: wanted.column(NAME)?.texts(NAME)?,
            service: wanted.property(&service)?,
        })
    }

    /// Unix nanoseconds.
    pub(super) fn start(&self, position: usize) -> u64 {
        self.start.at(position).cast_unsigned()
    }

    /// Nanoseconds; zero for a span that ends before its start.
    pub(super) fn duration(&self, position: usize) -> u64 {
        self.duration.at(position).max(0).cast_unsigned()
    }

    pub(super) fn name(&self, position: usize) -> &'a str {
        self.name.at(position)
    }

    pub(super) fn span_id(&self, position: usize) -> &'a [u8] {
        self.span_id.bytes(position)
    }

    /// Of the spans of one trace at these positions.
    pub(super) fn summarise(&self, positions: Range<usize>) -> TraceSummary {
        let names: Vec<_> = positions.clone().map(|at| self.service.at(at).map(text)).collect();
        let mut services: HashMap<&str, (u32, u32), ahash::RandomState> = HashMap::default();
        let mut summary = TraceSummary { start: u64::MAX, ..TraceSummary::default() };
        let mut root: Option<(u64, &[u8], usize)> = None;
        for (at, service) in positions.clone().zip(&names) {
            let start = self.start(at);
            summary.start = summary.start.min(start);
            summary.end = summary.end.max(start.saturating_add(self.duration(at)));
            let (spans, errors) = services.entry(service.as_deref().unwrap_or_default()).or_default();
            *spans += 1;
            *errors += u32::from(self.status.at(at) == Status::Error as i32);
            if self.parent_id.at(at).is_none() {
                let candidate = (start, self.span_id(at), at);
                root = Some(root.map_or(candidate, |root| root.min(candidate)));
            }
        }
        summary.root = root.map(|(start, span_id, at)| FoundRoot {
            service: names[at - positions.start].as_deref().unwrap_or_default().to_owned(),
            name: self.name(at).to_owned(),
            start,
            span_id: span_id.to_vec(),
        });
        let services = services.into_iter().map(|(service, (spans, errors))| ServiceStats {
            service: service.to_owned(),
            spans,
            errors,
        });
        summary.services = services.collect();
        summary.services.sort_by(|a, b| a.service.cmp(&b.service));
        summary
    }
}

/// Collects what is known of given traces.
#[derive(Debug)]
pub(super) struct SummariesCollector {
    ids: Arc<[[u8; 16]]>,
    found: BTreeMap<[u8; 16], TraceSummary>,
    /// Traces whose rows are wanted of the batch at hand, and how many these are.
    pending: Vec<([u8; 16], usize)>,
}

impl SummariesCollector {
    pub(super) fn new(ids: &Arc<[[u8; 16]]>) -> Self {
        Self { ids: Arc::clone(ids), found: BTreeMap::new(), pending: Vec::new() }
    }

    pub(super) fn wanted(&mut self, first: &Spans<'_>) -> Vec<u32> {
        self.pending.clear();
        let mut wanted = Vec::new();
        for id in self.ids.iter() {
            let Some(trace) = first.runs().find(id) else { continue };
            let rows = first.runs().rows_of(trace);
            self.pending.push((*id, rows.len()));
            wanted.extend(rows.map(|row| row as u32));
        }
        wanted
    }

    pub(super) fn take(&mut self, wanted: &WantedRows<'_>) -> Result<(), EvalError> {
        if wanted.len() == 0 {
            return Ok(());
        }
        let columns = SummaryColumns::new(wanted)?;
        let mut at = 0;
        for (id, rows) in self.pending.drain(..) {
            let summary = columns.summarise(at..at + rows);
            merge_summary(self.found.entry(id).or_default(), summary);
            at += rows;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> FoundTraces {
        let mut traces: Vec<FoundTrace> = self
            .found
            .into_iter()
            .map(|(id, summary)| FoundTrace {
                trace_id: id.to_vec(),
                spansets: Vec::new(),
                summary: Some(summary),
            })
            .collect();
        let start = |trace: &FoundTrace| trace.summary.as_ref().map_or(0, |summary| summary.start);
        traces.sort_by(|a, b| (start(b), &b.trace_id).cmp(&(start(a), &a.trace_id)));
        FoundTraces { traces, more: false }
    }
}
