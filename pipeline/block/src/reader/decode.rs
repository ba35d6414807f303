//! Bytes of a row group to rows of a trace.

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups, RowSelection};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use vivace_model::TraceId;

use super::fetched::Fetched;
use super::index::BlockIndex;
use super::pages::Pages;
use crate::schema::TRACE_ID;

/// Rows of a batch at most. Its strings of a column have to stay under 2 GiB together.
const BATCH_ROWS_MAX: usize = 16_384;

type Decoded<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A row group of which some pages were read.
#[derive(Debug)]
pub(super) struct RowGroup {
    pub(super) index: Arc<BlockIndex>,
    pub(super) number: usize,
    pub(super) fetched: Arc<Fetched>,
}

impl RowGroup {
    /// Which of the candidate rows are the trace's, by reading trace ids alone.
    pub(super) fn find(&self, candidates: &[Range<usize>], id: &TraceId) -> Decoded<Vec<Range<usize>>> {
        let mut pages = Pages::new(&self.index.metadata, self.number);
        let leaf = self.index.trace_id_leaf;
        pages.add(&self.fetched, leaf, &self.index.leaves(self.number)[leaf], candidates, None)?;
        let mut found: Vec<Range<usize>> = Vec::new();
        let mut rows = candidates.iter().cloned().flatten();
        for batch in self.read(&pages, &[leaf], candidates)? {
            for read in trace_ids(&batch)? {
                let row = rows.next().ok_or("more rows than asked for")?;
                if read != Some(id.as_bytes()) {
                    continue;
                }
                match found.last_mut() {
                    Some(last) if last.end == row => last.end += 1,
                    _ => found.push(row..row + 1),
                }
            }
        }
        Ok(found)
    }

    /// All columns of the rows, but those that have no value in any of them.
    pub(super) fn rows(&self, rows: &[Range<usize>], id: &TraceId) -> Decoded<Vec<RecordBatch>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut pages = Pages::new(&self.index.metadata, self.number);
        let mut leaves = Vec::new();
        for (leaf, index) in self.index.leaves(self.number).iter().enumerate() {
            if index.any_value(rows) && pages.add(&self.fetched, leaf, index, rows, None)? {
                leaves.push(leaf);
            }
        }
        let batches = self.read(&pages, &leaves, rows)?;
        for batch in &batches {
            if trace_ids(batch)?.any(|read| read != Some(id.as_bytes())) {
                return Err("rows of another trace were read".into());
            }
        }
        Ok(batches)
    }

    fn read(&self, pages: &Pages<'_>, leaves: &[usize], rows: &[Range<usize>]) -> Decoded<Vec<RecordBatch>> {
        let schema = self.index.metadata.file_metadata().schema_descr();
        let mask = ProjectionMask::leaves(schema, leaves.iter().copied());
        let levels = parquet_to_arrow_field_levels(schema, mask, Some(self.index.schema.fields()))?;
        let expected: usize = rows.iter().map(Range::len).sum();
        let selection = RowSelection::from_consecutive_ranges(rows.iter().cloned(), pages.num_rows());
        let size = expected.clamp(1, BATCH_ROWS_MAX);
        let reader =
            ParquetRecordBatchReader::try_new_with_row_groups(&levels, pages, size, Some(selection))?;
        let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>()?;
        if batches.iter().map(RecordBatch::num_rows).sum::<usize>() != expected {
            return Err("fewer rows than asked for".into());
        }
        Ok(batches)
    }
}

fn trace_ids(batch: &RecordBatch) -> Decoded<impl Iterator<Item = Option<&[u8; 16]>>> {
    let column = batch.column_by_name(TRACE_ID).and_then(|column| column.as_fixed_size_binary_opt());
    let column = column.ok_or("trace ids are of another type")?;
    Ok(column.iter().map(|id| id.and_then(|id| id.try_into().ok())))
}
