//! What tells that a block does not have a trace, at little memory.

use std::error::Error;
use std::ops::Range;

use bytes::Bytes;
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::{
    ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy, RowGroupMetaData,
};
use parquet::file::statistics::Statistics;
use vivace_model::TraceId;

use super::fetched::Fetched;
use super::source::{Source, blocking};
use crate::BlockError;
use crate::schema::TRACE_ID;

/// Length of the footer's length and magic number, the file's last bytes.
pub(super) const TRAILER_BYTES: usize = 8;
const MAGIC: &[u8] = b"PAR1";

/// Smallest and largest trace id and bloom filter of each row group.
#[derive(Debug)]
pub(super) struct BlockFilter {
    row_groups: Vec<RowGroupFilter>,
    /// Where page indexes and footer begin: they reach to the end of the file.
    pub(super) index_start: u64,
}

#[derive(Debug)]
struct RowGroupFilter {
    /// None: not known.
    bounds: Option<(Vec<u8>, Vec<u8>)>,
    bloom: Option<Sbbf>,
}

/// What was read of a file's end while making its filter, for whoever needs more of it.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) metadata: ParquetMetaData,
    pub(super) start: u64,
    pub(super) bytes: Bytes,
}

impl BlockFilter {
    /// Reads the end of the file: `read_bytes` of it, and what is missing.
    pub(super) async fn load(source: &Source<'_>, read_bytes: u64) -> Result<(Self, Tail), BlockError> {
        let file_bytes = source.file_bytes;
        if file_bytes < TRAILER_BYTES as u64 {
            return Err(source.corrupt("it is too short for a Parquet file"));
        }
        let mut start = file_bytes - read_bytes.clamp(TRAILER_BYTES as u64, file_bytes);
        let mut bytes = source.range(start..file_bytes).await?;
        let footer_start = footer_start(&bytes, file_bytes).map_err(|reason| source.corrupt(reason))?;
        if footer_start < start {
            let rest = source.range(footer_start..start).await?;
            bytes = [rest, bytes].concat().into();
            start = footer_start;
        }
        let footer = bytes.slice((footer_start - start) as usize..bytes.len() - TRAILER_BYTES);
        let metadata = blocking(source.path, move || decode_footer(&footer, file_bytes)).await?;
        let leaf = trace_id_leaf(&metadata).map_err(|reason| source.corrupt(reason))?;
        let blooms = Self::load_blooms(source, &metadata, leaf, start, &bytes).await?;
        let index_start = index_start(&metadata, footer_start).map_err(|reason| source.corrupt(reason))?;
        let row_groups = metadata
            .row_groups()
            .iter()
            .zip(blooms)
            .map(|(group, bloom)| RowGroupFilter { bounds: bounds(group.column(leaf).statistics()), bloom });
        let filter = Self { row_groups: row_groups.collect(), index_start };
        Ok((filter, Tail { metadata, start, bytes }))
    }

    async fn load_blooms(
        source: &Source<'_>,
        metadata: &ParquetMetaData,
        leaf: usize,
        tail_start: u64,
        tail: &Bytes,
    ) -> Result<Vec<Option<Sbbf>>, BlockError> {
        let range = |group: &RowGroupMetaData| -> Option<Range<u64>> {
            let column = group.column(leaf);
            let start = u64::try_from(column.bloom_filter_offset()?).ok()?;
            let length = u64::try_from(column.bloom_filter_length()?).ok()?;
            Some(start..start.saturating_add(length))
        };
        let ranges: Vec<_> = metadata.row_groups().iter().map(range).collect();
        let missing = ranges.iter().flatten().filter(|range| range.start < tail_start).cloned().collect();
        let mut fetched = Fetched::new(source.file_bytes, vec![(tail_start, tail.clone())]);
        fetched.merge(source.ranges(missing).await?);
        let mut blooms = Vec::with_capacity(ranges.len());
        for range in ranges {
            blooms.push(match range {
                None => None,
                Some(range) => {
                    let bytes = fetched.get(range).ok_or_else(|| source.corrupt("its filter is cut off"))?;
                    let bloom = Sbbf::from_bytes(&bytes).map_err(|error| source.corrupt(error))?;
                    if bloom.num_blocks() == 0 {
                        return Err(source.corrupt("its filter is empty"));
                    }
                    Some(bloom)
                }
            });
        }
        Ok(blooms)
    }

    /// The row groups that may have the trace.
    pub(super) fn candidates(&self, id: &TraceId) -> Vec<usize> {
        let groups = self.row_groups.iter().enumerate();
        groups.filter(|(_, group)| group.may_have(id)).map(|(number, _)| number).collect()
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        let group = |group: &RowGroupFilter| {
            size_of::<RowGroupFilter>() + 32 + group.bloom.as_ref().map_or(0, |bloom| bloom.num_blocks() * 32)
        };
        size_of::<Self>() + self.row_groups.iter().map(group).sum::<usize>()
    }
}

impl RowGroupFilter {
    fn may_have(&self, id: &TraceId) -> bool {
        let id = id.as_bytes().as_slice();
        let within =
            self.bounds.as_ref().is_none_or(|(min, max)| min.as_slice() <= id && id <= max.as_slice());
        within && self.bloom.as_ref().is_none_or(|bloom| bloom.check(id))
    }
}

/// Where the footer begins, told by the file's last bytes.
pub(super) fn footer_start(tail: &[u8], file_bytes: u64) -> Result<u64, &'static str> {
    let trailer = tail.last_chunk::<TRAILER_BYTES>().ok_or("it is too short for a Parquet file")?;
    let (length, magic) = trailer.split_at(4);
    if magic != MAGIC {
        return Err("it does not end like a Parquet file");
    }
    let length = u32::from_le_bytes(length.try_into().map_err(|_| "it has no footer")?);
    (file_bytes - TRAILER_BYTES as u64).checked_sub(length.into()).ok_or("its footer is longer than itself")
}

/// Decodes a footer and checks what the Parquet library takes for granted, and would panic without.
pub(super) fn decode_footer(
    footer: &[u8],
    file_bytes: u64,
) -> Result<ParquetMetaData, Box<dyn Error + Send + Sync>> {
    let options = ParquetMetaDataOptions::new().with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
    let metadata = ParquetMetaDataReader::decode_metadata_with_options(footer, Some(&options))?;
    check(&metadata, file_bytes)?;
    Ok(metadata)
}

/// Where the first page index begins, or the footer if there is none.
fn index_start(metadata: &ParquetMetaData, footer_start: u64) -> Result<u64, &'static str> {
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
    let offsets = columns.flat_map(|column| [column.column_index_offset(), column.offset_index_offset()]);
    let first = offsets.flatten().min().map_or(Ok(footer_start), u64::try_from);
    first.ok().filter(|&first| first <= footer_start).ok_or("its page index is out of place")
}

/// The number of the leaf column of trace ids.
pub(super) fn trace_id_leaf(metadata: &ParquetMetaData) -> Result<usize, &'static str> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let found = columns.iter().position(|column| column.path().parts() == [TRACE_ID]);
    found.ok_or("it has no column of trace ids")
}

fn check(metadata: &ParquetMetaData, file_bytes: u64) -> Result<(), &'static str> {
    let leaves = metadata.file_metadata().schema_descr().num_columns();
    for group in metadata.row_groups() {
        if group.num_columns() != leaves || group.num_rows() < 0 {
            return Err("a row group does not fit the schema");
        }
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let end = u64::try_from(start).ok().zip(u64::try_from(column.compressed_size()).ok());
            let end = end.and_then(|(start, length)| start.checked_add(length));
            if end.is_none_or(|end| end > file_bytes) {
                return Err("a column lies beyond the end");
            }
        }
    }
    Ok(())
}

fn bounds(statistics: Option<&Statistics>) -> Option<(Vec<u8>, Vec<u8>)> {
    let statistics = statistics?;
    Some((statistics.min_bytes_opt()?.to_vec(), statistics.max_bytes_opt()?.to_vec()))
}
