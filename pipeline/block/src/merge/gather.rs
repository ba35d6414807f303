//! Rows of several sources as columns in the order of the output.
//! One column after the other: of one source after the other it is decoded, only in the rows that are wanted, and each
//! value is put in its place at once. All that this touches is in the processor's cache, and so is the column for whoever
//! takes it; the sources are never in memory side by side.
//! Owns: the columns while they fill. Does not own: which rows, and what depends on the rest of their traces.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeBinaryArray, PrimitiveArray, new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, UInt32Type};
use arrow::error::ArrowError;

use super::conform::Conformed;
use super::source::Source;
use super::target::Target;
use super::window::Place;
use crate::BlockError;
use crate::assemble::Pick;
use crate::columns::{Interner, NULL, dictionary_column};

/// No row.
pub(super) const NO_ROW: u32 = u32::MAX;

/// Rows of which one column of the target after the other is taken.
pub(super) struct Gather<'a> {
    sources: &'a [Arc<Source>],
    target: &'a Target,
    /// Where each row is.
    picks: Vec<Pick>,
    /// The rows of each source, and where each of them goes.
    parts: Vec<(Conformed<'a>, Vec<u32>)>,
}

impl<'a> Gather<'a> {
    /// CPU-bound, as are the columns.
    pub(super) fn new(
        sources: &'a [Arc<Source>],
        rows: &[Place],
        target: &'a Target,
    ) -> Result<Self, BlockError> {
        let parts = sources.iter().zip(parts(sources.len(), rows)).filter(|(_, part)| !part.to.is_empty());
        let parts = parts.map(|(source, part)| {
            Ok((Conformed::new(source.some(&part.ranges), part.to.len(), target)?, part.to))
        });
        let picks = rows.iter().map(|&(source, row)| (source as usize, row as usize)).collect();
        Ok(Self { sources, target, picks, parts: parts.collect::<Result<_, BlockError>>()? })
    }

    /// A column, by its number, which is asked for once. If `roots` gives each row the row of its trace's root
    /// ([`NO_ROW`] for none), it has what stands there.
    pub(super) fn column(&mut self, number: usize, roots: Option<&[u32]>) -> Result<ArrayRef, BlockError> {
        let (field, rows) = (self.target.schema.field(number), self.picks.len());
        let name = field.name().as_str();
        let keys: Option<Vec<&dyn Array>> =
            self.sources.iter().map(|source| source.key(name).map(AsRef::as_ref)).collect();
        if let Some(keys) = keys.filter(|keys| !keys.is_empty()) {
            let gathered = match field.data_type() {
                DataType::FixedSizeBinary(16) => ids::<16>(&keys, &self.picks),
                DataType::FixedSizeBinary(8) => ids::<8>(&keys, &self.picks),
                _ => interleave(&keys, &self.picks),
            };
            return gathered.map_err(|error| BlockError::value(name, error.to_string()));
        }
        let mut column: Option<Column> = None;
        for (part, to) in &mut self.parts {
            if let Some(array) = part.column(number)? {
                column.get_or_insert_with(|| Column::new(field, rows)).put(&array, to)?;
            }
        }
        match column {
            Some(column) => column.finish(field, roots),
            None if field.is_nullable() => Ok(new_null_array(field.data_type(), rows)),
            None => Err(BlockError::value(name, "no row has a value")),
        }
    }
}

/// Ids of several arrays, as `interleave` does it for types that it knows.
fn ids<const N: usize>(arrays: &[&dyn Array], picks: &[Pick]) -> Result<ArrayRef, ArrowError> {
    let ids = arrays.iter().map(|array| array.as_fixed_size_binary().value_data().as_chunks::<N>().0);
    let ids: Vec<&[[u8; N]]> = ids.collect();
    let gathered: Vec<[u8; N]> = picks.iter().map(|&(array, row)| ids[array][row]).collect();
    let valid = |index: usize| arrays[picks[index].0].is_valid(picks[index].1);
    let missing = arrays.iter().any(|array| array.null_count() > 0);
    let nulls = missing.then(|| NullBuffer::new(BooleanBuffer::collect_bool(picks.len(), valid)));
    let bytes = Buffer::from_vec(gathered.into_flattened());
    Ok(Arc::new(FixedSizeBinaryArray::try_new(N as i32, bytes, nulls)?))
}

/// Rows of one source.
#[derive(Debug, Default)]
struct Part {
    /// Where they are in the source, ascending.
    ranges: Vec<Range<usize>>,
    /// Where each of them goes.
    to: Vec<u32>,
}

fn parts(sources: usize, rows: &[Place]) -> Vec<Part> {
    let mut places: Vec<Vec<(u32, u32)>> = vec![Vec::new(); sources];
    for (&(source, row), to) in rows.iter().zip(0_u32..) {
        places[source as usize].push((row, to));
    }
    let part = |mut places: Vec<(u32, u32)>| {
        // They are, but for traces whose rows have another order in the source.
        if !places.is_sorted() {
            places.sort_unstable();
        }
        let ranges = places.chunk_by(|a, b| a.0 + 1 == b.0);
        let ranges = ranges.map(|rows| rows[0].0 as usize..rows[0].0 as usize + rows.len());
        Part { ranges: ranges.collect(), to: places.iter().map(|(_, to)| *to).collect() }
    };
    places.into_iter().map(part).collect()
}

/// A column that fills, by rows in any order.
#[derive(Debug)]
enum Column {
    Texts(Texts),
    Int32(Numbers<Int32Type>),
    UInt32(Numbers<UInt32Type>),
    Int64(Numbers<Int64Type>),
    Float64(Numbers<Float64Type>),
    Others(Others),
}

impl Column {
    fn new(field: &Field, rows: usize) -> Self {
        match field.data_type() {
            DataType::Dictionary(..) => Self::Texts(Texts::new(rows)),
            DataType::Int32 => Self::Int32(Numbers::new(rows)),
            DataType::UInt32 => Self::UInt32(Numbers::new(rows)),
            DataType::Int64 => Self::Int64(Numbers::new(rows)),
            DataType::Float64 => Self::Float64(Numbers::new(rows)),
            _ => Self::Others(Others { rows, parts: Vec::new() }),
        }
    }

    /// Puts the values of the array in their places.
    fn put(&mut self, array: &ArrayRef, to: &[u32]) -> Result<(), BlockError> {
        match self {
            Self::Texts(texts) => texts.put(array, to)?,
            Self::Int32(numbers) => numbers.put(array, to),
            Self::UInt32(numbers) => numbers.put(array, to),
            Self::Int64(numbers) => numbers.put(array, to),
            Self::Float64(numbers) => numbers.put(array, to),
            Self::Others(others) => others.parts.push((Arc::clone(array), to.to_vec())),
        }
        Ok(())
    }

    fn finish(self, field: &Field, roots: Option<&[u32]>) -> Result<ArrayRef, BlockError> {
        match self {
            Self::Texts(texts) => Ok(texts.finish(roots)),
            Self::Int32(numbers) => numbers.finish(field),
            Self::UInt32(numbers) => numbers.finish(field),
            Self::Int64(numbers) => numbers.finish(field),
            Self::Float64(numbers) => numbers.finish(field),
            Self::Others(others) => others.finish(field),
        }
    }
}

/// Strings, each of them once. Those of a source's dictionary are looked up once, however many rows have them.
#[derive(Debug)]
struct Texts {
    /// Of each row; [`NULL`] for none.
    numbers: Vec<i32>,
    strings: Interner,
    /// Numbers of the present source's strings, as far as they are known.
    table: Vec<i32>,
}

impl Texts {
    fn new(rows: usize) -> Self {
        Self { numbers: vec![NULL; rows], strings: Interner::exact(), table: Vec::new() }
    }

    fn put(&mut self, array: &ArrayRef, to: &[u32]) -> Result<(), BlockError> {
        let array = array.as_dictionary::<Int32Type>();
        let (keys, texts) = (array.keys().values(), array.values().as_string::<i32>());
        let Self { numbers, strings, table } = self;
        table.clear();
        table.resize(texts.len(), NULL);
        let mut put = |key: i32, to: u32| -> Result<(), BlockError> {
            let number = &mut table[key as usize];
            if *number == NULL {
                let text = texts.value(key as usize).as_bytes();
                *number = strings.intern(text).map_err(BlockError::encode)?.cast_signed();
            }
            numbers[to as usize] = *number;
            Ok(())
        };
        match array.nulls() {
            None => keys.iter().zip(to).try_for_each(|(key, to)| put(*key, *to)),
            Some(nulls) => nulls.valid_indices().try_for_each(|row| put(keys[row], to[row])),
        }
    }

    fn finish(self, roots: Option<&[u32]>) -> ArrayRef {
        let numbers = match roots {
            None => self.numbers,
            Some(roots) => {
                let number = |&root: &u32| self.numbers.get(root as usize).copied().unwrap_or(NULL);
                roots.iter().map(number).collect()
            }
        };
        dictionary_column(numbers, self.strings.into_array())
    }
}

#[derive(Debug)]
struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    /// Whether a row has a value. A byte each: they are set in any order.
    valid: Vec<bool>,
    /// Rows that have a value.
    filled: usize,
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    fn new(rows: usize) -> Self {
        Self { values: vec![T::Native::default(); rows], valid: vec![false; rows], filled: 0 }
    }

    fn put(&mut self, array: &ArrayRef, to: &[u32]) {
        let array = array.as_primitive::<T>();
        let mut put = |value: T::Native, to: u32| {
            self.values[to as usize] = value;
            self.valid[to as usize] = true;
        };
        self.filled += array.len() - array.null_count();
        match array.nulls() {
            None => array.values().iter().zip(to).for_each(|(value, to)| put(*value, *to)),
            Some(nulls) => nulls.valid_indices().for_each(|row| put(array.values()[row], to[row])),
        }
    }

    fn finish(self, field: &Field) -> Result<ArrayRef, BlockError> {
        let missing = self.filled < self.values.len();
        if missing && !field.is_nullable() {
            return Err(BlockError::value(field.name(), "a row has no value"));
        }
        let nulls = missing.then(|| NullBuffer::from(self.valid));
        Ok(Arc::new(PrimitiveArray::<T>::new(self.values.into(), nulls)))
    }
}

/// Values of any type, which stay where they are until all are there.
#[derive(Debug)]
struct Others {
    rows: usize,
    parts: Vec<(ArrayRef, Vec<u32>)>,
}

impl Others {
    fn finish(self, field: &Field) -> Result<ArrayRef, BlockError> {
        let null = new_null_array(field.data_type(), 1);
        let mut picks: Vec<Pick> = vec![(0, 0); self.rows];
        let mut arrays: Vec<&dyn Array> = vec![&null];
        for (array, to) in &self.parts {
            to.iter().enumerate().for_each(|(row, to)| picks[*to as usize] = (arrays.len(), row));
            arrays.push(array);
        }
        interleave(&arrays, &picks).map_err(|error| BlockError::value(field.name(), error.to_string()))
    }
}
