use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch,
    StringArray, UInt32Array,
};
use arrow::datatypes::Int32Type;
use vivace_model::ErrorKind;
use vivace_proto::otlp::common::any_value::Value;

use super::*;
use crate::schema;

fn ids(rows: u8) -> Vec<(&'static str, ArrayRef)> {
    let id = |bytes: usize| {
        let ids = (1..=rows).map(|row| vec![row; bytes]);
        Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap()) as ArrayRef
    };
    vec![(schema::TRACE_ID, id(16)), (schema::SPAN_ID, id(8))]
}

fn batch(rows: u8, columns: Vec<(&'static str, ArrayRef)>) -> RecordBatch {
    let columns = ids(rows).into_iter().chain(columns);
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}

fn texts(values: Vec<Option<&str>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn dictionary(values: Vec<Option<&str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<DictionaryArray<Int32Type>>())
}

/// Services of the resources, and the span ids' first bytes under them.
fn grouped(data: &TracesData) -> Vec<(Vec<String>, Vec<u8>)> {
    let groups = data.resource_spans.iter().map(|group| {
        let attributes = group.resource.iter().flat_map(|resource| &resource.attributes);
        let values = attributes.filter_map(|attribute| match attribute.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(format!("{}={text}", attribute.key)),
            other => Some(format!("{}={other:?}", attribute.key)),
        });
        let spans = group.scope_spans.iter().flat_map(|scope| &scope.spans);
        (values.collect(), spans.map(|span| span.span_id[0]).collect())
    });
    groups.collect()
}

#[test]
fn ids_alone_make_spans() {
    let some = batch(2, Vec::new());
    let data = to_traces_data(&[some.slice(0, 2), some.slice(1, 0)]).unwrap();
    let group = &data.resource_spans[0];
    assert!(group.resource.is_some() && group.scope_spans[0].scope.is_some());
    let spans = &group.scope_spans[0].spans;
    assert_eq!(spans.len(), 2);
    assert!(spans[0].status.is_some());
    assert_eq!(to_traces_data(&[]).unwrap(), TracesData::default());
}

#[test]
fn rows_are_grouped_wherever_they_are_and_however_their_columns_are_stored() {
    let first = batch(4, vec![("resource.a", dictionary(vec![Some("x"), Some("y"), None, Some("x")]))]);
    let second = batch(2, vec![("resource.a", texts(vec![Some("y"), Some("x")]))]);
    let third = batch(1, vec![("resource.a", texts(vec![None])), ("resource.b", texts(vec![None]))]);
    let data = to_traces_data(&[first, second, third]).unwrap();
    let expected =
        [(vec!["a=x".to_owned()], vec![1, 4, 2]), (vec!["a=y".to_owned()], vec![2, 1]), (vec![], vec![3, 1])];
    assert_eq!(grouped(&data), expected);
}

#[test]
fn resources_that_differ_in_anything_are_kept_apart() {
    let columns: [(&'static str, ArrayRef); 4] = [
        ("resource.flag", Arc::new(BooleanArray::from(vec![Some(true), Some(false)]))),
        ("resource.number", Arc::new(Int64Array::from(vec![Some(1), None]))),
        (schema::RESOURCE_SCHEMA_URL, dictionary(vec![None, Some("url")])),
        (schema::RESOURCE_DROPPED_ATTRIBUTES_COUNT, Arc::new(UInt32Array::from(vec![0, 1]))),
    ];
    for column in columns {
        let name = column.0;
        let data = to_traces_data(&[batch(2, vec![column])]).unwrap();
        assert_eq!(data.resource_spans.len(), 2, "{name}");
    }
    let scopes: [(&'static str, ArrayRef); 3] = [
        (schema::SCOPE_NAME, dictionary(vec![None, Some("lib")])),
        (schema::SCOPE_VERSION, texts(vec![Some("1"), Some("2")])),
        ("instrumentation.x", texts(vec![Some("1"), None])),
    ];
    for column in scopes {
        let name = column.0;
        let data = to_traces_data(&[batch(2, vec![column])]).unwrap();
        assert_eq!(data.resource_spans[0].scope_spans.len(), 2, "{name}");
    }
}

#[test]
fn columns_of_nobody_are_ignored_and_wrong_types_are_refused() {
    let odd =
        batch(1, vec![("whatever", texts(vec![Some("x")])), ("root_span_name", texts(vec![Some("x")]))]);
    assert_eq!(to_traces_data(&[odd]).unwrap(), to_traces_data(&[batch(1, Vec::new())]).unwrap());
    let numbers = || Arc::new(Int32Array::from(vec![1])) as ArrayRef;
    for name in [
        schema::NAME,
        schema::START_TIME,
        schema::DURATION_NANOS,
        schema::FLAGS,
        schema::PARENT_SPAN_ID,
        schema::EVENTS,
        schema::LINKS,
        schema::SPAN_ATTRIBUTES,
        schema::RESOURCE_ATTRIBUTES,
        "span.x",
        "resource.x",
    ] {
        let error = to_traces_data(&[batch(1, vec![(name, numbers())])]).unwrap_err();
        assert!(matches!(&error, BlockError::ColumnType { column, .. } if column == name), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    let without_ids = RecordBatch::try_from_iter([("a", texts(vec![None]))]).unwrap();
    assert!(matches!(to_traces_data(&[without_ids]), Err(BlockError::Value { .. })));
}
