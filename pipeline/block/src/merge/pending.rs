//! Rows on their way into the next row group, still where they were read.
//! Owns: their columns. Does not own: which rows, and when they are enough.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch};
use arrow::datatypes::FieldRef;

use super::gather::{Gather, NO_ROW};
use super::source::Source;
use super::target::Target;
use super::window::{Place, Window};
use crate::BlockError;
use crate::numbered::Column;
use crate::schema::{
    NESTED_SET_LEFT, NESTED_SET_PARENT, NESTED_SET_RIGHT, ROOT_SERVICE_NAME, ROOT_SPAN_NAME,
};

/// Rows in the order of the output.
#[derive(Debug, Default)]
pub(super) struct Pending {
    sources: Vec<Arc<Source>>,
    rows: Vec<Place>,
    nested: [Vec<i32>; 3],
    /// Of each row its trace's root, as in a window.
    roots: Vec<u32>,
    /// Bytes of the lists of all rows, about.
    list_bytes: usize,
}

impl Pending {
    pub(super) const fn rows(&self) -> usize {
        self.rows.len()
    }

    pub(super) const fn list_bytes(&self) -> usize {
        self.list_bytes
    }

    /// Adds rows of a window: a whole trace, or a part of one that is too large. `numbers` has the number here of each of the window's sources, once it is
    /// known.
    pub(super) fn add(&mut self, window: &Window, rows: Range<usize>, numbers: &mut [Option<u32>]) {
        let Self { sources, .. } = self;
        let here = |&(source, row): &Place| {
            let number = &mut numbers[source as usize];
            let number = *number.get_or_insert_with(|| {
                sources.push(Arc::clone(&window.sources[source as usize]));
                sources.len() as u32 - 1
            });
            (number, row)
        };
        let first = self.rows.len();
        self.rows.extend(window.rows[rows.clone()].iter().map(here));
        self.list_bytes += window.list_bytes(rows.clone());
        // The root of a part may be in another part.
        let here = |root: &u32| rows.contains(&(*root as usize));
        let root =
            |root: &u32| if here(root) { (*root as usize - rows.start + first) as u32 } else { NO_ROW };
        self.roots.extend(window.roots[rows.clone()].iter().map(root));
        for (own, values) in self.nested.iter_mut().zip(&window.nested) {
            own.extend_from_slice(&values[rows.clone()]);
        }
    }

    /// The columns of the target in all rows, one after the other. CPU-bound.
    pub(super) fn columns<'a>(
        &'a self,
        target: &'a Target,
    ) -> Result<impl Iterator<Item = Result<Column, BlockError>> + 'a, BlockError> {
        let mut gather = Gather::new(&self.sources, &self.rows, target)?;
        let column = move |(number, field): (usize, &FieldRef)| -> Result<Column, BlockError> {
            let name = field.name().as_str();
            let nested = [NESTED_SET_LEFT, NESTED_SET_RIGHT, NESTED_SET_PARENT];
            if let Some(nested) = nested.iter().position(|nested| *nested == name) {
                return Ok(Column::Array(Arc::new(Int32Array::from(self.nested[nested].clone()))));
            }
            let of_root = [ROOT_SERVICE_NAME, ROOT_SPAN_NAME].contains(&name);
            gather.column(number, of_root.then_some(&self.roots[..]))
        };
        Ok(target.schema.fields().iter().enumerate().map(column))
    }

    /// All rows as a batch.
    pub(super) fn batch(&self, target: &Target) -> Result<RecordBatch, BlockError> {
        let arrays = self.columns(target)?.map(array).collect::<Result<_, _>>()?;
        RecordBatch::try_new(Arc::clone(&target.schema), arrays).map_err(BlockError::encode)
    }

    /// Keeps only the rows of those traces for which `keep` says yes.
    pub(super) fn retain(&mut self, keep: &[bool]) {
        fn retain<T: Copy>(values: &mut Vec<T>, keep: &[bool]) {
            let mut keep = keep.iter();
            values.retain(|_| keep.next().copied().unwrap_or(true));
        }
        let mut kept = 0;
        let mut place = |keep: &bool| {
            let place = kept;
            kept += u32::from(*keep);
            place
        };
        let places: Vec<u32> = keep.iter().map(&mut place).collect();
        retain(&mut self.rows, keep);
        retain(&mut self.roots, keep);
        let root = |root: &mut u32| *root = places.get(*root as usize).copied().unwrap_or(NO_ROW);
        self.roots.iter_mut().for_each(root);
        self.nested.iter_mut().for_each(|values| retain(values, keep));
        self.list_bytes = self.list_bytes / keep.len().max(1) * self.rows.len();
    }

    /// Copies the rows out of their sources, which may be many times as large as what is left of them.
    pub(super) fn copy_out(&mut self, target: &Target) -> Result<(), BlockError> {
        if self.rows.is_empty() {
            *self = Self::default();
            return Ok(());
        }
        self.sources = vec![Arc::new(Source::memory(self.batch(target)?)?)];
        self.rows = (0..self.rows.len() as u32).map(|row| (0, row)).collect();
        self.roots = (0..self.rows.len() as u32).collect();
        Ok(())
    }
}

/// Rows as a batch, but for what depends on the rest of their traces.
pub(super) fn gather_rows(
    sources: &[Arc<Source>],
    rows: &[Place],
    target: &Target,
) -> Result<RecordBatch, BlockError> {
    let mut gather = Gather::new(sources, rows, target)?;
    let columns = 0..target.schema.fields().len();
    let arrays = columns.map(|column| array(gather.column(column, None))).collect::<Result<_, _>>()?;
    RecordBatch::try_new(Arc::clone(&target.schema), arrays).map_err(BlockError::encode)
}

fn array(column: Result<Column, BlockError>) -> Result<ArrayRef, BlockError> {
    column?.into_array().map_err(BlockError::encode)
}
