//! Attributes in lists of [`attribute_fields`](vivace_model::schema::attribute_fields): overflow lists, and those of
//! events and links.
//! Owns: which items have a key, and what their values are to a query: an array is as many values as it has elements if
//! all are of one scalar type; other arrays, maps, bytes and empty values are no values.

use arrow::array::{
    Array, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Float64Array, Int8Array, Int64Array,
    StringArray,
};
use vivace_model::schema::{LARGE, value_type};
use vivace_model::wire::{Fields, WireError};

use super::Value;
use super::columns::Elements;
use crate::EvalError;

/// The items of one key in a list column, and their values.
#[derive(Debug)]
pub(super) struct Items<'a> {
    elements: Elements<'a>,
    kinds: &'a Int8Array,
    strings: Option<&'a StringArray>,
    ints: Option<&'a Int64Array>,
    doubles: Option<&'a Float64Array>,
    bools: Option<&'a BooleanArray>,
    bytes: Option<&'a BinaryArray>,
    large: Option<&'a BinaryViewArray>,
}

impl<'a> Items<'a> {
    /// None if no item of the list has the key: most often known from the keys alone.
    pub(super) fn new(elements: Elements<'a>, key: &str) -> Result<Option<(Self, Vec<u32>)>, EvalError> {
        let missing = || EvalError::Batch("attributes lack their keys or types".into());
        let keys: &StringArray =
            elements.field("key", |column| column.as_string_opt::<i32>())?.ok_or_else(missing)?;
        let found = with_key(keys, elements.range(), key);
        if found.is_empty() {
            return Ok(None);
        }
        let items = Self {
            elements,
            kinds: elements.field("type", |column| column.as_primitive_opt())?.ok_or_else(missing)?,
            strings: elements.field("string", |column| column.as_string_opt::<i32>())?,
            ints: elements.field("int", |column| column.as_primitive_opt())?,
            doubles: elements.field("double", |column| column.as_primitive_opt())?,
            bools: elements.field("bool", |column| column.as_boolean_opt())?,
            bytes: elements.binaries("bytes")?,
            large: elements.field(LARGE, |column| column.as_binary_view_opt())?,
        };
        Ok(Some((items, found)))
    }

    /// Values of the items `found`, with the row of each.
    pub(super) fn values(&self, found: &[u32]) -> Result<Vec<(u32, Value<'a>)>, EvalError> {
        let mut rows = self.elements.rows();
        let mut values = Vec::with_capacity(found.len());
        for item in found {
            if let Some(row) = rows.of(*item as usize) {
                self.each(*item as usize, |value| values.push((row, value)))?;
            }
        }
        Ok(values)
    }

    fn each(&self, item: usize, mut take: impl FnMut(Value<'a>)) -> Result<(), EvalError> {
        match self.kinds.value(item) {
            value_type::STRING => {
                let text =
                    self.strings.filter(|strings| strings.is_valid(item)).map(|strings| strings.value(item));
                let text = match (text, self.large(item)) {
                    (Some(text), _) => Some(text),
                    (None, Some(large)) => Some(std::str::from_utf8(large).map_err(|_| not_utf8())?),
                    (None, None) => None,
                };
                text.into_iter().for_each(|text| take(Value::Text(text)));
            }
            value_type::BOOL => {
                let value =
                    self.bools.filter(|values| values.is_valid(item)).map(|values| values.value(item));
                value.into_iter().for_each(|value| take(Value::Bool(value)));
            }
            value_type::INT => {
                let value = self.ints.filter(|values| values.is_valid(item)).map(|values| values.value(item));
                value.into_iter().for_each(|value| take(Value::Int(value)));
            }
            value_type::DOUBLE => {
                let value =
                    self.doubles.filter(|values| values.is_valid(item)).map(|values| values.value(item));
                value.into_iter().for_each(|value| take(Value::Float(value)));
            }
            value_type::ARRAY => {
                if let Some(message) = self.bytes(item).or_else(|| self.large(item)) {
                    let elements = array(message).map_err(|error| EvalError::Batch(error.to_string()))?;
                    elements.into_iter().for_each(take);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn bytes(&self, item: usize) -> Option<&'a [u8]> {
        self.bytes.filter(|column| column.is_valid(item)).map(|column| column.value(item))
    }

    fn large(&self, item: usize) -> Option<&'a [u8]> {
        self.large.filter(|column| column.is_valid(item)).map(|column| column.value(item))
    }
}

fn not_utf8() -> EvalError {
    EvalError::Batch("a string is not valid UTF-8".into())
}

/// Numbers of the keys in the range that are this one.
fn with_key(keys: &StringArray, range: std::ops::Range<usize>, key: &str) -> Vec<u32> {
    let offsets = &keys.value_offsets()[range.start..=range.end];
    let bytes = keys.value_data();
    let mut found = Vec::new();
    for (index, pair) in offsets.windows(2).enumerate() {
        let (start, end) = (pair[0] as usize, pair[1] as usize);
        if end - start == key.len() && &bytes[start..end] == key.as_bytes() {
            found.push((range.start + index) as u32);
        }
    }
    found
}

/// Elements of an OTLP `ArrayValue` if all are of one scalar type; else none.
fn array(message: &[u8]) -> Result<Vec<Value<'_>>, WireError> {
    let mut values: Vec<Value<'_>> = Vec::new();
    for field in Fields::new(message) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        match scalar(field.bytes()?)? {
            Some(value)
                if values
                    .first()
                    .is_none_or(|first| std::mem::discriminant(first) == std::mem::discriminant(&value)) =>
            {
                values.push(value);
            }
            _ => return Ok(Vec::new()),
        }
    }
    Ok(values)
}

/// An OTLP `AnyValue` if it is a scalar.
fn scalar(message: &[u8]) -> Result<Option<Value<'_>>, WireError> {
    let mut found = None;
    for field in Fields::new(message) {
        let field = field?;
        found = match field.number {
            1 => std::str::from_utf8(field.bytes()?).ok().map(Value::Text),
            2 => Some(Value::Bool(field.varint()? != 0)),
            3 => Some(Value::Int(field.varint()? as i64)),
            4 => Some(Value::Float(f64::from_bits(field.fixed64()?))),
            5..=7 => None,
            _ => continue,
        };
    }
    Ok(found)
}
