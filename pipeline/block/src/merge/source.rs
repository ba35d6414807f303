//! Rows of an input in memory, in the columns of the output.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, TimestampNanosecondType};

use super::conform::conform;
use super::target::Target;
use crate::BlockError;
use crate::schema::{
    NESTED_SET_LEFT, NESTED_SET_PARENT, NESTED_SET_RIGHT, PARENT_SPAN_ID, SPAN_ID, START_TIME, TRACE_ID,
};

/// Some rows, sorted as a block is. A column without any value is not there.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) columns: Vec<Option<ArrayRef>>,
    rows: usize,
    places: Places,
}

/// Where the columns are that tell spans apart.
#[derive(Clone, Copy, Debug)]
struct Places {
    trace: usize,
    span: usize,
    parent: usize,
    start: usize,
    nested: [usize; 3],
}

impl Source {
    /// The rows of a batch of a block, or of a merge.
    pub(super) fn new(batch: &RecordBatch, target: &Target) -> Result<Self, BlockError> {
        let places = Places {
            trace: target.fixed(TRACE_ID),
            span: target.fixed(SPAN_ID),
            parent: target.fixed(PARENT_SPAN_ID),
            start: target.fixed(START_TIME),
            nested: [NESTED_SET_LEFT, NESTED_SET_RIGHT, NESTED_SET_PARENT].map(|name| target.fixed(name)),
        };
        let source = Self { columns: conform(batch, target)?, rows: batch.num_rows(), places };
        let required = [places.trace, places.span, places.start].into_iter().chain(places.nested);
        for column in required {
            let name = target.schema.field(column).name();
            let array = source.columns[column].as_ref();
            let array = array.ok_or_else(|| BlockError::value(name, "the column is not there"))?;
            if array.null_count() > 0 || array.len() != source.rows {
                return Err(BlockError::value(name, "a row has no value"));
            }
        }
        if !source.traces().is_sorted() {
            return Err(BlockError::value(TRACE_ID, "rows are not sorted by it"));
        }
        Ok(source)
    }

    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn traces(&self) -> &[[u8; 16]] {
        self.ids(self.places.trace)
    }

    pub(super) fn spans(&self) -> &[[u8; 8]] {
        self.ids(self.places.span)
    }

    /// The parents' ids, zeros for none. None if no row has a parent.
    pub(super) fn parent(&self, row: usize) -> Option<[u8; 8]> {
        let column = self.columns[self.places.parent].as_ref()?;
        let id = column.is_valid(row).then(|| self.ids::<8>(self.places.parent)[row]);
        id.filter(|id| *id != [0; 8])
    }

    /// Starts, of which the signed numbers hold all 64 bits.
    pub(super) fn starts(&self) -> &[i64] {
        self.columns[self.places.start]
            .as_ref()
            .map_or(&[], |array| array.as_primitive::<TimestampNanosecondType>().values())
    }

    /// Left, right and parent of the nested sets.
    pub(super) fn nested(&self) -> [&[i32]; 3] {
        let values = |column: usize| {
            let array = self.columns[column].as_ref();
            array.map_or(&[][..], |array| array.as_primitive::<Int32Type>().values())
        };
        self.places.nested.map(values)
    }

    fn ids<const N: usize>(&self, column: usize) -> &[[u8; N]] {
        let array = self.columns[column].as_ref();
        array.map_or(&[], |array| {
            let ids = array.as_fixed_size_binary();
            &ids.value_data().as_chunks::<N>().0[..ids.len()]
        })
    }
}
