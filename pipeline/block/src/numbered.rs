//! Columns as files have them: each row says its value by a number. Reading, putting together and writing them needs the
//! values themselves once, not once a row.
//! Owns: that numbers and values fit. Does not own: where either comes from.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, Int32Array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;

use crate::columns::NULL;
use crate::complete::complete;

/// Rows whose validity is looked at at once.
const WORD: usize = u64::BITS as usize;

/// A column of some rows.
#[derive(Clone, Debug)]
pub(crate) enum Column {
    /// As an array.
    Array(ArrayRef),
    /// By the numbers of its values.
    Numbered(Numbered),
}

/// Values by their numbers.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    /// Of each row that has a value the place of that in `values`.
    numbers: Vec<i32>,
    /// None if all rows have a value.
    nulls: Option<NullBuffer>,
    /// Without nulls. Some of them may be in no row.
    values: ArrayRef,
    /// Whether it is a dictionary as an array, too.
    keyed: bool,
}

impl Column {
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Array(array) => array.len(),
            Self::Numbered(numbered) => numbered.rows(),
        }
    }

    /// Rows that have a value.
    pub(crate) fn filled(&self) -> usize {
        match self {
            Self::Array(array) => array.len() - array.null_count(),
            Self::Numbered(numbered) => numbered.numbers.len(),
        }
    }

    pub(crate) fn into_array(self) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Array(array) => Ok(array),
            Self::Numbered(numbered) => numbered.into_array(),
        }
    }

    /// As [`complete`] for arrays.
    pub(crate) fn complete(self, target: &DataType) -> Result<Self, ArrowError> {
        match self {
            Self::Numbered(numbered) if numbered.is(target) => Ok(Self::Numbered(numbered)),
            other => complete(&other.into_array()?, target).map(Self::Array),
        }
    }
}

impl Numbered {
    /// `numbers` are those of the rows that `nulls` has a value in.
    ///
    /// # Errors
    /// Numbers are too few or too many, or one of them is that of no value.
    pub(crate) fn try_new(
        numbers: Vec<i32>,
        nulls: Option<NullBuffer>,
        values: ArrayRef,
        keyed: bool,
    ) -> Result<Self, ArrowError> {
        let wrong = |what: &str| Err(ArrowError::InvalidArgumentError(what.to_owned()));
        if nulls.as_ref().is_some_and(|nulls| nulls.len() - nulls.null_count() != numbers.len()) {
            return wrong("there are not as many values as rows with one");
        }
        // Negative ones are large, too.
        let largest = numbers.iter().map(|number| number.cast_unsigned()).max();
        if largest.is_some_and(|largest| largest as usize >= values.len()) || values.null_count() > 0 {
            return wrong("a value is not in its dictionary");
        }
        Ok(Self { numbers, nulls, values, keyed })
    }

    /// From one number per row, [`NULL`] for none.
    ///
    /// # Errors
    /// See [`Self::try_new`].
    pub(crate) fn from_rows(mut rows: Vec<i32>, values: ArrayRef, keyed: bool) -> Result<Self, ArrowError> {
        let nulls = nulls_by(&rows, |number| number != NULL);
        if let Some(nulls) = &nulls {
            let mut end = 0;
            let mut words = nulls.inner().bit_chunks().iter_padded();
            for first in (0..rows.len()).step_by(WORD) {
                let mut word = words.next().unwrap_or_default();
                if word == u64::MAX {
                    rows.copy_within(first..first + WORD, end);
                    end += WORD;
                    continue;
                }
                while word != 0 {
                    rows[end] = rows[first + word.trailing_zeros() as usize];
                    end += 1;
                    word &= word - 1;
                }
            }
            rows.truncate(end);
        }
        Self::try_new(rows, nulls, values, keyed)
    }

    /// A dictionary's.
    pub(crate) fn from_dictionary(array: &DictionaryArray<Int32Type>) -> Result<Self, ArrowError> {
        let keys = array.keys();
        let numbers = match keys.nulls() {
            None => keys.values().to_vec(),
            Some(nulls) => nulls.valid_indices().map(|row| keys.value(row)).collect(),
        };
        let nulls = keys.nulls().filter(|nulls| nulls.null_count() > 0);
        Self::try_new(numbers, nulls.cloned(), Arc::clone(array.values()), true)
    }

    pub(crate) fn rows(&self) -> usize {
        self.nulls.as_ref().map_or(self.numbers.len(), NullBuffer::len)
    }

    /// Of each row that has a value its number.
    pub(crate) fn numbers(&self) -> &[i32] {
        &self.numbers
    }

    /// None if all rows have a value.
    pub(crate) const fn nulls(&self) -> Option<&NullBuffer> {
        self.nulls.as_ref()
    }

    /// What the numbers stand for.
    pub(crate) const fn values(&self) -> &ArrayRef {
        &self.values
    }

    /// Gives each row that has a value, with the number of that.
    pub(crate) fn each(&self, mut row: impl FnMut(usize, i32)) {
        match &self.nulls {
            None => self.numbers.iter().enumerate().for_each(|(at, number)| row(at, *number)),
            Some(nulls) => nulls.valid_indices().zip(&self.numbers).for_each(|(at, number)| row(at, *number)),
        }
    }

    fn is(&self, data_type: &DataType) -> bool {
        if self.keyed {
            *data_type == crate::schema::dictionary() && *self.values.data_type() == DataType::Utf8
        } else {
            data_type == self.values.data_type()
        }
    }

    fn into_array(self) -> Result<ArrayRef, ArrowError> {
        let numbers = spread(self.numbers, self.nulls.as_ref());
        let numbers = Int32Array::try_new(numbers.into(), self.nulls)?;
        if self.keyed {
            return Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(numbers, self.values)?));
        }
        take(&self.values, &numbers, None)
    }
}

/// One bit for each value.
pub(crate) fn packed<T: Copy>(values: &[T], is_set: impl Fn(T) -> bool) -> BooleanBuffer {
    // Bytes of 0 and 1 times this have the eight of them side by side on top; no two of its bits meet below.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let byte = |values: &[T; 8]| {
        let bits = u64::from_le_bytes(values.map(|value| u8::from(is_set(value))));
        (bits.wrapping_mul(GATHER) >> 56) as u8
    };
    let (groups, rest) = values.as_chunks::<8>();
    let mut bytes = Vec::with_capacity(groups.len() + 1);
    bytes.extend(groups.iter().map(byte));
    bytes.push(rest.iter().rev().fold(0, |byte, value| byte << 1 | u8::from(is_set(*value))));
    BooleanBuffer::new(Buffer::from_vec(bytes), 0, values.len())
}

/// Which rows have a value, by something that each of them has; none if all do.
pub(crate) fn nulls_by<T: Copy>(rows: &[T], has_value: impl Fn(T) -> bool) -> Option<NullBuffer> {
    Some(NullBuffer::new(packed(rows, has_value))).filter(|nulls| nulls.null_count() > 0)
}

/// Puts values in their rows; rows without one get any.
pub(crate) fn spread<T: Copy + Default>(values: Vec<T>, nulls: Option<&NullBuffer>) -> Vec<T> {
    let Some(nulls) = nulls else { return values };
    let mut rows = vec![T::default(); nulls.len()];
    let mut rest = &values[..];
    for (rows, mut valid) in rows.chunks_mut(WORD).zip(nulls.inner().bit_chunks().iter_padded()) {
        let (values, after) = rest.split_at(valid.count_ones() as usize);
        rest = after;
        if values.len() == rows.len() {
            rows.copy_from_slice(values);
            continue;
        }
        for value in values {
            rows[valid.trailing_zeros() as usize] = *value;
            valid &= valid - 1;
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends by it")]

    use arrow::array::{AsArray, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_become_arrays(rows in prop::collection::vec(prop_oneof![8 => 0_i32..4, 1 => Just(NULL)], 0..600)) {
            let bits: Vec<bool> = packed(&rows, |row| row != NULL).iter().collect();
            prop_assert_eq!(&bits, &rows.iter().map(|row| *row != NULL).collect::<Vec<_>>());

            let integers: ArrayRef = Arc::new(Int64Array::from(vec![10, 11, 12, 13]));
            let numbered = Numbered::from_rows(rows.clone(), integers, false).unwrap();
            prop_assert_eq!(numbered.rows(), rows.len());
            let mut found = vec![NULL; rows.len()];
            numbered.each(|row, number| found[row] = number);
            prop_assert_eq!(&found, &rows);
            let wanted: Int64Array = rows.iter().map(|row| (*row != NULL).then_some(i64::from(*row) + 10)).collect();
            prop_assert_eq!(&numbered.into_array().unwrap(), &(Arc::new(wanted) as ArrayRef));

            let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
            let array = Numbered::from_rows(rows, texts, true).unwrap().into_array().unwrap();
            let again = Numbered::from_dictionary(array.as_dictionary()).unwrap().into_array().unwrap();
            prop_assert_eq!(&array, &again);
        }
    }

    #[test]
    fn numbers_of_no_value_are_refused() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![10, 11]));
        let new = |numbers, nulls| Numbered::try_new(numbers, nulls, Arc::clone(&values), false);
        assert!(new(vec![0, 1], None).is_ok());
        assert!(new(vec![0, 2], None).is_err());
        assert!(new(vec![0, -1], None).is_err());
        assert!(new(vec![0, 1], Some(NullBuffer::from(vec![true, false]))).is_err());
    }
}
