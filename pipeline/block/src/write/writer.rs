//! A block's file as it grows, row group by row group.
//! Owns: that what was written can be taken away at any time, so that a large file is never whole in memory.
//! Does not own: encodings (`write`), where the bytes go.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;

use super::checksum::Columns;
use super::encoder::Encoder;
use super::{Description, Layout, RowGroup, properties};
use crate::BlockConfig;
use crate::columns::BlockStats;
use crate::large::without_views;

/// Writes one block. Bloom filters, indexes and the footer wait in memory for the end.
pub(crate) struct BlockWriter {
    file: SerializedFileWriter<Buffer>,
    columns: Columns,
    encoder: Encoder,
    groups: usize,
}

impl BlockWriter {
    /// A file of that schema, of which nothing is written yet; `capacity` bytes are set aside for it.
    pub(crate) fn new(
        schema: &SchemaRef,
        layout: &Layout,
        config: &BlockConfig,
        capacity: usize,
    ) -> Result<Self, ParquetError> {
        let properties = properties(layout, config)?;
        let buffer = Buffer(Mutex::new(Vec::with_capacity(capacity)));
        let writer = ArrowWriter::try_new(buffer, Arc::new(without_views(schema)), Some(properties.clone()))?;
        let encoder = Encoder::new(Arc::new(properties), config.page_rows_max, config.zstd_level)?;
        let (file, columns) = writer.into_serialized_writer()?;
        Ok(Self { file, columns: Columns::new(columns), encoder, groups: 0 })
    }

    /// Writes a batch of the schema as a row group.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.group()?.batch(batch)
    }

    /// Begins a row group.
    pub(crate) fn group(&mut self) -> Result<RowGroup<'_, impl Write + Send>, ParquetError> {
        let group = RowGroup::new(&mut self.file, &self.columns, &mut self.encoder, self.groups)?;
        self.groups += 1;
        Ok(group)
    }

    /// Bytes written so far, taken ones too.
    pub(crate) fn written(&self) -> usize {
        self.file.bytes_written()
    }

    /// Takes what was written since the last time, but for the last few bytes.
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut buffer = self.file.inner().0.lock().unwrap_or_else(PoisonError::into_inner);
        // What comes next takes about as much.
        let next = Vec::with_capacity(buffer.len());
        std::mem::replace(&mut *buffer, next)
    }

    /// Ends the file and gives what was not taken of it.
    pub(crate) fn finish(
        mut self,
        description: &Description,
        stats: &BlockStats,
    ) -> Result<Vec<u8>, ParquetError> {
        for pair in description.metadata(stats) {
            self.file.append_key_value_metadata(pair);
        }
        let buffer = self.file.into_inner()?;
        Ok(buffer.0.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for BlockWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockWriter").field("groups", &self.groups).finish_non_exhaustive()
    }
}

/// Bytes that can be taken while the Parquet library, which owns the buffer, goes on writing.
#[derive(Debug)]
struct Buffer(Mutex<Vec<u8>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
