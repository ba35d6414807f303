//! Values of lanes, row by row.

use arrow::array::{Array, AsArray};

use super::Lane;
use crate::ast::{Kind, Status};

/// A value that is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// An id; as text it is lower-case hex.
    Id(&'a [u8]),
    /// Nanoseconds.
    Duration(i64),
    /// Status of a span.
    Status(Status),
    /// Kind of a span.
    Kind(Kind),
}

impl<'a> Lane<'a> {
    /// Whether a row may have several values.
    pub(crate) const fn is_sparse(&self) -> bool {
        matches!(self, Self::Sparse(_))
    }

    /// Whether every row has a value, as far as that is known at once.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Text(texts) => texts.null_count() == 0 && texts.values().null_count() == 0,
            Self::Int(numbers) | Self::Duration(numbers) => numbers.null_count() == 0,
            Self::Float(numbers) => numbers.null_count() == 0,
            Self::Bool(flags) => flags.null_count() == 0,
            Self::Status(numbers) | Self::Kind(numbers) | Self::Small(numbers) => numbers.null_count() == 0,
            Self::Id(ids) => ids.null_count() == 0,
            Self::Sparse(_) => false,
        }
    }

    /// The first value of a row.
    #[must_use]
    pub fn first(&self, row: usize) -> Option<Value<'a>> {
        Some(match *self {
            Self::Text(texts) => {
                let key = texts.key(row)?;
                let values = texts.values().as_string::<i32>();
                if values.is_null(key) {
                    return None;
                }
                Value::Text(values.value(key))
            }
            Self::Int(numbers) => Value::Int(numbers.is_valid(row).then(|| numbers.value(row))?),
            Self::Float(numbers) => Value::Float(numbers.is_valid(row).then(|| numbers.value(row))?),
            Self::Bool(flags) => Value::Bool(flags.is_valid(row).then(|| flags.value(row))?),
            Self::Duration(numbers) => Value::Duration(numbers.is_valid(row).then(|| numbers.value(row))?),
            Self::Status(numbers) => {
                Value::Status(Status::from_number(numbers.is_valid(row).then(|| numbers.value(row))?))
            }
            Self::Kind(numbers) => {
                Value::Kind(Kind::from_number(numbers.is_valid(row).then(|| numbers.value(row))?))
            }
            Self::Small(numbers) => Value::Int(numbers.is_valid(row).then(|| numbers.value(row))?.into()),
            Self::Id(ids) => Value::Id(ids.is_valid(row).then(|| ids.value(row))?),
            Self::Sparse(ref items) => sparse(items, row).first()?.1,
        })
    }

    /// All values of a row.
    pub fn each(&self, row: usize, take: &mut impl FnMut(Value<'a>)) {
        match self {
            Self::Sparse(items) => sparse(items, row).iter().for_each(|(_, value)| take(*value)),
            _ => self.first(row).into_iter().for_each(take),
        }
    }
}

/// The items of a row.
fn sparse<'v, 'a>(items: &'v [(u32, Value<'a>)], row: usize) -> &'v [(u32, Value<'a>)] {
    // Most often asked row by row where all rows have one.
    let start = match items.get(row) {
        Some((at, _)) if *at as usize == row && (row == 0 || (items[row - 1].0 as usize) < row) => row,
        _ => items.partition_point(|(at, _)| (*at as usize) < row),
    };
    let count = items[start..].iter().take_while(|(at, _)| *at as usize == row).count();
    &items[start..start + count]
}
