//! The rows of flat columns: a value in each of them, or none.
//! Owns: their levels. Does not own: how values are encoded (`encoder`), anything of lists.

use arrow::array::Array;
use arrow::buffer::{BooleanBuffer, NullBuffer};
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{PageCounts, PageLevels};
use super::encoder::Cells;
use super::runs::{put_levels, put_prefixed, put_run};

/// A column to be encoded.
pub(super) struct Column<'a> {
    nullable: bool,
    nulls: Option<&'a NullBuffer>,
    rows: usize,
}

/// Some rows of a column.
struct Page {
    nullable: bool,
    rows: usize,
    /// Which of them have a value; none if all have.
    valid: Option<BooleanBuffer>,
    values: usize,
}

impl<'a> Column<'a> {
    pub(super) fn new(leaf: &ColumnDescPtr, array: &'a dyn Array) -> Self {
        Self { nullable: leaf.max_def_level() > 0, nulls: array.nulls(), rows: array.len() }
    }
}

impl Cells for Column<'_> {
    fn each(&self, mut place: impl FnMut(usize)) {
        match self.nulls {
            Some(nulls) => nulls.valid_slices().for_each(|(start, end)| (start..end).for_each(&mut place)),
            None => (0..self.rows).for_each(place),
        }
    }

    fn pages(&self, rows_max: usize) -> impl Iterator<Item = impl PageLevels> {
        (0..self.rows).step_by(rows_max).map(move |start| {
            let rows = rows_max.min(self.rows - start);
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
