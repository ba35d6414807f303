//! Columns of a batch by name, with the types that the schema gives them.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, DictionaryArray, FixedSizeBinaryArray, Int32Array, Int64Array,
    ListArray, StructArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampNanosecondType};
use vivace_model::schema;

use super::{Lane, Spans};
use crate::EvalError;

/// What a column of another type than expected makes of a search.
pub(super) fn mismatch(name: &str, found: &DataType) -> EvalError {
    EvalError::Batch(format!("column {name} is of type {found}"))
}

impl<'a> Spans<'a> {
    fn column<T: 'a>(
        &self,
        name: &str,
        cast: impl FnOnce(&'a ArrayRef) -> Option<&'a T>,
    ) -> Result<Option<&'a T>, EvalError> {
        let Some(column) = self.batch.column_by_name(name) else {
            return Ok(None);
        };
        cast(column).map(Some).ok_or_else(|| mismatch(name, column.data_type()))
    }

    pub(crate) fn texts(&self, name: &str) -> Result<Option<&'a DictionaryArray<Int32Type>>, EvalError> {
        self.column(name, texts)
    }

    pub(crate) fn ints(&self, name: &str) -> Result<Option<&'a Int64Array>, EvalError> {
        self.column(name, |column| column.as_primitive_opt::<Int64Type>())
    }

    pub(crate) fn smalls(&self, name: &str) -> Result<Option<&'a Int32Array>, EvalError> {
        self.column(name, |column| column.as_primitive_opt::<Int32Type>())
    }

    pub(crate) fn ids(&self, name: &str) -> Result<Option<&'a FixedSizeBinaryArray>, EvalError> {
        self.column(name, |column| column.as_fixed_size_binary_opt())
    }

    /// When each span starts, Unix nanoseconds; none if the batch lacks it.
    pub(crate) fn starts(&self) -> Result<Option<&'a TimestampNanosecondArray>, EvalError> {
        self.column(schema::START_TIME, |column| column.as_primitive_opt::<TimestampNanosecondType>())
    }

    /// A list of structs; none where the batch lacks it or no row has an element.
    pub(super) fn list(&self, name: &str) -> Result<Option<Elements<'a>>, EvalError> {
        match self.column(name, |column| column.as_list_opt::<i32>())? {
            Some(list) => Elements::new(name, list),
            None => Ok(None),
        }
    }

    /// A promoted attribute.
    pub(super) fn promoted(&self, name: &str) -> Result<Option<Lane<'a>>, EvalError> {
        let Some(column) = self.batch.column_by_name(name) else {
            return Ok(None);
        };
        if column.null_count() == column.len() {
            return Ok(None);
        }
        let lane = match column.data_type() {
            DataType::Dictionary(..) => texts(column).map(Lane::Text),
            DataType::Int64 => column.as_primitive_opt().map(Lane::Int),
            DataType::Float64 => column.as_primitive_opt().map(Lane::Float),
            DataType::Boolean => column.as_boolean_opt().map(Lane::Bool),
            _ => None,
        };
        lane.map(Some).ok_or_else(|| mismatch(name, column.data_type()))
    }
}

fn texts(column: &ArrayRef) -> Option<&DictionaryArray<Int32Type>> {
    let texts = column.as_dictionary_opt::<Int32Type>()?;
    texts.values().as_string_opt::<i32>().map(|_| texts)
}

/// The elements of a list column of structs, those of all rows one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements<'a> {
    list: &'a ListArray,
    fields: &'a StructArray,
}

impl<'a> Elements<'a> {
    fn new(name: &str, list: &'a ListArray) -> Result<Option<Self>, EvalError> {
        if list.null_count() == list.len() {
            return Ok(None);
        }
        let fields = list.values().as_struct_opt();
        let fields = fields.ok_or_else(|| mismatch(name, list.data_type()))?;
        let elements = Self { list, fields };
        Ok(Some(elements).filter(|elements| !elements.range().is_empty()))
    }

    /// Numbers of the elements in use.
    pub(super) fn range(&self) -> std::ops::Range<usize> {
        let offsets = self.list.value_offsets();
        offsets[0] as usize..offsets[self.list.len()] as usize
    }

    /// A field of the elements; none if it was not read.
    pub(super) fn field<T: 'a>(
        &self,
        name: &str,
        cast: impl FnOnce(&'a ArrayRef) -> Option<&'a T>,
    ) -> Result<Option<&'a T>, EvalError> {
        let Some(column) = self.fields.column_by_name(name) else {
            return Ok(None);
        };
        cast(column).map(Some).ok_or_else(|| mismatch(name, column.data_type()))
    }

    pub(super) fn binaries(&self, name: &str) -> Result<Option<&'a BinaryArray>, EvalError> {
        self.field(name, |column| column.as_binary_opt::<i32>())
    }

    /// A list within each element.
    pub(super) fn list(&self, name: &str) -> Result<Option<Self>, EvalError> {
        match self.field(name, |column| column.as_list_opt::<i32>())? {
            Some(list) => Self::new(name, list),
            None => Ok(None),
        }
    }

    /// The rows that elements belong to, asked by element ascending.
    pub(super) const fn rows(&self) -> Rows<'a> {
        Rows { list: self.list, row: 0 }
    }
}

/// Finds the row of an element, and of each one after it.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    list: &'a ListArray,
    row: usize,
}

impl Rows<'_> {
    /// None for an element that is below a null or that no row has.
    pub(super) fn of(&mut self, element: usize) -> Option<u32> {
        let offsets = self.list.value_offsets();
        while self.row < self.list.len() && offsets[self.row + 1] as usize <= element {
            self.row += 1;
        }
        let here = self.row < self.list.len() && offsets[self.row] as usize <= element;
        (here && self.list.is_valid(self.row)).then_some(self.row as u32)
    }
}
