//! Rows of several sources as columns in the order of the output.
//! One column after the other: of one source after the other it is decoded, only in the rows that are wanted, and each
//! value is put in its place at once. All that this touches is in the processor's cache, and so is the column for whoever
//! takes it; the sources are never in memory side by side.
//! Owns: the columns while they fill. Does not own: which rows, and what depends on the rest of their traces.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, DictionaryArray, FixedSizeBinaryArray, PrimitiveArray,
    new_null_array,
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
        let mut found: Vec<Placed<'_>> = Vec::with_capacity(self.parts.len());
        for (part, to) in &mut self.parts {
            if let Some(array) = part.column(number)? {
                found.push((array, to));
            }
        }
        let filled: usize = found.iter().map(|(array, _)| array.len() - array.null_count()).sum();
        let whole = filled == rows;
        if !whole && !field.is_nullable() {
            return Err(BlockError::value(name, "a row has no value"));
        }
        if found.is_empty() {
            return Ok(new_null_array(field.data_type(), rows));
        }
        match field.data_type() {
            DataType::Dictionary(..) => texts(&found, rows, whole, roots),
            DataType::Int32 => Ok(numbers::<Int32Type>(&found, rows, whole)),
            DataType::UInt32 => Ok(numbers::<UInt32Type>(&found, rows, whole)),
            DataType::Int64 => Ok(numbers::<Int64Type>(&found, rows, whole)),
            DataType::Float64 => Ok(numbers::<Float64Type>(&found, rows, whole)),
            _ => others(&found, rows, field),
        }
    }
}

/// Values of one source, and the row that each of them goes to.
type Placed<'a> = (ArrayRef, &'a [u32]);

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

/// Strings, each of them once. Those of a source's dictionary are looked up once, however many rows have them.
fn texts(
    found: &[Placed<'_>],
    rows: usize,
    whole: bool,
    roots: Option<&[u32]>,
) -> Result<ArrayRef, BlockError> {
    let mut strings = Interner::exact();
    let mut numbers = vec![NULL; rows];
    let mut table = Vec::new();
    for (array, to) in found {
        let array = array.as_dictionary::<Int32Type>();
        let (keys, texts) = (array.keys().values(), array.values().as_string::<i32>());
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
            None => keys.iter().zip(*to).try_for_each(|(key, to)| put(*key, *to))?,
            Some(nulls) => nulls.valid_indices().try_for_each(|row| put(keys[row], to[row]))?,
        }
    }
    if let Some(roots) = roots {
        let number = |&root: &u32| numbers.get(root as usize).copied().unwrap_or(NULL);
        numbers = roots.iter().map(number).collect();
    } else if whole {
        let array = DictionaryArray::<Int32Type>::try_new(numbers.into(), strings.into_array());
        return array.map(|array| Arc::new(array) as ArrayRef).map_err(BlockError::encode);
    }
    Ok(dictionary_column(numbers, strings.into_array()))
}

fn numbers<T: ArrowPrimitiveType>(found: &[Placed<'_>], rows: usize, whole: bool) -> ArrayRef {
    let mut values = vec![T::Native::default(); rows];
    // Whether a row has a value. A byte each: they are set in any order.
    let mut valid = vec![false; if whole { 0 } else { rows }];
    for (array, to) in found {
        let array = array.as_primitive::<T>();
        let all = array.values().iter().zip(*to);
        match array.nulls() {
            None if whole => all.for_each(|(value, to)| values[*to as usize] = *value),
            None => all.for_each(|(value, to)| {
                (values[*to as usize], valid[*to as usize]) = (*value, true);
            }),
            Some(nulls) => nulls.valid_indices().for_each(|row| {
                let to = to[row] as usize;
                (values[to], valid[to]) = (array.values()[row], true);
            }),
        }
    }
    let nulls = (!whole).then(|| NullBuffer::from(valid));
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls))
}

/// Values of any type.
fn others(found: &[Placed<'_>], rows: usize, field: &Field) -> Result<ArrayRef, BlockError> {
    let null = new_null_array(field.data_type(), 1);
    let mut picks: Vec<Pick> = vec![(0, 0); rows];
    let mut arrays: Vec<&dyn Array> = vec![&null];
    for (array, to) in found {
        to.iter().enumerate().for_each(|(row, to)| picks[*to as usize] = (arrays.len(), row));
        arrays.push(array);
    }
    interleave(&arrays, &picks).map_err(|error| BlockError::value(field.name(), error.to_string()))
}
