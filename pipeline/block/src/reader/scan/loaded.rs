//! A row group with all its bytes in memory, as they are stored: for merges, which use all of it, some rows at a time.
//! Owns: what is decoded once for all of these times. Does not own: which rows, what is made of them.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::Fields;

use super::decode::Decoder;
use super::{Block, BlockScan};
use crate::BlockError;
use crate::numbered::Column;
use crate::reader::fetched::Fetched;
use crate::reader::pages::Kept;
use crate::reader::source::caught;
use crate::schema::LARGE;

/// Some rows of a row group in memory, of which one column after the other is decoded.
pub(crate) struct LoadedRows<'a> {
    block: &'a Block,
    decoder: Decoder<'a>,
}

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
    /// Bytes that the lists of a row take once they are decoded, on average.
    pub(crate) fn list_bytes(&self) -> usize {
        let group = self.block.index.metadata.row_group(self.group);
        let lists = group.columns().iter().filter(|leaf| leaf.column_descr().max_rep_level() > 0);
        let bytes = lists.map(|leaf| {
            let shared = leaf.column_path().parts().last().is_some_and(|name| name == LARGE);
            let strings = leaf.unencoded_byte_array_data_bytes().filter(|_| !shared);
            strings.unwrap_or_else(|| leaf.uncompressed_size()).max(0)
        });
        let bytes = usize::try_from(bytes.sum::<i64>()).unwrap_or(usize::MAX);
        bytes / self.block.rows(self.group).max(1)
    }

    /// Some of its rows, which ascend.
    pub(crate) fn rows(&self, rows: Vec<Range<usize>>) -> LoadedRows<'_> {
        let decoder = Decoder::new(&self.block, self.group, rows, &self.fetched, Some(&self.kept));
        LoadedRows { block: &self.block, decoder }
    }
}

impl<'a> LoadedRows<'a> {
    /// The columns of the block.
    pub(crate) fn fields(&self) -> &'a Fields {
        self.block.index.schema.fields()
    }

    /// A column of them, by its number, in the type that a block has for it; none if it has no value. CPU-bound.
    ///
    /// # Errors
    /// [`BlockError::Corrupt`].
    pub(crate) fn column(&mut self, column: usize) -> Result<Option<Column>, BlockError> {
        let Self { block, decoder } = self;
        caught(&block.path, || Ok(decoder.column(column)?.map(|(_, found)| found)))
    }
}
