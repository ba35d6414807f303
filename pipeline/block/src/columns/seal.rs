//! From an open block to sorted batches: the last step before the file.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use vivace_model::{TraceId, UnixNanos};

use super::OpenBlock;
use super::attributes::Values;
use super::batch::{Selection, SharedStrings};
use super::promote::{Kind, Promotion};
use super::row_groups::row_groups;
use crate::Footprint;
use crate::schema::{AttributeScope, TRACE_ID};

/// What a block holds, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockStats {
    /// Spans.
    pub rows: u64,
    /// Distinct trace ids.
    pub traces: u64,
    /// Earliest start of a span.
    pub start_min: UnixNanos,
    /// Latest end of a span.
    pub end_max: UnixNanos,
}

/// A sealed block: batches of the block's schema, sorted by trace id, start and span id, each to be one row group.
#[derive(Clone, Debug)]
pub struct SealedBlock {
    /// One batch per row group; all have one schema.
    pub batches: Vec<RecordBatch>,
    /// What it holds.
    pub stats: BlockStats,
    /// Names of the string columns whose values hardly repeat, or are many: worth a bloom filter.
    pub needles: Vec<Needle>,
    memory_bytes: usize,
}

/// A string column with many distinct values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    /// Name of the column.
    pub column: String,
    /// Distinct values, at most.
    pub distinct: u64,
    /// Whether a dictionary would not pay.
    pub plain: bool,
}

/// A string column with at least this many distinct values, and one in [`NEEDLE_SHARE`] of its rows, gets a bloom filter.
pub(crate) const NEEDLE_DISTINCT_MIN: usize = 1024;
pub(crate) const NEEDLE_SHARE: usize = 16;

impl OpenBlock {
    /// Sorts the spans, computes nested sets and roots, and chooses the columns. CPU-bound: about 0.4 s per million
    /// spans.
    ///
    /// # Panics
    /// If the block is empty: an empty block is never sealed.
    #[must_use]
    pub fn seal(mut self) -> SealedBlock {
        let (start_min, end_max) = self.time_bounds().expect("an empty block is never sealed");
        let total = self.rows();
        let rows = self.sorted_rows();
        let tree = self.tree(&rows);
        let promotion = self.promote(&rows, total / self.config.promote_one_in);
        let needles = self.needles(&promotion);
        let groups = row_groups(&self, &rows, &promotion);
        let shared = self.share_strings(&promotion);
        let mut batches = Vec::with_capacity(groups.len());
        for group in groups {
            let tree = tree.slice(group.start, group.len());
            let selection = Selection::new(&rows[group], total);
            batches.push(self.batch(&selection, &tree, &promotion, Some(&shared)));
        }
        let stats = BlockStats { rows: total as u64, traces: tree.traces, start_min, end_max };
        let mut footprint = Footprint::default();
        for batch in &batches {
            footprint.add(batch);
        }
        let memory_bytes = footprint.bytes();
        SealedBlock { batches, stats, needles, memory_bytes }
    }

    fn sorted_rows(&self) -> Vec<u32> {
        let spans = &self.spans;
        let mut keys: Vec<(u128, u64, u32)> = (0..self.rows())
            .map(|row| (u128::from_be_bytes(spans.trace_id[row]), spans.start[row], row as u32))
            .collect();
        keys.sort_unstable_by(|a, b| {
            let span_id = |key: &(u128, u64, u32)| spans.span_id[key.2 as usize];
            (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| (span_id(a), a.2).cmp(&(span_id(b), b.2)))
        });
        keys.into_iter().map(|(_, _, row)| row).collect()
    }

    fn needles(&self, promotion: &Promotion) -> Vec<Needle> {
        let strings =
            promotion.list.iter().filter(|p| p.scope == AttributeScope::Span && p.kind == Kind::String);
        strings
            .filter_map(|promoted| {
                let column = &self.attributes.columns[promoted.column];
                let Values::Strings(_, interner) = &column.values else {
                    return None;
                };
                let many = interner.len() >= NEEDLE_DISTINCT_MIN
                    && interner.len() * NEEDLE_SHARE >= column.rows.len();
                many.then(|| Needle {
                    column: promoted.scope.column(&promoted.key),
                    distinct: interner.len() as u64,
                    plain: !interner.is_distinct(),
                })
            })
            .collect()
    }

    /// Takes the strings out of their interners, without copying them. After this the block can't grow.
    fn share_strings(&mut self, promotion: &Promotion) -> SharedStrings {
        let mut attributes: Vec<Option<ArrayRef>> = vec![None; self.attributes.columns.len()];
        for promoted in promotion.list.iter().filter(|p| p.scope == AttributeScope::Span) {
            if let Values::Strings(_, interner) = &mut self.attributes.columns[promoted.column].values {
                attributes[promoted.column] = Some(std::mem::take(interner).into_array());
            }
        }
        SharedStrings {
            names: std::mem::take(&mut self.names).into_array(),
            texts: std::mem::take(&mut self.texts).into_array(),
            attributes,
        }
    }
}

impl SealedBlock {
    /// The spans of a trace: slices of the batches, in the order of their start.
    #[must_use]
    pub fn trace(&self, trace_id: &TraceId) -> Vec<RecordBatch> {
        let id = trace_id.as_bytes().as_slice();
        let slices = self.batches.iter().filter_map(|batch| {
            let ids = batch.column_by_name(TRACE_ID)?.as_fixed_size_binary();
            let start = partition_point(ids.len(), |row| ids.value(row) < id);
            let end = partition_point(ids.len(), |row| ids.value(row) <= id);
            (start < end).then(|| batch.slice(start, end - start))
        });
        slices.collect()
    }

    /// Bytes of memory held, about.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

fn partition_point(len: usize, mut before: impl FnMut(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = usize::midpoint(low, high);
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
