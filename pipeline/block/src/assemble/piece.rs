//! What tells the spans of a piece apart.

use arrow::array::{
    Array, AsArray, FixedSizeBinaryArray, Int32Array, Int64Array, PrimitiveArray, RecordBatch, StringArray,
};
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, Int64Type, TimestampNanosecondType};

use crate::BlockError;
use crate::schema::{DURATION_NANOS, KIND, NAME, PARENT_SPAN_ID, SPAN_ID, START_TIME, TRACE_ID};

/// The columns of a batch that say which span a row is.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) traces: &'a [[u8; 16]],
    pub(super) spans: &'a [[u8; 8]],
    pub(super) starts: &'a [i64],
    parents: &'a [[u8; 8]],
    parent_column: &'a FixedSizeBinaryArray,
    kinds: Option<&'a Int32Array>,
    durations: Option<&'a Int64Array>,
    names: Option<(&'a Int32Array, &'a StringArray)>,
}

impl<'a> Piece<'a> {
    pub(super) fn new(batch: &'a RecordBatch) -> Result<Self, BlockError> {
        let (_, traces) = ids::<16>(batch, TRACE_ID)?;
        let (_, spans) = ids::<8>(batch, SPAN_ID)?;
        let (parent_column, parents) = ids::<8>(batch, PARENT_SPAN_ID)?;
        let starts =
            numbers::<TimestampNanosecondType>(batch, START_TIME)?.ok_or_else(|| lacks(START_TIME))?;
        let names = match batch.column_by_name(NAME) {
            None => None,
            Some(array) => {
                let dictionary = array.as_dictionary_opt::<Int32Type>();
                let parts = dictionary.and_then(|d| Some((d.keys(), d.values().as_string_opt::<i32>()?)));
                Some(parts.ok_or_else(|| wrong_type(NAME, "a dictionary of strings", array))?)
            }
        };
        Ok(Self {
            traces,
            spans,
            starts: starts.values(),
            parents,
            parent_column,
            kinds: numbers::<Int32Type>(batch, KIND)?,
            durations: numbers::<Int64Type>(batch, DURATION_NANOS)?,
            names,
        })
    }

    pub(super) fn parent(&self, row: usize) -> Option<&[u8; 8]> {
        self.parent_column.is_valid(row).then(|| &self.parents[row])
    }

    /// What, besides trace id, span id and start, must be equal of spans that are the same, as far as it was read.
    pub(super) fn identity(&self, row: usize) -> impl PartialEq {
        let name = self.names.filter(|(keys, _)| keys.is_valid(row));
        (
            self.parent(row).copied(),
            self.kinds.filter(|kinds| kinds.is_valid(row)).map(|kinds| kinds.value(row)),
            self.durations.filter(|durations| durations.is_valid(row)).map(|durations| durations.value(row)),
            name.map(|(keys, values)| values.value(keys.value(row) as usize)),
        )
    }
}

fn ids<'a, const N: usize>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<(&'a FixedSizeBinaryArray, &'a [[u8; N]]), BlockError> {
    let array = batch.column_by_name(name).ok_or_else(|| lacks(name))?;
    let ids = array.as_fixed_size_binary_opt().filter(|ids| ids.value_length() == N as i32);
    let ids = ids.ok_or_else(|| wrong_type(name, "an id", array))?;
    let values = ids.value_data().as_chunks::<N>().0.get(..ids.len());
    Ok((ids, values.ok_or_else(|| BlockError::value(name, "it is cut off"))?))
}

fn numbers<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<Option<&'a PrimitiveArray<T>>, BlockError> {
    let Some(array) = batch.column_by_name(name) else {
        return Ok(None);
    };
    let numbers = array.as_primitive_opt::<T>();
    Ok(Some(numbers.ok_or_else(|| wrong_type(name, "another number type", array))?))
}

fn lacks(name: &str) -> BlockError {
    BlockError::value(name, "the column is not there")
}

pub(super) fn wrong_type(name: &str, expected: &'static str, array: &dyn Array) -> BlockError {
    BlockError::ColumnType { column: name.to_owned(), expected, actual: array.data_type().to_string() }
}
