//! Some records of the log that follow each other, decoded: what all questions about them look into.
//! Owns: which spans a record has, and from which record a span is.
//! Does not own: reading the log, how long a segment is kept (`tail`).
//! Guarantee: a question for a range of offsets sees exactly the spans of its records, while more are added.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::RecordBatch;
use parking_lot::RwLock;
use vivace_block::{BlockConfig, DuplicateFilter, OpenBlock};
use vivace_log::Record;
use vivace_model::scan::Projection;
use vivace_model::{Offset, OffsetRange, TenantId, TraceId};

/// Header of a record that names its tenant.
const TENANT_HEADER: &str = "x-scope-orgid";

/// Decoded records from `start` on.
#[derive(Debug)]
pub(crate) struct Segment {
    start: Offset,
    content: RwLock<Content>,
}

#[derive(Debug)]
struct Content {
    /// The offset after the last record.
    end: Offset,
    /// Bytes of all records before each one, which come by offset, and of all.
    records: Vec<(Offset, u64)>,
    bytes: u64,
    tenants: BTreeMap<TenantId, Rows>,
}

/// Spans of one tenant.
#[derive(Debug)]
struct Rows {
    block: OpenBlock,
    /// The first row of each record.
    starts: Vec<(Offset, usize)>,
}

impl Rows {
    fn new(tenant: &TenantId) -> Self {
        Self { block: OpenBlock::new(tenant.clone(), &BlockConfig::default()), starts: Vec::new() }
    }

    /// The rows of these records.
    fn of(&self, range: &OffsetRange) -> Range<usize> {
        let row = |offset: Offset| {
            let record = self.starts.partition_point(|(start, _)| *start < offset);
            self.starts.get(record).map_or(self.block.rows(), |(_, row)| *row)
        };
        row(range.start)..row(range.end)
    }
}

impl Segment {
    pub(crate) fn new(start: Offset) -> Self {
        let content = Content { end: start, records: Vec::new(), bytes: 0, tenants: BTreeMap::new() };
        Self { start, content: RwLock::new(content) }
    }

    /// Offsets that it holds the records of.
    pub(crate) fn range(&self) -> OffsetRange {
        OffsetRange::new(self.start, self.content.read().end)
    }

    /// Bytes of its records.
    pub(crate) fn bytes(&self) -> u64 {
        self.content.read().bytes
    }

    /// Bytes of the records of a range.
    pub(crate) fn bytes_of(&self, range: &OffsetRange) -> u64 {
        let content = self.content.read();
        let before = |offset: Offset| {
            let record = content.records.partition_point(|(start, _)| *start < offset);
            content.records.get(record).map_or(content.bytes, |(_, bytes)| *bytes)
        };
        before(range.end) - before(range.start)
    }

    /// Bytes of memory held, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        let content = self.content.read();
        let rows = content.tenants.values();
        let rows = rows.map(|rows| rows.block.memory_bytes() + 16 * rows.starts.capacity());
        rows.sum::<usize>() + 16 * content.records.capacity()
    }

    /// Adds records that follow. What an ingester would reject is left out, and what `seen` knows. CPU-bound.
    pub(crate) fn append(&self, records: &[Record], seen: &mut DuplicateFilter) {
        let mut content = self.content.write();
        for record in records {
            let bytes = content.bytes;
            content.records.push((record.offset, bytes));
            content.bytes += record.value.len() as u64;
            content.end = record.offset.next();
            let Some(tenant) = tenant_of(record) else { continue };
            let rows = content.tenants.entry(tenant.clone()).or_insert_with(|| Rows::new(&tenant));
            rows.starts.push((record.offset, rows.block.rows()));
            rows.block.append(&record.value, seen);
        }
    }

    /// Columns of a tenant's spans in the records of a range, sorted like those of a block. CPU-bound.
    pub(crate) fn scan(
        &self,
        tenant: &TenantId,
        range: &OffsetRange,
        columns: &Projection,
    ) -> Option<RecordBatch> {
        let content = self.content.read();
        let rows = content.tenants.get(tenant)?;
        rows.block.scan_rows(rows.of(range), columns, None)
    }

    /// A trace's spans in the records of a range. CPU-bound.
    pub(crate) fn trace(
        &self,
        tenant: &TenantId,
        range: &OffsetRange,
        trace_id: &TraceId,
    ) -> Option<RecordBatch> {
        let content = self.content.read();
        let rows = content.tenants.get(tenant)?;
        rows.block.trace_rows(rows.of(range), trace_id)
    }
}

/// Whose spans a record has; none if that cannot be read, so that an ingester would reject it.
fn tenant_of(record: &Record) -> Option<TenantId> {
    match record.header(TENANT_HEADER) {
        None => Some(TenantId::default()),
        Some(name) => std::str::from_utf8(name).ok()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use prost::Message;
    use vivace_block::to_traces_data;
    use vivace_model::UnixNanos;
    use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};

    use super::*;

    fn span(trace: u8, id: u8, name: &str) -> Span {
        Span {
            trace_id: vec![trace; 16],
            span_id: vec![id; 8],
            name: name.to_owned(),
            start_time_unix_nano: 1,
            end_time_unix_nano: 2,
            ..Span::default()
        }
    }

    fn value(spans: Vec<Span>) -> Bytes {
        let scope_spans = vec![ScopeSpans { spans, schema_url: "scope".into(), ..ScopeSpans::default() }];
        let resource_spans =
            vec![ResourceSpans { scope_spans, schema_url: "resource".into(), ..ResourceSpans::default() }];
        TracesData { resource_spans }.encode_to_vec().into()
    }

    fn record(offset: u64, tenant: Option<&str>, value: Bytes) -> Record {
        let header = |tenant: &str| ("X-Scope-OrgID".to_owned(), Bytes::from(tenant.to_owned()));
        Record {
            offset: Offset(offset),
            timestamp: UnixNanos(0),
            key: None,
            headers: tenant.map(header).into_iter().collect(),
            value,
        }
    }

    fn names(segment: &Segment, tenant: &str, range: Range<u64>) -> BTreeSet<String> {
        let range = OffsetRange::new(Offset(range.start), Offset(range.end));
        let batch = segment.trace(&tenant.parse().unwrap(), &range, &TraceId::from_bytes([7; 16]));
        let traces = to_traces_data(&batch.into_iter().collect::<Vec<_>>()).unwrap();
        let scopes = traces.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    const TENANT: &str = "single-tenant";

    #[test]
    fn a_range_of_offsets_has_the_spans_of_its_records() {
        let (segment, mut seen) = (Segment::new(Offset(10)), DuplicateFilter::new(1));
        // Offsets may have holes.
        let values = [(10, "a"), (11, "b"), (14, "c"), (15, "d")];
        let records: Vec<_> = (1..)
            .zip(values)
            .map(|(id, (offset, name))| {
                record(offset, None, value(vec![span(7, id, name), span(8, id, name)]))
            })
            .collect();
        segment.append(&records[..3], &mut seen);
        segment.append(&records[3..], &mut seen);
        assert_eq!(segment.range(), OffsetRange::new(Offset(10), Offset(16)));
        for (range, expected) in [
            (10..16, &["a", "b", "c", "d"][..]),
            (11..15, &["b", "c"]),
            (12..14, &[]),
            (14..15, &["c"]),
            (0..11, &["a"]),
            (16..20, &[]),
        ] {
            assert_eq!(names(&segment, TENANT, range.clone()), set(expected), "{range:?}");
            let range = OffsetRange::new(Offset(range.start), Offset(range.end));
            let columns = Projection { fixed: ["trace_id"].into(), ..Projection::default() };
            let rows = segment.scan(&TENANT.parse().unwrap(), &range, &columns);
            assert_eq!(rows.map_or(0, |batch| batch.num_rows()), 2 * expected.len());
            assert_eq!(segment.bytes_of(&range), (expected.len() * records[0].value.len()) as u64);
        }
        segment.append(&[record(16, None, records[0].value.clone())], &mut seen);
        assert_eq!(names(&segment, TENANT, 16..17), set(&[]), "sent again");
    }

    #[test]
    fn only_records_of_the_tenant_count() {
        for (asked, header, found) in [
            (TENANT, None, true),
            (TENANT, Some(TENANT), true),
            (TENANT, Some("a"), false),
            ("a", Some("a"), true),
            ("a", None, false),
            ("a", Some(""), false),
        ] {
            let segment = Segment::new(Offset(0));
            segment.append(&[record(0, header, value(vec![span(7, 1, "x")]))], &mut DuplicateFilter::new(1));
            let expected = if found { set(&["x"]) } else { set(&[]) };
            assert_eq!(names(&segment, asked, 0..1), expected, "{asked} {header:?}");
        }
    }

    #[test]
    fn what_an_ingester_would_reject_is_left_out_and_others_stay() {
        let invalid = [
            Span { span_id: vec![0; 8], ..span(7, 1, "a") },
            Span { span_id: vec![1; 7], ..span(7, 1, "b") },
            Span { parent_span_id: vec![1; 3], ..span(7, 1, "c") },
        ];
        let spans = invalid.into_iter().chain([span(7, 5, "good")]).collect();
        let mut broken = Vec::from(value(vec![span(7, 6, "beside")]));
        broken.splice(0..0, [0x0a, 2, 0x0a, 0x7f]);
        let records = [record(0, None, value(spans)), record(1, None, broken.into())];
        let segment = Segment::new(Offset(0));
        segment.append(&records, &mut DuplicateFilter::new(1));
        assert_eq!(names(&segment, TENANT, 0..2), set(&["good", "beside"]));
        let good = value(vec![span(7, 1, "cut")]);
        let cut = (0..good.len()).map(|length| record(length as u64, None, good.slice(..length)));
        Segment::new(Offset(0)).append(&cut.collect::<Vec<_>>(), &mut DuplicateFilter::new(1));
    }
}
