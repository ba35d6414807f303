//! The rows of flat columns: a value in each of them, or none.
//! Owns: their levels. Does not own: how values are encoded (`encoder`), anything of lists.

use arrow::buffer::{BooleanBuffer, NullBuffer};
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{PageCounts, PageLevels};
use super::encoder::Cells;
use super::runs::{put_levels, put_prefixed, put_run};
use crate::numbered::Column;

/// Rows whose validity is looked at at once.
const WORD: usize = u64::BITS as usize;

/// The rows of a column to be encoded.
pub(super) struct Rows<'a> {
    nullable: bool,
    nulls: Option<&'a NullBuffer>,
    rows: usize,
    page_rows_max: usize,
}

/// Some rows of a column.
struct Page {
    nullable: bool,
    rows: usize,
    /// Which of them have a value; none if all have.
    valid: Option<BooleanBuffer>,
    values: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(leaf: &ColumnDescPtr, column: &'a Column, page_rows_max: usize) -> Self {
        let nulls = match column {
            Column::Array(array) => array.nulls(),
            Column::Numbered(numbered) => numbered.nulls(),
        };
        Self { nullable: leaf.max_def_level() > 0, nulls, rows: column.rows(), page_rows_max }
    }
}

impl Cells for Rows<'_> {
    fn each(&self, mut place: impl FnMut(usize)) {
        match self.nulls {
            Some(nulls) => {
                for (mut word, first) in nulls.inner().bit_chunks().iter_padded().zip((0..).step_by(WORD)) {
                    if word == u64::MAX {
                        (first..first + WORD).for_each(&mut place);
                        continue;
                    }
                    while word != 0 {
                        place(first + word.trailing_zeros() as usize);
                        word &= word - 1;
                    }
                }
            }
            None => (0..self.rows).for_each(place),
        }
    }

    fn pages(&self) -> impl Iterator<Item = impl PageLevels> {
        (0..self.rows).step_by(self.page_rows_max).map(move |start| {
            let rows = self.page_rows_max.min(self.rows - start);
            let valid = self.nulls.map(|nulls| nulls.inner().slice(start, rows));
            let values = valid.as_ref().map_or(rows, BooleanBuffer::count_set_bits);
            Page { nullable: self.nullable, rows, valid, values }
        })
    }
}

impl PageLevels for Page {
    /// Nothing for a column that has no nulls by its type.
    fn put(&self, out: &mut Vec<u8>) {
        if self.nullable {
            put_prefixed(out, |out| match &self.valid {
                Some(valid) => put_levels(out, valid, self.values),
                None => put_run(out, self.rows, 1, 1),
            });
        }
    }

    fn counts(&self) -> PageCounts {
        PageCounts { rows: self.rows, levels: self.rows, values: self.values }
    }
}
