//! Names of attributes as a row of the block's schema, so that who collects names needs no rows that have them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, ListArray, RecordBatch, RecordBatchOptions, StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use vivace_block::schema::{AttributeScope, item};

/// A row that has attributes of these names, each given with the column that holds such as have no column of their own.
pub(super) fn row(names: Vec<(&'static str, String)>) -> Result<RecordBatch, ArrowError> {
    let mut by_list: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    for (list, key) in names {
        by_list.entry(list).or_default().insert(key);
    }
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    let present: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
    for (list, keys) in by_list {
        if let Some(scope) = AttributeScope::ALL.into_iter().find(|scope| scope.overflow() == list) {
            for key in keys {
                fields.push(Field::new(scope.column(&key), DataType::Boolean, true));
                arrays.push(Arc::clone(&present));
            }
        } else {
            let keys: ArrayRef = Arc::new(StringArray::from_iter_values(keys));
            let owners = one_list("attributes", one_list("key", keys)?)?;
            fields.push(Field::new(list, owners.data_type().clone(), true));
            arrays.push(owners);
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
}

/// One list, of a struct for each value, with the value as its only member.
fn one_list(member: &str, values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let count = values.len();
    let field = Field::new(member, values.data_type().clone(), false);
    let structs = StructArray::try_new(vec![field].into(), vec![values], None)?;
    let element = item(structs.fields().clone());
    let list = ListArray::try_new(element, OffsetBuffer::from_lengths([count]), Arc::new(structs), None)?;
    Ok(Arc::new(list))
}

#[cfg(test)]
mod tests {
    use vivace_block::schema::{EVENTS, SPAN_ATTRIBUTES};

    use super::*;

    #[test]
    fn each_name_is_there_once() {
        let names = [(SPAN_ATTRIBUTES, "a"), (EVENTS, "c"), (SPAN_ATTRIBUTES, "a"), (EVENTS, "b")];
        let row = row(names.map(|(list, key)| (list, key.to_owned())).into()).unwrap();
        assert_eq!(row.num_rows(), 1);
        let columns: Vec<_> = row.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(columns, [EVENTS, "span.a"]);
        assert!(format!("{:?}", row.column(0)).contains("\"b\""));
    }
}
