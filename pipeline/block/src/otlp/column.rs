//! Columns of one value per row.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, FixedSizeBinaryArray, Float64Array,
    Int32Array, Int64Array, PrimitiveArray, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, KeyValue};

use crate::BlockError;
use crate::schema::AttributeScope;

/// A column of any type that an attribute can be promoted to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column<'a> {
    Dictionary { keys: &'a Int32Array, values: &'a StringArray },
    Text(&'a StringArray),
    Int(&'a Int64Array),
    Double(&'a Float64Array),
    Bool(&'a BooleanArray),
}

impl<'a> Column<'a> {
    pub(super) fn new(name: &str, array: &'a ArrayRef) -> Result<Self, BlockError> {
        if let Some(dictionary) = array.as_dictionary_opt::<Int32Type>()
            && let Some(values) = dictionary.values().as_string_opt::<i32>()
        {
            return Ok(Self::Dictionary { keys: dictionary.keys(), values });
        }
        match array.data_type() {
            DataType::Utf8 => Ok(Self::Text(array.as_string())),
            DataType::Int64 => Ok(Self::Int(array.as_primitive::<Int64Type>())),
            DataType::Float64 => Ok(Self::Double(array.as_primitive::<Float64Type>())),
            DataType::Boolean => Ok(Self::Bool(array.as_boolean())),
            _ => Err(wrong_type(name, "a string, an int64, a double or a bool", array)),
        }
    }

    const fn array(&self) -> &'a dyn Array {
        match *self {
            Self::Dictionary { keys, .. } => keys,
            Self::Text(array) => array,
            Self::Int(array) => array,
            Self::Double(array) => array,
            Self::Bool(array) => array,
        }
    }

    /// The rows that have a value.
    pub(super) fn rows(&self) -> impl Iterator<Item = usize> + use<'a> {
        let array = self.array();
        (0..array.len()).filter(move |&row| array.is_valid(row))
    }

    /// Whether no row has a value.
    pub(super) fn is_empty(&self) -> bool {
        self.array().null_count() == self.array().len()
    }

    pub(super) fn text(&self, row: usize) -> Option<&'a str> {
        match *self {
            Self::Dictionary { keys, values } => {
                keys.is_valid(row).then(|| values.value(keys.value(row) as usize))
            }
            Self::Text(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Int(_) | Self::Double(_) | Self::Bool(_) => None,
        }
    }

    pub(super) fn value(&self, row: usize) -> Option<Value> {
        if self.array().is_null(row) {
            return None;
        }
        match *self {
            Self::Dictionary { .. } | Self::Text(_) => {
                self.text(row).map(|text| Value::StringValue(text.to_owned()))
            }
            Self::Int(array) => Some(Value::IntValue(array.value(row))),
            Self::Double(array) => Some(Value::DoubleValue(array.value(row))),
            Self::Bool(array) => Some(Value::BoolValue(array.value(row))),
        }
    }
}

/// The promoted columns of a scope, with the attributes' keys; those without any value are left out.
pub(super) fn promoted(
    batch: &RecordBatch,
    scope: AttributeScope,
) -> Result<Vec<(&str, Column<'_>)>, BlockError> {
    let mut columns = Vec::new();
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if let Some((found, key)) = AttributeScope::parse_column(field.name())
            && found == scope
        {
            let column = Column::new(field.name(), array)?;
            if !column.is_empty() {
                columns.push((key, column));
            }
        }
    }
    Ok(columns)
}

/// A fixed column of strings; none if the batch lacks it or it has no value.
pub(super) fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<Option<Column<'a>>, BlockError> {
    let Some(array) = batch.column_by_name(name) else {
        return Ok(None);
    };
    match Column::new(name, array)? {
        column @ (Column::Dictionary { .. } | Column::Text(_)) => Ok(Some(column).filter(|c| !c.is_empty())),
        Column::Int(_) | Column::Double(_) | Column::Bool(_) => Err(wrong_type(name, "a string", array)),
    }
}

/// A fixed column of numbers; none if the batch lacks it.
pub(super) fn numbers<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<Option<&'a PrimitiveArray<T>>, BlockError> {
    let Some(array) = batch.column_by_name(name) else {
        return Ok(None);
    };
    let numbers = array.as_primitive_opt::<T>();
    Ok(Some(numbers.ok_or_else(|| wrong_type(name, "another number type", array))?))
}

/// A column of ids of that many bytes.
pub(super) fn ids<'a>(
    batch: &'a RecordBatch,
    name: &str,
    bytes: i32,
) -> Result<Option<&'a FixedSizeBinaryArray>, BlockError> {
    let Some(array) = batch.column_by_name(name) else {
        return Ok(None);
    };
    let ids = array.as_fixed_size_binary_opt().filter(|ids| ids.value_length() == bytes);
    Ok(Some(ids.ok_or_else(|| wrong_type(name, "an id", array))?))
}

/// A member of a struct in a list, downcast by `cast`; none if a projection left it out.
pub(super) fn member<'a, T>(
    column: &str,
    items: &'a StructArray,
    name: &str,
    cast: impl Fn(&'a dyn Array) -> Option<T>,
) -> Result<Option<T>, BlockError> {
    let Some(array) = items.column_by_name(name) else {
        return Ok(None);
    };
    let member = cast(array.as_ref());
    Ok(Some(member.ok_or_else(|| wrong_type(&format!("{column}.{name}"), "what its name promises", array))?))
}

pub(super) fn wrong_type(name: &str, expected: &'static str, array: &dyn Array) -> BlockError {
    BlockError::ColumnType { column: name.to_owned(), expected, actual: array.data_type().to_string() }
}

pub(super) fn attribute(key: &str, value: Option<Value>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value }), key_strindex: 0 }
}
