//! Promoted attributes of several pieces, which may differ in type.
//! Owns: which type the column has, and making overflow items of values of other types.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type};

use super::Pick;
use super::columns::{self, gather};
use super::piece::wrong_type;
use crate::BlockError;
use crate::columns::{AnyValue, ItemBuilder, list};
use crate::complete::complete;
use crate::schema::{AttributeScope, attribute_fields, dictionary, fixed_fields};

/// Columns of pieces whose values become overflow items.
#[derive(Debug, Default)]
pub(super) struct Moved {
    list: Vec<MovedColumn>,
}

#[derive(Debug)]
struct MovedColumn {
    scope: AttributeScope,
    key: String,
    piece: usize,
    array: ArrayRef,
}

/// The columns of promoted attributes, sorted by name, and what does not fit into them.
pub(super) fn promoted(
    batches: &[&RecordBatch],
    picks: &[Pick],
) -> Result<(Vec<(Field, ArrayRef)>, Moved), BlockError> {
    let mut by_name: BTreeMap<&str, (AttributeScope, &str, Vec<Option<ArrayRef>>)> = BTreeMap::new();
    for (piece, batch) in batches.iter().enumerate() {
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if let Some((scope, key)) = AttributeScope::parse_column(field.name()) {
                let array = normal(field.name(), array)?;
                let none = || (scope, key, vec![None; batches.len()]);
                by_name.entry(field.name()).or_insert_with(none).2[piece] = Some(array);
            }
        }
    }
    let (mut columns, mut moved) = (Vec::new(), Moved::default());
    for (name, (scope, key, mut arrays)) in by_name {
        let Some(data_type) = commonest(&arrays, picks) else {
            continue;
        };
        for (piece, array) in arrays.iter_mut().enumerate() {
            if let Some(array) = array.take_if(|array| *array.data_type() != data_type) {
                moved.list.push(MovedColumn { scope, key: key.to_owned(), piece, array });
            }
        }
        let array = gather(name, &arrays, &data_type, picks)?;
        columns.push((Field::new(name, data_type, true), array));
    }
    Ok((columns, moved))
}

fn normal(name: &str, array: &ArrayRef) -> Result<ArrayRef, BlockError> {
    match array.data_type() {
        DataType::Int64 | DataType::Float64 | DataType::Boolean => Ok(Arc::clone(array)),
        _ => complete(array, &dictionary())
            .map_err(|_| wrong_type(name, "a string, an int64, a double or a bool", array)),
    }
}

/// The type that most of the picks have; none if there is no value.
fn commonest(arrays: &[Option<ArrayRef>], picks: &[Pick]) -> Option<DataType> {
    let mut types = arrays.iter().flatten().map(|array| array.data_type());
    let first = types.next()?;
    if types.all(|other| other == first) {
        return Some(first.clone());
    }
    let mut counts: Vec<(&DataType, usize)> = Vec::new();
    for (piece, row) in picks {
        let Some(array) = arrays[*piece].as_ref().filter(|array| array.is_valid(*row)) else {
            continue;
        };
        match counts.iter_mut().find(|(data_type, _)| *data_type == array.data_type()) {
            Some((_, count)) => *count += 1,
            None => counts.push((array.data_type(), 1)),
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(data_type, _)| data_type.clone())
}

impl Moved {
    /// The overflow lists of that name with the moved values in them; none if there are no such.
    pub(super) fn lists(
        &self,
        batches: &[&RecordBatch],
        name: &str,
        picks: &[Pick],
    ) -> Result<Option<Vec<Option<ArrayRef>>>, BlockError> {
        if !self.list.iter().any(|moved| moved.scope.overflow() == name) {
            return Ok(None);
        }
        let fields = fixed_fields();
        let field = fields.iter().find(|field| field.name() == name);
        let field = field.ok_or_else(|| BlockError::value(name, "no such column"))?;
        let mut lists = columns::of(batches, name, field.data_type())?;
        for (piece, (list, batch)) in lists.iter_mut().zip(batches).enumerate() {
            let moved =
                self.list.iter().filter(|moved| moved.piece == piece && moved.scope.overflow() == name);
            let moved: Vec<(&str, &ArrayRef)> =
                moved.map(|moved| (moved.key.as_str(), &moved.array)).collect();
            if !moved.is_empty() {
                let mut picked = vec![false; batch.num_rows()];
                picks.iter().filter(|pick| pick.0 == piece).for_each(|pick| picked[pick.1] = true);
                let with = with_moved(list.as_ref(), &moved, &picked, |_| true);
                *list = Some(with.map_err(|error| BlockError::value(name, error.to_string()))?);
            }
        }
        Ok(Some(lists))
    }
}

/// A piece's list of each picked row: first those of its own items that `kept` says yes to, then the values of the
/// columns that are moved, given with their keys.
pub(crate) fn with_moved(
    own: Option<&ArrayRef>,
    moved: &[(&str, &ArrayRef)],
    picked: &[bool],
    kept: impl Fn(usize) -> bool,
) -> Result<ArrayRef, arrow::error::ArrowError> {
    let own = own.map(|own| own.as_list::<i32>());
    let mut items = ItemBuilder::default();
    let (mut places, mut lengths, mut added) = (Vec::new(), vec![0; picked.len()], 0);
    for (row, length) in lengths.iter_mut().enumerate().filter(|(row, _)| picked[*row]) {
        if let Some(own) = own.filter(|own| own.is_valid(row)) {
            let offsets = own.value_offsets();
            let before = places.len();
            let items = offsets[row] as usize..offsets[row + 1] as usize;
            places.extend(items.filter(|item| kept(*item)).map(|item| (0, item)));
            *length += places.len() - before;
        }
        for (key, array) in moved {
            if let Some(value) = value(array, row) {
                items.append(key, value, None);
                places.push((1, added));
                added += 1;
                *length += 1;
            }
        }
    }
    let items = items.finish();
    let own = own.map_or_else(|| items.slice(0, 0), |own| Arc::clone(own.values()));
    let values = interleave(&[own.as_ref(), items.as_ref()], &places)?;
    Ok(Arc::new(list(attribute_fields(), lengths.iter().copied(), values)))
}

fn value(array: &ArrayRef, row: usize) -> Option<AnyValue<'_>> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Int64 => AnyValue::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => AnyValue::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => AnyValue::Bool(array.as_boolean().value(row)),
        _ => {
            let dictionary = array.as_dictionary::<Int32Type>();
            let key = dictionary.keys().value(row) as usize;
            AnyValue::String(dictionary.values().as_string::<i32>().value(key).as_bytes())
        }
    })
}
