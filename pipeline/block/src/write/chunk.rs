//! A column chunk put together page by page, and what the file's footer and indexes say of it.
//! Owns: compression, page headers, bounds, sizes and offsets. Does not own: encodings.

use std::cmp::Ordering;

use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Compression, Encoding};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, LevelHistogram, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::checksum::put_page;
use super::value::Value;

/// A page's header is shorter.
const HEADER_BYTES: usize = 64;

/// A finished chunk: its bytes, and what is known of them. Offsets count from its start.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
}

/// A page without its values.
pub(super) trait PageLevels {
    /// Appends the levels.
    fn put(&self, out: &mut Vec<u8>);

    fn counts(&self) -> PageCounts;

    /// How often each repetition level and each definition level is there. Of lists these alone tell readers whether a page has values.
    fn histograms(&self) -> [Option<LevelHistogram>; 2] {
        [None, None]
    }
}

/// What a page has.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageCounts {
    pub(super) rows: usize,
    /// More than rows where lists have several elements.
    pub(super) levels: usize,
    pub(super) values: usize,
}

/// The pages of a chunk so far.
pub(super) struct ChunkBuilder<'a, V> {
    column: ColumnDescPtr,
    compression: Compression,
    compressor: &'a mut zstd::bulk::Compressor<'static>,
    bytes: Vec<u8>,
    compressed_bytes: usize,
    uncompressed_bytes: usize,
    /// Of all strings, as often as they are there; none if they are none.
    string_bytes: Option<i64>,
    dictionary_at: Option<u64>,
    data_at: Option<u64>,
    encodings: Vec<PageEncodingStats>,
    rows: usize,
    levels: usize,
    values: usize,
    histograms: [Option<LevelHistogram>; 2],
    column_index: ColumnIndexBuilder,
    offset_index: OffsetIndexBuilder,
    /// Of the pages that have values.
    bounds: Vec<(V, V)>,
}

impl<'a, V: Value> ChunkBuilder<'a, V> {
    pub(super) fn new(
        column: ColumnDescPtr,
        compression: Compression,
        compressor: &'a mut zstd::bulk::Compressor<'static>,
    ) -> Self {
        Self {
            column_index: ColumnIndexBuilder::new(column.physical_type()),
            column,
            compression,
            compressor,
            bytes: Vec::new(),
            compressed_bytes: 0,
            uncompressed_bytes: 0,
            string_bytes: None,
            dictionary_at: None,
            data_at: None,
            encodings: Vec::new(),
            rows: 0,
            levels: 0,
            values: 0,
            histograms: [None, None],
            offset_index: OffsetIndexBuilder::new(),
            bounds: Vec::new(),
        }
    }

    /// Adds the dictionary, before any page of numbers.
    pub(super) fn dictionary(&mut self, plain: &[u8], values: usize) -> Result<(), ParquetError> {
        let page = Page::DictionaryPage {
            buf: self.compressor.compress(plain)?.into(),
            num_values: count(values)?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let written = self.write(page, plain.len())?;
        self.dictionary_at = Some(written.offset);
        Ok(())
    }

    /// Adds a page of levels and encoded values; `bounds` are those of its values, none if it has none.
    pub(super) fn page(
        &mut self,
        content: &[u8],
        encoding: Encoding,
        levels: &impl PageLevels,
        bounds: Option<(V, V)>,
    ) -> Result<(), ParquetError> {
        let counts = levels.counts();
        let page = Page::DataPage {
            buf: self.compressor.compress(content)?.into(),
            num_values: count(counts.levels)?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let written = self.write(page, content.len())?;
        self.data_at.get_or_insert(written.offset);
        let size = i32::try_from(written.compressed_size)?;
        self.offset_index.append_offset_and_size(i64::try_from(written.offset)?, size);
        self.offset_index.append_row_count(i64::try_from(counts.rows)?);
        let (min, max) = bounds.map(|(min, max)| (min.lower(), max.upper())).unwrap_or_default();
        let nulls = i64::try_from(counts.levels - counts.values)?;
        self.column_index.append(bounds.is_none(), min, max, nulls, V::NANS);
        let histograms = levels.histograms();
        self.column_index.append_histograms(&histograms[0], &histograms[1]);
        for (all, page) in self.histograms.iter_mut().zip(histograms) {
            match (all, page) {
                (Some(all), Some(page)) => all.add(&page),
                (all, page) => *all = page,
            }
        }
        self.bounds.extend(bounds);
        self.rows += counts.rows;
        self.levels += counts.levels;
        self.values += counts.values;
        Ok(())
    }

    /// Counts the values of a page, of strings.
    pub(super) fn unencoded(&mut self, values: impl Iterator<Item = V>) {
        let mut values = values.peekable();
        if values.peek().is_none_or(|value| value.string_bytes().is_none()) {
            return;
        }
        let bytes: usize = values.filter_map(Value::string_bytes).sum();
        *self.string_bytes.get_or_insert(0) += bytes as i64;
    }

    fn write(&mut self, page: Page, uncompressed: usize) -> Result<PageWriteSpec, ParquetError> {
        let (page_type, encoding) = (page.page_type(), page.encoding());
        let page = CompressedPage::new(page, uncompressed);
        let body = page.compressed_size();
        let mut plain = TrackedWrite::new(Vec::with_capacity(body + HEADER_BYTES));
        let mut written = SerializedPageWriter::new(&mut plain).write_page(page)?;
        let plain = plain.into_inner()?;
        let (header, body) = plain.split_at(plain.len() - body);
        written.offset = self.bytes.len() as u64;
        let grown = put_page(&mut self.bytes, header, body)?;
        written.compressed_size += grown;
        written.uncompressed_size += grown;
        self.compressed_bytes += written.compressed_size;
        self.uncompressed_bytes += written.uncompressed_size;
        match self.encodings.last_mut() {
            Some(last) if (last.page_type, last.encoding) == (page_type, encoding) => last.count += 1,
            _ => self.encodings.push(PageEncodingStats { page_type, encoding, count: 1 }),
        }
        Ok(written)
    }

    pub(super) fn finish(mut self, bloom_filter: Option<Sbbf>) -> Result<Chunk, ParquetError> {
        let min = self.bounds.iter().map(|(min, _)| *min).min();
        let max = self.bounds.iter().map(|(_, max)| *max).max();
        let encodings = self.encodings.iter().map(|stats| stats.encoding).chain([Encoding::RLE]).collect();
        let [reps, defs] = self.histograms;
        let metadata = ColumnChunkMetaData::builder(self.column)
            .set_repetition_level_histogram(reps)
            .set_definition_level_histogram(defs)
            .set_compression(self.compression)
            .set_encodings(encodings)
            .set_page_encoding_stats(self.encodings)
            .set_total_compressed_size(i64::try_from(self.compressed_bytes)?)
            .set_total_uncompressed_size(i64::try_from(self.uncompressed_bytes)?)
            .set_unencoded_byte_array_data_bytes(self.string_bytes)
            .set_num_values(i64::try_from(self.levels)?)
            .set_dictionary_page_offset(self.dictionary_at.map(i64::try_from).transpose()?)
            .set_data_page_offset(i64::try_from(self.data_at.unwrap_or_default())?)
            .set_statistics(V::statistics(min.zip(max), (self.levels - self.values) as u64))
            .build()?;
        self.column_index.set_boundary_order(boundary_order(&self.bounds));
        let bytes = Bytes::from(self.bytes);
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows as u64,
            metadata,
            bloom_filter,
            column_index: Some(self.column_index.build()?),
            offset_index: Some(self.offset_index.build()),
        };
        Ok(Chunk { bytes, close })
    }
}

/// How the bounds of pages follow each other.
fn boundary_order<V: Ord>(bounds: &[(V, V)]) -> BoundaryOrder {
    let always = |wrong: Ordering| {
        bounds.windows(2).all(|pair| pair[0].0.cmp(&pair[1].0) != wrong && pair[0].1.cmp(&pair[1].1) != wrong)
    };
    if always(Ordering::Greater) {
        BoundaryOrder::ASCENDING
    } else if always(Ordering::Less) {
        BoundaryOrder::DESCENDING
    } else {
        BoundaryOrder::UNORDERED
    }
}

fn count(values: usize) -> Result<u32, ParquetError> {
    Ok(u32::try_from(values)?)
}
