//! Rows on their way into the next row group, still where they were read.
//! Owns: their columns as one batch. Does not own: which rows, and when they are enough.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, new_null_array};
use arrow::datatypes::DataType;

use super::source::Source;
use super::target::Target;
use super::window::{NOWHERE, Place, Window};
use crate::BlockError;
use crate::assemble::Pick;
use crate::assemble::columns::{gather, texts};
use crate::schema::{
    NESTED_SET_LEFT, NESTED_SET_PARENT, NESTED_SET_RIGHT, ROOT_SERVICE_NAME, ROOT_SPAN_NAME,
};

/// Rows in the order of the output.
#[derive(Debug, Default)]
pub(super) struct Pending {
    sources: Vec<Arc<Source>>,
    rows: Vec<Place>,
    nested: [Vec<i32>; 3],
    roots: Vec<Place>,
}

impl Pending {
    pub(super) const fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Adds rows of a window. `numbers` has the number here of each of the window's sources, once it is known.
    pub(super) fn add(&mut self, window: &Window, rows: std::ops::Range<usize>, numbers: &mut [Option<u32>]) {
        let Self { sources, .. } = self;
        let mut here = |(source, row): Place| {
            if (source, row) == NOWHERE {
                return NOWHERE;
            }
            let number = &mut numbers[source as usize];
            let number = *number.get_or_insert_with(|| {
                sources.push(Arc::clone(&window.sources[source as usize]));
                sources.len() as u32 - 1
            });
            (number, row)
        };
        self.rows.extend(window.rows[rows.clone()].iter().map(|place| here(*place)));
        self.roots.extend(window.roots[rows.clone()].iter().map(|place| here(*place)));
        for (own, values) in self.nested.iter_mut().zip(&window.nested) {
            own.extend_from_slice(&values[rows.clone()]);
        }
    }

    /// All rows as a batch.
    pub(super) fn batch(&self, target: &Target) -> Result<RecordBatch, BlockError> {
        let picks: Vec<Pick> = self.rows.iter().map(pick).collect();
        let fields = target.schema.fields().iter().enumerate();
        let arrays = fields.map(|(column, field)| {
            let numbers = |index: usize| -> Result<ArrayRef, BlockError> {
                Ok(Arc::new(Int32Array::from(self.nested[index].clone())))
            };
            match field.name().as_str() {
                NESTED_SET_LEFT => numbers(0),
                NESTED_SET_RIGHT => numbers(1),
                NESTED_SET_PARENT => numbers(2),
                ROOT_SERVICE_NAME | ROOT_SPAN_NAME => {
                    let roots = self.roots.iter();
                    let roots = roots.map(|place| (*place != NOWHERE).then(|| pick(place)));
                    Ok(texts(&column_of(&self.sources, column), roots))
                }
                name => gathered(&self.sources, column, name, field.data_type(), &picks),
            }
        });
        let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(Arc::clone(&target.schema), arrays).map_err(BlockError::encode)
    }

    /// Keeps only the rows for which `keep` says yes; true if some are left out.
    pub(super) fn retain(&mut self, keep: &[bool]) {
        fn retain<T: Copy>(values: &mut Vec<T>, keep: &[bool]) {
            let mut keep = keep.iter();
            values.retain(|_| keep.next().copied().unwrap_or(true));
        }
        retain(&mut self.rows, keep);
        retain(&mut self.roots, keep);
        self.nested.iter_mut().for_each(|values| retain(values, keep));
    }

    /// Copies the rows out of their sources, which may be many times as large as what is left of them.
    pub(super) fn copy_out(&mut self, target: &Target) -> Result<(), BlockError> {
        if self.rows.is_empty() {
            *self = Self::default();
            return Ok(());
        }
        self.sources = vec![Arc::new(Source::new(&self.batch(target)?, target)?)];
        self.rows = (0..self.rows.len() as u32).map(|row| (0, row)).collect();
        self.roots.clone_from(&self.rows);
        Ok(())
    }
}

/// Rows as a batch, but for what depends on the rest of their traces.
pub(super) fn gather_rows(
    sources: &[Arc<Source>],
    rows: &[Place],
    target: &Target,
) -> Result<RecordBatch, BlockError> {
    let picks: Vec<Pick> = rows.iter().map(pick).collect();
    let fields = target.schema.fields().iter().enumerate();
    let arrays =
        fields.map(|(column, field)| gathered(sources, column, field.name(), field.data_type(), &picks));
    let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(&target.schema), arrays).map_err(BlockError::encode)
}

fn gathered(
    sources: &[Arc<Source>],
    column: usize,
    name: &str,
    data_type: &DataType,
    picks: &[Pick],
) -> Result<ArrayRef, BlockError> {
    let arrays = column_of(sources, column);
    if arrays.iter().all(Option::is_none) {
        return Ok(new_null_array(data_type, picks.len()));
    }
    gather(name, &arrays, data_type, picks)
}

fn column_of(sources: &[Arc<Source>], column: usize) -> Vec<Option<ArrayRef>> {
    sources.iter().map(|source| source.columns[column].clone()).collect()
}

const fn pick(place: &Place) -> Pick {
    (place.0 as usize, place.1 as usize)
}
