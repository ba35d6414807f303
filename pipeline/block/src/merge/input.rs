//! Blocks that are read front to back, some rows at a time.
//! Owns: how much is in memory, and up to which trace everything is. Does not own: what is made of the rows.
//! Guarantee: rows are given in whole traces, lowest ids first, but for a trace of too many rows, which comes in parts.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::retry::retry;
use super::source::Source;
use super::window::Taken;
use super::{MergeLimits, compute};
use crate::BlockError;
use crate::reader::{BlockScan, LoadedGroup};
use crate::schema::TRACE_ID;

/// Inputs that are read at once.
const READS_AT_ONCE: usize = 4;

/// All inputs of a merge.
#[derive(Debug)]
pub(super) struct Inputs {
    list: Vec<Input>,
    /// Rows of an input that are read at once.
    rows: usize,
    trace_rows_max: usize,
}

#[derive(Debug)]
struct Input {
    scan: BlockScan,
    /// The row group at hand.
    loaded: Option<Arc<LoadedGroup>>,
    /// What is read next.
    group: usize,
    row: usize,
    slices: VecDeque<Slice>,
}

/// Rows read of an input; those before `at` are taken.
#[derive(Debug)]
struct Slice {
    source: Arc<Source>,
    at: usize,
}

impl Inputs {
    pub(super) fn new(scans: Vec<BlockScan>, limits: &MergeLimits) -> Self {
        let rows = (limits.input_rows_max / scans.len().max(1)).max(1);
        let input = |scan| Input { scan, loaded: None, group: 0, row: 0, slices: VecDeque::new() };
        let list = scans.into_iter().map(input).collect();
        Self { list, rows, trace_rows_max: limits.trace_rows_max.max(1) }
    }

    /// The rows of the next traces, from all inputs; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Taken>>, BlockError> {
        let few = self.rows / 4;
        self.load(|input| input.loaded() <= few).await?;
        loop {
            let bound = self.list.iter().filter(|input| !input.finished()).filter_map(Input::last).min();
            let taken = self.take(|trace| bound.is_none_or(|bound| *trace < bound));
            if !taken.is_empty() {
                return Ok(Some(taken));
            }
            let Some(bound) = bound else {
                return Ok(None);
            };
            // All that is there is of one trace, and there may be more of it.
            if self.list.iter().map(Input::loaded).sum::<usize>() >= self.trace_rows_max {
                let part = self.take(|trace| *trace <= bound);
                if !part.is_empty() {
                    return Ok(Some(part));
                }
            }
            self.load(|input| input.last() == Some(bound)).await?;
        }
    }

    fn take(&mut self, wanted: impl Fn(&[u8; 16]) -> bool) -> Vec<Taken> {
        let mut taken = Vec::new();
        for input in &mut self.list {
            while let Some(slice) = input.slices.front_mut() {
                let traces = &slice.source.traces()[slice.at..];
                let end = slice.at + traces.partition_point(&wanted);
                if end > slice.at {
                    taken.push((Arc::clone(&slice.source), slice.at..end));
                    slice.at = end;
                }
                if slice.at < slice.source.rows() {
                    break;
                }
                input.slices.pop_front();
            }
        }
        taken
    }

    /// Reads more of those inputs that are not read to their end.
    async fn load(&mut self, wanted: impl Fn(&Input) -> bool) -> Result<(), BlockError> {
        let inputs = self.list.iter_mut().filter(|input| !input.finished() && wanted(input));
        let rows = self.rows;
        let reads = inputs.map(|input| input.load(rows));
        stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(READS_AT_ONCE).try_collect().await
    }
}

impl Input {
    /// Whether everything was read. What was read may not be taken yet.
    fn finished(&self) -> bool {
        self.group >= self.scan.row_groups()
    }

    fn loaded(&self) -> usize {
        self.slices.iter().map(|slice| slice.source.rows() - slice.at).sum()
    }

    /// The last trace that was read.
    fn last(&self) -> Option<[u8; 16]> {
        self.slices.back().and_then(|slice| slice.source.traces().last()).copied()
    }

    /// Reads until there is more than before, or nothing more.
    async fn load(&mut self, rows: usize) -> Result<(), BlockError> {
        while !self.finished() {
            let total = self.scan.rows(self.group);
            let left = total - self.row;
            // Better a little more at once than a few rows by themselves.
            let count = if left <= rows + rows / 2 { left } else { rows };
            let range = self.row..self.row + count;
            let loaded = match &self.loaded {
                Some(loaded) => Arc::clone(loaded),
                None if count == 0 => {
                    self.group += 1;
                    continue;
                }
                None => Arc::clone(self.loaded.insert(Arc::new(retry(|| self.scan.load(self.group)).await?))),
            };
            self.row += count;
            if self.row == total {
                (self.group, self.row, self.loaded) = (self.group + 1, 0, None);
            }
            let source = compute(move || Source::stored(loaded, range)).await?;
            if self.last().zip(source.traces().first()).is_some_and(|(last, first)| last > *first) {
                let reason = format!("rows of {} are not sorted by it", self.scan.path());
                return Err(BlockError::value(TRACE_ID, reason));
            }
            self.slices.push_back(Slice { source: Arc::new(source), at: 0 });
            return Ok(());
        }
        Ok(())
    }
}
