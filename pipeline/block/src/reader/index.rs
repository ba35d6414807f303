//! Where in a block's file the pages of which rows are.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::page_index::PageIndexProvider;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use vivace_model::TraceId;

use super::filter::{BlockFilter, TRAILER_BYTES, Tail, decode_footer, footer_start, trace_id_leaf};
use super::source::{Source, blocking};
use crate::BlockError;
use crate::large::with_views;

/// A file's footer, and what of its page indexes a lookup needs: a third of them.
#[derive(Debug)]
pub(super) struct BlockIndex {
    /// Without page indexes.
    pub(super) metadata: ParquetMetaData,
    /// Of all columns.
    pub(super) schema: SchemaRef,
    pub(super) trace_id_leaf: usize,
    row_groups: Vec<RowGroupIndex>,
    memory_bytes: usize,
}

#[derive(Debug)]
struct RowGroupIndex {
    leaves: Vec<LeafIndex>,
    /// Smallest and largest trace id of each page; none if not known.
    bounds: Vec<Option<([u8; 16], [u8; 16])>>,
}

/// The pages of a leaf column in a row group: in order, within the file, covering all rows.
#[derive(Debug)]
pub(super) struct LeafIndex {
    pub(super) locations: Vec<PageLocation>,
    /// Of each page whether it has no value.
    empty: Vec<bool>,
    /// Whether those that are not empty have a value for certain.
    known: bool,
    rows: usize,
    /// Where the dictionary is; empty if there is none.
    pub(super) dictionary: Range<u64>,
}

impl BlockIndex {
    /// Reads what `tail` lacks.
    pub(super) async fn load(
        source: &Source<'_>,
        filter: &BlockFilter,
        tail: Option<Tail>,
    ) -> Result<Self, BlockError> {
        let start = filter.index_start;
        let (metadata, bytes) = match tail {
            None => (None, source.range(start..source.file_bytes).await?),
            Some(tail) if tail.start <= start => {
                (Some(tail.metadata), tail.bytes.slice((start - tail.start) as usize..))
            }
            Some(tail) => {
                let rest = source.range(start..tail.start).await?;
                (Some(tail.metadata), Bytes::from([rest, tail.bytes].concat()))
            }
        };
        let file_bytes = source.file_bytes;
        blocking(source.path, move || {
            let metadata = match metadata {
                Some(metadata) => metadata,
                None => {
                    let footer = footer_start(&bytes, file_bytes)?.checked_sub(start);
                    let footer = footer.ok_or("its footer is out of place")? as usize;
                    decode_footer(&bytes[footer..bytes.len() - TRAILER_BYTES], file_bytes)?
                }
            };
            Ok(Self::decode(metadata, bytes, start, file_bytes)?)
        })
        .await
    }

    fn decode(metadata: ParquetMetaData, bytes: Bytes, start: u64, file_bytes: u64) -> Result<Self> {
        let mut decoder = ParquetMetaDataPushDecoder::try_new_with_metadata(file_bytes, metadata)?
            .with_offset_index_policy(PageIndexPolicy::Required)
            .with_column_index_policy(PageIndexPolicy::Optional);
        decoder.push_range(start..file_bytes, bytes)?;
        let DecodeResult::Data(metadata) = decoder.try_decode()? else {
            return Err(wrong("its page index is out of place"));
        };
        let file = metadata.file_metadata();
        let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
        let schema = Arc::new(with_views(&schema));
        let trace_id_leaf = trace_id_leaf(&metadata).map_err(wrong)?;
        let index = metadata.page_index().ok_or_else(|| wrong("it has no page index"))?;
        let mut row_groups = Vec::with_capacity(metadata.num_row_groups());
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let mut leaves = Vec::with_capacity(group.num_columns());
            for leaf in 0..group.num_columns() {
                leaves.push(LeafIndex::new(&metadata, &**index, number, leaf)?);
            }
            let bounds = index.column_index(number, trace_id_leaf).map(bounds).unwrap_or_default();
            row_groups.push(RowGroupIndex { leaves, bounds });
        }
        let metadata = metadata.into_builder().set_page_index(None).build();
        let pages = row_groups.iter().flat_map(|group| &group.leaves).map(|leaf| leaf.locations.len());
        let memory_bytes = metadata.memory_size()
            + schema.fields().size()
            + pages.sum::<usize>() * (size_of::<PageLocation>() + 1)
            + row_groups.iter().map(|group| group.leaves.len() * size_of::<LeafIndex>()).sum::<usize>()
            + row_groups.iter().map(|group| group.bounds.len() * 33).sum::<usize>();
        Ok(Self { metadata, schema, trace_id_leaf, row_groups, memory_bytes })
    }

    /// Bytes in memory.
    pub(super) const fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The leaf columns of a row group.
    pub(super) fn leaves(&self, row_group: usize) -> &[LeafIndex] {
        &self.row_groups[row_group].leaves
    }

    /// Rows of a row group whose pages may have the trace.
    pub(super) fn candidates(&self, row_group: usize, id: &TraceId) -> Vec<Range<usize>> {
        let group = &self.row_groups[row_group];
        let leaf = &group.leaves[self.trace_id_leaf];
        let mut rows: Vec<Range<usize>> = Vec::new();
        for page in 0..leaf.locations.len() {
            if let Some(Some((min, max))) = group.bounds.get(page)
                && (id.as_bytes() < min || id.as_bytes() > max)
            {
                continue;
            }
            let range = leaf.rows_of(page);
            match rows.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => rows.push(range),
            }
        }
        rows
    }
}

impl LeafIndex {
    fn new(
        metadata: &ParquetMetaData,
        index: &dyn PageIndexProvider,
        row_group: usize,
        leaf: usize,
    ) -> Result<Self> {
        let group = metadata.row_group(row_group);
        let offsets = index.offset_index(row_group, leaf);
        let locations = offsets.ok_or_else(|| wrong("a column has no offset index"))?.page_locations();
        let rows = usize::try_from(group.num_rows())?;
        let column = group.column(leaf);
        let (start, length) = column.byte_range();
        let (mut row, mut offset) = (0, start);
        for (page, location) in locations.iter().enumerate() {
            let (at, first) = (u64::try_from(location.offset)?, usize::try_from(location.first_row_index)?);
            if at < offset || first < row || first > rows || (page == 0 && first != 0) {
                return Err(wrong("its pages are out of order"));
            }
            (row, offset) = (first, at + u64::try_from(location.compressed_page_size)?);
        }
        if offset > start + length || (locations.is_empty() && rows > 0) {
            return Err(wrong("its pages do not fit their column"));
        }
        let first = locations.first().map_or(start, |first| first.offset.unsigned_abs());
        let repeated = column.column_descr().max_rep_level() > 0;
        let known = index.column_index(row_group, leaf).is_some_and(|found| {
            !repeated || (0..locations.len()).all(|page| found.definition_level_histogram(page).is_some())
        });
        let empty = match index.column_index(row_group, leaf) {
            // Where a page has values but no bounds (all are NaN, say), the writer leaves the index out.
            None => vec![false; locations.len()],
            Some(found) if found.num_pages() == locations.len() as u64 => {
                (0..locations.len()).map(|page| is_empty(found, page, repeated)).collect()
            }
            Some(_) => return Err(wrong("the page indexes of a column differ")),
        };
        Ok(Self { locations: locations.clone(), empty, known, rows, dictionary: start..first })
    }

    /// The rows of a page, counted from the row group's first.
    pub(super) fn rows_of(&self, page: usize) -> Range<usize> {
        let end = self.locations.get(page + 1).map_or(self.rows, |next| next.first_row_index as usize);
        self.locations[page].first_row_index as usize..end
    }

    /// Whether it is certain that a page has a value.
    pub(super) fn is_known_to_have_value(&self, page: usize) -> bool {
        self.known && !self.empty[page]
    }

    /// Whether it is certain that a page has no value.
    pub(super) fn is_known_to_be_empty(&self, page: usize) -> bool {
        self.empty[page]
    }

    /// Whether the pages of the rows have any value.
    pub(super) fn any_value(&self, rows: &[Range<usize>]) -> bool {
        self.pages_of(rows).any(|page| !self.empty[page])
    }

    /// Adds the ranges of the file that hold all that the leaf has in the rows; none if it has no value in their pages.
    pub(super) fn ranges(&self, rows: &[Range<usize>], out: &mut Vec<Range<u64>>) {
        if self.any_value(rows) {
            out.push(self.dictionary.clone());
            out.extend(self.pages_of(rows).map(|page| {
                let location = &self.locations[page];
                let start = location.offset.unsigned_abs();
                start..start + u64::from(location.compressed_page_size.unsigned_abs())
            }));
        }
    }

    fn pages_of(&self, rows: &[Range<usize>]) -> impl Iterator<Item = usize> {
        (0..self.locations.len()).filter(|&page| {
            let range = self.rows_of(page);
            // Rows ascend, and may be many.
            let first = rows.partition_point(|rows| rows.end <= range.start);
            rows.get(first).is_some_and(|rows| rows.start < range.end)
        })
    }
}

/// Whether a page has no value. Of repeated columns the Parquet library may call a page "null" that is not: one with as
/// many nulls as rows, though it has values besides. Their histograms of levels tell.
fn is_empty(index: &ColumnIndexMetaData, page: usize, repeated: bool) -> bool {
    if repeated {
        let levels = index.definition_level_histogram(page).and_then(<[i64]>::last);
        return levels.is_some_and(|&values| values == 0);
    }
    index.is_null_page(page)
}

fn bounds(index: &ColumnIndexMetaData) -> Vec<Option<([u8; 16], [u8; 16])>> {
    let ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(index) = index else {
        return Vec::new();
    };
    let ids = index.min_values_iter().zip(index.max_values_iter());
    ids.map(|(min, max)| Some((min?.try_into().ok()?, max?.try_into().ok()?))).collect()
}

fn wrong(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}
