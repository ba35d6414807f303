//! Large values, which rows share: in memory a view of bytes, in a file a plain column of bytes.
//! Owns: that difference between the two schemas, and what of shared bytes a part of the rows needs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, BinaryViewBuilder, ListArray, StructArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use arrow::error::ArrowError;
use hashbrown::HashMap;

use crate::schema::LARGE;

/// A file's schema as columns have it in memory.
pub(crate) fn with_views(schema: &Schema) -> Schema {
    changed(schema, &DataType::BinaryView)
}

/// The schema of columns in memory as a file has it. Not all readers of Parquet know views.
pub(crate) fn without_views(schema: &Schema) -> Schema {
    changed(schema, &DataType::Binary)
}

fn changed(schema: &Schema, large: &DataType) -> Schema {
    let fields = schema.fields().iter().map(|field| of_field(field, large, false));
    Schema::new_with_metadata(fields.collect::<Fields>(), schema.metadata().clone())
}

/// The field, with leaves named [`LARGE`] of that type. Only what is in a list is an attribute's member.
fn of_field(field: &FieldRef, large: &DataType, in_list: bool) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(of_field(item, large, true)),
        DataType::Struct(members) => {
            DataType::Struct(members.iter().map(|member| of_field(member, large, in_list)).collect())
        }
        DataType::Binary | DataType::BinaryView if in_list && field.name() == LARGE => large.clone(),
        _ => return Arc::clone(field),
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}

/// The column with those large values alone that its rows have, each of them once. Others are as they were.
pub(crate) fn compact(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::List(item) if has_views(item.data_type()) => {
            let list = column.as_list::<i32>();
            let (start, end) = (list.value_offsets()[0], list.value_offsets()[list.len()]);
            let offsets = list.offsets().iter().map(|offset| offset - start).collect::<Vec<i32>>();
            let values = compact(&list.values().slice(start as usize, (end - start) as usize))?;
            let offsets = arrow::buffer::OffsetBuffer::new(offsets.into());
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, list.nulls().cloned())?))
        }
        DataType::Struct(fields) => {
            let members = column.as_struct().columns().iter().map(compact).collect::<Result<_, _>>()?;
            let nulls = column.nulls().cloned();
            let array = StructArray::try_new_with_length(fields.clone(), members, nulls, column.len())?;
            Ok(Arc::new(array))
        }
        DataType::BinaryView => Ok(Arc::new(once(column.as_binary_view())?)),
        _ => Ok(Arc::clone(column)),
    }
}

fn has_views(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => has_views(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_views(field.data_type())),
        DataType::BinaryView => true,
        _ => false,
    }
}

/// Values that are the same bytes become one.
fn once(array: &BinaryViewArray) -> Result<BinaryViewArray, ArrowError> {
    let mut builder = BinaryViewBuilder::with_capacity(array.len());
    let mut blocks: HashMap<u128, u32> = HashMap::new();
    for (place, view) in array.views().iter().enumerate() {
        if array.is_null(place) {
            builder.append_null();
            continue;
        }
        let value = array.value(place);
        let block = *blocks.entry(*view).or_insert_with(|| builder.append_block(Buffer::from(value)));
        let length = u32::try_from(value.len()).map_err(|_| ArrowError::OffsetOverflowError(value.len()))?;
        builder.try_append_view(block, 0, length)?;
    }
    Ok(builder.finish())
}

/// Bytes of the large values of a column, each counted once.
pub(crate) fn large_bytes(column: &dyn Array) -> usize {
    match column.data_type() {
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            let (start, end) = (list.value_offsets()[0] as usize, list.value_offsets()[list.len()] as usize);
            large_bytes(&list.values().slice(start, end - start))
        }
        DataType::Struct(_) => column.as_struct().columns().iter().map(|member| large_bytes(member)).sum(),
        DataType::BinaryView => {
            let array = column.as_binary_view();
            let mut views: Vec<u128> = (0..array.len())
                .filter(|place| array.is_valid(*place))
                .map(|place| array.views()[place])
                .collect();
            views.sort_unstable();
            views.dedup();
            // The length is in the lowest bits of a view.
            views.into_iter().map(|view| view as u32 as usize).sum()
        }
        _ => 0,
    }
}
