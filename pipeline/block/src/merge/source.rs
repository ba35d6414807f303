//! Rows of an input: what tells spans apart is in memory, all other columns are decoded when their rows are written.
//! Owns: both, in the columns of the output. Does not own: which rows, and in which order.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int32Type, TimestampNanosecondType};

use super::conform::conform;
use super::target::Target;
use crate::BlockError;
use crate::reader::LoadedGroup;
use crate::schema::{
    NESTED_SET_LEFT, NESTED_SET_PARENT, NESTED_SET_RIGHT, PARENT_SPAN_ID, SPAN_ID, START_TIME, TRACE_ID,
};

/// The columns that tell spans apart, and their places among each other.
const KEYS: [&str; 7] =
    [TRACE_ID, SPAN_ID, PARENT_SPAN_ID, START_TIME, NESTED_SET_LEFT, NESTED_SET_RIGHT, NESTED_SET_PARENT];
const TRACE: usize = 0;
const SPAN: usize = 1;
const PARENT: usize = 2;
const START: usize = 3;
const NESTED: [usize; 3] = [4, 5, 6];

/// Some rows, sorted as a block is.
#[derive(Debug)]
pub(super) struct Source {
    keys: Vec<ArrayRef>,
    rows: usize,
    rest: Rest,
}

/// Where the other columns are.
#[derive(Debug)]
enum Rest {
    /// In the row group, from that row on.
    Stored(Arc<LoadedGroup>, usize),
    /// In the columns of the output.
    Memory(RecordBatch),
}

impl Source {
    /// Those rows of a row group. CPU-bound.
    pub(super) fn stored(group: Arc<LoadedGroup>, rows: Range<usize>) -> Result<Self, BlockError> {
        let start = rows.start;
        let batch = group.columns(|name| KEYS.contains(&name), &[rows])?;
        Self::new(&batch, Rest::Stored(group, start))
    }

    /// The rows of a batch that a merge has made.
    pub(super) fn memory(batch: RecordBatch) -> Result<Self, BlockError> {
        Self::new(&batch.clone(), Rest::Memory(batch))
    }

    fn new(batch: &RecordBatch, rest: Rest) -> Result<Self, BlockError> {
        let column = |name: &str| {
            let column = batch.column_by_name(name).map(Arc::clone);
            column.ok_or_else(|| BlockError::value(name, "the column is not there"))
        };
        let keys = KEYS.into_iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let required = keys.iter().zip(KEYS).filter(|(_, name)| *name != PARENT_SPAN_ID);
        if let Some((_, name)) = required.into_iter().find(|(array, _)| array.null_count() > 0) {
            return Err(BlockError::value(name, "a row has no value"));
        }
        let source = Self { keys, rows: batch.num_rows(), rest };
        if !source.traces().is_sorted() {
            return Err(BlockError::value(TRACE_ID, "rows are not sorted by it"));
        }
        Ok(source)
    }

    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn traces(&self) -> &[[u8; 16]] {
        self.ids(TRACE)
    }

    pub(super) fn spans(&self) -> &[[u8; 8]] {
        self.ids(SPAN)
    }

    /// The parent's id; none if it is absent or of zeros.
    pub(super) fn parent(&self, row: usize) -> Option<[u8; 8]> {
        let id = self.keys[PARENT].is_valid(row).then(|| self.ids::<8>(PARENT)[row]);
        id.filter(|id| *id != [0; 8])
    }

    /// Starts, of which the signed numbers hold all 64 bits.
    pub(super) fn starts(&self) -> &[i64] {
        self.keys[START].as_primitive::<TimestampNanosecondType>().values()
    }

    /// Left, right and parent of the nested sets.
    pub(super) fn nested(&self) -> [&[i32]; 3] {
        NESTED.map(|key| &self.keys[key].as_primitive::<Int32Type>().values()[..])
    }

    fn ids<const N: usize>(&self, key: usize) -> &[[u8; N]] {
        let ids = self.keys[key].as_fixed_size_binary();
        &ids.value_data().as_chunks::<N>().0[..ids.len()]
    }

    /// A column that tells spans apart, of all rows; none if it is another column.
    pub(super) fn key(&self, name: &str) -> Option<&ArrayRef> {
        KEYS.iter().position(|key| *key == name).map(|key| &self.keys[key])
    }

    /// The other columns of the output, in those rows, which ascend. A column without any value is not there. CPU-bound.
    pub(super) fn columns(
        &self,
        rows: &[Range<usize>],
        target: &Target,
    ) -> Result<Vec<Option<ArrayRef>>, BlockError> {
        let batch = match &self.rest {
            Rest::Stored(group, first) => {
                let rows: Vec<_> = rows.iter().map(|range| first + range.start..first + range.end).collect();
                group.columns(|name| !KEYS.contains(&name), &rows)?
            }
            Rest::Memory(batch) => {
                let rows: UInt32Array = rows.iter().cloned().flatten().map(|row| row as u32).collect();
                take_record_batch(batch, &rows).map_err(BlockError::encode)?
            }
        };
        conform(&batch, target)
    }
}
