//! One column from those of several pieces.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Int32Type};
use hashbrown::HashMap;

use super::Pick;
use crate::BlockError;
use crate::columns::{NULL, dictionary_column};
use crate::complete::complete;

/// A column of each piece, in the same type; none where it is not there.
pub(crate) fn of(
    batches: &[&RecordBatch],
    name: &str,
    data_type: &DataType,
) -> Result<Vec<Option<ArrayRef>>, BlockError> {
    let complete =
        |array| complete(array, data_type).map_err(|error| BlockError::value(name, error.to_string()));
    batches.iter().map(|batch| batch.column_by_name(name).map(complete).transpose()).collect()
}

/// The values of the picks.
pub(crate) fn gather(
    name: &str,
    arrays: &[Option<ArrayRef>],
    data_type: &DataType,
    picks: &[Pick],
) -> Result<ArrayRef, BlockError> {
    if matches!(data_type, DataType::Dictionary(..)) {
        return Ok(texts(arrays, picks.iter().copied().map(Some)));
    }
    let null = new_null_array(data_type, 1);
    let values: Vec<&dyn Array> =
        arrays.iter().map(|array| array.as_ref().unwrap_or(&null).as_ref()).collect();
    if values.is_empty() {
        return Ok(new_null_array(data_type, 0));
    }
    let gathered = if arrays.iter().all(Option::is_some) {
        interleave(&values, picks)
    } else {
        let place = |&(piece, row): &Pick| (piece, if arrays[piece].is_some() { row } else { 0 });
        interleave(&values, &picks.iter().map(place).collect::<Vec<_>>())
    };
    gathered.map_err(|error| BlockError::value(name, error.to_string()))
}

/// The strings of the picks, as a dictionary in which each is once. Each string of a piece is looked up once, however
/// many rows have it.
pub(crate) fn texts(arrays: &[Option<ArrayRef>], picks: impl Iterator<Item = Option<Pick>>) -> ArrayRef {
    let dictionaries: Vec<_> = arrays
        .iter()
        .map(|array| {
            let dictionary = array.as_ref()?.as_dictionary_opt::<Int32Type>()?;
            Some((dictionary.keys(), dictionary.values().as_string_opt::<i32>()?))
        })
        .collect();
    let mut tables: Vec<Vec<i32>> = vec![Vec::new(); arrays.len()];
    let mut known: HashMap<&str, i32> = HashMap::new();
    let mut values = StringBuilder::new();
    let numbers = picks.map(|pick| {
        let Some((piece, row)) = pick else {
            return NULL;
        };
        let Some((keys, texts)) = dictionaries[piece].filter(|(keys, _)| keys.is_valid(row)) else {
            return NULL;
        };
        let table = &mut tables[piece];
        if table.is_empty() {
            table.resize(texts.len(), NULL);
        }
        let (key, next) = (keys.value(row) as usize, known.len() as i32);
        if table[key] == NULL {
            table[key] = *known.entry(texts.value(key)).or_insert_with(|| {
                values.append_value(texts.value(key));
                next
            });
        }
        table[key]
    });
    let numbers = numbers.collect();
    dictionary_column(numbers, Arc::new(values.finish()))
}
