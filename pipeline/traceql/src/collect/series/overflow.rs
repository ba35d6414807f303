//! All attributes in an overflow list, whatever their keys.

use arrow::array::{Array, AsArray, ListArray, StructArray};
use arrow::datatypes::{Float64Type, Int8Type, Int64Type};
use vivace_model::schema::value_type;
use vivace_model::wire::{Fields, WireError};

use crate::{EvalError, Value};

fn mistyped() -> EvalError {
    EvalError::Batch("attributes are of another form than the schema says".into())
}

/// Gives key and first value of each attribute of some rows, which ascend, with the place of the row in `rows`.
pub(crate) fn each<'a>(
    list: &'a ListArray,
    rows: &[u32],
    mut take: impl FnMut(usize, &'a str, Value<'a>),
) -> Result<(), EvalError> {
    let fields = list.values().as_struct_opt().ok_or_else(mistyped)?;
    let keys = field(fields, "key").and_then(|column| column.as_string_opt::<i32>()).ok_or_else(mistyped)?;
    let kinds = field(fields, "type").and_then(|column| column.as_primitive_opt::<Int8Type>());
    let kinds = kinds.ok_or_else(mistyped)?;
    let offsets = list.value_offsets();
    for (at, row) in rows.iter().enumerate() {
        let row = *row as usize;
        if list.is_null(row) {
            continue;
        }
        for item in offsets[row] as usize..offsets[row + 1] as usize {
            if let Some(value) = value(fields, kinds.value(item), item)? {
                take(at, keys.value(item), value);
            }
        }
    }
    Ok(())
}

fn field<'a>(fields: &'a StructArray, name: &str) -> Option<&'a dyn Array> {
    fields.column_by_name(name).map(|column| &**column)
}

/// The value of an item; none for large ones, and for what is no value to a query.
fn value<'a>(fields: &'a StructArray, kind: i8, item: usize) -> Result<Option<Value<'a>>, EvalError> {
    let name = match kind {
        value_type::STRING => "string",
        value_type::BOOL => "bool",
        value_type::INT => "int",
        value_type::DOUBLE => "double",
        value_type::ARRAY => "bytes",
        _ => return Ok(None),
    };
    let Some(column) = field(fields, name).filter(|column| column.is_valid(item)) else {
        return Ok(None);
    };
    let value = match kind {
        value_type::STRING => column.as_string_opt::<i32>().map(|texts| Some(Value::Text(texts.value(item)))),
        value_type::BOOL => column.as_boolean_opt().map(|flags| Some(Value::Bool(flags.value(item)))),
        value_type::INT => {
            column.as_primitive_opt::<Int64Type>().map(|numbers| Some(Value::Int(numbers.value(item))))
        }
        value_type::DOUBLE => {
            column.as_primitive_opt::<Float64Type>().map(|numbers| Some(Value::Float(numbers.value(item))))
        }
        _ => match column.as_binary_opt::<i32>() {
            Some(messages) => Some(
                first_of_array(messages.value(item)).map_err(|error| EvalError::Batch(error.to_string()))?,
            ),
            None => None,
        },
    };
    value.ok_or_else(mistyped)
}

/// First element of an OTLP `ArrayValue`, if all are scalars of one type.
fn first_of_array(message: &[u8]) -> Result<Option<Value<'_>>, WireError> {
    let mut first: Option<Value<'_>> = None;
    for element in Fields::new(message) {
        let element = element?;
        if element.number != 1 {
            continue;
        }
        let Some(value) = scalar(element.bytes()?)? else { return Ok(None) };
        let kept = *first.get_or_insert(value);
        if std::mem::discriminant(&kept) != std::mem::discriminant(&value) {
            return Ok(None);
        }
    }
    Ok(first)
}

/// An OTLP `AnyValue`, if it is a scalar.
fn scalar(message: &[u8]) -> Result<Option<Value<'_>>, WireError> {
    let mut found = None;
    for field in Fields::new(message) {
        let field = field?;
        found = match field.number {
            1 => std::str::from_utf8(field.bytes()?).ok().map(Value::Text),
            2 => Some(Value::Bool(field.varint()? != 0)),
            3 => Some(Value::Int(field.varint()?.cast_signed())),
            4 => Some(Value::Float(f64::from_bits(field.fixed64()?))),
            _ => None,
        };
    }
    Ok(found)
}
