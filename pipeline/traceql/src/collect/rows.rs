//! The rows that a collector wanted, with the columns of both steps of the search.
//! Owns: where a column or property of them is, in the first batch or in the second.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, Int32Type};

use crate::ast::Attribute;
use crate::{EvalError, Selected, Spans, Value, Values};

/// Rows of a batch; what is asked of them by position among these rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct WantedRows<'a> {
    pub(super) first: Spans<'a>,
    pub(super) rows: &'a [u32],
    pub(super) second: Spans<'a>,
}

impl<'a> WantedRows<'a> {
    pub(super) fn new(first: &Spans<'a>, rows: &'a [u32], second: &Spans<'a>) -> Result<Self, EvalError> {
        if rows.len() != second.rows() {
            let (wanted, read) = (rows.len(), second.rows());
            return Err(EvalError::Batch(format!("{wanted} rows were wanted, {read} came")));
        }
        Ok(Self { first: *first, rows, second: *second })
    }

    pub(super) const fn len(&self) -> usize {
        self.rows.len()
    }

    /// A fixed column, wherever it is.
    pub(super) fn column(&self, name: &str) -> Result<Column<'a>, EvalError> {
        if let Some(array) = self.second.batch().column_by_name(name) {
            return Ok(Column { array, rows: None });
        }
        let array = self.first.batch().column_by_name(name).ok_or_else(|| missing(name))?;
        Ok(Column { array, rows: Some(self.rows) })
    }

    /// A property of the spans: what takes the whole trace is found in the first batch, all else in the second. The other
    /// one may have some of its columns for the sake of other properties.
    pub(super) fn property(&self, attribute: &Attribute) -> Result<Property<'a>, EvalError> {
        Ok(if attribute.needs_trace() {
            Property { values: self.first.values(attribute)?, rows: Some(self.rows) }
        } else {
            Property { values: self.second.values(attribute)?, rows: None }
        })
    }
}

/// Rows of all selections, ascending.
pub(super) fn selected_rows(selected: &[Selected]) -> Vec<u32> {
    let mut rows: Vec<u32> = selected.iter().flat_map(|selected| selected.rows.iter().copied()).collect();
    if !rows.is_sorted_by(|a, b| a < b) {
        rows.sort_unstable();
        rows.dedup();
    }
    rows
}

/// A column that is in one of the batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<'a> {
    array: &'a ArrayRef,
    /// Where the wanted rows are in it; none: it has these rows alone.
    rows: Option<&'a [u32]>,
}

impl<'a> Column<'a> {
    fn row(&self, position: usize) -> usize {
        self.rows.map_or(position, |rows| rows[position] as usize)
    }

    /// As numbers.
    pub(super) fn numbers<T: ArrowPrimitiveType>(self, name: &str) -> Result<Numbers<'a, T>, EvalError> {
        let array = self.array.as_primitive_opt().ok_or_else(|| mistyped(name))?;
        Ok(Numbers { array, column: self })
    }

    /// As text that repeats.
    pub(super) fn texts(self, name: &str) -> Result<Texts<'a>, EvalError> {
        let array = self.array.as_dictionary_opt::<Int32Type>().ok_or_else(|| mistyped(name))?;
        array.values().as_string_opt::<i32>().ok_or_else(|| mistyped(name))?;
        Ok(Texts { array, column: self })
    }

    /// As ids.
    pub(super) fn ids(self, name: &str) -> Result<Ids<'a>, EvalError> {
        let array = self.array.as_fixed_size_binary_opt().ok_or_else(|| mistyped(name))?;
        Ok(Ids { array, column: self })
    }
}

#[derive(Debug)]
pub(super) struct Numbers<'a, T: ArrowPrimitiveType> {
    array: &'a PrimitiveArray<T>,
    column: Column<'a>,
}

impl<T: ArrowPrimitiveType> Numbers<'_, T> {
    pub(super) fn at(&self, position: usize) -> T::Native {
        self.array.value(self.column.row(position))
    }
}

#[derive(Debug)]
pub(super) struct Texts<'a> {
    array: &'a DictionaryArray<Int32Type>,
    column: Column<'a>,
}

impl<'a> Texts<'a> {
    /// Empty where there is none.
    pub(super) fn at(&self, position: usize) -> &'a str {
        let row = self.column.row(position);
        self.array.key(row).map_or("", |key| self.array.values().as_string::<i32>().value(key))
    }
}

#[derive(Debug)]
pub(super) struct Ids<'a> {
    array: &'a arrow::array::FixedSizeBinaryArray,
    column: Column<'a>,
}

impl<'a> Ids<'a> {
    /// None where it is null or nothing but zeros.
    pub(super) fn at(&self, position: usize) -> Option<&'a [u8]> {
        let row = self.column.row(position);
        let id = self.array.is_valid(row).then(|| self.array.value(row))?;
        id.iter().any(|byte| *byte != 0).then_some(id)
    }

    /// As it is.
    pub(super) fn bytes(&self, position: usize) -> &'a [u8] {
        self.array.value(self.column.row(position))
    }
}

/// A property of the wanted rows.
#[derive(Debug)]
pub(super) struct Property<'a> {
    pub(super) values: Values<'a>,
    /// Where the wanted rows are; none: there are these rows alone.
    pub(super) rows: Option<&'a [u32]>,
}

impl<'a> Property<'a> {
    /// The first value.
    pub(super) fn at(&self, position: usize) -> Option<Value<'a>> {
        self.values.first(self.rows.map_or(position, |rows| rows[position] as usize))
    }
}

/// A value as text, for names.
pub(super) fn text(value: Value<'_>) -> Cow<'_, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Id(id) => Cow::Owned(hex(id)),
        Value::Bool(value) => Cow::Owned(value.to_string()),
        Value::Int(value) | Value::Duration(value) => Cow::Owned(value.to_string()),
        Value::Float(value) => Cow::Owned(value.to_string()),
        Value::Status(status) => Cow::Owned((status as u32).to_string()),
        Value::Kind(kind) => Cow::Owned((kind as u32).to_string()),
    }
}

pub(super) fn hex(id: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = id.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

pub(super) fn missing(name: &str) -> EvalError {
    EvalError::Batch(format!("there is no column {name}"))
}

pub(super) fn mistyped(name: &str) -> EvalError {
    EvalError::Batch(format!("column {name} has another type"))
}
