//! The open block: what it takes in, what it refuses, and what its batches look like.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use prost::Message;
use vivace_block::{BlockConfig, DuplicateFilter, OpenBlock, schema};
use vivace_model::{TenantId, TraceId};
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, InstrumentationScope, KeyValue};
use vivace_proto::otlp::resource::Resource;
use vivace_proto::otlp::trace::span::Event;
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn span(trace: u8, id: u8, parent: u8, attributes: Vec<KeyValue>) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { vec![] } else { vec![parent; 8] },
        name: format!("span {id}"),
        start_time_unix_nano: 1000 + u64::from(id),
        end_time_unix_nano: 2000,
        attributes,
        ..Span::default()
    }
}

fn record(service: &str, spans: Vec<Span>) -> Vec<u8> {
    let resource = Resource { attributes: vec![text("service.name", service)], ..Resource::default() };
    let scope = InstrumentationScope { name: "lib".into(), ..InstrumentationScope::default() };
    let scope_spans = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
    let resource_spans = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    TracesData { resource_spans: vec![resource_spans] }.encode_to_vec()
}

fn block(config: &BlockConfig) -> (OpenBlock, DuplicateFilter) {
    (OpenBlock::new(TenantId::default(), config), DuplicateFilter::new(1))
}

fn strings(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(column).unwrap_or_else(|| panic!("no column {column}"));
    let column = column.as_dictionary::<Int32Type>();
    let values = column.values().as_string::<i32>();
    let keys = column.keys().iter();
    keys.map(|key| key.map(|key| values.value(key as usize).to_owned())).collect()
}

fn overflow(batch: &RecordBatch, column: &str) -> Vec<Vec<(String, i8)>> {
    let lists = batch.column_by_name(column).unwrap().as_list::<i32>();
    (0..lists.len())
        .map(|row| {
            let items = lists.value(row);
            let items = items.as_struct();
            let keys = items.column_by_name("key").unwrap().as_string::<i32>();
            let types = items.column_by_name("type").unwrap().as_primitive::<arrow::datatypes::Int8Type>();
            (0..items.len()).map(|i| (keys.value(i).to_owned(), types.value(i))).collect()
        })
        .collect()
}

#[test]
fn rows_are_sorted_and_numbered_and_know_their_root() {
    let (mut block, mut seen) = block(&BlockConfig::default());
    block.append(&record("b", vec![span(2, 3, 2, vec![]), span(1, 9, 0, vec![])]), &mut seen);
    block.append(&record("a", vec![span(2, 2, 0, vec![])]), &mut seen);
    let sealed = block.seal();
    assert_eq!((sealed.stats.rows, sealed.stats.traces), (3, 2));
    assert_eq!((sealed.stats.start_min.0, sealed.stats.end_max.0), (1002, 2000));
    let batch = &sealed.batches[0];
    assert_eq!(strings(batch, schema::NAME), ["span 9", "span 2", "span 3"].map(|s| Some(s.into())));
    assert_eq!(strings(batch, schema::ROOT_SERVICE_NAME), ["b", "a", "a"].map(|s| Some(s.into())));
    assert_eq!(strings(batch, "resource.service.name"), ["b", "a", "b"].map(|s| Some(s.into())));
    let ints = |name| batch.column_by_name(name).unwrap().as_primitive::<Int32Type>().values().to_vec();
    assert_eq!(ints(schema::NESTED_SET_LEFT), [1, 1, 2]);
    assert_eq!(ints(schema::NESTED_SET_RIGHT), [2, 4, 3]);
    assert_eq!(ints(schema::NESTED_SET_PARENT), [-1, -1, 1]);
}

#[test]
fn a_key_gets_one_column_of_its_commonest_type() {
    let (mut block, mut seen) = block(&BlockConfig::default());
    let spans = vec![
        span(
            1,
            1,
            0,
            vec![attribute("code", Value::IntValue(200)), attribute("f", Value::DoubleValue(-0.0))],
        ),
        span(1, 2, 1, vec![attribute("code", Value::IntValue(404)), attribute("code", Value::IntValue(1))]),
        span(1, 3, 1, vec![text("code", "teapot"), attribute("ok", Value::BoolValue(true))]),
    ];
    block.append(&record("a", spans), &mut seen);
    let sealed = block.seal();
    let batch = &sealed.batches[0];
    let codes = batch.column_by_name("span.code").unwrap().as_primitive::<Int64Type>();
    assert_eq!(codes.iter().collect::<Vec<_>>(), [Some(200), Some(404), None]);
    let doubles = batch.column_by_name("span.f").unwrap().as_primitive::<Float64Type>();
    assert_eq!(doubles.value(0).to_bits(), (-0.0_f64).to_bits());
    let bools = batch.column_by_name("span.ok").unwrap().as_boolean();
    assert_eq!(bools.iter().collect::<Vec<_>>(), [None, None, Some(true)]);
    let code = |kind| vec![("code".to_owned(), kind)];
    let overflow = overflow(batch, schema::SPAN_ATTRIBUTES);
    assert_eq!(overflow, [vec![], code(schema::value_type::INT), code(schema::value_type::STRING)]);
}

#[test]
fn rare_keys_overflow_and_columns_are_bounded() {
    let config = BlockConfig { columns_max: 3, open_columns_max: 50, ..BlockConfig::default() };
    let (mut block, mut seen) = block(&config);
    for id in 1..=200 {
        let attributes = vec![text("common", "x"), text(&format!("rare.{id}"), "y"), text("also", "z")];
        block.append(&record("a", vec![span(1, id, 0, attributes)]), &mut seen);
    }
    let sealed = block.seal();
    let batch = &sealed.batches[0];
    let schema = batch.schema();
    let promoted: Vec<_> =
        schema.fields().iter().map(|f| f.name().as_str()).filter(|n| n.contains('.')).collect();
    assert_eq!(promoted, ["resource.service.name", "span.also", "span.common"]);
    let overflow = overflow(batch, schema::SPAN_ATTRIBUTES);
    assert!(overflow.iter().all(|items| items.len() == 1 && items[0].0.starts_with("rare.")));
}

#[test]
fn large_values_stand_apart() {
    let (mut block, mut seen) = block(&BlockConfig::default());
    let large = "x".repeat(schema::LARGE_VALUE_BYTES + 1);
    block.append(
        &record("a", vec![span(1, 1, 0, vec![text("p", &large)]), span(1, 2, 1, vec![text("p", "small")])]),
        &mut seen,
    );
    let sealed = block.seal();
    let batch = &sealed.batches[0];
    assert_eq!(strings(batch, "span.p"), [None, Some("small".into())]);
    let items = batch.column_by_name(schema::SPAN_ATTRIBUTES).unwrap().as_list::<i32>().value(0);
    let items = items.as_struct();
    assert!(items.column_by_name("string").unwrap().is_null(0));
    assert_eq!(items.column_by_name(schema::LARGE).unwrap().as_binary_view().value(0), large.as_bytes());
}

#[test]
fn bad_spans_are_taken_out_and_the_others_stay() {
    let (mut block, mut seen) = block(&BlockConfig::default());
    let mut event = span(1, 3, 1, vec![text("k", "v")]);
    event.events.push(Event { name: "bad".into(), attributes: vec![text("m", "MARK")], ..Event::default() });
    let spans = vec![
        span(1, 1, 0, vec![text("k", "v"), text("k", "twice")]),
        span(1, 2, 1, vec![text("k", "MARK")]),
        event,
        Span { span_id: vec![0; 8], ..span(1, 4, 1, vec![text("new key", "v")]) },
        span(1, 5, 1, vec![text("k", "v")]),
    ];
    let mut bytes = record("a", spans);
    for at in 0..bytes.len() - 4 {
        if &bytes[at..at + 4] == b"MARK" {
            bytes[at] = 0xff; // no UTF-8
        }
    }
    let appended = block.append(&bytes, &mut seen);
    assert_eq!((appended.spans, appended.duplicates, appended.rejected.len()), (2, 0, 3));
    assert!(appended.rejected[0].reason.contains("UTF-8"), "{}", appended.rejected[0].reason);
    assert!(appended.rejected[2].reason.contains("zero"), "{}", appended.rejected[2].reason);
    // What was taken out can be read again, under its resource, once the bytes are mended.
    let zero = TracesData::decode(&*appended.rejected[2].traces_data).unwrap();
    assert_eq!(zero.resource_spans[0].scope_spans[0].spans[0].name, "span 4");
    assert_eq!(zero.resource_spans[0].resource.as_ref().unwrap().attributes, [text("service.name", "a")]);
    let sealed = block.seal();
    let batch = &sealed.batches[0];
    assert_eq!(strings(batch, schema::NAME), ["span 1", "span 5"].map(|s| Some(s.into())));
    assert_eq!(strings(batch, "span.k"), ["v", "v"].map(|s| Some(s.into())));
    assert_eq!(overflow(batch, schema::SPAN_ATTRIBUTES), [vec![("k".to_owned(), 1)], vec![]]);
    assert_eq!(batch.column_by_name(schema::EVENTS).unwrap().null_count(), 2);
    assert!(batch.column_by_name("span.new key").is_none());
}

#[test]
fn a_span_sent_again_is_stored_once() {
    let (mut block, mut seen) = block(&BlockConfig::default());
    let one = record("a", vec![span(1, 1, 0, vec![]), span(1, 2, 1, vec![])]);
    assert_eq!(block.append(&one, &mut seen).spans, 2);
    assert_eq!(block.append(&one, &mut seen).duplicates, 2);
    let mut other = span(1, 1, 0, vec![]);
    other.name = "same ids, other content".into();
    assert_eq!(block.append(&record("a", vec![other]), &mut seen).spans, 1);
    assert_eq!(block.append(&record("b", vec![span(1, 1, 0, vec![])]), &mut seen).spans, 1, "other resource");
    assert_eq!(block.rows(), 4);
}

#[test]
fn an_open_block_can_be_looked_into() {
    let (mut block, mut seen) = block(&BlockConfig::default());
    for trace in 1..=100 {
        block.append(
            &record("a", vec![span(trace, 2, 1, vec![text("k", "b")]), span(trace, 1, 0, vec![])]),
            &mut seen,
        );
    }
    let id = TraceId::from_bytes([7; 16]);
    let batch = block.trace(&id).unwrap();
    assert_eq!(strings(&batch, schema::NAME), ["span 1", "span 2"].map(|s| Some(s.into())));
    assert_eq!(strings(&batch, "span.k"), [None, Some("b".into())]);
    assert!(block.trace(&TraceId::from_bytes([200; 16])).is_none());
    let sealed = block.seal();
    let found = sealed.trace(&id);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].num_rows(), 2);
    assert_eq!(strings(&found[0], "span.k"), [None, Some("b".into())]);
    assert!(sealed.trace(&TraceId::from_bytes([200; 16])).is_empty());
}

#[test]
fn row_groups_are_bounded_and_ordered() {
    let config = BlockConfig { row_group_rows_max: 64, ..BlockConfig::default() };
    let (mut block, mut seen) = block(&config);
    for trace in (1..=100).rev() {
        block.append(
            &record("a", vec![span(trace, 2, 1, vec![text("k", "b")]), span(trace, 1, 0, vec![])]),
            &mut seen,
        );
    }
    let sealed = block.seal();
    assert_eq!(sealed.batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [64, 64, 64, 8]);
    let ids: Vec<Vec<u8>> = sealed
        .batches
        .iter()
        .flat_map(|batch| {
            let ids = batch.column_by_name(schema::TRACE_ID).unwrap().as_fixed_size_binary();
            ids.iter().map(|id| id.unwrap().to_vec()).collect::<Vec<_>>()
        })
        .collect();
    assert!(ids.is_sorted());
    let found = sealed.trace(&TraceId::from_bytes([33; 16]));
    assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
}
