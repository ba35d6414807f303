//! Pages that no query reads, because the index knows that they have no value. Other readers of a file do read them.

use std::sync::Arc;

use parquet::file::serialized_reader::SerializedPageReader;

use super::values::Decoded;
use super::{Block, BlockScan};
use crate::BlockError;
use crate::reader::fetched::Fetched;
use crate::reader::levels::{has_value, is_whole};
use crate::reader::page_rows::PageRows;
use crate::reader::source::blocking;

impl BlockScan {
    /// Reads the columns of a row group that have no value in it and holds them against their index; with
    /// [`Self::all_columns`] every page was looked at.
    ///
    /// # Errors
    /// See [`Self::may_hold`].
    pub async fn check_unread(&self, group: usize) -> Result<(), BlockError> {
        let meta = self.block.index.metadata.row_group(group);
        let unread = |leaf: &usize| !self.block.any_value(group, *leaf);
        let leaves: Vec<usize> = (0..meta.num_columns()).filter(unread).collect();
        let range = |leaf: &usize| {
            let (start, bytes) = meta.column(*leaf).byte_range();
            start..start.saturating_add(bytes)
        };
        let fetched = Arc::new(self.block.source().ranges(leaves.iter().map(range).collect()).await?);
        let block = Arc::clone(&self.block);
        let work = move || leaves.iter().try_for_each(|leaf| check(&block, group, *leaf, &fetched));
        blocking(&self.block.path, work).await
    }
}

/// All pages of a leaf that has no value.
fn check(block: &Block, group: usize, leaf: usize, fetched: &Arc<Fetched>) -> Decoded<()> {
    let column = block.index.metadata.row_group(group).column(leaf);
    let descriptor = column.column_descr();
    let (max_rep, max_def) = (descriptor.max_rep_level(), descriptor.max_def_level());
    let wrong = |what| Err(format!("column {}: {what}", column.column_path()).into());
    let index = &block.index.leaves(group)[leaf];
    // Without their places in the file each page is found behind the one before, as others find it.
    let pages = SerializedPageReader::new(Arc::clone(fetched), column, block.rows(group), None)?;
    let mut known = 0..index.locations.len();
    for page in pages {
        let page = page?;
        if !page.is_data_page() {
            continue;
        }
        let Some(number) = known.next() else {
            return wrong("it has more pages than its index");
        };
        let rows = index.rows_of(number);
        if !is_whole(&page, max_rep, max_def, rows.len()) {
            return wrong("a data page is damaged");
        }
        if has_value(&page, max_rep, max_def, &PageRows::new(std::slice::from_ref(&rows), &rows)) {
            return wrong("it has a value that its index does not know");
        }
    }
    if known.next().is_some() { wrong("it has fewer pages than its index") } else { Ok(()) }
}
