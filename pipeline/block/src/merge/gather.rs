//! Rows of several sources as columns in the order of the output.
//! One column after the other: of one source after the other it is decoded, only in the rows that are wanted, and each
//! value is put in its place at once. All that this touches is in the processor's cache, and so is the column for whoever
//! takes it; the sources are never in memory side by side.
//! Owns: the columns while they fill. Does not own: which rows, and what depends on the rest of their traces.

use std::error::Error;
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray,
    new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, UInt32Type};
use arrow::error::ArrowError;
use hashbrown::HashMap;

use super::conform::Conformed;
use super::source::Source;
use super::target::Target;
use super::window::Place;
use crate::BlockError;
use crate::assemble::Pick;
use crate::columns::{Interner, NULL};
use crate::numbered::{Column, Numbered, nulls_by, packed};

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
    pub(super) fn column(&mut self, number: usize, roots: Option<&[u32]>) -> Result<Column, BlockError> {
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
            return gathered.map(Column::Array).map_err(|error| BlockError::value(name, error.to_string()));
        }
        let mut found: Vec<Placed<'_>> = Vec::with_capacity(self.parts.len());
        for (part, to) in &mut self.parts {
            if let Some(column) = part.column(number)? {
                found.push((column, to));
            }
        }
        let filled: usize = found.iter().map(|(column, _)| column.filled()).sum();
        if filled < rows && !field.is_nullable() {
            return Err(BlockError::value(name, "a row has no value"));
        }
        if found.is_empty() {
            return Ok(Column::Array(new_null_array(field.data_type(), rows)));
        }
        match field.data_type() {
            DataType::Dictionary(..) => texts(found, rows, roots),
            DataType::Int32 => numbers::<Int32Type, _>(found, rows, |value| value),
            DataType::UInt32 => numbers::<UInt32Type, _>(found, rows, |value| value),
            DataType::Int64 => numbers::<Int64Type, _>(found, rows, |value| value),
            DataType::Float64 => numbers::<Float64Type, _>(found, rows, f64::to_bits),
            DataType::Boolean => booleans(found, rows),
            _ => others(found, rows, field),
        }
        .map_err(|error| BlockError::value(name, error.to_string()))
    }
}

/// Values of one source, and the row that each of them goes to.
type Placed<'a> = (Column, &'a [u32]);

/// Ids of several arrays, as `interleave` does it for types that it knows.
fn ids<const N: usize>(arrays: &[&dyn Array], picks: &[Pick]) -> Result<ArrayRef, ArrowError> {
    let ids = arrays.iter().map(|array| array.as_fixed_size_binary().value_data().as_chunks::<N>().0);
    let ids: Vec<&[[u8; N]]> = ids.collect();
    let gathered: Vec<[u8; N]> = picks.iter().map(|&(array, row)| ids[array][row]).collect();
    let nulls: Vec<Option<&NullBuffer>> = arrays.iter().map(|array| array.nulls()).collect();
    let valid = |(array, row): Pick| nulls[array].is_none_or(|nulls| nulls.is_valid(row));
    let missing = arrays.iter().any(|array| array.null_count() > 0);
    let nulls = if missing { nulls_by(picks, valid) } else { None };
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

/// Strings, each of them once.
fn texts(found: Vec<Placed<'_>>, rows: usize, roots: Option<&[u32]>) -> Result<Column, ArrowError> {
    let mut columns = Vec::with_capacity(found.len());
    for (column, to) in found {
        columns.push(match column {
            Column::Array(array) => (Numbered::from_dictionary(array.as_dictionary())?, to),
            Column::Numbered(numbered) => (numbered, to),
        });
    }
    let mut strings = Interner::exact();
    let intern = |values: &ArrayRef, number: usize| {
        strings.intern(values.as_string::<i32>().value(number).as_bytes()).map(u32::cast_signed)
    };
    let mut numbers = renumbered(&columns, rows, intern)?;
    if let Some(roots) = roots {
        let number = |&root: &u32| numbers.get(root as usize).copied().unwrap_or(NULL);
        numbers = roots.iter().map(number).collect();
    }
    Numbered::from_rows(numbers, strings.into_array(), true).map(Column::Numbered)
}

/// Of each row the number that `intern` gives its value; it is asked once for each value of a source's dictionary that is
/// in use, however many rows have it.
fn renumbered<E: Error + Send + Sync + 'static>(
    found: &[(Numbered, &[u32])],
    rows: usize,
    mut intern: impl FnMut(&ArrayRef, usize) -> Result<i32, E>,
) -> Result<Vec<i32>, ArrowError> {
    let mut numbers = vec![NULL; rows];
    let mut table = Vec::new();
    for (column, to) in found {
        let values = column.values();
        table.clear();
        table.resize(values.len(), NULL);
        for &number in column.numbers() {
            let number = number as usize;
            if table[number] == NULL {
                table[number] = intern(values, number)
                    .map_err(|error| ArrowError::from_external_error(Box::new(error)))?;
            }
        }
        column.each(|row, number| numbers[to[row] as usize] = table[number as usize]);
    }
    Ok(numbers)
}

/// Numbers, of which those with the same `key` are the same.
fn numbers<T: ArrowPrimitiveType, K: Eq + Hash>(
    found: Vec<Placed<'_>>,
    rows: usize,
    key: impl Fn(T::Native) -> K,
) -> Result<Column, ArrowError> {
    let (mut columns, mut arrays) = (Vec::with_capacity(found.len()), Vec::new());
    for (column, to) in found {
        match column {
            Column::Numbered(numbered) => columns.push((numbered, to)),
            Column::Array(array) => arrays.push((array, to)),
        }
    }
    if arrays.is_empty() {
        let (mut known, mut values) = (HashMap::new(), Vec::new());
        let intern = |from: &ArrayRef, number: usize| {
            let value = from.as_primitive::<T>().value(number);
            let number = *known.entry(key(value)).or_insert(values.len());
            if number == values.len() {
                values.push(value);
            }
            i32::try_from(number)
        };
        let numbers = renumbered(&columns, rows, intern)?;
        let values = PrimitiveArray::<T>::new(values.into(), None);
        return Numbered::from_rows(numbers, Arc::new(values), false).map(Column::Numbered);
    }
    for (column, to) in columns {
        arrays.push((Column::Numbered(column).into_array()?, to));
    }
    let mut values = vec![T::Native::default(); rows];
    // Whether a row has a value. A byte each: they are set in any order.
    let mut valid = vec![false; rows];
    for (array, to) in arrays {
        let array = array.as_primitive::<T>();
        let mut put = |row: usize, to: u32| {
            (values[to as usize], valid[to as usize]) = (array.values()[row], true);
        };
        match array.nulls() {
            None => to.iter().enumerate().for_each(|(row, to)| put(row, *to)),
            Some(nulls) => nulls.valid_indices().for_each(|row| put(row, to[row])),
        }
    }
    let nulls = nulls_by(&valid, |valid| valid);
    Ok(Column::Array(Arc::new(PrimitiveArray::<T>::new(values.into(), nulls))))
}

fn booleans(found: Vec<Placed<'_>>, rows: usize) -> Result<Column, ArrowError> {
    /// What a row with a value has, besides the value.
    const VALID: u8 = 2;
    let mut values = vec![0; rows];
    for (column, to) in found {
        let array = column.into_array()?;
        let array = array.as_boolean();
        let mut put = |row: usize| values[to[row] as usize] = VALID | u8::from(array.value(row));
        match array.nulls() {
            None => (0..array.len()).for_each(put),
            Some(nulls) => nulls.valid_indices().for_each(&mut put),
        }
    }
    let nulls = nulls_by(&values, |value| value >= VALID);
    Ok(Column::Array(Arc::new(BooleanArray::new(packed(&values, |value| value & 1 == 1), nulls))))
}

/// Values of any type.
fn others(found: Vec<Placed<'_>>, rows: usize, field: &Field) -> Result<Column, ArrowError> {
    let mut picks: Vec<Pick> = vec![(0, 0); rows];
    let mut arrays = vec![new_null_array(field.data_type(), 1)];
    for (column, to) in found {
        to.iter().enumerate().for_each(|(row, to)| picks[*to as usize] = (arrays.len(), row));
        arrays.push(column.into_array()?);
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    interleave(&arrays, &picks).map(Column::Array)
}
