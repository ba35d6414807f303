//! The open block: spans as growing columns, fed from OTLP on the wire without span objects in between.
//! Owns: decoding records into columns, looking into them while they grow, and turning them into sorted batches.
//! Does not own: when a block is sealed, the file it becomes, names and types of columns (`schema`).
//! Guarantee: a span is either in the columns whole, or it was handed back as rejected or dropped as a duplicate.

mod attributes;
mod batch;
mod decode;
mod fold;
mod interner;
mod items;
mod nested;
mod origins;
mod promote;
mod row_groups;
mod scan;
mod seal;
mod sources;
mod value;

pub(crate) use self::fold::{any_folded, unfold};
pub(crate) use self::interner::Interner;
pub(crate) use self::items::ItemBuilder;
pub(crate) use self::nested::list;
pub(crate) use self::row_groups::ROW_GROUP_BYTES_MAX;
pub use self::seal::{BlockStats, Needle, SealedBlock};
pub(crate) use self::seal::{NEEDLE_DISTINCT_MIN, NEEDLE_SHARE};
pub(crate) use self::sources::{NULL, dictionary_column};
pub(crate) use self::value::AnyValue;

use std::ops::Range;

use arrow::array::RecordBatch;
use vivace_model::{TenantId, TraceId, UnixNanos};

use self::attributes::AttributeColumns;
use self::batch::{NO_ROOT, Selection, Tree};
use self::nested::{Events, Links};
use self::origins::{OriginKind, Origins};
use crate::BlockConfig;

/// Spans of one tenant in one partition, in the order they came; it grows by records and is sealed once.
#[derive(Debug)]
pub struct OpenBlock {
    tenant: TenantId,
    config: BlockConfig,
    spans: SpanColumns,
    resources: Origins,
    scopes: Origins,
    attributes: AttributeColumns,
    events: Events,
    links: Links,
    names: Interner,
    /// Trace states and status messages: both rare, so that they share one interner; number 0 is the empty string.
    texts: Interner,
}

/// The fixed columns, one value per row.
#[derive(Debug, Default)]
struct SpanColumns {
    trace_id: Vec<[u8; 16]>,
    span_id: Vec<[u8; 8]>,
    parent_span_id: Vec<Option<[u8; 8]>>,
    start: Vec<u64>,
    end: Vec<u64>,
    name: Vec<u32>,
    kind: Vec<i32>,
    status_code: Vec<i32>,
    status_message: Vec<u32>,
    trace_state: Vec<u32>,
    flags: Vec<u32>,
    dropped_attributes: Vec<u32>,
    dropped_events: Vec<u32>,
    dropped_links: Vec<u32>,
    resource: Vec<u32>,
    scope: Vec<u32>,
}

/// Bytes of one row of [`SpanColumns`].
const ROW_BYTES: usize = 16 + 8 + 9 + 8 + 8 + 4 * 11;

/// What became of a record.
#[derive(Debug, Default)]
pub struct Appended {
    /// Spans now in the block.
    pub spans: usize,
    /// Spans that were there already, sent again by a client.
    pub duplicates: usize,
    /// Spans that can't be stored, by reason.
    pub rejected: Vec<RejectedSpans>,
}

/// Spans that were taken out of a record because they are not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedSpans {
    /// What is wrong with them.
    pub reason: String,
    /// How many they are; zero when the record can't be read at all.
    pub spans: usize,
    /// The spans under their resource and scope, as OTLP `TracesData`; the whole record when it can't be read.
    pub traces_data: Vec<u8>,
}

impl OpenBlock {
    /// An empty block of a tenant.
    #[must_use]
    pub fn new(tenant: TenantId, config: &BlockConfig) -> Self {
        let mut texts = Interner::default();
        let empty = texts.intern(b"").expect("the empty string is valid");
        debug_assert_eq!(empty, 0);
        Self {
            tenant,
            config: config.clone(),
            spans: SpanColumns::default(),
            resources: Origins::new(OriginKind::Resource),
            scopes: Origins::new(OriginKind::Scope),
            attributes: AttributeColumns::new(config.open_columns_max),
            events: Events::default(),
            links: Links::default(),
            names: Interner::default(),
            texts,
        }
    }

    /// Whose spans they are.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Spans held.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.spans.trace_id.len()
    }

    /// Whether there is no span.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// Bytes of memory held, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        ROW_BYTES * self.spans.trace_id.capacity()
            + self.resources.memory_bytes()
            + self.scopes.memory_bytes()
            + self.attributes.memory_bytes()
            + self.events.memory_bytes()
            + self.links.memory_bytes()
            + self.names.memory_bytes()
            + self.texts.memory_bytes()
    }

    /// Earliest start and latest end of the spans held; none when there are none.
    #[must_use]
    pub fn time_bounds(&self) -> Option<(UnixNanos, UnixNanos)> {
        let start = self.spans.start.iter().min()?;
        let end = self.spans.end.iter().chain(&self.spans.start).max()?;
        Some((UnixNanos(*start), UnixNanos(*end)))
    }

    /// The spans of a trace as a batch of the block's schema, in the order of their start; none when there are none.
    #[must_use]
    pub fn trace(&self, trace_id: &TraceId) -> Option<RecordBatch> {
        self.trace_rows(0..self.rows(), trace_id)
    }

    /// The same, of some rows, in the order in which they came.
    ///
    /// # Panics
    /// If there are no such rows.
    #[must_use]
    pub fn trace_rows(&self, rows: Range<usize>, trace_id: &TraceId) -> Option<RecordBatch> {
        let ids = self.spans.trace_id[rows.clone()].iter().zip(rows.start as u32..);
        let mut rows: Vec<u32> =
            ids.filter(|(id, _)| *id == trace_id.as_bytes()).map(|(_, row)| row).collect();
        if rows.is_empty() {
            return None;
        }
        rows.sort_by_key(|&row| self.sort_key(row));
        let tree = self.tree(&rows);
        let promotion = self.promote(&rows, 1);
        Some(self.batch(&Selection::new(&rows, self.rows()), &tree, &promotion, None))
    }

    fn sort_key(&self, row: u32) -> ([u8; 16], u64, [u8; 8], u32) {
        let index = row as usize;
        (self.spans.trace_id[index], self.spans.start[index], self.spans.span_id[index], row)
    }

    /// Nested sets and roots of rows that are sorted by trace.
    fn tree(&self, rows: &[u32]) -> Tree {
        let mut tree = Tree::with_capacity(rows.len());
        let mut numbering = crate::nested_set::Numbering::default();
        let ids = &self.spans.trace_id;
        for trace in rows.chunk_by(|&a, &b| ids[a as usize] == ids[b as usize]) {
            let nodes = trace.iter().map(|&row| {
                let parent = self.spans.parent_span_id[row as usize].filter(|id| *id != [0; 8]);
                (self.spans.span_id[row as usize], parent)
            });
            let root = numbering.number(nodes, &mut tree.left, &mut tree.right, &mut tree.parent);
            let root = root.map_or(NO_ROOT, |position| trace[position]);
            tree.root.resize(tree.root.len() + trace.len(), root);
            tree.traces += 1;
        }
        tree
    }
}
