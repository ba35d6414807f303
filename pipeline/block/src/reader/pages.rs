//! The pages of one row group that some rows need.
//! Owns: reading (decompressing) them, and handing them to the Parquet library's column decoder.
//! Does not own: which bytes were read from storage, how values are decoded.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::serialized_reader::SerializedPageReader;

use super::fetched::Fetched;
use super::levels::has_value;

/// The pages of a row group's leaf columns, as far as they are needed.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    metadata: &'a ParquetMetaData,
    row_group: usize,
    leaves: HashMap<usize, LeafPages>,
}

/// The pages of one leaf column.
#[derive(Clone, Debug)]
struct LeafPages {
    dictionary: Option<Page>,
    /// Rows of each page of the chunk, and the page if it is needed.
    pages: VecDeque<(usize, Option<Page>)>,
    skipped_dictionary: Option<Page>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(metadata: &'a ParquetMetaData, row_group: usize) -> Self {
        Self { metadata, row_group, leaves: HashMap::new() }
    }

    /// Reads what a leaf has in the rows, ascending. If it has no value in any of them, it is left out: false.
    pub(super) fn add(
        &mut self,
        fetched: &Arc<Fetched>,
        leaf: usize,
        locations: &[PageLocation],
        rows: &[Range<usize>],
    ) -> Result<bool> {
        let group = self.metadata.row_group(self.row_group);
        let total = usize::try_from(group.num_rows())?;
        let column = group.column(leaf);
        let descriptor = column.column_descr();
        let mut reader =
            SerializedPageReader::new(Arc::clone(fetched), column, total, Some(locations.to_vec()))?;
        if reader.peek_next_page()?.is_some_and(|page| page.is_dict) {
            reader.skip_next_page()?; // decompressed below, if at all
        }
        let mut pages = VecDeque::with_capacity(locations.len());
        let (mut any_value, mut any_index) = (false, false);
        for number in 0..locations.len() {
            let page_rows = rows_of_page(locations, total, number)?;
            let wanted = within(rows, &page_rows);
            let page = if wanted.is_empty() {
                reader.skip_next_page()?;
                None
            } else {
                let page = reader.get_next_page()?.ok_or_else(|| wrong("a page is missing"))?;
                if !page.is_data_page() {
                    return Err(wrong("a data page is none"));
                }
                any_value |=
                    has_value(&page, descriptor.max_rep_level(), descriptor.max_def_level(), &wanted);
                any_index |=
                    matches!(page.encoding(), Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
                Some(page)
            };
            pages.push_back((page_rows.len(), page));
        }
        if any_value {
            let dictionary = if any_index { reader.take_deferred_dictionary()? } else { None };
            self.leaves.insert(leaf, LeafPages { dictionary, pages, skipped_dictionary: None });
        }
        Ok(any_value)
    }
}

/// The rows of a page, counted from the row group's first.
pub(super) fn rows_of_page(locations: &[PageLocation], total: usize, page: usize) -> Result<Range<usize>> {
    let start = usize::try_from(locations[page].first_row_index)?;
    let end = match locations.get(page + 1) {
        Some(next) => usize::try_from(next.first_row_index)?,
        None => total,
    };
    if start > end || end > total || (page == 0 && start != 0) {
        return Err(wrong("pages are out of order"));
    }
    Ok(start..end)
}

/// The parts of the ranges that lie in the page, counted from its first row.
fn within(rows: &[Range<usize>], page: &Range<usize>) -> Vec<Range<usize>> {
    let clipped = rows.iter().map(|range| range.start.max(page.start)..range.end.min(page.end));
    clipped
        .filter(|range| !range.is_empty())
        .map(|range| range.start - page.start..range.end - page.start)
        .collect()
}

fn wrong(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

impl RowGroups for Pages<'_> {
    fn num_rows(&self) -> usize {
        usize::try_from(self.metadata.row_group(self.row_group).num_rows()).unwrap_or(0)
    }

    fn column_chunks(&self, leaf: usize) -> Result<Box<dyn PageIterator>> {
        let pages = self.leaves.get(&leaf).ok_or_else(|| wrong("a column was not read"))?;
        Ok(Box::new(OneChunk(Some(pages.clone()))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata.row_group(self.row_group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.metadata
    }
}

struct OneChunk(Option<LeafPages>);

impl Iterator for OneChunk {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|pages| Ok(Box::new(pages) as Box<dyn PageReader>))
    }
}

impl PageIterator for OneChunk {}

impl Iterator for LeafPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for LeafPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        if let Some(dictionary) = self.dictionary.take() {
            return Ok(Some(dictionary));
        }
        match self.pages.pop_front() {
            None => Ok(None),
            Some((_, Some(page))) => Ok(Some(page)),
            Some((_, None)) => Err(wrong("a page was not read")),
        }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        if self.dictionary.is_some() {
            return Ok(Some(PageMetadata { num_rows: None, num_levels: None, is_dict: true }));
        }
        Ok(self.pages.front().map(|(rows, _)| PageMetadata {
            num_rows: Some(*rows),
            num_levels: None,
            is_dict: false,
        }))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        if let Some(dictionary) = self.dictionary.take() {
            self.skipped_dictionary = Some(dictionary);
        } else {
            self.pages.pop_front();
        }
        Ok(())
    }

    fn supports_deferred_dictionary(&self) -> bool {
        true
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        Ok(self.skipped_dictionary.take())
    }
}
