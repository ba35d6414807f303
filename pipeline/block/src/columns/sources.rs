//! Dictionary columns from interned strings: sharing the whole dictionary, or gathering the few values in use.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, PrimitiveArray, StringArray};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::Int32Type;
use hashbrown::HashMap;

use super::interner::Interner;
use crate::numbered::nulls_by;

/// No value in this row.
pub(crate) const NULL: i32 = -1;

/// Where the strings behind numbers are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Strings<'a> {
    /// All of them, as an array that many batches share.
    Shared(&'a ArrayRef),
    /// Still growing: what is in use is copied.
    Growing(&'a Interner),
}

impl Strings<'_> {
    /// A dictionary column from one number per row, [`NULL`] for none.
    pub(crate) fn column(self, mut numbers: Vec<i32>) -> ArrayRef {
        let values: ArrayRef = match self {
            Self::Shared(values) => Arc::clone(values),
            Self::Growing(interner) => {
                let mut texts = Vec::new();
                let mut taken = HashMap::new();
                for number in numbers.iter_mut().filter(|number| **number != NULL) {
                    *number = *taken.entry(*number).or_insert_with(|| {
                        texts.push(interner.get(*number as u32));
                        texts.len() as i32 - 1
                    });
                }
                Arc::new(StringArray::from(texts))
            }
        };
        dictionary_column(numbers, values)
    }
}

/// A dictionary column from one number per row, [`NULL`] for none, and the values behind the numbers.
pub(crate) fn dictionary_column(mut numbers: Vec<i32>, values: ArrayRef) -> ArrayRef {
    let nulls = nulls_by(&numbers, |number| number != NULL);
    numbers.iter_mut().for_each(|number| *number = (*number).max(0));
    let keys = PrimitiveArray::<Int32Type>::new(ScalarBuffer::from(numbers), nulls);
    Arc::new(DictionaryArray::try_new(keys, values).expect("numbers come from the interner of the values"))
}

/// The validity of a column of that many rows; none if all of them have a value.
pub(crate) fn nulls_of(rows: usize, valid: impl FnMut(usize) -> bool) -> Option<NullBuffer> {
    let nulls = NullBuffer::new(BooleanBuffer::collect_bool(rows, valid));
    (nulls.null_count() > 0).then_some(nulls)
}
