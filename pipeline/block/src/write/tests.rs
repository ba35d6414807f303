//! What is encoded here must say the same as what the Parquet library encodes.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray,
    Float64Array, Int8Array, Int32Array, Int64Array, ListArray, PrimitiveArray, RecordBatch, StringArray,
    StringDictionaryBuilder, StructArray, TimestampNanosecondArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, UInt32Type};
use bytes::Bytes;
use hashbrown::HashMap;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use parquet::schema::types::ColumnPath;
use proptest::prelude::*;

use super::RowGroup;
use super::checksum::Columns;
use super::encoder::Encoder;
use crate::columns::NULL;
use crate::numbered::{Column, Numbered};

const PAGE_ROWS: usize = 100;

fn properties() -> WriterProperties {
    let path = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    let mut builder = WriterProperties::builder()
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(super::BOUND_LENGTH_MAX))
        .set_column_index_truncate_length(Some(super::BOUND_LENGTH_MAX));
    for name in ["trace", "span"] {
        builder = builder.set_column_dictionary_enabled(path(name), false);
    }
    for name in ["trace", "text"] {
        builder = builder
            .set_column_bloom_filter_enabled(path(name), true)
            .set_column_bloom_filter_max_ndv(path(name), 1000);
    }
    builder.build()
}

fn ours(batch: &RecordBatch) -> Bytes {
    file(batch, |group| group.batch(batch).unwrap())
}

/// A file of one row group, which `write` fills.
fn file(batch: &RecordBatch, write: impl FnOnce(RowGroup<'_, &mut Vec<u8>>)) -> Bytes {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(Arc::new(properties()), PAGE_ROWS, 1).unwrap();
    let writer = ArrowWriter::try_new(&mut out, batch.schema(), Some(properties())).unwrap();
    let (mut file, columns) = writer.into_serialized_writer().unwrap();
    let columns = Columns::new(columns);
    write(RowGroup::new(&mut file, &columns, &mut encoder, 0).unwrap());
    file.close().unwrap();
    out.into()
}

/// The same from columns that are known by numbers, where they can be.
fn numbered(batch: &RecordBatch) -> Bytes {
    file(batch, |mut group| {
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            let column = match array.data_type() {
                DataType::Dictionary(..) => {
                    Column::Numbered(Numbered::from_dictionary(array.as_dictionary()).unwrap())
                }
                DataType::Int32 => by_number::<Int32Type>(array),
                DataType::UInt32 => by_number::<UInt32Type>(array),
                DataType::Int64 => by_number::<Int64Type>(array),
                DataType::Float64 => by_number::<Float64Type>(array),
                _ => Column::Array(Arc::clone(array)),
            };
            group.column(field, &column).unwrap();
        }
        group.close().unwrap();
    })
}

fn by_number<T: ArrowPrimitiveType>(array: &ArrayRef) -> Column {
    let (mut known, mut values) = (HashMap::new(), Vec::new());
    let mut number = |value: T::Native| {
        *known.entry(format!("{value:?}")).or_insert_with(|| {
            values.push(value);
            values.len() as i32 - 1
        })
    };
    let rows = array.as_primitive::<T>().iter().map(|value| value.map_or(NULL, &mut number)).collect();
    let values = PrimitiveArray::<T>::from_iter_values(values);
    Column::Numbered(Numbered::from_rows(rows, Arc::new(values), false).unwrap())
}

fn theirs(batch: &RecordBatch) -> Bytes {
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut out, batch.schema(), Some(properties())).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    out.into()
}

fn read(file: &Bytes) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
    reader.with_batch_size(1 << 20).build().unwrap().map(Result::unwrap).collect()
}

fn open(file: &Bytes) -> SerializedFileReader<Bytes> {
    let options = ReadOptionsBuilder::new().with_page_index().build();
    SerializedFileReader::new_with_options(file.clone(), options).unwrap()
}

/// What readers skip by, as text: bounds of each page, their order, and where pages begin.
fn skipping(metadata: &ParquetMetaData, column: usize) -> String {
    let group = metadata.page_index_for_row_group(0);
    let index = group.column_index(column).unwrap();
    let rows: Vec<_> =
        group.page_locations(column).unwrap().iter().map(|page| page.first_row_index).collect();
    macro_rules! bounds {
        ($($kind:ident)*) => {
            match index {
                $(ColumnIndexMetaData::$kind(index) => {
                    let page = |page| (index.min_value(page), index.max_value(page));
                    format!("{:?}", (0..rows.len()).map(page).collect::<Vec<_>>())
                })*
                _ => "none".to_owned(),
            }
        };
    }
    let bounds = bounds!(BYTE_ARRAY FIXED_LEN_BYTE_ARRAY INT32 INT64 DOUBLE BOOLEAN);
    let nulls: Vec<_> =
        (0..rows.len()).map(|page| (index.is_null_page(page), index.null_count(page))).collect();
    format!("{bounds} {nulls:?} {:?} {rows:?}", index.get_boundary_order())
}

/// Lists of some structs with lists in them; of each all kinds: null, empty, of one and several elements.
fn lists(counts: &[Option<usize>]) -> ArrayRef {
    let list = |counts: &[Option<usize>], fields: Vec<(&str, ArrayRef, bool)>| {
        let fields = fields.into_iter().map(|(name, array, nullable)| {
            (Arc::new(Field::new(name, array.data_type().clone(), nullable)), array)
        });
        let items = StructArray::from(fields.collect::<Vec<_>>());
        let item = Arc::new(Field::new("element", items.data_type().clone(), false));
        let offsets = OffsetBuffer::from_lengths(counts.iter().map(|count| count.unwrap_or(0)));
        let there = counts.iter().map(Option::is_some).collect::<Vec<_>>();
        ListArray::new(item, offsets, Arc::new(items), Some(there.into()))
    };
    let count = counts.iter().flatten().sum::<usize>();
    let inner: Vec<_> = (0..count).map(|n| (n % 5 > 0).then_some(n % 4)).collect();
    let items = 0..inner.iter().flatten().sum::<usize>();
    let inner = list(
        &inner,
        vec![
            ("kind", Arc::new(Int8Array::from_iter_values(items.clone().map(|n| (n % 9) as i8 - 4))), false),
            (
                "int",
                Arc::new(items.clone().map(|n| (n % 3 > 0).then_some(n as i64)).collect::<Int64Array>()),
                true,
            ),
            ("none", Arc::new(BinaryArray::new_null(items.len())), true),
        ],
    );
    let elements = 0..count;
    let zeros = [0.0, -0.0, 1.5, -2.5];
    let doubles = elements.clone().map(|n| (n % 5 > 1).then_some(zeros[n % 4]));
    let bytes =
        elements.clone().map(|n| (n % 3 == 0).then(|| vec![if n % 2 == 0 { 255 } else { 7 }; n % 90]));
    let bytes: Vec<Option<Vec<u8>>> = bytes.collect();
    let list = list(
        counts,
        vec![
            (
                "time",
                Arc::new(TimestampNanosecondArray::from_iter_values(elements.clone().map(|n| n as i64))),
                false,
            ),
            (
                "name",
                Arc::new(StringArray::from_iter_values(elements.clone().map(|n| "é".repeat(n % 70)))),
                false,
            ),
            ("double", Arc::new(doubles.collect::<Float64Array>()), true),
            (
                "bool",
                Arc::new(elements.map(|n| (n % 4 > 0).then_some(n % 3 == 0)).collect::<BooleanArray>()),
                true,
            ),
            ("bytes", Arc::new(BinaryArray::from_iter(bytes)), true),
            ("inner", Arc::new(inner), true),
        ],
    );
    Arc::new(list)
}

fn batch(rows: &[(Option<u8>, Option<i64>, u16)], offset: usize) -> RecordBatch {
    let mut texts = StringDictionaryBuilder::<Int32Type>::new();
    for (text, ..) in rows {
        // Some beyond the length of bounds, with characters of several bytes where they are cut.
        texts.append_option(text.map(|n| format!("{}{}", "é".repeat(usize::from(n) % 40), n)));
    }
    let optional = |number: fn(i64) -> i64| rows.iter().map(move |(_, n, _)| n.map(number));
    let mut traces: Vec<[u8; 16]> = rows.iter().map(|row| u128::from(row.2).to_be_bytes()).collect();
    traces.sort_unstable();
    let spans = rows.iter().map(|(_, n, _)| n.map(i64::to_le_bytes));
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("trace", Arc::new(FixedSizeBinaryArray::try_from_iter(traces.iter()).unwrap()), false),
        ("span", Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(spans, 8).unwrap()), true),
        ("text", Arc::new(texts.finish()), true),
        ("small", Arc::new(Int32Array::from_iter(optional(|n| n % 7).map(|n| n.map(|n| n as i32)))), true),
        (
            "unsigned",
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|r| u32::MAX - u32::from(r.2)))),
            false,
        ),
        ("large", Arc::new(Int64Array::from_iter(optional(|n| n))), true),
        ("bool", Arc::new(BooleanArray::from_iter(rows.iter().map(|(_, n, _)| n.map(|n| n > 0)))), true),
        ("double", Arc::new(Float64Array::from_iter(rows.iter().map(|(_, n, _)| n.map(|n| n as f64)))), true),
        ("list", lists(&rows.iter().map(|(n, ..)| n.map(|n| usize::from(n % 4))).collect::<Vec<_>>()), true),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    batch.slice(offset, batch.num_rows() - offset)
}

fn check(batch: &RecordBatch) {
    let (ours, theirs) = (ours(batch), theirs(batch));
    assert_eq!(read(&ours), read(&theirs));
    assert_eq!(ours, numbered(batch));
    let (our_file, their_file) = (open(&ours), open(&theirs));
    for column in 0..our_file.metadata().row_group(0).num_columns() {
        let (our_chunk, their_chunk) = (
            our_file.metadata().row_group(0).column(column),
            their_file.metadata().row_group(0).column(column),
        );
        assert_eq!(our_chunk.statistics(), their_chunk.statistics());
        assert_eq!(our_chunk.encodings_mask(), their_chunk.encodings_mask());
        assert_eq!(our_chunk.num_values(), their_chunk.num_values());
        if our_chunk.column_descr().max_rep_level() == 0 {
            assert_eq!(our_chunk.page_encoding_stats(), their_chunk.page_encoding_stats());
            assert_eq!(skipping(our_file.metadata(), column), skipping(their_file.metadata(), column));
        } else {
            // The library counts levels where we count rows, so that our pages have the same rows in all columns.
            let index = our_file.metadata().page_index_for_row_group(0);
            let pages = index.page_locations(column).unwrap().iter().zip(0..);
            pages.for_each(|(page, n)| assert_eq!(page.first_row_index, n * PAGE_ROWS as i64));
            let histogram = ColumnChunkMetaData::definition_level_histogram;
            assert_eq!(histogram(our_chunk), histogram(their_chunk));
            let histogram = ColumnChunkMetaData::repetition_level_histogram;
            assert_eq!(histogram(our_chunk), histogram(their_chunk));
        }
        let filter = |file: &SerializedFileReader<Bytes>| {
            let group = file.get_row_group(0).unwrap();
            group.get_column_bloom_filter(column).map(|filter| {
                let mut bits = Vec::new();
                filter.write_bitset(&mut bits).unwrap();
                bits
            })
        };
        assert_eq!(filter(&our_file), filter(&their_file));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn files_say_the_same(
        rows in prop::collection::vec(
            (prop::option::of(any::<u8>()), prop::option::weighted(0.3, any::<i64>()), any::<u16>()), 1..700),
        offset in 0..30_usize, repeat in 1..4_usize,
    ) {
        // Some rows several times, for runs.
        let rows: Vec<_> = rows.iter().flat_map(|row| vec![*row; if row.2 % 5 == 0 { 30 * repeat } else { 1 }]).collect();
        check(&batch(&rows, offset.min(rows.len() - 1)));
    }
}

#[test]
fn pages_without_values() {
    check(&batch(&[(None, None, 7); 3 * PAGE_ROWS], 0));
    let mut rows = [(None, None, 7); 3 * PAGE_ROWS];
    rows[PAGE_ROWS + 1] = (Some(9), Some(-1), 7);
    check(&batch(&rows, 0));
}
