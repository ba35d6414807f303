//! Blocks merged are what one block of all spans is.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use prost::Message;
use tokio::runtime::Builder;
use vivace_block::schema::{self, AttributeScope};
use vivace_block::{
    BlockConfig, BlockReader, Description, DuplicateFilter, KeepTraces, Merge, MergeInput, MergeLimits,
    MergeOutcome, Metrics, OpenBlock, ReaderConfig, merge, to_traces_data, write_block,
};
use vivace_model::scan::TraceRuns;
use vivace_model::{Offset, OffsetRange, Partition, Spread, TenantId, UnixNanos};
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, KeyValue};
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};

use crate::support::otlp::{normal, traces_data};
use crate::support::rows::{Row, everything, rows};

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

fn open(data: &TracesData, config: &BlockConfig) -> OpenBlock {
    let mut block = OpenBlock::new(TenantId::default(), config);
    let appended = block.append(&data.encode_to_vec(), &mut DuplicateFilter::new(1));
    assert!(appended.rejected.is_empty(), "{:?}", appended.rejected);
    block
}

/// Parts of messages as blocks in memory.
struct Blocks {
    store: Arc<dyn ObjectStore>,
    inputs: Vec<MergeInput>,
}

impl Blocks {
    async fn new(parts: &[TracesData], config: &BlockConfig) -> Self {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut inputs = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            let block = open(part, config);
            if block.is_empty() {
                continue;
            }
            let file = write_block(&block.seal(), &description(0), config).unwrap();
            let input = MergeInput { path: format!("in/{number}").into(), file_bytes: file.len() as u64 };
            store.put(&input.path, file.into()).await.unwrap();
            inputs.push(input);
        }
        Self { store, inputs }
    }

    fn reader(&self) -> BlockReader {
        BlockReader::new(Arc::clone(&self.store), ReaderConfig::default(), Metrics::default())
    }

    async fn merge(
        &self,
        config: &BlockConfig,
        limits: MergeLimits,
        keep: Option<Arc<dyn KeepTraces>>,
    ) -> MergeOutcome {
        let inputs = self.inputs.clone();
        let job = Merge { inputs, description: description(1), config: config.clone(), limits, keep };
        let mut number = 0;
        let name = || {
            number += 1;
            Path::from(format!("out/{number}"))
        };
        let outcome = merge(&self.reader(), &self.store, job, name).await.unwrap();
        let written: u64 = outcome.outputs.iter().map(|output| output.stats.rows).sum();
        assert_eq!(written + outcome.duplicates + outcome.dropped, outcome.rows_in);
        outcome
    }

    /// All row groups of the outputs.
    async fn read(&self, outcome: &MergeOutcome) -> Vec<RecordBatch> {
        let reader = self.reader();
        let mut batches = Vec::new();
        for output in &outcome.outputs {
            let scan = reader.open(&output.path, output.bytes).await.unwrap();
            let mut traces: BTreeSet<[u8; 16]> = BTreeSet::new();
            for group in 0..scan.row_groups() {
                traces.extend(scan.runs(group).await.unwrap().ids());
                batches.push(scan.columns(group, &everything(), None).await.unwrap());
            }
            assert_eq!(traces.len() as u64, output.stats.traces);
        }
        batches
    }
}

const LARGE: MergeLimits =
    MergeLimits { input_rows_max: 1 << 20, trace_rows_max: 1 << 20, file_bytes_max: 1 << 30 };

/// The spans for whose number among all the function says yes.
fn only(data: &TracesData, keep: impl Fn(usize) -> bool) -> TracesData {
    let (mut data, mut number) = (data.clone(), 0);
    let scopes = data.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
    scopes.for_each(|group| {
        group.spans.retain(|_| {
            number += 1;
            keep(number - 1)
        });
    });
    data
}

/// Of arbitrary spans hardly any has a parent that is there; this gives most of them one of their trace.
fn related(mut data: TracesData, parents: &[u8]) -> TracesData {
    let spans = data.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
    for (span, parent) in spans.flat_map(|group| &mut group.spans).zip(parents.iter().cycle()) {
        span.parent_span_id = match parent % 20 {
            0..4 => Vec::new(),
            parent => u64::from(parent - 3).to_be_bytes().to_vec(),
        };
    }
    data
}

fn all_rows(batches: &[RecordBatch]) -> Vec<Row> {
    batches.iter().flat_map(|batch| rows(batch, &everything())).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each span is in one of four blocks or in several. However blocks, slices, row groups and files are cut, what comes
    /// out is what one block of all spans has.
    #[test]
    fn blocks_merged_are_the_whole(
        data in traces_data(),
        parents in prop::collection::vec(any::<u8>(), 1..40),
        places in prop::collection::vec(1_u8..16, 1..40),
        promote_one_in in 1_usize..6,
        group_rows in 1_usize..9,
        input_rows in 4_usize..40,
        file_bytes_max in prop_oneof![Just(1), Just(1 << 30)],
        columns_max in prop_oneof![Just(3_usize), Just(200)],
    ) {
        let data = related(data, &parents);
        let config = BlockConfig {
            promote_one_in, columns_max, row_group_rows_max: group_rows, page_rows_max: 3, ..BlockConfig::default()
        };
        let place = |number: usize| places[number % places.len()];
        let parts: Vec<_> =
            (0..4).map(|part| only(&data, |number| place(number) >> part & 1 == 1)).collect();
        let whole = open(&data, &config).scan(&everything(), None).unwrap();
        block_on(async {
            let blocks = Blocks::new(&parts, &config).await;
            let limits = MergeLimits { input_rows_max: input_rows, trace_rows_max: 1 << 20, file_bytes_max };
            let outcome = blocks.merge(&config, limits, None).await;
            let batches = blocks.read(&outcome).await;
            assert_eq!(normal(&to_traces_data(&batches).unwrap()), normal(&data));
            assert_eq!(all_rows(&batches), rows(&whole, &everything()));
            assert_eq!(outcome.rows_in - outcome.duplicates, whole.num_rows() as u64);
            batches.iter().for_each(check_columns);
            let description = blocks.description(&outcome).await;
            assert!(description.iter().all(|level| level == "1"), "{description:?}");
        });
    }

    /// A trace of more rows than allowed comes in parts, but all of it comes.
    #[test]
    fn large_traces_are_not_lost(data in traces_data(), places in prop::collection::vec(1_u8..4, 1..40)) {
        let place = |number: usize| places[number % places.len()];
        let parts: Vec<_> =
            (0..2).map(|part| only(&data, |number| place(number) == part + 1)).collect();
        let config = BlockConfig { row_group_rows_max: 2, page_rows_max: 2, ..BlockConfig::default() };
        block_on(async {
            let blocks = Blocks::new(&parts, &config).await;
            let limits = MergeLimits { input_rows_max: 2, trace_rows_max: 2, file_bytes_max: 1 << 30 };
            let outcome = blocks.merge(&config, limits, None).await;
            let batches = blocks.read(&outcome).await;
            assert_eq!(normal(&to_traces_data(&batches).unwrap()), normal(&only(&data, |n| place(n) != 3)));
        });
    }

    /// What is not kept is gone, whole traces of it, and the rest is as if it had been alone.
    #[test]
    fn only_kept_traces_are_there(
        data in traces_data(),
        kept in 0_u8..16,
        group_rows in 1_usize..9,
    ) {
        let config = BlockConfig { row_group_rows_max: group_rows, ..BlockConfig::default() };
        let parts = [only(&data, |number| number % 2 == 0), only(&data, |number| number % 2 == 1)];
        let mut expected = data.clone();
        for spans in expected.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans) {
            spans.spans.retain(|span| kept >> (span.trace_id[0] - 1) & 1 == 1);
        }
        block_on(async {
            let blocks = Blocks::new(&parts, &config).await;
            let limits = MergeLimits { input_rows_max: 7, ..LARGE };
            let outcome = blocks.merge(&config, limits, Some(Arc::new(Kept(kept)))).await;
            let batches = blocks.read(&outcome).await;
            assert_eq!(normal(&to_traces_data(&batches).unwrap()), normal(&expected));
            if !batches.is_empty() {
                let whole = open(&expected, &config).scan(&everything(), None).unwrap();
                assert_eq!(all_rows(&batches), rows(&whole, &everything()));
            }
        });
    }
}

impl Blocks {
    async fn description(&self, outcome: &MergeOutcome) -> Vec<String> {
        let mut levels = Vec::new();
        for output in &outcome.outputs {
            let bytes = self.store.get(&output.path).await.unwrap().bytes().await.unwrap();
            assert_eq!(bytes.len() as u64, output.bytes);
            let file = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
            let pairs = file.metadata().file_metadata().key_value_metadata().unwrap();
            let value = |key: &str| {
                let pair = pairs.iter().find(|pair| pair.key == key).unwrap();
                pair.value.clone().unwrap()
            };
            assert_eq!(value("vivace.rows"), output.stats.rows.to_string());
            assert_eq!(value("vivace.start_min_unix_nano"), output.stats.start_min.0.to_string());
            levels.push(value("vivace.level"));
        }
        levels
    }
}

/// Traces by the bit of their number.
#[derive(Debug)]
struct Kept(u8);

impl KeepTraces for Kept {
    fn keep(
        &self,
        batch: &RecordBatch,
        traces: &TraceRuns,
    ) -> Result<Vec<bool>, Box<dyn Error + Send + Sync>> {
        assert_eq!(batch.num_rows(), traces.rows());
        Ok(traces.ids().iter().map(|id| self.0 >> (id[0] - 1) & 1 == 1).collect())
    }
}

/// No item of an overflow list could stand in a column that is there.
fn check_columns(batch: &RecordBatch) {
    for scope in AttributeScope::ALL {
        let Some(list) = batch.column_by_name(scope.overflow()) else { continue };
        let list = list.as_list::<i32>();
        for row in (0..list.len()).filter(|row| list.is_valid(*row)) {
            let items = list.value(row);
            let items = items.as_struct();
            let keys = items.column_by_name("key").unwrap().as_string::<i32>();
            let string = items.column_by_name("string").unwrap();
            let int = items.column_by_name("int").unwrap();
            for item in 0..items.len() {
                let Some(column) = batch.column_by_name(&scope.column(keys.value(item))) else { continue };
                let same_type = match column.data_type() {
                    DataType::Dictionary(..) => string.is_valid(item),
                    DataType::Int64 => int.is_valid(item),
                    _ => continue,
                };
                assert!(!same_type || column.is_valid(row), "{} of row {row}", keys.value(item));
            }
        }
    }
}

fn span(trace: u16, number: u16, attributes: Vec<(&str, Value)>) -> Span {
    let attributes = attributes.into_iter().map(|(key, value)| KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        key_strindex: 0,
    });
    Span {
        trace_id: [&trace.to_be_bytes()[..], &[1; 14]].concat(),
        span_id: (u64::from(number) + 1).to_be_bytes().to_vec(),
        name: "work".into(),
        start_time_unix_nano: 100 + u64::from(number),
        end_time_unix_nano: 200 + u64::from(number),
        attributes: attributes.collect(),
        ..Span::default()
    }
}

fn data(spans: Vec<Span>) -> TracesData {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

/// Keys that are columns of small blocks are none of a large one, and a type gives way to one that more rows have.
#[tokio::test]
async fn columns_are_chosen_anew() {
    let config = BlockConfig { promote_one_in: 10, ..BlockConfig::default() };
    let text = |text: &str| Value::StringValue(text.into());
    let rare = data(vec![span(1, 0, vec![("rare", text("once")), ("mixed", text("text"))])]);
    let many = (0..99).map(|number| span(2 + number % 7, number, vec![("mixed", Value::IntValue(1))]));
    let blocks = Blocks::new(&[rare, data(many.collect())], &config).await;
    let outcome = blocks.merge(&config, LARGE, None).await;
    let batches = blocks.read(&outcome).await;
    let [batch] = &batches[..] else { panic!("{} row groups", batches.len()) };
    assert_eq!(batch.column_by_name("span.mixed").unwrap().data_type(), &DataType::Int64);
    assert!(batch.column_by_name("span.rare").is_none());
    let overflow = batch.column_by_name(schema::SPAN_ATTRIBUTES).unwrap();
    assert_eq!(overflow.len() - overflow.null_count(), 1);
    assert_eq!(outcome.outputs[0].stats.rows, 100);
}

/// Spans of equal ids that differ in anything are kept, equal ones are not.
#[tokio::test]
async fn only_equal_spans_are_dropped() {
    let config = BlockConfig::default();
    let own = |value: &str| span(1, 1, vec![("key", Value::StringValue(value.into()))]);
    let parts = [data(vec![own("a")]), data(vec![own("a"), own("b")]), data(vec![own("b"), own("a")])];
    let blocks = Blocks::new(&parts, &config).await;
    let outcome = blocks.merge(&config, LARGE, None).await;
    assert_eq!((outcome.rows_in, outcome.duplicates), (5, 3));
    let batches = blocks.read(&outcome).await;
    let values = batches[0].column_by_name("span.key").unwrap().as_dictionary::<Int32Type>();
    let values: BTreeSet<_> =
        values.downcast_dict::<arrow::array::StringArray>().unwrap().into_iter().flatten().collect();
    assert_eq!(values, BTreeSet::from(["a", "b"]));
}

/// Files are cut between traces, at the size asked for, and in order.
#[tokio::test]
async fn files_are_cut_between_traces() {
    let config = BlockConfig { row_group_rows_max: 10, ..BlockConfig::default() };
    let spans = |part: u16| {
        let spans =
            (0..40).flat_map(|trace| (0..4).map(move |number| span(trace, part * 4 + number, vec![])));
        data(spans.collect())
    };
    let blocks = Blocks::new(&[spans(0), spans(1)], &config).await;
    let outcome = blocks.merge(&config, MergeLimits { file_bytes_max: 1, ..LARGE }, None).await;
    assert_eq!(outcome.outputs.len(), 40);
    let batches = blocks.read(&outcome).await;
    assert!(batches.iter().all(|batch| batch.num_rows() == 8));
    let ids = |batch: &RecordBatch| batch.column(0).as_fixed_size_binary().value(0).to_vec();
    assert!(batches.is_sorted_by_key(ids));
}
