//! Damaged files: an error or rows, never a panic, never a hang.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::statistics::Statistics;
use proptest::prelude::*;
use vivace_block::schema::{self, AttributeScope};
use vivace_block::{BlockConfig, BlockError, BlockReader, Metrics, ReaderConfig, to_traces_data};
use vivace_model::ErrorKind;
use vivace_model::scan::{Condition, Projection, ScanColumn, Test};

use crate::support::blocks::{file, stored, trace_id, traces};

fn whole() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        let config = BlockConfig { page_rows_max: 16, row_group_rows_max: 60, ..BlockConfig::default() };
        file(&traces(20, 6), &config)
    })
}

/// Looks up every trace; damage must be said, and may only be overlooked where rows come back.
fn look_up(bytes: Vec<u8>, file_bytes: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    runtime.block_on(async {
        let path = Path::from("damaged");
        let (store, _) = stored(&path, bytes).await;
        let reader =
            BlockReader::new(store as Arc<dyn ObjectStore>, ReaderConfig::default(), Metrics::default());
        for number in 1..=41 {
            match reader.trace(&path, file_bytes, &trace_id(number)).await {
                Ok(found) => {
                    if let Err(error) = to_traces_data(&found.batches) {
                        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
                    }
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}"),
            }
        }
        if let Err(error) = scan(&reader, &path, file_bytes).await {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        }
    });
}

/// Everything that a scan can read. What comes is a batch of the rows asked for, or an error.
async fn scan(reader: &BlockReader, path: &Path, file_bytes: u64) -> Result<(), BlockError> {
    let block = reader.open(path, file_bytes).await?;
    let leaf = |column, test| Condition::Leaf(column, test);
    let attribute = |key: &str| ScanColumn::Attribute(AttributeScope::Span, key.to_owned());
    let conditions = [
        leaf(ScanColumn::Fixed(schema::NAME), Test::TextMatches(Arc::new(|text| text.len() > 3))),
        leaf(attribute("url"), Test::Text("/things/1/1".into())),
        leaf(attribute("number"), Test::Between(3.0, 4.0)),
        leaf(attribute("else"), Test::Exists),
    ];
    let all = Projection {
        fixed: schema::fixed_fields().iter().filter_map(|field| fixed(field.name())).collect(),
        scopes: AttributeScope::ALL.into_iter().collect(),
        ..Projection::default()
    };
    let one = Projection {
        attributes: [(AttributeScope::Span, "url".to_owned()), (AttributeScope::Span, "else".to_owned())]
            .into(),
        ..Projection::default()
    };
    let mut first = Ok(());
    let mut note = |error: Option<BlockError>| {
        if let (Ok(()), Some(error)) = (&first, error) {
            first = Err(error);
        }
    };
    note(block.may_hold(&trace_id(2)).await.err());
    for group in 0..block.row_groups() {
        for condition in &conditions {
            note(block.may_match(group, condition, None).await.err());
        }
        note(block.runs(group).await.err());
        note(block.check_unread(group).await.err());
        let rows = block.rows(group);
        let some = [0..rows.min(1), rows.min(20)..rows.min(40)];
        for (projection, ranges) in
            [(&all, None), (&all, Some(&some[..])), (&one, None), (&one, Some(&some[..]))]
        {
            let expected = ranges.map_or(rows, |ranges| ranges.iter().map(|range| range.len()).sum());
            match block.columns(group, projection, ranges).await {
                Ok(batch) => assert_eq!(batch.num_rows(), expected),
                Err(error) => note(Some(error)),
            }
        }
    }
    first
}

fn fixed(name: &str) -> Option<&'static str> {
    let names = [schema::TRACE_ID, schema::START_TIME, schema::NAME, schema::KIND, schema::STATUS_MESSAGE];
    names
        .into_iter()
        .chain([schema::EVENTS, schema::LINKS, schema::ROOT_SPAN_NAME])
        .find(|fixed| *fixed == name)
}

/// Queries never look at a column without values, but who reads the file with another reader does.
#[tokio::test]
async fn damage_where_no_query_reads_is_found() {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from_static(whole())).unwrap();
    let path = Path::from("damaged");
    let check = async |bytes: Vec<u8>| {
        let (store, file_bytes) = stored(&path, bytes).await;
        let store = store as Arc<dyn ObjectStore>;
        let reader = BlockReader::new(store, ReaderConfig::default(), Metrics::default());
        reader.open(&path, file_bytes).await.unwrap().check_unread(0).await
    };
    check(whole().to_vec()).await.unwrap();
    let group = metadata.row_group(0);
    let nulls = |column: &ColumnChunkMetaData| column.statistics().and_then(Statistics::null_count_opt);
    let empty = |column: &&ColumnChunkMetaData| nulls(column) == Some(group.num_rows().unsigned_abs());
    let empty: Vec<_> = group.columns().iter().filter(empty).collect();
    assert!(!empty.is_empty(), "some columns have no value");
    for column in empty {
        let (start, length) = column.byte_range();
        let mut bytes = whole().to_vec();
        bytes[start as usize..(start + length) as usize].fill(0xA5);
        let error = check(bytes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
}

/// Where a page of any column ends, and what it is of.
fn page_ends() -> Vec<(usize, String)> {
    let metadata = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Required)
        .parse_and_finish(&Bytes::from_static(whole()))
        .expect("the file is whole");
    let indexes = metadata.page_index().expect("it has a page index");
    let mut ends = Vec::new();
    for (number, group) in metadata.row_groups().iter().enumerate() {
        for (leaf, column) in group.columns().iter().enumerate() {
            let index = indexes.offset_index(number, leaf).expect("of each column");
            let name = column.column_path().string();
            if column.dictionary_page_offset().is_some() {
                ends.push((column.data_page_offset() as usize, format!("dictionary of {name}")));
            }
            for page in index.page_locations() {
                let end = page.offset as usize + page.compressed_page_size as usize;
                ends.push((end, format!("page of {name}")));
            }
        }
    }
    ends
}

/// What the audit reads of a block.
async fn deep(bytes: Vec<u8>) -> Result<(), BlockError> {
    let path = Path::from("damaged");
    let (store, file_bytes) = stored(&path, bytes).await;
    let store = store as Arc<dyn ObjectStore>;
    let reader = BlockReader::new(store, ReaderConfig::default(), Metrics::default());
    let block = reader.open(&path, file_bytes).await?;
    for group in 0..block.row_groups() {
        block.runs(group).await?;
        block.all_columns(group, 0..block.rows(group)).await?;
        block.check_unread(group).await?;
    }
    Ok(())
}

/// Checksums find what compression lets pass: ids, for instance, do not compress.
#[tokio::test]
async fn a_flipped_byte_in_any_page_is_found() {
    deep(whole().to_vec()).await.unwrap();
    let ends = page_ends();
    for kind in ["page of trace_id", "page of span_id", "dictionary of name", "page of start_time", "list"] {
        assert!(ends.iter().any(|(_, what)| what.contains(kind)), "{kind}: {ends:?}");
    }
    for (end, what) in ends {
        let mut bytes = whole().to_vec();
        bytes[end - 1] ^= 0x10;
        let error = deep(bytes).await.expect_err(&what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error:?}");
        assert!(format!("{error:?}").contains("CRC checksum"), "{what}: {error:?}");
    }
}

/// A page of ids that was served as data when it had no checksum.
#[tokio::test]
async fn flipped_ids_are_not_served() {
    let (end, _) = page_ends().into_iter().find(|(_, what)| what == "page of span_id").unwrap();
    let mut bytes = whole().to_vec();
    bytes[end - 1] ^= 0x10;
    let path = Path::from("damaged");
    let (store, file_bytes) = stored(&path, bytes).await;
    let store = store as Arc<dyn ObjectStore>;
    let reader = BlockReader::new(store, ReaderConfig::default(), Metrics::default());
    let mut damaged = 0;
    for number in 1..=41 {
        match reader.trace(&path, file_bytes, &trace_id(number)).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
                damaged += 1;
            }
        }
    }
    assert!(damaged > 0, "one trace at least has rows in the page");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_anywhere(flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..6)) {
        let mut bytes = whole().to_vec();
        for (index, flip) in flips {
            let at = index.index(bytes.len());
            bytes[at] ^= flip;
        }
        look_up(bytes, whole().len() as u64);
    }

    /// Where it hurts most: a flip in the pages is mostly caught by their compression.
    #[test]
    fn flipped_bytes_in_the_footer(from_end in 9_usize..6000, flip in 1_u8..) {
        let mut bytes = whole().to_vec();
        let at = bytes.len().saturating_sub(from_end);
        bytes[at] ^= flip;
        look_up(bytes, whole().len() as u64);
    }

    #[test]
    fn cut_anywhere(keep: prop::sample::Index, length_is_known: bool) {
        let keep = keep.index(whole().len());
        let length = if length_is_known { whole().len() } else { keep };
        look_up(whole()[..keep].to_vec(), length as u64);
    }

    #[test]
    fn a_piece_overwritten(start: prop::sample::Index, garbage in prop::collection::vec(any::<u8>(), 1..200)) {
        let mut bytes = whole().to_vec();
        let start = start.index(bytes.len());
        let end = bytes.len().min(start + garbage.len());
        bytes[start..end].copy_from_slice(&garbage[..end - start]);
        look_up(bytes, whole().len() as u64);
    }
}
