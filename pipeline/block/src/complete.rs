//! Columns as they were read, in the types of the block's schema.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, ListArray, StringArray, StructArray,
    new_null_array,
};
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;

/// The array as one of type `target`: members of structs that were not read, because they have no value, are null;
/// strings get a dictionary in which each row has a value of its own.
pub(crate) fn complete(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), target) {
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let values = complete(list.values(), item.data_type())?;
            let list =
                ListArray::try_new(Arc::clone(item), list.offsets().clone(), values, list.nulls().cloned())?;
            Ok(Arc::new(list))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let found = array.as_struct();
            let members = fields.iter().map(|field| match found.column_by_name(field.name()) {
                Some(member) => complete(member, field.data_type()),
                None => Ok(new_null_array(field.data_type(), found.len())),
            });
            let members = members.collect::<Result<Vec<_>, _>>()?;
            let whole = StructArray::try_new_with_length(
                fields.clone(),
                members,
                found.nulls().cloned(),
                found.len(),
            )?;
            Ok(Arc::new(whole))
        }
        (DataType::Utf8, DataType::Dictionary(..)) if *target == crate::schema::dictionary() => {
            let texts = array.as_string::<i32>();
            let count = i32::try_from(texts.len()).map_err(|_| ArrowError::DictionaryKeyOverflowError)?;
            let keys = Int32Array::new((0..count).collect(), texts.nulls().cloned());
            let values = StringArray::try_new(texts.offsets().clone(), texts.values().clone(), None)?;
            Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values))?))
        }
        (found, target) => Err(ArrowError::SchemaError(format!("a column is {found} but must be {target}"))),
    }
}
