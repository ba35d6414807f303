//! What many rows share costs its size once: in memory, in files, between stages, in answers.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prost::Message;
use vivace_block::schema::{self, AttributeScope, value_type};
use vivace_block::{
    BlockConfig, BlockReader, Description, DuplicateFilter, Footprint, Merge, MergeInput, MergeLimits,
    Metrics, OpenBlock, ReaderConfig, decode_batches, encode_batch, merge, to_traces_data, write_block,
};
use vivace_model::scan::Projection;
use vivace_model::{Offset, OffsetRange, Partition, Spread, TenantId, TraceId, UnixNanos};
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, KeyValue};
use vivace_proto::otlp::resource::Resource;
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};

use crate::support::otlp::normal;

const SPANS: u32 = 2600;
const TRACE: [u8; 16] = [7; 16];

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn text(key: &str, text: String) -> KeyValue {
    attribute(key, Value::StringValue(text))
}

/// Spans of one trace, numbered from `first`, under one resource.
fn message(first: u32, attributes: Vec<KeyValue>) -> TracesData {
    let span = |number: u32| Span {
        trace_id: TRACE.to_vec(),
        span_id: u64::from(number + 1).to_be_bytes().to_vec(),
        name: "op".into(),
        start_time_unix_nano: 1_700_000_000_000_000_000 + u64::from(number),
        end_time_unix_nano: 1_700_000_000_000_001_000 + u64::from(number),
        ..Span::default()
    };
    let spans = (first..first + SPANS).map(span).collect();
    let resource = Resource { attributes, ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    TracesData {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans,
            ..ResourceSpans::default()
        }],
    }
}

/// The request that took 5 GB.
fn one_large_value() -> Vec<KeyValue> {
    vec![text("service.name", "big".into()), text("blob", "R".repeat(890_000))]
}

/// A megabyte of attributes that are small each. No attribute has a column: the columns are for others.
fn many_small_values() -> Vec<KeyValue> {
    (0..20_000).map(|number| text(&format!("key.{number}"), format!("value of key {number}"))).collect()
}

fn open(data: &TracesData, config: &BlockConfig) -> OpenBlock {
    let mut block = OpenBlock::new(TenantId::default(), config);
    let appended = block.append(&data.encode_to_vec(), &mut DuplicateFilter::new(1));
    assert!(appended.rejected.is_empty(), "{:?}", appended.rejected);
    block
}

fn few_columns() -> BlockConfig {
    BlockConfig { columns_max: 4, ..BlockConfig::default() }
}

fn description(level: u32) -> Description {
    Description {
        tenant: TenantId::default(),
        partition: Partition(0),
        spread: Spread::all(1),
        offsets: OffsetRange::new(Offset(0), Offset(1)),
        level,
        created: UnixNanos(5),
    }
}

fn resource_attribute(key: &str) -> Projection {
    let attributes = [(AttributeScope::Resource, key.to_owned())].into();
    Projection { attributes, fixed: [schema::TRACE_ID, schema::START_TIME].into(), ..Projection::default() }
}

/// Texts of an attribute in all rows, wherever it stands.
fn texts(batch: &RecordBatch, key: &str) -> Vec<String> {
    if let Some(column) = batch.column_by_name(&AttributeScope::Resource.column(key)) {
        let column = column.as_dictionary::<Int32Type>().downcast_dict::<StringArray>().unwrap();
        return column.into_iter().flatten().map(str::to_owned).collect();
    }
    let lists = batch.column_by_name(schema::RESOURCE_ATTRIBUTES).expect("it is in a list or a column");
    let lists = lists.as_list::<i32>();
    let items = lists.values().as_struct();
    let member = |name: &str| items.column_by_name(name).expect("it is there");
    let keys = member("key").as_string::<i32>();
    let mut found = Vec::new();
    for item in (0..items.len()).filter(|item| keys.value(*item) == key) {
        found.push(if member("string").is_valid(item) {
            member("string").as_string::<i32>().value(item).to_owned()
        } else {
            String::from_utf8(member(schema::LARGE).as_binary_view().value(item).to_vec()).unwrap()
        });
    }
    found
}

/// Blocks of several messages in a store.
struct Stored {
    store: Arc<dyn ObjectStore>,
    inputs: Vec<MergeInput>,
}

impl Stored {
    async fn new(messages: &[TracesData], config: &BlockConfig) -> Self {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut inputs = Vec::new();
        for (number, data) in messages.iter().enumerate() {
            let file = write_block(&open(data, config).seal(), &description(0), config).unwrap();
            let path = Path::from(format!("in/{number}"));
            inputs.push(MergeInput { path: path.clone(), file_bytes: file.len() as u64 });
            store.put(&path, file.into()).await.unwrap();
        }
        Self { store, inputs }
    }

    fn reader(&self) -> BlockReader {
        BlockReader::new(Arc::clone(&self.store), ReaderConfig::default(), Metrics::default())
    }

    async fn merge(&self, config: &BlockConfig) -> MergeInput {
        let limits =
            MergeLimits { input_rows_max: 1 << 20, trace_rows_max: 1 << 20, file_bytes_max: 1 << 30 };
        let (inputs, description) = (self.inputs.clone(), description(1));
        let job = Merge { inputs, description, config: config.clone(), limits, keep: None };
        let outcome = merge(&self.reader(), &self.store, job, || Path::from("out")).await.unwrap();
        assert_eq!((outcome.outputs.len(), outcome.duplicates), (1, 0));
        MergeInput { path: outcome.outputs[0].path.clone(), file_bytes: outcome.outputs[0].bytes }
    }

    /// The whole trace of a block.
    async fn trace(&self, block: &MergeInput) -> Vec<RecordBatch> {
        let id = TraceId::from_bytes(TRACE);
        self.reader().trace(&block.path, block.file_bytes, &id).await.unwrap().batches
    }
}

/// Bytes of the message without its spans.
fn resource_bytes(data: &TracesData) -> usize {
    data.resource_spans[0].resource.as_ref().map_or(0, Message::encoded_len)
}

async fn costs_its_size_once(attributes: Vec<KeyValue>, config: BlockConfig, key: &str, value: &str) {
    let messages = [message(0, attributes.clone()), message(SPANS, attributes)];
    let size = resource_bytes(&messages[0]);
    // A few times its size, and what 2,600 spans take without it.
    let most = 4 * size + 2_000_000;

    let block = open(&messages[0], &config);
    assert!(block.memory_bytes() < most, "open: {}", block.memory_bytes());
    let named = resource_attribute(key);
    let recent = block.scan(&named, None).unwrap();
    assert_eq!(texts(&recent, key), vec![value; SPANS as usize]);
    let sealed = open(&messages[0], &config).seal();
    assert_eq!(sealed.batches.len(), 1);
    assert_eq!(texts(&sealed.scan(&named, None)[0], key), vec![value; SPANS as usize]);
    assert_eq!(normal(&to_traces_data(&sealed.batches).unwrap()), normal(&messages[0]));
    let whole = block.trace(&TraceId::from_bytes(TRACE)).unwrap();
    for batch in [&sealed.batches[0], &whole, &recent] {
        let streams = encode_batch(batch, 64 << 20).unwrap();
        assert_eq!(streams.len(), 1);
        assert!(streams[0].len() < most, "on the wire: {}", streams[0].len());
        let back = decode_batches(streams[0].clone()).unwrap();
        assert_eq!(back[0].num_rows(), SPANS as usize);
        let mut footprint = Footprint::default();
        footprint.add(&back[0]);
        assert!(footprint.bytes() < most, "decoded: {}", footprint.bytes());
    }

    let stored = Stored::new(&messages, &config).await;
    let merged = stored.merge(&config).await;
    for (block, rows) in [(&stored.inputs[0], SPANS), (&merged, 2 * SPANS)] {
        assert!(block.file_bytes < size as u64 / 2, "file: {}", block.file_bytes);
        let scan = stored.reader().open(&block.path, block.file_bytes).await.unwrap();
        let batch = scan.columns(0, &named, None).await.unwrap();
        assert_eq!(texts(&batch, key), vec![value; rows as usize]);
        let all = Projection { scopes: AttributeScope::ALL.into(), ..named.clone() };
        let batch = scan.columns(0, &all, None).await.unwrap();
        assert_eq!(texts(&batch, key), vec![value; rows as usize]);
    }
    let batches = stored.trace(&merged).await;
    let whole = to_traces_data(&batches).unwrap();
    let resources: usize = whole.resource_spans.iter().filter_map(|group| group.resource.as_ref()).count();
    assert_eq!(resources, 1, "the spans of both messages are of one resource");
    let mut both = messages[0].clone();
    both.resource_spans.extend(messages[1].resource_spans.clone());
    assert_eq!(normal(&whole), normal(&both));
}

#[tokio::test]
async fn a_large_value_of_a_resource() {
    let value = "R".repeat(890_000);
    costs_its_size_once(one_large_value(), BlockConfig::default(), "blob", &value).await;
}

#[tokio::test]
async fn many_attributes_of_a_resource() {
    costs_its_size_once(many_small_values(), few_columns(), "key.17000", "value of key 17000").await;
}

/// Where all attributes are asked for, those of a folded list that nobody named are so many at most.
#[tokio::test]
async fn folded_attributes_are_listed_in_bounds() {
    let config = few_columns();
    let stored = Stored::new(&[message(0, many_small_values())], &config).await;
    let input = &stored.inputs[0];
    let scan = stored.reader().open(&input.path, input.file_bytes).await.unwrap();
    let all = Projection { scopes: [AttributeScope::Resource].into(), ..resource_attribute("key.19999") };
    assert_eq!(scan.attribute_names(0, &all).await.unwrap(), None, "only the rows can tell");
    let batch = scan.columns(0, &all, None).await.unwrap();
    let lists = batch.column_by_name(schema::RESOURCE_ATTRIBUTES).unwrap().as_list::<i32>();
    let items = lists.value(0);
    let kinds = items.as_struct().column_by_name("type").unwrap();
    let kinds = kinds.as_primitive::<arrow::datatypes::Int8Type>();
    assert_eq!(kinds.len(), 65, "64 and the one that is named");
    assert!(!kinds.values().contains(&value_type::FOLDED));
    assert_eq!(texts(&batch, "key.19999").len(), SPANS as usize);
}

/// Other readers of Parquet know no views: the large values of a file are a column of bytes.
#[test]
fn a_file_has_large_values_as_bytes() {
    let config = BlockConfig::default();
    let data = message(0, one_large_value());
    let file = write_block(&open(&data, &config).seal(), &description(0), &config).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let field = reader.schema().field_with_name(schema::RESOURCE_ATTRIBUTES).unwrap().clone();
    assert!(format!("{field:?}").contains("\"large\", data_type: Binary,"), "{field:?}");
}

/// Large values that no two spans share are stored as they are, and row groups end before they are too large.
#[tokio::test]
async fn large_values_that_differ() {
    let mut data = message(0, vec![text("service.name", "llm".into())]);
    let spans = &mut data.resource_spans[0].scope_spans[0].spans;
    spans.truncate(300);
    for (number, span) in spans.iter_mut().enumerate() {
        let prompt = format!("{number} ").repeat(1_000_000 / 8);
        span.attributes.push(text("prompt", prompt));
    }
    let config = BlockConfig::default();
    let sealed = open(&data, &config).seal();
    assert!(sealed.batches.len() > 1, "one row group of {} MB", data.encoded_len() / 1_000_000);
    assert_eq!(normal(&to_traces_data(&sealed.batches).unwrap()), normal(&data));
    let stored = Stored::new(std::slice::from_ref(&data), &config).await;
    let merged = stored.merge(&config).await;
    assert_eq!(normal(&to_traces_data(&stored.trace(&merged).await).unwrap()), normal(&data));
    let scan = stored.reader().open(&merged.path, merged.file_bytes).await.unwrap();
    assert!(scan.row_groups() > 1);
}
