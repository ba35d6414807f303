//! Flat columns: one value in each row, or none.
//! Owns: which rows of a page have a value. Does not own: the values (`values`), columns of lists.
//! Guarantee: damaged pages give an error, never other rows.

use std::sync::OnceLock;

use arrow::array::{ArrayRef, BooleanBufferBuilder};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use parquet::column::page::Page;
use parquet::file::metadata::ColumnChunkMetaData;

use super::values::{Decoded, Form, Picked, Values, form};
use crate::numbered::Column;
use crate::reader::hybrid::Hybrid;
use crate::reader::levels::prefixed;
use crate::reader::page_rows::PageRows;
use crate::reader::pages::Chunk;

/// The rows picked so far.
#[derive(Debug)]
struct Rows {
    /// Which of them have a value; none if all columns of the kind have one in each row.
    valid: Option<BooleanBufferBuilder>,
    picked: Picked,
}

/// The column in the rows asked for, of which there are `count`; none if the Parquet library is to decode it. The strings
/// of its dictionary are those of `known`, or go there.
pub(super) fn column(
    meta: &ColumnChunkMetaData,
    data_type: &DataType,
    chunk: Chunk<'_>,
    count: usize,
    known: Option<&OnceLock<ArrayRef>>,
) -> Decoded<Option<Column>> {
    let description = meta.column_descr();
    let max_def = description.max_def_level();
    if description.max_rep_level() > 0 || max_def > 1 {
        return Ok(None);
    }
    let Some(form) = form(meta, data_type, chunk) else { return Ok(None) };
    let valid = (max_def > 0).then(|| BooleanBufferBuilder::new(count));
    let mut found = Rows { valid, picked: Picked::new(form, count) };
    for (rows, page) in chunk.pages().filter(|(rows, _)| rows.count > 0) {
        found.page(page, form, rows).ok_or("a page is cut off")?;
    }
    let Rows { valid, picked } = found;
    let valid = valid.map(|mut valid| valid.finish());
    if valid.as_ref().map_or_else(|| picked.len(), BooleanBuffer::len) != count {
        return Err("fewer rows than asked for".into());
    }
    picked.into_column(data_type, valid, chunk.dictionary, known).map(Some)
}

impl Rows {
    /// Adds the rows of a page. None if the page ends early.
    fn page(&mut self, page: &Page, form: Form, rows: &PageRows) -> Option<()> {
        let mut rest = &page.buffer()[..];
        let mut levels = None;
        if self.valid.is_some() {
            let (own, after) = prefixed(rest)?;
            levels = Some(Hybrid::new(own, 1)?);
            rest = after;
        }
        let mut values = Values::new(form, rest)?;
        if rows.is_scattered() {
            let there = levels.map(|mut levels| levels.bits(rows.bits.len()));
            let there = there.unwrap_or_else(|| Some(BooleanBuffer::new_set(rows.bits.len())))?;
            return self.scattered(&rows.bits, &there, values);
        }
        let mut at = 0;
        for range in &rows.ranges {
            let (skipped, count) = (range.start - at, range.len());
            let (skipped, count) = match (&mut levels, &mut self.valid) {
                (Some(levels), Some(valid)) => (levels.skip_bits(skipped)?, levels.put_bits(count, valid)?),
                _ => (skipped, count),
            };
            values.skip(skipped)?;
            values.take(count, &mut self.picked)?;
            at = range.end;
        }
        Some(())
    }

    /// Adds single rows: those of a mask, of which some are there.
    fn scattered(
        &mut self,
        asked: &BooleanBuffer,
        there: &BooleanBuffer,
        mut values: Values<'_>,
    ) -> Option<()> {
        // Values before the word, and those that were passed.
        let (mut before, mut passed) = (0, 0);
        let words = asked.bit_chunks();
        for (mut asked, there) in words.iter_padded().zip(there.bit_chunks().iter_padded()) {
            while asked != 0 {
                let bit = asked & asked.wrapping_neg();
                asked &= asked - 1;
                let has = there & bit != 0;
                if let Some(valid) = &mut self.valid {
                    valid.append(has);
                }
                if has {
                    let place = before + (there & (bit - 1)).count_ones() as usize;
                    values.skip(place - passed)?;
                    values.take(1, &mut self.picked)?;
                    passed = place + 1;
                }
            }
            before += there.count_ones() as usize;
        }
        Some(())
    }
}
