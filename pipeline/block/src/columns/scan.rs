//! Projected batches of an open block, and of a sealed one, for searches.
//! Owns: which rows, in which order, and which columns a projection needs of them.
//! Does not own: the form of the columns (`batch`).
//! A scan holds a lock that ingest waits for, so it touches only what it was asked for: times first, then the rows in
//! the time, then their columns.

mod attributes;
mod fixed;
mod sealed;

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{Field, Schema};
use vivace_model::scan::{Projection, TimeRange};

use super::OpenBlock;
use super::batch::{Local, Selection, Tree};
use super::interner::Interner;
use super::sources::{NULL, Strings, dictionary_column};
use crate::schema::{
    NESTED_SET_LEFT, NESTED_SET_PARENT, NESTED_SET_RIGHT, ROOT_SERVICE_NAME, ROOT_SPAN_NAME, fixed_fields,
};

/// The columns that need all spans of a trace.
const STRUCTURE: [&str; 5] =
    [NESTED_SET_LEFT, NESTED_SET_RIGHT, NESTED_SET_PARENT, ROOT_SERVICE_NAME, ROOT_SPAN_NAME];

/// What columns are made from.
struct Source<'a> {
    block: &'a OpenBlock,
    selection: Selection<'a>,
    tree: Tree,
    resources: OnceCell<Local>,
    scopes: OnceCell<Local>,
}

impl OpenBlock {
    /// The spans that start in the time, sorted like those of a block, with the columns asked for; none when there are
    /// none. Nested sets and roots are those of the whole block.
    #[must_use]
    pub fn scan(&self, projection: &Projection, range: Option<&TimeRange>) -> Option<RecordBatch> {
        self.scan_rows(0..self.rows(), projection, range)
    }

    /// The same, of some rows, in the order in which they came: as if there were no others.
    ///
    /// # Panics
    /// If there are no such rows.
    #[must_use]
    pub fn scan_rows(
        &self,
        rows: Range<usize>,
        projection: &Projection,
        range: Option<&TimeRange>,
    ) -> Option<RecordBatch> {
        assert!(rows.end <= self.rows(), "rows {rows:?} of {}", self.rows());
        let structure = STRUCTURE.iter().any(|name| projection.fixed.contains(name));
        let (rows, tree) = if structure {
            self.rows_and_tree(&rows, range)
        } else {
            (self.in_order(self.rows_in(&rows, range)), Tree::default())
        };
        if rows.is_empty() {
            return None;
        }
        let source = Source {
            block: self,
            selection: Selection::new(&rows, self.rows()),
            tree,
            resources: OnceCell::new(),
            scopes: OnceCell::new(),
        };
        let mut columns: Vec<(Field, ArrayRef)> = Vec::new();
        for field in
            fixed_fields().into_iter().filter(|field| projection.fixed.contains(field.name().as_str()))
        {
            if let Some(array) = source.fixed(field.name()) {
                columns.push((field, array));
            }
        }
        columns.extend(source.attributes(projection));
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options);
        Some(batch.expect("arrays are made with the types of their fields"))
    }

    fn rows_in(&self, rows: &Range<usize>, range: Option<&TimeRange>) -> Vec<u32> {
        let Some(range) = range else {
            return (rows.start as u32..rows.end as u32).collect();
        };
        let starts = self.spans.start[rows.clone()].iter().zip(rows.start as u32..);
        starts
            .filter(|(start, _)| (range.start.0..range.end.0).contains(*start))
            .map(|(_, row)| row)
            .collect()
    }

    /// Sorts rows as a block is sorted: first by what hardly ever is equal in two traces, in one number with the row.
    fn in_order(&self, mut rows: Vec<u32>) -> Vec<u32> {
        let prefix = |row: u32| {
            let (prefix, _) = self.spans.trace_id[row as usize].split_at(8);
            prefix.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let mut keys: Vec<u128> =
            rows.iter().map(|&row| u128::from(prefix(row)) << 32 | u128::from(row)).collect();
        keys.sort_unstable();
        for (row, key) in rows.iter_mut().zip(&keys) {
            *row = *key as u32;
        }
        let mut start = 0;
        for run in keys.chunk_by(|a, b| a >> 32 == b >> 32) {
            if run.len() > 1 {
                rows[start..start + run.len()].sort_unstable_by_key(|&row| self.sort_key(row));
            }
            start += run.len();
        }
        rows
    }

    /// The rows in the time, and their place in traces of which all spans count.
    fn rows_and_tree(&self, rows: &Range<usize>, range: Option<&TimeRange>) -> (Vec<u32>, Tree) {
        let within = self.rows_in(rows, range);
        if within.is_empty() || within.len() == rows.len() {
            let rows = self.in_order(within);
            let tree = self.tree(&rows);
            return (rows, tree);
        }
        let mut selected = vec![false; self.rows()];
        within.iter().for_each(|&row| selected[row as usize] = true);
        let ids = &self.spans.trace_id;
        let all = self.in_order(self.rows_in(rows, None));
        let traces = all.chunk_by(|&a, &b| ids[a as usize] == ids[b as usize]);
        let traces = traces.filter(|trace| trace.iter().any(|&row| selected[row as usize]));
        let rows: Vec<u32> = traces.flatten().copied().collect();
        let whole = self.tree(&rows);
        let mut tree = Tree::with_capacity(within.len());
        for (position, _) in rows.iter().enumerate().filter(|(_, row)| selected[**row as usize]) {
            tree.left.push(whole.left[position]);
            tree.right.push(whole.right[position]);
            tree.parent.push(whole.parent[position]);
            tree.root.push(whole.root[position]);
        }
        (rows.into_iter().filter(|&row| selected[row as usize]).collect(), tree)
    }
}

impl Source<'_> {
    fn resources(&self) -> &Local {
        let block = self.block;
        self.resources.get_or_init(|| self.local(&block.spans.resource, block.resources.list.len()))
    }

    fn scopes(&self) -> &Local {
        let block = self.block;
        self.scopes.get_or_init(|| self.local(&block.spans.scope, block.scopes.list.len()))
    }

    fn local(&self, row_origins: &[u32], origins: usize) -> Local {
        let (mut used, mut numbers) = (Vec::new(), vec![u32::MAX; origins]);
        let of_row = self.selection.rows.iter().map(|&row| {
            let origin = row_origins[row as usize];
            let number = &mut numbers[origin as usize];
            if *number == u32::MAX {
                *number = used.len() as u32;
                used.push(origin);
            }
            *number
        });
        let of_row = of_row.collect();
        Local { used, of_row }
    }
}

/// A dictionary column from one number per row, [`NULL`] for none, with copies of the strings in use.
fn text_column(interner: &Interner, mut numbers: Vec<i32>) -> ArrayRef {
    if numbers.len() < interner.len() / 16 {
        return Strings::Growing(interner).column(numbers);
    }
    let mut taken = vec![NULL; interner.len()];
    let (mut offsets, mut bytes) = (vec![0_i32], Vec::new());
    for number in numbers.iter_mut().filter(|number| **number != NULL) {
        let place = &mut taken[*number as usize];
        if *place == NULL {
            *place = offsets.len() as i32 - 1;
            bytes.extend_from_slice(interner.bytes(*number as u32));
            offsets.push(i32::try_from(bytes.len()).expect("an interner holds less than 2 GiB"));
        }
        *number = *place;
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let values = StringArray::try_new(offsets, Buffer::from_vec(bytes), None);
    dictionary_column(numbers, Arc::new(values.expect("every value was checked to be UTF-8")))
}

/// Whether a column has a value in any row.
fn any_value(array: &ArrayRef) -> bool {
    array.null_count() < array.len()
}
