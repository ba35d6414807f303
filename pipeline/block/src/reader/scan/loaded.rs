//! A row group with all its bytes in memory, as they are stored: for merges, which use all of it, some rows at a time.
//! Owns: what is decoded once for all of these times. Does not own: which rows, what is made of them.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::{Block, BlockScan, decode};
use crate::BlockError;
use crate::reader::fetched::Fetched;
use crate::reader::pages::Kept;
use crate::reader::source::caught;

/// A row group in memory: its bytes, and what is kept of each leaf.
#[derive(Debug)]
pub(crate) struct LoadedGroup {
    block: Arc<Block>,
    group: usize,
    fetched: Arc<Fetched>,
    kept: Vec<Kept>,
}

impl BlockScan {
    /// Reads a row group, in one request if it is written like ours.
    ///
    /// # Errors
    /// See [`Self::may_hold`].
    pub(crate) async fn load(&self, group: usize) -> Result<LoadedGroup, BlockError> {
        let rows = self.block.all_rows(group);
        let leaves = self.block.index.leaves(group);
        let mut ranges = Vec::new();
        leaves.iter().for_each(|leaf| leaf.ranges(&rows, &mut ranges));
        let fetched = Arc::new(self.block.source().ranges(ranges).await?);
        let kept = leaves.iter().map(|_| Kept::default()).collect();
        Ok(LoadedGroup { block: Arc::clone(&self.block), group, fetched, kept })
    }
}

impl LoadedGroup {
    /// The columns for whose names `wanted` says yes, in those rows, which ascend; those without any value are left out
    /// if they may be. CPU-bound.
    ///
    /// # Errors
    /// [`BlockError::Corrupt`].
    pub(crate) fn columns(
        &self,
        wanted: impl Fn(&str) -> bool,
        rows: &[Range<usize>],
    ) -> Result<RecordBatch, BlockError> {
        let fields = self.block.index.schema.fields().iter().enumerate();
        let columns: Vec<usize> =
            fields.filter(|(_, field)| wanted(field.name())).map(|(column, _)| column).collect();
        let index = self.block.index.leaves(self.group);
        let leaves = columns.iter().flat_map(|&column| self.block.leaves[column].clone());
        let leaves: Vec<usize> = leaves.filter(|&leaf| index[leaf].any_value(rows)).collect();
        let (group, kept) = (self.group, Some(&self.kept[..]));
        caught(&self.block.path, || {
            decode::columns(&self.block, group, &columns, &leaves, rows, &self.fetched, kept)
        })
    }
}
