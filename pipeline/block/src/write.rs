//! A sealed block as a Parquet file.
//! Owns: encodings, row groups, pages, filters and the file's description of itself.
//! Does not own: the columns (`columns`, `schema`), where the file goes.

mod checksum;
mod chunk;
mod encoder;
mod flat;
mod lists;
mod runs;
#[cfg(test)]
mod tests;
mod value;
mod writer;

use std::io::Write;
use std::sync::Arc;
use std::vec;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Field;
use bytes::Bytes;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{
    BloomFilterPosition, EnabledStatistics, WriterProperties, WriterPropertiesBuilder,
};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnDescPtr, ColumnPath};
use vivace_model::{OffsetRange, Partition, Spread, TenantId, UnixNanos};

use self::checksum::{Columns, Store};
use self::encoder::{DICTIONARY_BYTES_MAX, Encoder};
use self::flat::Rows;
use self::value::BOUND_LENGTH_MAX;
pub(crate) use self::writer::BlockWriter;
use crate::columns::{BlockStats, Needle, SealedBlock};
use crate::numbered::Column;
use crate::schema::{DURATION_NANOS, PARENT_SPAN_ID, SPAN_ID, START_TIME, TRACE_ID};
use crate::{BlockConfig, BlockError};

/// Version of the file's layout, in its key-value metadata.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// Share of absent trace ids that a filter lets pass. Lookups by id ask every block, so this one is sharp.
const TRACE_ID_FALSE_POSITIVES: f64 = 0.01;
/// The same for strings that are searched.
const NEEDLE_FALSE_POSITIVES: f64 = 0.05;

/// What a block's file says of itself besides its columns, in its key-value metadata under `vivace.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Whose spans they are.
    pub tenant: TenantId,
    /// The partition its records came from.
    pub partition: Partition,
    /// How its records were spread over partitions.
    pub spread: Spread,
    /// The records it was built from.
    pub offsets: OffsetRange,
    /// Compaction level; 0 from an ingester.
    pub level: u32,
    /// When it was built.
    pub created: UnixNanos,
}

impl Description {
    pub(crate) fn metadata(&self, stats: &BlockStats) -> Vec<KeyValue> {
        let pairs = [
            ("version", FORMAT_VERSION.to_string()),
            ("tenant", self.tenant.to_string()),
            ("partition", self.partition.to_string()),
            ("partition_count", self.spread.partition_count.to_string()),
            ("shard_size", self.spread.shard_size.to_string()),
            ("offset_start", self.offsets.start.to_string()),
            ("offset_end", self.offsets.end.to_string()),
            ("level", self.level.to_string()),
            ("created_unix_nano", self.created.0.to_string()),
            ("rows", stats.rows.to_string()),
            ("traces", stats.traces.to_string()),
            ("start_min_unix_nano", stats.start_min.0.to_string()),
            ("end_max_unix_nano", stats.end_max.0.to_string()),
        ];
        pairs.into_iter().map(|(key, value)| KeyValue::new(format!("vivace.{key}"), value)).collect()
    }
}

/// What has to be known of a file's rows before the first of them is written.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Rows of a row group at most.
    pub(crate) group_rows: usize,
    /// Distinct trace ids of a row group, at most.
    pub(crate) traces: u64,
    /// String columns with many values.
    pub(crate) needles: Vec<Needle>,
}

/// Encodes a sealed block. CPU-bound: about 0.9 s per million spans.
///
/// # Errors
/// [`BlockError::Encode`]; a retry gives the same.
pub fn write_block(
    sealed: &SealedBlock,
    description: &Description,
    config: &BlockConfig,
) -> Result<Bytes, BlockError> {
    let write = || -> Result<Vec<u8>, ParquetError> {
        let Some(first) = sealed.batches.first() else {
            return Err(ParquetError::General("a block has at least one row".into()));
        };
        let layout = Layout {
            group_rows: sealed.batches.iter().map(RecordBatch::num_rows).max().unwrap_or(1),
            traces: sealed.stats.traces,
            needles: sealed.needles.clone(),
        };
        let capacity = 64 * usize::try_from(sealed.stats.rows).unwrap_or(0);
        let mut writer = BlockWriter::new(first.schema_ref(), &layout, config, capacity)?;
        for batch in &sealed.batches {
            writer.write(batch)?;
        }
        writer.finish(description, &sealed.stats)
    };
    write().map(Bytes::from).map_err(BlockError::encode)
}

/// A row group that is being written, column by column: by an encoder of our own, and what that leaves by the Parquet
/// library's.
pub(crate) struct RowGroup<'a, W: Write> {
    group: SerializedRowGroupWriter<'a, W>,
    leaves: vec::IntoIter<ColumnDescPtr>,
    writers: vec::IntoIter<(ArrowColumnWriter, Store)>,
    encoder: &'a mut Encoder,
}

impl<'a, W: Write + Send> RowGroup<'a, W> {
    fn new(
        file: &'a mut SerializedFileWriter<W>,
        columns: &Columns,
        encoder: &'a mut Encoder,
        index: usize,
    ) -> Result<Self, ParquetError> {
        let leaves = file.schema_descr().columns().to_vec().into_iter();
        let writers = columns.writers(index)?.into_iter();
        Ok(Self { group: file.next_row_group()?, leaves, writers, encoder })
    }

    /// Writes the next column.
    pub(crate) fn column(&mut self, field: &Field, column: &Column) -> Result<(), ParquetError> {
        let leaves = lists::leaf_count(field.data_type());
        let leaves: Vec<ColumnDescPtr> = self.leaves.by_ref().take(leaves).collect();
        let missing = || ParquetError::General("the file has no such column".into());
        let chunks = match (&leaves[..], column) {
            ([], _) => return Err(missing()),
            (leaves, Column::Array(array)) if array.data_type().is_nested() => {
                lists::encode(self.encoder, leaves, array)?
            }
            ([leaf, ..], _) => {
                let rows = Rows::new(leaf, column, self.encoder.page_rows_max());
                let chunk = match column {
                    Column::Array(array) => self.encoder.encode(leaf, array, &rows)?,
                    Column::Numbered(numbered) => self.encoder.numbered(leaf, numbered, &rows)?,
                };
                chunk.map(|chunk| vec![chunk])
            }
        };
        if let Some(chunks) = chunks {
            for chunk in chunks {
                self.writers.next();
                self.group.append_column(&chunk.bytes, chunk.close)?;
            }
            return Ok(());
        }
        for levels in compute_leaves(field, &column.clone().into_array()?)? {
            let (mut writer, store) = self.writers.next().ok_or_else(missing)?;
            writer.write(&levels)?;
            let chunk = store.finish(writer.close()?)?;
            self.group.append_column(&chunk.bytes, chunk.close)?;
        }
        Ok(())
    }

    /// Writes all columns of a batch, and ends with them.
    fn batch(mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            self.column(field, &Column::Array(Arc::clone(array)))?;
        }
        self.close()
    }

    /// Ends the row group, which has all its columns.
    pub(crate) fn close(self) -> Result<(), ParquetError> {
        self.group.close().map(drop)
    }
}

fn properties(layout: &Layout, config: &BlockConfig) -> Result<WriterProperties, ParquetError> {
    let path = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("vivace ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_sorting_columns(Some(vec![
            SortingColumn { column_idx: 0, descending: false, nulls_first: false },
            SortingColumn { column_idx: 3, descending: false, nulls_first: false },
        ]))
        .set_max_row_group_row_count(Some(layout.group_rows))
        .set_data_page_row_count_limit(config.page_rows_max)
        .set_write_batch_size(config.page_rows_max.min(1024))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(config.zstd_level)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(BOUND_LENGTH_MAX))
        .set_column_index_truncate_length(Some(BOUND_LENGTH_MAX))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_bloom_filter_position(BloomFilterPosition::End);
    for name in [TRACE_ID, SPAN_ID, PARENT_SPAN_ID] {
        builder = builder.set_column_dictionary_enabled(path(name), false);
    }
    for name in [START_TIME, DURATION_NANOS] {
        builder = builder
            .set_column_dictionary_enabled(path(name), false)
            .set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    builder = filtered(builder, path(TRACE_ID), layout.traces, TRACE_ID_FALSE_POSITIVES);
    for needle in &layout.needles {
        let column = path(&needle.column);
        if needle.plain {
            // Not by lengths and bytes apart, though that is a little smaller: pyarrow can't read it into a dictionary.
            builder = builder.set_column_dictionary_enabled(column.clone(), false);
        }
        builder = filtered(builder, column, needle.distinct, NEEDLE_FALSE_POSITIVES);
    }
    Ok(builder.build())
}

fn filtered(
    builder: WriterPropertiesBuilder,
    column: ColumnPath,
    distinct: u64,
    false_positives: f64,
) -> WriterPropertiesBuilder {
    builder
        .set_column_bloom_filter_enabled(column.clone(), true)
        .set_column_bloom_filter_max_ndv(column.clone(), distinct.max(1))
        .set_column_bloom_filter_fpp(column, false_positives)
}
