//! Pieces of what a search looks at: row groups of blocks, and batches of recent data.
//! Owns: that both are read the same way. Does not own: which are read, and what of them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use object_store::path::Path;
use vivace_block::{BlockError, BlockReader, BlockScan};
use vivace_model::scan::{Condition, Projection, TimeRange, TraceRuns};
use vivace_model::{TraceId, UnixNanos};
use vivace_proto::internal::{ScanBlock, SearchJobMetrics};
use vivace_traceql::EvalError;

use super::names;
use crate::JobError;
use crate::panics::named;

/// A block that a job looks at.
#[derive(Debug)]
pub(super) struct Block {
    path: String,
    scan: BlockScan,
    /// The row groups that the job is about.
    groups: Vec<usize>,
    /// Whether any of them was looked into.
    inspected: AtomicBool,
}

/// Some spans, sorted by trace and start.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// A row group.
    Stored(Arc<Block>, usize),
    /// Recent data.
    Held(RecordBatch, Arc<TraceRuns>),
}

impl Piece {
    /// What an error calls it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stored(block, group) => format!("row group {group} of block {}", block.path),
            Self::Held(..) => "recent data".into(),
        }
    }
}

impl Block {
    pub(super) async fn open(reader: Arc<BlockReader>, asked: ScanBlock) -> Result<Arc<Self>, JobError> {
        let path = asked.block.as_ref().map_or_else(String::new, |block| block.path.clone());
        named(|| path.clone(), Box::pin(Self::look_into(reader, asked))).await
    }

    async fn look_into(reader: Arc<BlockReader>, asked: ScanBlock) -> Result<Arc<Self>, JobError> {
        let block = asked.block.ok_or_else(|| JobError::Invalid("a block is not named".into()))?;
        let path = Path::parse(&block.path)
            .map_err(|error| JobError::Invalid(format!("block path {:?}: {error}", block.path)))?;
        let scan = reader.open(&path, block.bytes).await;
        let scan = scan.map_err(|error| JobError::of_block(&block.path, error))?;
        let all = scan.row_groups();
        let mut groups: Vec<usize> = asked.row_groups.into_iter().map(|group| group as usize).collect();
        if groups.is_empty() {
            groups = (0..all).collect();
        }
        if let Some(group) = groups.iter().find(|group| **group >= all) {
            return Err(JobError::Invalid(format!("block {} has no row group {group}", block.path)));
        }
        groups.sort_unstable();
        groups.dedup();
        Ok(Arc::new(Self { path: block.path, scan, groups, inspected: AtomicBool::new(false) }))
    }

    pub(super) fn pieces(self: &Arc<Self>) -> impl Iterator<Item = Piece> + use<> {
        let block = Arc::clone(self);
        let groups = block.groups.clone();
        groups.into_iter().map(move |group| Piece::Stored(Arc::clone(&block), group))
    }

    /// The row groups, of those that the job is about, that may hold the trace.
    pub(super) async fn may_hold(&self, id: &[u8; 16]) -> Result<Vec<usize>, JobError> {
        let found = self.scan.may_hold(&TraceId::from_bytes(*id)).await;
        let mut groups = found.map_err(|error| self.failed(error))?;
        groups.retain(|group| self.groups.contains(group));
        Ok(groups)
    }

    /// Adds the block and what was read of it.
    pub(super) fn count(&self, metrics: &mut SearchJobMetrics) {
        metrics.blocks_inspected += 1;
        metrics.blocks_skipped += u64::from(!self.inspected.load(Ordering::Relaxed));
        metrics.bytes_read += self.scan.bytes_read();
        metrics.reads += self.scan.reads();
    }

    fn failed(&self, error: BlockError) -> JobError {
        JobError::of_block(&self.path, error)
    }
}

impl Piece {
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Stored(block, group) => block.scan.rows(*group),
            Self::Held(batch, _) => batch.num_rows(),
        }
    }

    /// Whether a row may meet the condition and start in the time. False only if it is certain.
    pub(super) async fn may_match(
        &self,
        condition: &Condition,
        range: Option<&TimeRange>,
    ) -> Result<bool, JobError> {
        match self {
            Self::Stored(block, group) => {
                let known = block.scan.may_match(*group, condition, range).await;
                known.map_err(|error| block.failed(error))
            }
            Self::Held(..) => Ok(true),
        }
    }

    /// Whether it is known that all spans start in the time.
    pub(super) fn lies_in(&self, range: &TimeRange) -> bool {
        let Self::Stored(block, group) = self else { return false };
        let bounds: Option<(UnixNanos, UnixNanos)> = block.scan.start_bounds(*group);
        bounds.is_some_and(|(first, last)| range.contains(&first) && range.contains(&last))
    }

    /// Whether it is known that all spans start before then.
    pub(super) fn starts_before(&self, time: UnixNanos) -> bool {
        let Self::Stored(block, group) = self else { return false };
        block.scan.start_bounds(*group).is_some_and(|(_, last)| last < time)
    }

    pub(super) const fn is_held(&self) -> bool {
        matches!(self, Self::Held(..))
    }

    pub(super) async fn runs(&self) -> Result<Arc<TraceRuns>, JobError> {
        match self {
            Self::Stored(block, group) => block.scan.runs(*group).await.map_err(|error| block.failed(error)),
            Self::Held(_, runs) => Ok(Arc::clone(runs)),
        }
    }

    /// Names of the projection's attributes, as a row that has them all; none if only the piece's rows can tell.
    pub(super) async fn attribute_names(
        &self,
        projection: &Projection,
    ) -> Result<Option<RecordBatch>, JobError> {
        let Self::Stored(block, group) = self else { return Ok(None) };
        let names = block.scan.attribute_names(*group, projection).await;
        let Some(names) = names.map_err(|error| block.failed(error))? else { return Ok(None) };
        block.inspected.store(true, Ordering::Relaxed);
        let row = names::row(names);
        Ok(Some(row.map_err(|error| EvalError::Batch(error.to_string()))?))
    }

    /// Columns of all rows, or of those in ranges that ascend and do not overlap.
    pub(super) async fn columns(
        &self,
        projection: &Projection,
        rows: Option<&[Range<usize>]>,
    ) -> Result<RecordBatch, JobError> {
        match (self, rows) {
            (Self::Stored(block, group), rows) => {
                block.inspected.store(true, Ordering::Relaxed);
                let read = block.scan.columns(*group, projection, rows).await;
                read.map_err(|error| block.failed(error))
            }
            (Self::Held(batch, _), None) => Ok(batch.clone()),
            (Self::Held(batch, _), Some([one])) => Ok(batch.slice(one.start, one.len())),
            (Self::Held(batch, _), Some(rows)) => {
                let rows = rows.iter().flat_map(|range| range.start as u32..range.end as u32);
                take(batch, rows.collect())
            }
        }
    }
}

/// Some rows of a batch.
pub(super) fn take(batch: &RecordBatch, rows: Vec<u32>) -> Result<RecordBatch, JobError> {
    let taken = take_record_batch(batch, &UInt32Array::from(rows));
    taken.map_err(|error| EvalError::Batch(error.to_string()).into())
}

/// Rows as ranges.
pub(super) fn ranges(rows: impl IntoIterator<Item = usize>) -> Vec<Range<usize>> {
    joined(rows.into_iter().map(|row| row..row + 1))
}

/// Ranges, in order, with neighbours put together.
pub(super) fn joined(parts: impl IntoIterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        match ranges.last_mut() {
            Some(last) if last.end == part.start => last.end = part.end,
            _ => ranges.push(part),
        }
    }
    ranges
}
