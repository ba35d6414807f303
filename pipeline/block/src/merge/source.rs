//! Rows of an input: what tells spans apart is in memory, all other columns are decoded when their rows are written.
//! Owns: both. Does not own: which rows, in which order, and which columns the output has (`conform`).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Fields, Int32Type, TimestampNanosecondType};

use crate::BlockError;
use crate::numbered::Column;
use crate::reader::{LoadedGroup, LoadedRows};
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
    list_bytes: usize,
    rest: Rest,
}

/// Where the other columns are.
#[derive(Debug)]
enum Rest {
    /// In the row group, from that row on.
    Stored(Arc<LoadedGroup>, usize),
    /// In the columns of an output.
    Memory(RecordBatch),
}

impl Source {
    /// Those rows of a row group. CPU-bound.
    pub(super) fn stored(group: Arc<LoadedGroup>, rows: Range<usize>) -> Result<Self, BlockError> {
        let (start, count) = (rows.start, rows.len());
        let mut stored = group.rows(vec![rows]);
        let fields = stored.fields().iter().enumerate();
        let keys = KEYS.map(|key| fields.clone().find(|(_, field)| field.name() == key));
        let keys = keys.map(|found| found.map(|(column, _)| column));
        let mut key = |column| {
            let found = stored.column(column)?.map(Column::into_array).transpose();
            found.map_err(BlockError::encode)
        };
        let keys = keys.map(|column| column.map_or(Ok(None), &mut key));
        Self::new(keys, count, Rest::Stored(group, start))
    }

    /// The rows of a batch that a merge has made.
    pub(super) fn memory(batch: RecordBatch) -> Result<Self, BlockError> {
        let keys = KEYS.map(|name| batch.column_by_name(name).map(Arc::clone));
        Self::new(keys.map(Ok), batch.num_rows(), Rest::Memory(batch))
    }

    fn new(
        keys: [Result<Option<ArrayRef>, BlockError>; KEYS.len()],
        rows: usize,
        rest: Rest,
    ) -> Result<Self, BlockError> {
        let key = |(array, name): (Result<Option<ArrayRef>, BlockError>, &str)| match array? {
            Some(array) => Ok(array),
            None if name == PARENT_SPAN_ID => Ok(new_null_array(&DataType::FixedSizeBinary(8), rows)),
            None => Err(BlockError::value(name, "the column is not there")),
        };
        let keys = keys.into_iter().zip(KEYS).map(key).collect::<Result<Vec<_>, _>>()?;
        let required = keys.iter().zip(KEYS).filter(|(_, name)| *name != PARENT_SPAN_ID);
        if let Some((_, name)) = required.into_iter().find(|(array, _)| array.null_count() > 0) {
            return Err(BlockError::value(name, "a row has no value"));
        }
        let list_bytes = match &rest {
            Rest::Stored(group, _) => group.list_bytes(),
            Rest::Memory(batch) => {
                let lists = batch.columns().iter().filter(|array| array.data_type().is_nested());
                lists.map(|array| array.get_array_memory_size()).sum::<usize>() / rows.max(1)
            }
        };
        let source = Self { keys, rows, list_bytes, rest };
        if !source.traces().is_sorted() {
            return Err(BlockError::value(TRACE_ID, "rows are not sorted by it"));
        }
        Ok(source)
    }

    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that the lists of a row take, on average.
    pub(super) const fn list_bytes(&self) -> usize {
        self.list_bytes
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

    /// Those rows, which ascend.
    pub(super) fn some(&self, rows: &[Range<usize>]) -> SourceRows<'_> {
        match &self.rest {
            Rest::Stored(group, first) => {
                let rows = rows.iter().map(|range| first + range.start..first + range.end);
                SourceRows::Stored(group.rows(rows.collect()))
            }
            Rest::Memory(batch) => {
                let rows = rows.iter().cloned().flatten().map(|row| row as u32);
                SourceRows::Memory(batch, rows.collect())
            }
        }
    }
}

/// Some rows of a source, of which one column after the other is wanted.
pub(super) enum SourceRows<'a> {
    Stored(LoadedRows<'a>),
    Memory(&'a RecordBatch, UInt32Array),
}

impl<'a> SourceRows<'a> {
    /// The columns of the source.
    pub(super) fn fields(&self) -> &'a Fields {
        match self {
            Self::Stored(rows) => rows.fields(),
            Self::Memory(batch, _) => batch.schema_ref().fields(),
        }
    }

    /// A column, by its number; none if it has no value in the rows. CPU-bound.
    pub(super) fn column(&mut self, column: usize) -> Result<Option<Column>, BlockError> {
        let found = match self {
            Self::Stored(rows) => rows.column(column)?,
            Self::Memory(batch, rows) => {
                let array = take(batch.column(column), rows, None).map_err(BlockError::encode)?;
                Some(Column::Array(array))
            }
        };
        Ok(found.filter(|found| found.filled() > 0))
    }
}
