//! Where in a block's file the pages of which rows are.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder, ParquetMetaDataReader,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use vivace_model::TraceId;

use super::filter::{BlockFilter, Tail, check, trace_id_leaf};
use super::pages::rows_of_page;
use super::source::{Source, blocking};
use crate::BlockError;

/// A file's footer and page indexes, decoded.
#[derive(Debug)]
pub(super) struct BlockIndex {
    pub(super) metadata: ParquetMetaData,
    /// Of all columns.
    pub(super) schema: SchemaRef,
    pub(super) trace_id_leaf: usize,
    memory_bytes: usize,
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
        blocking(source.path, move || Ok(Self::decode(metadata, bytes, start, file_bytes)?)).await
    }

    fn decode(
        metadata: Option<ParquetMetaData>,
        bytes: Bytes,
        start: u64,
        file_bytes: u64,
    ) -> Result<Self> {
        let metadata = match metadata {
            Some(metadata) => metadata,
            None => {
                let (_, trailer) = bytes.split_last_chunk::<8>().ok_or_else(|| wrong("it has no footer"))?;
                let length = u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]) as usize;
                let end = bytes.len() - 8;
                let footer = end.checked_sub(length).ok_or_else(|| wrong("it has no footer"))?;
                let metadata = ParquetMetaDataReader::decode_metadata(&bytes[footer..end])?;
                check(&metadata, file_bytes).map_err(wrong)?;
                metadata
            }
        };
        let mut decoder = ParquetMetaDataPushDecoder::try_new_with_metadata(file_bytes, metadata)?
            .with_page_index_policy(PageIndexPolicy::Required);
        decoder.push_range(start..file_bytes, bytes)?;
        let DecodeResult::Data(metadata) = decoder.try_decode()? else {
            return Err(wrong("its page index is out of place"));
        };
        let file = metadata.file_metadata();
        let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
        let trace_id_leaf = trace_id_leaf(&metadata).map_err(wrong)?;
        let memory_bytes = metadata.memory_size() + schema.fields().size();
        Ok(Self { metadata, schema: Arc::new(schema), trace_id_leaf, memory_bytes })
    }

    /// Bytes in memory.
    pub(super) const fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(super) fn leaves(&self) -> usize {
        self.metadata.file_metadata().schema_descr().num_columns()
    }

    /// Rows of a row group whose pages may have the trace.
    pub(super) fn candidates(&self, row_group: usize, id: &TraceId) -> Result<Vec<Range<usize>>> {
        let id = id.as_bytes().as_slice();
        let locations = self.locations(row_group, self.trace_id_leaf)?;
        let ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(index) =
            self.column_index(row_group, self.trace_id_leaf)?
        else {
            return Err(wrong("trace ids are not of a fixed length"));
        };
        let total = self.rows(row_group)?;
        let mut rows: Vec<Range<usize>> = Vec::new();
        for page in 0..locations.len() {
            let above = index.min_value(page).is_some_and(|min| min > id);
            let below = index.max_value(page).is_some_and(|max| max < id);
            if above || below {
                continue;
            }
            let range = rows_of_page(locations, total, page)?;
            match rows.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => rows.push(range),
            }
        }
        Ok(rows)
    }

    /// Ranges of the file with all that a leaf has in the rows; none if it has no value in any of their pages.
    pub(super) fn ranges(
        &self,
        row_group: usize,
        leaf: usize,
        rows: &[Range<usize>],
        out: &mut Vec<Range<u64>>,
    ) -> Result<bool> {
        let locations = self.locations(row_group, leaf)?;
        let index = self.column_index(row_group, leaf)?;
        let total = self.rows(row_group)?;
        let before = out.len();
        let mut any_value = false;
        for (page, location) in locations.iter().enumerate() {
            let range = rows_of_page(locations, total, page)?;
            if rows.iter().any(|rows| rows.start < range.end && range.start < rows.end) {
                any_value |= !index.is_null_page(page);
                let start = u64::try_from(location.offset)?;
                let length = u64::try_from(location.compressed_page_size)?;
                out.push(start..start.saturating_add(length));
            }
        }
        if !any_value {
            out.truncate(before);
            return Ok(false);
        }
        // A dictionary is what lies before the first page.
        let (start, _) = self.metadata.row_group(row_group).column(leaf).byte_range();
        let first = locations.first().map_or(Ok(start), |first| u64::try_from(first.offset))?;
        if start < first {
            out.push(start..first);
        }
        Ok(true)
    }

    pub(super) fn rows(&self, row_group: usize) -> Result<usize> {
        Ok(usize::try_from(self.metadata.row_group(row_group).num_rows())?)
    }

    pub(super) fn locations(&self, row_group: usize, leaf: usize) -> Result<&[PageLocation]> {
        let index = self.metadata.page_index().and_then(|index| index.offset_index(row_group, leaf));
        Ok(index.ok_or_else(|| wrong("a column has no offset index"))?.page_locations())
    }

    /// One that has as many pages as the offset index.
    fn column_index(&self, row_group: usize, leaf: usize) -> Result<&ColumnIndexMetaData> {
        let index = self.metadata.page_index().and_then(|index| index.column_index(row_group, leaf));
        let index = index.ok_or_else(|| wrong("a column has no column index"))?;
        if index.num_pages() != self.locations(row_group, leaf)?.len() as u64 {
            return Err(wrong("the page indexes of a column differ"));
        }
        Ok(index)
    }
}

fn wrong(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}
