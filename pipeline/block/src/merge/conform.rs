//! Rows of a block in the columns of a merge: attributes change between columns and overflow lists.
//! Owns: which values move, and moving them. Does not own: the choice of columns (`target`).
//! Guarantee: an attribute that has a column stands in it wherever it can, as in a new block; no value is lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Float64Type, Int8Type, Int32Type, Int64Type};

use super::target::Target;
use crate::BlockError;
use crate::assemble::conflicts::with_moved;
use crate::columns::{NULL, dictionary_column};
use crate::complete::complete;
use crate::schema::{AttributeScope, dictionary, value_type};

/// By column of the target the overflow items, by row, that belong into it.
type Raised = BTreeMap<usize, Vec<(usize, usize)>>;

/// The columns of the target, as far as the batch has values for them.
pub(super) fn conform(batch: &RecordBatch, target: &Target) -> Result<Vec<Option<ArrayRef>>, BlockError> {
    let mut columns = Vec::with_capacity(target.schema.fields().len());
    for field in target.schema.fields() {
        let Some(array) = batch.column_by_name(field.name()) else {
            columns.push(None);
            continue;
        };
        let fits = field.data_type() == array.data_type();
        if fits || AttributeScope::parse_column(field.name()).is_none() {
            let array = complete(array, field.data_type())
                .map_err(|error| BlockError::value(field.name(), error.to_string()))?;
            columns.push((array.null_count() < array.len()).then_some(array));
        } else {
            columns.push(None);
        }
    }
    for scope in AttributeScope::ALL {
        let list = target.fixed(scope.overflow());
        let lowered: Vec<(&str, ArrayRef)> = lowered(batch, target, scope)?;
        let raised = columns[list].as_ref().map_or_else(
            || Ok(Raised::new()),
            |array| raised(array, target, scope, &columns).ok_or_else(|| wrong_items(scope)),
        )?;
        if lowered.is_empty() && raised.is_empty() {
            continue;
        }
        let own = columns[list].take();
        let mut taken = vec![false; own.as_ref().map_or(0, |own| own.as_list::<i32>().values().len())];
        raised.values().flatten().for_each(|(_, item)| taken[*item] = true);
        if let Some(own) = &own {
            let items = own.as_list::<i32>().values().as_struct();
            for (column, items_of) in &raised {
                let data_type = target.schema.field(*column).data_type();
                let array =
                    with_raised(columns[*column].as_ref(), data_type, batch.num_rows(), items, items_of);
                columns[*column] = Some(array.ok_or_else(|| wrong_items(scope))?);
            }
        }
        let moved: Vec<(&str, &ArrayRef)> = lowered.iter().map(|(key, array)| (*key, array)).collect();
        let picked = vec![true; batch.num_rows()];
        let array = with_moved(own.as_ref(), &moved, &picked, |item| !taken[item]);
        let array = array.map_err(|error| BlockError::value(scope.overflow(), error.to_string()))?;
        columns[list] = (array.null_count() < array.len()).then_some(array);
    }
    Ok(columns)
}

fn wrong_items(scope: AttributeScope) -> BlockError {
    BlockError::value(scope.overflow(), "its items are not as they must be")
}

/// The columns of a scope that have none of their name and type in the target, with their keys.
fn lowered<'a>(
    batch: &'a RecordBatch,
    target: &Target,
    scope: AttributeScope,
) -> Result<Vec<(&'a str, ArrayRef)>, BlockError> {
    let mut lowered = Vec::new();
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let Some((_, key)) = AttributeScope::parse_column(field.name()).filter(|(of, _)| *of == scope) else {
            continue;
        };
        let place = target.column(scope, key);
        if place.is_some_and(|place| target.schema.field(place).data_type() == array.data_type()) {
            continue;
        }
        let array = match array.data_type() {
            DataType::Int64 | DataType::Float64 | DataType::Boolean => Arc::clone(array),
            _ => complete(array, &dictionary())
                .map_err(|error| BlockError::value(field.name(), error.to_string()))?,
        };
        lowered.push((key, array));
    }
    Ok(lowered)
}

/// The overflow items of a scope that a column of the target can take: the first of a key in its row, of the column's
/// type, not large. None if the list is none of attributes.
fn raised(
    list: &ArrayRef,
    target: &Target,
    scope: AttributeScope,
    columns: &[Option<ArrayRef>],
) -> Option<Raised> {
    let list = list.as_list_opt::<i32>()?;
    let items = list.values().as_struct_opt()?;
    let keys = items.column_by_name("key")?.as_string_opt::<i32>()?;
    let kinds = items.column_by_name("type")?.as_primitive_opt::<Int8Type>()?;
    let strings = items.column_by_name("string")?;
    let mut raised = Raised::new();
    let offsets = list.value_offsets();
    for row in (0..list.len()).filter(|row| list.is_valid(*row)) {
        for item in offsets[row] as usize..offsets[row + 1] as usize {
            let Some(place) = target.column(scope, keys.value(item)) else {
                continue;
            };
            let fits = match target.schema.field(place).data_type() {
                DataType::Int64 => kinds.value(item) == value_type::INT,
                DataType::Float64 => kinds.value(item) == value_type::DOUBLE,
                DataType::Boolean => kinds.value(item) == value_type::BOOL,
                _ => kinds.value(item) == value_type::STRING && strings.is_valid(item),
            };
            if !fits || columns[place].as_ref().is_some_and(|column| column.is_valid(row)) {
                continue;
            }
            let rows = raised.entry(place).or_default();
            if rows.last().is_none_or(|(last, _)| *last != row) {
                rows.push((row, item));
            }
        }
    }
    Some(raised)
}

/// The column with the values of those items in their rows.
fn with_raised(
    column: Option<&ArrayRef>,
    data_type: &DataType,
    rows: usize,
    items: &StructArray,
    raised: &[(usize, usize)],
) -> Option<ArrayRef> {
    fn with<T: Clone>(
        own: Option<impl Iterator<Item = Option<T>>>,
        rows: usize,
        raised: &[(usize, usize)],
        value: impl Fn(usize) -> T,
    ) -> Vec<Option<T>> {
        let mut values: Vec<Option<T>> = own.map_or_else(|| vec![None; rows], Iterator::collect);
        raised.iter().for_each(|(row, item)| values[*row] = Some(value(*item)));
        values
    }
    Some(match data_type {
        DataType::Int64 => {
            let own = column.map(|column| column.as_primitive::<Int64Type>().iter());
            let values = items.column_by_name("int")?.as_primitive_opt::<Int64Type>()?;
            Arc::new(Int64Array::from(with(own, rows, raised, |item| values.value(item))))
        }
        DataType::Float64 => {
            let own = column.map(|column| column.as_primitive::<Float64Type>().iter());
            let values = items.column_by_name("double")?.as_primitive_opt::<Float64Type>()?;
            Arc::new(Float64Array::from(with(own, rows, raised, |item| values.value(item))))
        }
        DataType::Boolean => {
            let own = column.map(|column| column.as_boolean().iter());
            let values = items.column_by_name("bool")?.as_boolean_opt()?;
            Arc::new(BooleanArray::from(with(own, rows, raised, |item| values.value(item))))
        }
        _ => with_raised_texts(column, rows, items.column_by_name("string")?.as_string_opt()?, raised),
    })
}

/// The new values come behind those of the dictionary; whoever gathers rows from it finds the equal ones.
fn with_raised_texts(
    column: Option<&ArrayRef>,
    rows: usize,
    strings: &StringArray,
    raised: &[(usize, usize)],
) -> ArrayRef {
    let (mut texts, mut numbers): (Vec<&str>, Vec<i32>) = (Vec::new(), vec![NULL; rows]);
    if let Some(column) = column {
        let dictionary = column.as_dictionary::<Int32Type>();
        let values = dictionary.values().as_string::<i32>();
        texts.extend((0..values.len()).map(|value| values.value(value)));
        let own = dictionary.keys().iter();
        numbers.iter_mut().zip(own).for_each(|(number, key)| *number = key.unwrap_or(NULL));
    }
    for (row, item) in raised {
        numbers[*row] = texts.len() as i32;
        texts.push(strings.value(*item));
    }
    dictionary_column(numbers, Arc::new(StringArray::from(texts)))
}
