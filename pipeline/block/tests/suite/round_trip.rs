//! OTLP in, OTLP out: through the open block, the sealed block and the file.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use object_store::ObjectStore;
use object_store::path::Path;
use proptest::prelude::*;
use prost::Message;
use vivace_block::{
    BlockConfig, BlockReader, DuplicateFilter, Metrics, OpenBlock, ReaderConfig, TraceCombiner,
    to_traces_data,
};
use vivace_model::{ByteSize, TenantId, TraceId};
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use vivace_proto::otlp::trace::span::Event;
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};

use crate::support::blocks::{file, stored};
use crate::support::otlp::{normal, traces_data};

fn config() -> impl Strategy<Value = BlockConfig> {
    let choose = |values: Vec<usize>| prop::sample::select(values);
    (choose(vec![0, 3, 256]), choose(vec![1, 4]), choose(vec![1, 3, 1000]), choose(vec![1, 2, 1000]))
        .prop_map(|(columns_max, promote_one_in, row_group_rows_max, page_rows_max)| BlockConfig {
            columns_max,
            promote_one_in,
            row_group_rows_max,
            page_rows_max,
            ..BlockConfig::default()
        })
}

fn open(data: &TracesData, config: &BlockConfig) -> OpenBlock {
    let mut block = OpenBlock::new(TenantId::default(), config);
    let appended = block.append(&data.encode_to_vec(), &mut DuplicateFilter::new(1));
    assert!(appended.rejected.is_empty(), "{:?}", appended.rejected);
    assert_eq!(appended.duplicates, 0);
    block
}

fn trace_ids(data: &TracesData) -> BTreeSet<Vec<u8>> {
    let scopes = data.resource_spans.iter().flat_map(|group| &group.scope_spans);
    scopes.flat_map(|group| &group.spans).map(|span| span.trace_id.clone()).collect()
}

/// The spans of one trace alone.
fn only(data: &TracesData, id: &[u8]) -> TracesData {
    let mut data = data.clone();
    let scopes = data.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
    scopes.for_each(|group| group.spans.retain(|span| span.trace_id == id));
    data
}

fn combined(batches: &[RecordBatch]) -> TracesData {
    let mut combiner = TraceCombiner::new(usize::MAX);
    combiner.push(to_traces_data(batches).expect("they are a block's"));
    combiner.finish().traces_data
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sealed_batches_give_back_what_came(data in traces_data(), config in config()) {
        let sealed = open(&data, &config).seal();
        let back = to_traces_data(&sealed.batches).unwrap();
        prop_assert_eq!(normal(&back), normal(&data));
        for id in trace_ids(&data) {
            let batches = sealed.trace(&TraceId::new(&id).unwrap());
            prop_assert_eq!(normal(&to_traces_data(&batches).unwrap()), normal(&only(&data, &id)));
        }
    }

    #[test]
    fn open_blocks_give_back_each_trace(data in traces_data(), config in config()) {
        let block = open(&data, &config);
        for id in trace_ids(&data) {
            let batch = block.trace(&TraceId::new(&id).unwrap()).unwrap();
            prop_assert_eq!(normal(&combined(&[batch])), normal(&only(&data, &id)));
        }
    }

    #[test]
    fn files_give_back_each_trace(data in traces_data(), config in config(), at_once: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let path = Path::from("block");
            let (store, length) = stored(&path, file(&data, &config)).await;
            let lookup_read_bytes_max = if at_once { ByteSize::mib(8) } else { ByteSize(0) };
            // In parts, however small the file is.
            let small_file_cache_bytes = ByteSize(0);
            let reader_config =
                ReaderConfig { lookup_read_bytes_max, small_file_cache_bytes, ..ReaderConfig::default() };
            let reader = BlockReader::new(store as Arc<dyn ObjectStore>, reader_config, Metrics::default());
            for id in trace_ids(&data) {
                let rows = reader.trace(&path, length, &TraceId::new(&id).unwrap()).await.unwrap();
                prop_assert!(!rows.skipped && rows.bytes_read > 0);
                prop_assert_eq!(normal(&to_traces_data(&rows.batches).unwrap()), normal(&only(&data, &id)));
            }
            let absent = reader.trace(&path, length, &TraceId::new(&[0xee; 16]).unwrap()).await.unwrap();
            prop_assert!(absent.batches.is_empty());
            Ok(())
        })?;
    }
}

/// Whoever reads a trace decodes it with a limit on nesting; what is stored must pass that.
#[test]
fn what_is_taken_in_can_be_read_back_however_deep_it_is_nested() {
    let nested = |depth: usize, kvlist: bool| {
        let mut value = AnyValue { value: Some(Value::BoolValue(true)) };
        for _ in 0..depth {
            let outer = if kvlist {
                let item = KeyValue { key: "k".into(), value: Some(value), key_strindex: 0 };
                Value::KvlistValue(KeyValueList { values: vec![item] })
            } else {
                Value::ArrayValue(ArrayValue { values: vec![value] })
            };
            value = AnyValue { value: Some(outer) };
        }
        KeyValue { key: "deep".into(), value: Some(value), key_strindex: 0 }
    };
    let mut refused = 0;
    for (depth, kvlist) in (1..120).flat_map(|depth| [(depth, false), (depth, true)]) {
        let event = Event { attributes: vec![nested(depth, kvlist)], ..Event::default() };
        let span = Span {
            trace_id: vec![1; 16],
            span_id: vec![1; 8],
            events: vec![event],
            attributes: vec![nested(depth, kvlist)],
            ..Span::default()
        };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
        let data =
            TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
        let mut block = OpenBlock::new(TenantId::default(), &BlockConfig::default());
        if block.append(&data.encode_to_vec(), &mut DuplicateFilter::new(1)).spans == 0 {
            refused += 1;
            continue;
        }
        let back = to_traces_data(&block.seal().batches)
            .unwrap_or_else(|error| panic!("depth {depth}, kvlist {kvlist}: {error}"));
        assert_eq!(normal(&back), normal(&data));
        let decoded = TracesData::decode(back.encode_to_vec().as_slice());
        decoded.unwrap_or_else(|error| panic!("depth {depth}, kvlist {kvlist}: {error}"));
    }
    assert!(refused > 0 && refused < 200, "{refused}");
}
