//! Scans: the same rows from open blocks, sealed ones and files, and nothing ruled out that matters.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type};
use object_store::ObjectStore;
use object_store::path::Path;
use proptest::prelude::*;
use prost::Message;
use vivace_block::schema::{self, AttributeScope};
use vivace_block::{
    BlockConfig, BlockReader, BlockScan, DuplicateFilter, Metrics, OpenBlock, ReaderConfig, to_traces_data,
};
use vivace_model::scan::{Condition, Projection, ScanColumn, Test, TimeRange, TraceRuns};
use vivace_model::{ByteSize, TenantId, UnixNanos};
use vivace_proto::otlp::trace::TracesData;

use crate::support::blocks::{file, stored, trace_id, traces};
use crate::support::otlp::{normal, traces_data};
use crate::support::rows::{Row, Value, everything, fixed_columns, rows, starts_in, values};

const PATH: &str = "blocks/tenant=t/date=2026-01-01/one.parquet";

fn open(data: &TracesData, config: &BlockConfig) -> OpenBlock {
    let mut block = OpenBlock::new(TenantId::default(), config);
    let appended = block.append(&data.encode_to_vec(), &mut DuplicateFilter::new(1));
    assert!(appended.rejected.is_empty(), "{:?}", appended.rejected);
    block
}

async fn scan(data: &TracesData, config: &BlockConfig) -> BlockScan {
    let path = Path::from(PATH);
    let (store, length) = stored(&path, file(data, config)).await;
    let reader = BlockReader::new(store as Arc<dyn ObjectStore>, ReaderConfig::default(), Metrics::default());
    reader.open(&path, length).await.expect("it is a block")
}

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

fn scope() -> impl Strategy<Value = AttributeScope> {
    prop::sample::select(AttributeScope::ALL.to_vec())
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "service.name", "größe", "", "resource.a", "absent"])
        .prop_map(str::to_owned)
}

fn projection() -> impl Strategy<Value = Projection> {
    let fixed = prop::collection::btree_set(prop::sample::select(fixed_columns()), 0..6);
    let attributes = prop::collection::btree_set((scope(), key()), 0..4);
    let scopes = prop::collection::btree_set(scope(), 0..2);
    (fixed, attributes, scopes).prop_map(|(fixed, attributes, scopes)| Projection {
        fixed,
        attributes,
        scopes,
    })
}

fn time_range() -> impl Strategy<Value = Option<TimeRange>> {
    let time = prop_oneof![
        Just(0),
        Just(u64::MAX),
        1_700_000_000_000_000_000..1_700_000_000_000_001_000_u64,
        any::<u64>()
    ];
    prop::option::of((time.clone(), time).prop_map(|(a, b)| UnixNanos(a.min(b))..UnixNanos(a.max(b))))
}

fn test() -> impl Strategy<Value = Test> {
    let texts =
        prop::sample::select(vec!["", "x", "GET /", "l", "日本語 🦀", "absent"]).prop_map(str::to_owned);
    let number = prop_oneof![
        any::<f64>(),
        any::<i64>().prop_map(|number| number as f64),
        prop::sample::select(vec![0.0, -0.0, 1.5, f64::INFINITY, f64::NEG_INFINITY, 2.0, 1.7e18]),
    ];
    prop_oneof![
        Just(Test::Exists),
        texts.clone().prop_map(Test::Text),
        texts.prop_map(|part| Test::TextMatches(Arc::new(move |text: &str| text.contains(&part)))),
        (number.clone(), number).prop_map(|(a, b)| Test::Between(a.min(b), a.max(b))),
        any::<bool>().prop_map(Test::Bool),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let column = prop_oneof![
        prop::sample::select(fixed_columns()).prop_map(ScanColumn::Fixed),
        (scope(), key()).prop_map(|(scope, key)| ScanColumn::Attribute(scope, key)),
    ];
    let leaf = prop_oneof![
        1 => Just(Condition::Always),
        9 => (column, test()).prop_map(|(column, test)| Condition::Leaf(column, test)),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::All),
            prop::collection::vec(inner, 0..4).prop_map(Condition::Any),
        ]
    })
}

/// What a condition says of a row, by looking at it.
fn meets(row: &Row, condition: &Condition) -> bool {
    match condition {
        Condition::Always => true,
        Condition::All(parts) => parts.iter().all(|part| meets(row, part)),
        Condition::Any(parts) => parts.iter().any(|part| meets(row, part)),
        Condition::Leaf(column, test) => values(row, column).any(|value| match (test, value) {
            (Test::Exists, _) => true,
            (Test::Text(wanted), Value::Text(text)) => wanted == text,
            (Test::TextMatches(matches), Value::Text(text)) => matches(text),
            (Test::Between(least, most), Value::Int(number)) => (*least..=*most).contains(&(*number as f64)),
            (Test::Between(least, most), Value::Double(bits)) => {
                (*least..=*most).contains(&f64::from_bits(*bits))
            }
            (Test::Bool(wanted), Value::Bool(value)) => wanted == value,
            _ => false,
        }),
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts").block_on(work)
}

fn all_rows(batches: &[RecordBatch], projection: &Projection) -> Vec<Row> {
    batches.iter().flat_map(|batch| rows(batch, projection)).collect()
}

/// Ranges in the order of the rows, from where each begins and ends.
fn cut(points: &[prop::sample::Index], total: usize) -> Vec<Range<usize>> {
    let mut points: Vec<usize> = points.iter().map(|point| point.index(total + 1)).collect();
    points.sort_unstable();
    points.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn open_blocks_and_sealed_ones_and_files_give_the_same(
        data in traces_data(),
        config in config(),
        asked in projection(),
        range in time_range(),
    ) {
        let mut asked = asked;
        asked.fixed.insert(schema::START_TIME);
        let open = open(&data, &config);
        let from_open = open.scan(&asked, range.as_ref()).map(|batch| rows(&batch, &asked)).unwrap_or_default();
        let sealed = open.seal();
        prop_assert_eq!(&from_open, &all_rows(&sealed.scan(&asked, range.as_ref()), &asked));
        let whole = sealed.scan(&asked, None);
        block_on(async {
            let scan = scan(&data, &config).await;
            prop_assert_eq!(scan.row_groups(), sealed.batches.len());
            let mut from_file = Vec::new();
            for (group, expected) in whole.iter().enumerate() {
                let batch = scan.columns(group, &asked, None).await.unwrap();
                prop_assert_eq!(batch.num_rows(), scan.rows(group));
                let found = rows(&batch, &asked);
                prop_assert_eq!(&found, &rows(expected, &asked));
                from_file.extend(found.into_iter().filter(|row| starts_in(row, range.as_ref())));
            }
            prop_assert_eq!(&from_open, &from_file);
            Ok(())
        })?;
    }

    #[test]
    fn ranges_of_rows_are_those_of_all_rows(
        data in traces_data(),
        config in config(),
        asked in projection(),
        points: [prop::sample::Index; 6],
    ) {
        block_on(async {
            let scan = scan(&data, &config).await;
            for group in 0..scan.row_groups() {
                let all = rows(&scan.columns(group, &asked, None).await.unwrap(), &asked);
                let ranges = cut(&points, scan.rows(group));
                let some = scan.columns(group, &asked, Some(&ranges)).await.unwrap();
                let expected: Vec<_> = ranges.iter().flat_map(|range| all[range.clone()].to_vec()).collect();
                prop_assert_eq!(rows(&some, &asked), expected);
            }
            Ok(())
        })?;
    }

    #[test]
    fn all_columns_are_all_there_is(data in traces_data(), config in config()) {
        block_on(async {
            let scan = scan(&data, &config).await;
            let mut batches = Vec::new();
            for group in 0..scan.row_groups() {
                batches.push(scan.columns(group, &everything(), None).await.unwrap());
                let ids = batches[group].column_by_name(schema::TRACE_ID).unwrap().as_fixed_size_binary();
                let ids: Vec<[u8; 16]> = ids.iter().map(|id| id.unwrap().try_into().unwrap()).collect();
                prop_assert_eq!(&*scan.runs(group).await.unwrap(), &TraceRuns::new(&ids));
            }
            prop_assert_eq!(normal(&to_traces_data(&batches).unwrap()), normal(&data));
            Ok(())
        })?;
    }

    #[test]
    fn what_matters_is_never_ruled_out(
        data in traces_data(),
        config in config(),
        condition in condition(),
        range in time_range(),
    ) {
        let sealed = open(&data, &config).seal();
        block_on(async {
            let scan = scan(&data, &config).await;
            for (group, batch) in sealed.batches.iter().enumerate() {
                let rows = rows(batch, &everything());
                let matters = rows.iter().any(|row| starts_in(row, range.as_ref()) && meets(row, &condition));
                for _ in 0..2 { // the second time from memory
                    let may = scan.may_match(group, &condition, range.as_ref()).await.unwrap();
                    prop_assert!(may || !matters, "{condition:?} in {rows:?}");
                }
            }
            Ok(())
        })?;
    }
}

fn leaf(column: ScanColumn, test: Test) -> Condition {
    Condition::Leaf(column, test)
}

fn span(key: &str) -> ScanColumn {
    ScanColumn::Attribute(AttributeScope::Span, key.into())
}

fn text(text: &str) -> Test {
    Test::Text(text.into())
}

/// `url` is different in each of 4000 rows, `number` from 1 to 20, the name one of seven.
#[tokio::test]
async fn row_groups_are_ruled_out_by_what_is_not_in_them() {
    let config = BlockConfig { row_group_rows_max: 1000, page_rows_max: 256, ..BlockConfig::default() };
    let scan = scan(&traces(200, 20), &config).await;
    assert_eq!(scan.row_groups(), 4);
    let matching = |condition: Condition, range: Option<TimeRange>| {
        let scan = scan.clone();
        async move {
            let mut groups = Vec::new();
            for group in 0..scan.row_groups() {
                if scan.may_match(group, &condition, range.as_ref()).await.unwrap() {
                    groups.push(group);
                }
            }
            groups
        }
    };
    let contains = |part: &'static str| Test::TextMatches(Arc::new(move |text: &str| text.contains(part)));
    let none: Vec<usize> = Vec::new();
    let all = vec![0, 1, 2, 3];
    let name = || ScanColumn::Fixed(schema::NAME);
    assert_eq!(matching(Condition::Always, None).await, all);
    // A dictionary, its bounds, a bloom filter.
    assert_eq!(matching(leaf(name(), text("span 3")), None).await, all);
    assert_eq!(matching(leaf(name(), text("span 33")), None).await, none);
    assert_eq!(matching(leaf(name(), text("zebra")), None).await, none);
    assert_eq!(matching(leaf(name(), contains("n 6")), None).await, all);
    assert_eq!(matching(leaf(name(), contains("n 7")), None).await, none);
    assert!(matching(leaf(span("url"), text("/things/1/1")), None).await.contains(&0));
    let mut passed = 0;
    for absent in 0..50 {
        passed += matching(leaf(span("url"), text(&format!("/things/1/{absent}x"))), None).await.len();
    }
    assert!(passed < 30, "the filters let {passed} of 200 pass");
    // Numbers, times, truth values, absence.
    assert_eq!(matching(leaf(span("number"), Test::Between(20.0, 99.0)), None).await, all);
    assert_eq!(matching(leaf(span("number"), Test::Between(20.5, 99.0)), None).await, none);
    assert_eq!(matching(leaf(span("number"), text("7")), None).await, none);
    assert_eq!(matching(leaf(span("absent"), Test::Exists), None).await, none);
    assert_eq!(matching(leaf(ScanColumn::Fixed(schema::LINKS), Test::Exists), None).await, none);
    assert_eq!(matching(leaf(ScanColumn::Fixed(schema::EVENTS), Test::Exists), None).await, all);
    let (before, within) =
        (UnixNanos(0)..UnixNanos(1_700_000_000_000_000_000), UnixNanos(0)..UnixNanos(u64::MAX));
    assert_eq!(matching(Condition::Always, Some(before)).await, none);
    assert_eq!(matching(Condition::Always, Some(within)).await, all);
    // Together.
    let (yes, no) = (leaf(name(), text("span 3")), leaf(name(), text("span 33")));
    assert_eq!(matching(Condition::All(vec![yes.clone(), no.clone()]), None).await, none);
    assert_eq!(matching(Condition::Any(vec![yes.clone(), no.clone()]), None).await, all);
    assert_eq!(matching(Condition::Any(vec![no.clone(), no]), None).await, none);
}

#[tokio::test]
async fn rare_attributes_rule_row_groups_out_by_their_keys() {
    let config = BlockConfig { row_group_rows_max: 1000, columns_max: 0, ..BlockConfig::default() };
    let scan = scan(&traces(200, 20), &config).await;
    let url = leaf(span("url"), text("/things/1/1"));
    assert!(scan.may_match(0, &url, None).await.unwrap());
    assert!(scan.may_match(0, &leaf(span("number"), Test::Exists), None).await.unwrap());
    assert!(!scan.may_match(0, &leaf(span("other"), Test::Exists), None).await.unwrap());
    let asked = |key: &str| Projection {
        attributes: [(AttributeScope::Span, key.to_owned())].into(),
        ..Projection::default()
    };
    assert_eq!(scan.columns(0, &asked("url"), None).await.unwrap().num_columns(), 1);
    let read = scan.bytes_read();
    let nothing = scan.columns(0, &asked("other"), None).await.unwrap();
    assert_eq!((nothing.num_columns(), nothing.num_rows()), (0, 1000));
    assert_eq!(scan.bytes_read(), read, "nothing had to be read for it");
}

#[tokio::test]
async fn only_what_is_asked_for_is_read() {
    let config = BlockConfig { page_rows_max: 256, ..BlockConfig::default() };
    let path = Path::from(PATH);
    let (store, length) = stored(&path, file(&traces(2000, 20), &config)).await;
    let config = ReaderConfig { small_file_cache_bytes: ByteSize(0), ..ReaderConfig::default() };
    let reader = BlockReader::new(Arc::clone(&store) as Arc<dyn ObjectStore>, config, Metrics::default());
    let scan = reader.open(&path, length).await.unwrap();
    let opened = scan.bytes_read();
    assert!(opened > 0);
    let projection = Projection { fixed: [schema::NAME, schema::KIND].into(), ..Projection::default() };
    let batch = scan.columns(0, &projection, None).await.unwrap();
    assert_eq!((batch.num_columns(), batch.num_rows()), (2, 40_000));
    let two = scan.bytes_read() - opened;
    assert!(two < length / 10, "{two} of {length}");
    let some = scan.columns(0, &projection, Some(&[5..6, 300..400])).await.unwrap();
    assert_eq!(some.num_rows(), 101);
    assert!(scan.bytes_read() - opened - two < two / 4);
    store.take_reads();
    let (reads, runs) = (scan.reads(), scan.runs(0).await.unwrap());
    assert_eq!((runs.len(), runs.rows()), (2000, 40_000));
    scan.runs(0).await.unwrap();
    assert_eq!((scan.reads() - reads, store.take_reads()), (1, 1), "the second time they are in memory");
    let none = scan.columns(0, &Projection::default(), None).await.unwrap();
    assert_eq!((none.num_columns(), none.num_rows()), (0, 40_000));
    assert_eq!(scan.may_hold(&trace_id(2)).await.unwrap(), [0]);
    assert!(scan.may_hold(&trace_id(100_001)).await.unwrap().is_empty());
    let backwards = Range { start: 5, end: 4 };
    for wrong in [&[backwards][..], &[0..2, 1..3], std::slice::from_ref(&(0..40_001))] {
        assert!(scan.columns(0, &projection, Some(wrong)).await.is_err(), "{wrong:?}");
    }
}

/// More rows than are decoded at once: strings still come as the row group's dictionary, or each row with its own.
#[tokio::test]
async fn strings_of_large_row_groups_are_dictionaries() {
    let path = Path::from(PATH);
    let (store, length) = stored(&path, file(&traces(5000, 20), &BlockConfig::default())).await;
    let config = ReaderConfig {
        facts_cache_bytes: ByteSize(0),
        runs_cache_bytes: ByteSize(0),
        ..ReaderConfig::default()
    };
    let reader = BlockReader::new(store as Arc<dyn ObjectStore>, config, Metrics::default());
    let scan = reader.open(&path, length).await.unwrap();
    let asked = Projection {
        fixed: [schema::NAME].into(),
        attributes: [(AttributeScope::Span, "url".to_owned())].into(),
        ..Projection::default()
    };
    let batch = scan.columns(0, &asked, None).await.unwrap();
    assert_eq!(batch.num_rows(), 100_000);
    let dictionary = |name: &str| batch.column_by_name(name).unwrap().as_dictionary::<Int32Type>().clone();
    assert_eq!(dictionary(schema::NAME).values().len(), 7);
    let urls = dictionary("span.url");
    assert_eq!((urls.values().data_type(), urls.values().len()), (&DataType::Utf8, 100_000));
    for (row, trace, span) in [(0, 1, 1), (99_999, 5000, 20), (40_000, 2001, 1)] {
        let values = urls.values().as_string::<i32>();
        assert_eq!(values.value(urls.keys().value(row) as usize), format!("/things/{trace}/{span}"));
    }
}
