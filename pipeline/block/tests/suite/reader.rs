//! Looking traces up in stored blocks: what is read, what is remembered, what goes wrong.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use object_store::ObjectStore;
use object_store::path::Path;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use vivace_block::{BlockConfig, BlockError, BlockReader, Metrics, ReaderConfig, TraceRows, to_traces_data};
use vivace_model::{ByteSize, ErrorKind};

use crate::support::blocks::{WatchedStore, file, stored, trace_id, traces};

const PATH: &str = "blocks/tenant=t/date=2026-01-01/one.parquet";

/// Small files are read in parts here, like large ones.
fn reader(store: &Arc<WatchedStore>, config: ReaderConfig) -> BlockReader {
    let config = ReaderConfig { small_file_cache_bytes: ByteSize(0), ..config };
    BlockReader::new(Arc::clone(store) as Arc<dyn ObjectStore>, config, Metrics::default())
}

fn rows(found: &TraceRows) -> usize {
    found.batches.iter().map(|batch| batch.num_rows()).sum()
}

/// 200 traces of 20 spans in pages of 64 rows and row groups of 1000.
fn config() -> BlockConfig {
    BlockConfig { page_rows_max: 64, row_group_rows_max: 1000, ..BlockConfig::default() }
}

#[tokio::test]
async fn a_block_without_the_trace_is_skipped_and_remembered() {
    let path = Path::from(PATH);
    let (store, length) = stored(&path, file(&traces(200, 20), &config())).await;
    let reader = reader(&store, ReaderConfig::default());
    let outside = reader.trace(&path, length, &trace_id(9999)).await.unwrap();
    assert!(outside.skipped && outside.bytes_read > 0);
    store.take_reads();
    let mut passed = 0;
    for odd in (1..400).step_by(2) {
        let absent = reader.trace(&path, length, &trace_id(odd)).await.unwrap();
        assert!(absent.batches.is_empty());
        passed += u32::from(!absent.skipped);
        assert_eq!(absent.skipped, absent.bytes_read == 0);
    }
    assert!(passed < 20, "the filter let {passed} of 200 pass");
    assert!(store.take_reads() <= u64::from(passed) * 9 + 1);
}

#[tokio::test]
async fn only_the_pages_of_the_trace_are_read() {
    let path = Path::from(PATH);
    let bytes = file(&traces(2000, 20), &BlockConfig { page_rows_max: 200, ..BlockConfig::default() });
    let (store, length) = stored(&path, bytes).await;
    let reader = reader(&store, ReaderConfig::default());
    let cold = reader.trace(&path, length, &trace_id(2)).await.unwrap();
    let warm = reader.trace(&path, length, &trace_id(3000)).await.unwrap();
    assert_eq!((rows(&cold), rows(&warm)), (20, 20));
    assert!(!warm.skipped);
    assert!(warm.bytes_read < cold.bytes_read, "{} < {}", warm.bytes_read, cold.bytes_read);
    assert!(warm.bytes_read < length / 10, "{} of {length}", warm.bytes_read);
}

#[tokio::test]
async fn columns_without_a_value_in_the_trace_are_left_out() {
    let path = Path::from(PATH);
    let (store, length) = stored(&path, file(&traces(3, 3), &config())).await;
    let found = reader(&store, ReaderConfig::default()).trace(&path, length, &trace_id(4)).await.unwrap();
    let schema = found.batches[0].schema();
    assert!(schema.column_with_name("span.url").is_some());
    for absent in ["events", "links", "status_message", "parent_span_id", "resource_attributes"] {
        assert!(schema.column_with_name(absent).is_none(), "{absent}");
    }
}

#[tokio::test]
async fn a_trace_in_several_row_groups_is_found_whole() {
    let path = Path::from(PATH);
    let (store, length) = stored(&path, file(&traces(3, 2500), &config())).await;
    for lookup_read_bytes_max in [ByteSize(0), ByteSize::mib(8)] {
        let reader = reader(&store, ReaderConfig { lookup_read_bytes_max, ..ReaderConfig::default() });
        let found = reader.trace(&path, length, &trace_id(4)).await.unwrap();
        assert!(found.batches.len() >= 3);
        let data = to_traces_data(&found.batches).unwrap();
        assert_eq!(data.resource_spans.len(), 1);
        let spans = &data.resource_spans[0].scope_spans[0].spans;
        let ids: BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
        assert_eq!((spans.len(), ids.len()), (2500, 2500));
        assert!(spans.is_sorted_by_key(|span| span.start_time_unix_nano));
        assert_eq!(spans.iter().filter(|span| span.events.len() == 1).count(), 500);
    }
}

#[tokio::test]
async fn a_small_first_read_is_completed() {
    let path = Path::from(PATH);
    let (store, length) = stored(&path, file(&traces(200, 20), &config())).await;
    for footer_read_bytes in [ByteSize::kib(1), ByteSize::kib(20), ByteSize::mib(64)] {
        let reader = reader(&store, ReaderConfig { footer_read_bytes, ..ReaderConfig::default() });
        let found = reader.trace(&path, length, &trace_id(100)).await.unwrap();
        assert_eq!(rows(&found), 20, "{footer_read_bytes}");
    }
}

#[tokio::test]
async fn who_asks_at_the_same_time_waits_for_one_read() {
    let path = Path::from(PATH);
    let (store, length) = stored(&path, file(&traces(200, 20), &config())).await;
    reader(&store, ReaderConfig::default()).trace(&path, length, &trace_id(9999)).await.unwrap();
    let alone = store.take_reads();
    let reader = reader(&store, ReaderConfig::default());
    let (path, absent) = (&path, &trace_id(9999));
    join_all((0..20).map(|_| reader.trace(path, length, absent))).await;
    assert_eq!(store.take_reads(), alone);
}

#[tokio::test]
async fn without_room_in_memory_blocks_are_read_anew() {
    let path = Path::from(PATH);
    let (store, length) = stored(&path, file(&traces(200, 20), &config())).await;
    let none = ReaderConfig {
        filter_cache_bytes: ByteSize(0),
        index_cache_bytes: ByteSize(0),
        ..ReaderConfig::default()
    };
    let (forgetful, mindful) = (reader(&store, none), reader(&store, ReaderConfig::default()));
    let mut read = Vec::new();
    for reader in [&forgetful, &mindful] {
        let first = reader.trace(&path, length, &trace_id(100)).await.unwrap().bytes_read;
        let second = reader.trace(&path, length, &trace_id(100)).await.unwrap();
        assert_eq!(rows(&second), 20);
        read.push((first, second.bytes_read));
    }
    assert_eq!(read[0].0, read[0].1);
    assert_eq!(read[0].0, read[1].0);
    assert!(read[1].1 < read[1].0);
}

#[tokio::test]
async fn small_files_are_read_once_and_whole() {
    let path = Path::from(PATH);
    let (store, length) = stored(&path, file(&traces(200, 20), &config())).await;
    let reader = |small_file_bytes_max| {
        let config =
            ReaderConfig { small_file_bytes_max: ByteSize(small_file_bytes_max), ..ReaderConfig::default() };
        BlockReader::new(Arc::clone(&store) as Arc<dyn ObjectStore>, config, Metrics::default())
    };
    let (small, large) = (reader(length), reader(length - 1));
    let ids: Vec<_> = (1..=200).map(|number| trace_id(number * 2)).collect();
    let looked = join_all(ids.iter().map(|id| small.trace(&path, length, id))).await;
    assert_eq!(looked.iter().map(|found| rows(found.as_ref().unwrap())).collect::<Vec<_>>(), [20; 200]);
    assert_eq!(store.take_reads(), 1);
    let read: u64 = looked.iter().map(|found| found.as_ref().unwrap().bytes_read).sum();
    assert_eq!(read, length, "only who read it says so");
    // What is remembered is of a file of that size.
    assert!(small.trace(&path, length - 1, &ids[0]).await.is_ok());
    store.take_reads();
    let read_all = async |reader: &BlockReader| {
        for id in &ids {
            assert_eq!(rows(&reader.trace(&path, length, id).await.unwrap()), 20);
        }
        store.take_reads()
    };
    // Of a larger file the ranges are kept that were read, and of each just these.
    let first = read_all(&large).await;
    assert!(first > 2, "{first} reads");
    assert_eq!(read_all(&large).await, 0);
    let nothing_kept = ReaderConfig { small_file_cache_bytes: ByteSize(0), ..ReaderConfig::default() };
    let forgetful =
        BlockReader::new(Arc::clone(&store) as Arc<dyn ObjectStore>, nothing_kept, Metrics::default());
    assert!(read_all(&forgetful).await > 200);
    assert!(read_all(&forgetful).await >= 200);
}

#[tokio::test]
async fn metrics_tell_what_was_read_and_remembered() {
    let path = Path::from(PATH);
    let (store, length) = stored(&path, file(&traces(200, 20), &config())).await;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let config = ReaderConfig { small_file_cache_bytes: ByteSize(0), ..ReaderConfig::default() };
    let reader = BlockReader::new(Arc::clone(&store) as Arc<dyn ObjectStore>, config, metrics);
    let mut bytes = 0;
    for number in [100, 102, 9999] {
        bytes += reader.trace(&path, length, &trace_id(number)).await.unwrap().bytes_read;
    }
    let mut page = String::new();
    text::encode(&mut page, &registry).unwrap();
    for line in [
        format!("vivace_block_read_bytes_total {bytes}"),
        format!("vivace_block_reads_total {}", store.take_reads()),
        "vivace_block_lookups_searched_total 2".into(),
        "vivace_block_lookups_skipped_total 1".into(),
        "vivace_block_cache_hits_total{cache=\"filters\"} 2".into(),
        "vivace_block_cache_misses_total{cache=\"filters\"} 1".into(),
        "vivace_block_cache_hits_total{cache=\"indexes\"} 1".into(),
        "vivace_block_cache_misses_total{cache=\"indexes\"} 1".into(),
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
}

#[tokio::test]
async fn a_missing_block_is_missing_until_it_is_there() {
    let path = Path::from(PATH);
    let bytes = file(&traces(5, 5), &config());
    let store = Arc::new(WatchedStore::default());
    let reader = reader(&store, ReaderConfig::default());
    let error = reader.trace(&path, bytes.len() as u64, &trace_id(2)).await.unwrap_err();
    assert!(matches!(&error, BlockError::Missing { path: missing } if *missing == path), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let length = store.store(&path, bytes).await;
    assert_eq!(rows(&reader.trace(&path, length, &trace_id(2)).await.unwrap()), 5);
}

#[tokio::test]
async fn a_failing_store_is_no_damaged_block() {
    let path = Path::from(PATH);
    let (store, length) = stored(&path, file(&traces(200, 20), &config())).await;
    let reader = reader(&store, ReaderConfig::default());
    for _ in 0..2 {
        store.fail(true);
        let error = reader.trace(&path, length, &trace_id(100)).await.unwrap_err();
        assert!(matches!(error, BlockError::Read { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        // Once before anything is known of the block, once after.
        store.fail(false);
        assert_eq!(rows(&reader.trace(&path, length, &trace_id(100)).await.unwrap()), 20);
    }
}

#[tokio::test]
async fn what_is_no_block_is_corrupt() {
    let path = Path::from(PATH);
    let whole = file(&traces(200, 20), &config());
    let cut = whole[..whole.len() / 2].to_vec();
    let short = (whole[..whole.len() - 1].to_vec(), whole.len() as u64);
    let cases: Vec<(Vec<u8>, u64)> = vec![
        (Vec::new(), 0),
        (b"PAR1".to_vec(), 4),
        (vec![0; 10_000], 10_000),
        (b"\xff\xff\xff\xffPAR1".to_vec(), 8),
        (cut.clone(), cut.len() as u64),
        (cut, whole.len() as u64),
        short,
    ];
    for (bytes, length) in cases {
        let (store, _) = stored(&path, bytes).await;
        let error =
            reader(&store, ReaderConfig::default()).trace(&path, length, &trace_id(2)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(error.to_string().contains(PATH), "{error}");
    }
}
