//! The pages of one row group that some rows need.
//! Owns: reading (decompressing) them, and handing them to the Parquet library's column decoder.
//! Does not own: which bytes were read from storage, how values are decoded.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::ArrayRef;
use hashbrown::HashMap;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::{Encoding, Repetition};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use super::fetched::Fetched;
use super::index::LeafIndex;
use super::inflate::Inflate;
use super::levels::{fits, has_value, is_whole};
use super::page_rows::PageRows;

/// The pages of a row group's leaf columns, as far as they are needed.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    metadata: &'a ParquetMetaData,
    row_group: usize,
    leaves: HashMap<usize, LeafPages>,
    inflate: Inflate,
    /// The rows asked for, by the rows of a page.
    rows: HashMap<Range<usize>, Arc<PageRows>>,
    /// Paths of groups that are not there in any of the rows.
    absent: Vec<Vec<String>>,
}

/// What was read of a leaf column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    /// The values that pages have numbers of.
    pub(super) dictionary: Option<&'a Page>,
    pages: &'a VecDeque<(usize, Option<Page>)>,
    rows: &'a HashMap<Range<usize>, Arc<PageRows>>,
}

impl<'a> Chunk<'a> {
    /// The data pages that were read, with the rows asked for.
    pub(super) fn pages(self) -> impl Iterator<Item = (&'a PageRows, &'a Page)> {
        let mut end = 0;
        let pages = self.pages.iter().map(move |(rows, page)| {
            let start = end;
            end += rows;
            Some((&**self.rows.get(&(start..end))?, page.as_ref()?))
        });
        pages.flatten()
    }
}

/// The pages of one leaf column.
#[derive(Clone, Debug)]
struct LeafPages {
    dictionary: Option<Page>,
    /// Rows of each page of the chunk, and the page if it is needed.
    pages: VecDeque<(usize, Option<Page>)>,
    skipped_dictionary: Option<Page>,
}

/// What is kept of a leaf while a row group is read in parts.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The values of its dictionary.
    pub(super) values: OnceLock<ArrayRef>,
    /// The last page that was read, and its number: the next part begins in it.
    last: Mutex<Option<(usize, Page)>>,
    /// See [`Inflate::stored`].
    stored: OnceLock<Option<ColumnChunkMetaData>>,
}

impl Kept {
    fn page(&self, number: usize) -> Option<Page> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(last, _)| *last == number).map(|(_, page)| page.clone())
    }

    fn keep(&self, number: usize, page: &Page) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, page.clone()));
    }
}

impl<'a> Pages<'a> {
    pub(super) fn new(metadata: &'a ParquetMetaData, row_group: usize) -> Self {
        let (leaves, inflate, rows, absent) = Default::default();
        Self { metadata, row_group, leaves, inflate, rows, absent }
    }

    /// Reads what a leaf has in the rows, ascending, but for what is kept of it. If it has no value in any of them, it is
    /// left out: false.
    pub(super) fn add(
        &mut self,
        fetched: &Arc<Fetched>,
        leaf: usize,
        index: &LeafIndex,
        rows: &[Range<usize>],
        kept: Option<&Kept>,
    ) -> Result<bool> {
        let column = self.metadata.row_group(self.row_group).column(leaf);
        let path = column.column_path().parts();
        if self.absent.iter().any(|absent| path.starts_with(absent)) {
            return Ok(false);
        }
        if let Some(pages) = self.leaf(fetched, column, index, rows, kept)? {
            self.leaves.insert(leaf, pages);
            return Ok(true);
        }
        // A leaf that its group never lacks tells that the group is not there, so none of its neighbours is.
        let required =
            column.column_descr().self_type().get_basic_info().repetition() == Repetition::REQUIRED;
        if required && let Some((_, group)) = path.split_last() {
            self.absent.push(group.to_vec());
        }
        Ok(false)
    }

    /// Forgets a leaf.
    pub(super) fn remove(&mut self, leaf: usize) {
        self.leaves.remove(&leaf);
    }

    /// What was read of a leaf that has values.
    pub(super) fn chunk(&self, leaf: usize) -> Option<Chunk<'_>> {
        let leaf = self.leaves.get(&leaf)?;
        Some(Chunk { dictionary: leaf.dictionary.as_ref(), pages: &leaf.pages, rows: &self.rows })
    }

    /// Whether all pages read of a leaf have their values in its dictionary.
    pub(super) fn all_dictionary(&self, leaf: usize) -> bool {
        let dictionary =
            |page: &Page| matches!(page.encoding(), Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
        let pages =
            self.leaves.get(&leaf).map(|leaf| leaf.pages.iter().filter_map(|(_, page)| page.as_ref()));
        pages.is_some_and(|mut pages| pages.all(dictionary))
    }

    /// Whether pages are missing between others.
    pub(super) fn has_gap(&self) -> bool {
        self.leaves.values().any(|leaf| {
            let there = || leaf.pages.iter().map(|(_, page)| page.is_some());
            let count = there().filter(|there| *there).count();
            there().skip_while(|there| !there).take_while(|there| *there).count() != count
        })
    }

    fn leaf(
        &mut self,
        fetched: &Arc<Fetched>,
        column: &ColumnChunkMetaData,
        index: &LeafIndex,
        rows: &[Range<usize>],
        kept: Option<&Kept>,
    ) -> Result<Option<LeafPages>> {
        let total = usize::try_from(self.metadata.row_group(self.row_group).num_rows())?;
        let descriptor = column.column_descr();
        let (max_rep, max_def) = (descriptor.max_rep_level(), descriptor.max_def_level());
        let own = OnceLock::new();
        let stored = kept.map_or(&own, |kept| &kept.stored);
        if stored.get().is_none() {
            let found = Inflate::stored(column)?;
            stored.get_or_init(|| found);
        }
        let stored = stored.get().and_then(Option::as_ref);
        let meta = stored.unwrap_or(column);
        let locations = Some(index.locations.clone());
        let mut reader = SerializedPageReader::new(Arc::clone(fetched), meta, total, locations)?;
        let inflate = &mut self.inflate;
        let mut inflated = |page| if stored.is_some() { inflate.page(page) } else { Ok(page) };
        if reader.peek_next_page()?.is_some_and(|page| page.is_dict) {
            reader.skip_next_page()?; // read below, if at all
        }
        let mut pages = VecDeque::with_capacity(index.locations.len());
        let (mut any_value, mut any_index) = (false, false);
        let asked = rows.first().map_or(0, |first| first.start)..rows.last().map_or(0, |last| last.end);
        for number in 0..index.locations.len() {
            let page_rows = index.rows_of(number);
            if page_rows.end <= asked.start || asked.end <= page_rows.start {
                reader.skip_next_page()?;
                pages.push_back((page_rows.len(), None));
                continue;
            }
            let wanted = self.rows.entry(page_rows.clone());
            let wanted = wanted.or_insert_with(|| Arc::new(PageRows::new(rows, &page_rows)));
            let page = if wanted.count == 0 {
                reader.skip_next_page()?;
                None
            } else {
                let page = match kept.and_then(|kept| kept.page(number)) {
                    Some(page) => {
                        reader.skip_next_page()?;
                        page
                    }
                    None => {
                        let page = reader.get_next_page()?.ok_or_else(|| wrong("a page is missing"))?;
                        let page = inflated(page)?;
                        if !page.is_data_page() || !fits(&page, max_rep, page_rows.len()) {
                            return Err(wrong("a data page is damaged"));
                        }
                        if let Some(kept) = kept {
                            kept.keep(number, &page);
                        }
                        page
                    }
                };
                // Whoever reads all of a row group in parts gains nothing from looking at single rows.
                let known = wanted.is_whole() || kept.is_some();
                any_value = any_value
                    || known && index.is_known_to_have_value(number)
                    || !index.is_known_to_be_empty(number) && has_value(&page, max_rep, max_def, wanted);
                any_index |= matches!(page.encoding(), Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
                Some(page)
            };
            pages.push_back((page_rows.len(), page));
        }
        if !any_value {
            return Ok(None);
        }
        let dictionary = any_index && kept.is_none_or(|kept| kept.values.get().is_none());
        let dictionary = if dictionary { reader.take_deferred_dictionary()? } else { None };
        let dictionary = dictionary.map(inflated).transpose()?;
        Ok(Some(LeafPages { dictionary, pages, skipped_dictionary: None }))
    }
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
        let descriptor = self.metadata.row_group(self.row_group).column(leaf).column_descr();
        let (max_rep, max_def) = (descriptor.max_rep_level(), descriptor.max_def_level());
        let mut read = pages.pages.iter().filter_map(|(rows, page)| Some((*rows, page.as_ref()?)));
        // The library loops for ever over a page whose levels are fewer than it claims.
        if !read.all(|(rows, page)| is_whole(page, max_rep, max_def, rows)) {
            return Err(wrong("a data page is damaged"));
        }
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
