//! Chunks of flat columns as blocks have them: numbers of dictionary values, strings one after the other, times, ids.
//! The Parquet library decodes every row before it drops those that nobody asked for, and columns are many.
//! Owns: which chunks are decoded here, and how. Does not own: reading pages, all other encodings.
//! Guarantee: damaged pages give an error, never other rows.

use std::error::Error;
use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, BooleanBufferBuilder, DictionaryArray, FixedSizeBinaryArray, Int32Array, Int64Array,
    PrimitiveArray, StringArray, TimestampNanosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampNanosecondType,
    UInt32Type,
};
use parquet::basic::{Encoding, Type};
use parquet::column::page::Page;
use parquet::file::metadata::ColumnChunkMetaData;

use super::facts::strings;
use crate::reader::delta::Deltas;
use crate::reader::hybrid::Hybrid;
use crate::reader::page_rows::PageRows;
use crate::reader::pages::Chunk;

type Decoded<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What all pages of a chunk hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Numbers of values in the dictionary.
    Numbers,
    /// Strings, each after its length.
    Strings,
    /// Integers by their differences.
    Deltas,
    /// Ids of that many bytes, as they are.
    Ids(usize),
}

/// The rows picked so far.
#[derive(Debug)]
struct Picked {
    /// Of each row the number of its value in the dictionary, or among `offsets`; any for a row without a value.
    numbers: Vec<i32>,
    /// Which rows have a value; none if all columns of the kind have one in each row.
    valid: Option<BooleanBufferBuilder>,
    /// The strings, where there is no dictionary, or the ids.
    bytes: Vec<u8>,
    offsets: Vec<i32>,
    /// The integers, where there is no dictionary.
    integers: Vec<i64>,
}

/// Values of a page, in order.
enum Values<'a> {
    Numbers(Hybrid<'a>),
    Strings(&'a [u8]),
    Deltas(Deltas<'a>),
    Ids(&'a [u8], usize),
}

/// The column in the rows asked for, of which there are `count`; none if the Parquet library is to decode it. The strings
/// of its dictionary are those of `known`, or go there.
pub(super) fn column(
    meta: &ColumnChunkMetaData,
    data_type: &DataType,
    chunk: Chunk<'_>,
    count: usize,
    known: Option<&OnceLock<ArrayRef>>,
) -> Decoded<Option<ArrayRef>> {
    let description = meta.column_descr();
    let max_def = description.max_def_level();
    if description.max_rep_level() > 0 || max_def > 1 {
        return Ok(None);
    }
    let Some(form) = form(meta, data_type, chunk) else { return Ok(None) };
    let mut picked = Picked::new(form, max_def > 0, count);
    for (rows, page) in chunk.pages().filter(|(rows, _)| rows.count > 0) {
        picked.page(page, form, rows).ok_or("a page is cut off")?;
    }
    if picked.rows(form) != count {
        return Err("fewer rows than asked for".into());
    }
    picked.into_array(data_type, form, chunk.dictionary, known).map(Some)
}

fn form(meta: &ColumnChunkMetaData, data_type: &DataType, chunk: Chunk<'_>) -> Option<Form> {
    let physical = meta.column_type();
    let own = match (physical, data_type) {
        (Type::BYTE_ARRAY, found) => *found == crate::schema::dictionary(),
        (Type::INT32, DataType::Int32 | DataType::UInt32)
        | (Type::INT64, DataType::Int64 | DataType::Timestamp(TimeUnit::Nanosecond, None))
        | (Type::DOUBLE, DataType::Float64) => true,
        (Type::FIXED_LEN_BYTE_ARRAY, DataType::FixedSizeBinary(size)) => {
            *size > 0 && meta.column_descr().type_length() == *size
        }
        _ => false,
    };
    let of = |page: &Page| match page {
        Page::DataPage { encoding: Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY, .. }
            if physical != Type::FIXED_LEN_BYTE_ARRAY =>
        {
            Some(Form::Numbers)
        }
        Page::DataPage { encoding: Encoding::PLAIN, .. } if physical == Type::BYTE_ARRAY => {
            Some(Form::Strings)
        }
        Page::DataPage { encoding: Encoding::DELTA_BINARY_PACKED, .. } if physical == Type::INT64 => {
            Some(Form::Deltas)
        }
        Page::DataPage { encoding: Encoding::PLAIN, .. } => match data_type {
            DataType::FixedSizeBinary(size) => usize::try_from(*size).ok().map(Form::Ids),
            _ => None,
        },
        _ => None,
    };
    let mut forms = chunk.pages().map(|(_, page)| of(page));
    let first = forms.next().flatten().filter(|_| own)?;
    forms.all(|form| form == Some(first)).then_some(first)
}

impl Picked {
    fn new(form: Form, nullable: bool, count: usize) -> Self {
        let mut picked = Self {
            numbers: Vec::new(),
            valid: nullable.then(|| BooleanBufferBuilder::new(count)),
            bytes: Vec::new(),
            offsets: vec![0],
            integers: Vec::new(),
        };
        match form {
            Form::Numbers | Form::Strings => picked.numbers.reserve_exact(count),
            Form::Deltas => picked.integers.reserve_exact(count),
            Form::Ids(size) => picked.bytes.reserve_exact(count * size),
        }
        picked
    }

    const fn rows(&self, form: Form) -> usize {
        match form {
            Form::Numbers | Form::Strings => self.numbers.len(),
            Form::Deltas => self.integers.len(),
            Form::Ids(size) => self.bytes.len() / size,
        }
    }

    /// Adds rows without a value.
    fn nulls(&mut self, form: Form, count: usize) {
        match form {
            Form::Numbers | Form::Strings => self.numbers.resize(self.numbers.len() + count, 0),
            Form::Deltas => self.integers.resize(self.integers.len() + count, 0),
            Form::Ids(size) => self.bytes.resize(self.bytes.len() + count * size, 0),
        }
    }

    /// Adds the rows of a page. None if the page ends early.
    fn page(&mut self, page: &Page, form: Form, rows: &PageRows) -> Option<()> {
        let mut rest = &page.buffer()[..];
        let mut levels = None;
        if self.valid.is_some() {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (own, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            levels = Some(Hybrid::new(own, 1)?);
            rest = after;
        }
        let mut values = match form {
            Form::Numbers => match rest.split_first() {
                Some((width, numbers)) => Values::Numbers(Hybrid::new(numbers, usize::from(*width))?),
                // A page without any value.
                None => Values::Numbers(Hybrid::new(rest, 0)?),
            },
            Form::Strings => Values::Strings(rest),
            Form::Deltas => Values::Deltas(Deltas::new(rest)?),
            Form::Ids(size) => Values::Ids(rest, size),
        };
        if rows.is_scattered() {
            let levels = levels.map(|mut levels| levels.bits(rows.bits.len()));
            let there = levels.unwrap_or_else(|| Some(BooleanBuffer::new_set(rows.bits.len())))?;
            return self.scattered(form, &rows.bits, &there, values);
        }
        let mut at = 0;
        for range in &rows.ranges {
            runs(
                &mut levels,
                range.start - at,
                |there, count| {
                    if there { values.skip(count) } else { Some(()) }
                },
            )?;
            runs(&mut levels, range.len(), |there, count| {
                if let Some(valid) = &mut self.valid {
                    valid.append_n(count, there);
                }
                if there {
                    values.take(count, self)
                } else {
                    self.nulls(form, count);
                    Some(())
                }
            })?;
            at = range.end;
        }
        Some(())
    }

    /// Adds single rows: those of a mask, of which some are there.
    fn scattered(
        &mut self,
        form: Form,
        asked: &BooleanBuffer,
        there: &BooleanBuffer,
        mut values: Values<'_>,
    ) -> Option<()> {
        // Values before the word, and those that were passed.
        let (mut before, mut passed) = (0, 0);
        let words = asked.bit_chunks();
        for (mut asked, there) in words.iter_padded().zip(there.bit_chunks().iter_padded()) {
            while asked != 0 {
                let bit = asked & asked.wrapping_neg();
                asked &= asked - 1;
                let has = there & bit != 0;
                if let Some(valid) = &mut self.valid {
                    valid.append(has);
                }
                if !has {
                    self.nulls(form, 1);
                    continue;
                }
                let place = before + (there & (bit - 1)).count_ones() as usize;
                values.skip(place - passed)?;
                values.take(1, self)?;
                passed = place + 1;
            }
            before += there.count_ones() as usize;
        }
        Some(())
    }

    fn into_array(
        self,
        data_type: &DataType,
        form: Form,
        dictionary: Option<&Page>,
        known: Option<&OnceLock<ArrayRef>>,
    ) -> Decoded<ArrayRef> {
        let nulls = self.valid.map(|mut valid| NullBuffer::new(valid.finish()));
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let missing = || "a dictionary is missing";
        let plain = dictionary.map(|page| (&page.buffer()[..], page.num_values() as usize));
        match (data_type, form) {
            (DataType::FixedSizeBinary(size), _) => {
                Ok(Arc::new(FixedSizeBinaryArray::try_new(*size, Buffer::from_vec(self.bytes), nulls)?))
            }
            (DataType::Timestamp(..), Form::Deltas) => {
                Ok(Arc::new(TimestampNanosecondArray::try_new(self.integers.into(), nulls)?))
            }
            (_, Form::Deltas) => Ok(Arc::new(Int64Array::try_new(self.integers.into(), nulls)?)),
            (DataType::Timestamp(..), _) => {
                let plain = plain.ok_or_else(missing)?;
                gather::<TimestampNanosecondType, 8>(&self.numbers, plain, nulls, i64::from_le_bytes)
            }
            (DataType::Int32, _) => {
                gather::<Int32Type, 4>(&self.numbers, plain.ok_or_else(missing)?, nulls, i32::from_le_bytes)
            }
            (DataType::UInt32, _) => {
                gather::<UInt32Type, 4>(&self.numbers, plain.ok_or_else(missing)?, nulls, u32::from_le_bytes)
            }
            (DataType::Int64, _) => {
                gather::<Int64Type, 8>(&self.numbers, plain.ok_or_else(missing)?, nulls, i64::from_le_bytes)
            }
            (DataType::Float64, _) => {
                gather::<Float64Type, 8>(&self.numbers, plain.ok_or_else(missing)?, nulls, f64::from_le_bytes)
            }
            _ => {
                let texts: ArrayRef = match (form, known.and_then(OnceLock::get), plain) {
                    (Form::Numbers, Some(known), _) => Arc::clone(known),
                    (Form::Numbers, None, Some((bytes, count))) => {
                        let texts: ArrayRef = Arc::new(strings(bytes, count)?);
                        known.map_or_else(
                            || Arc::clone(&texts),
                            |known| Arc::clone(known.get_or_init(|| Arc::clone(&texts))),
                        )
                    }
                    (Form::Numbers, None, None) => Arc::new(StringArray::new_null(0)),
                    _ => {
                        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
                        Arc::new(StringArray::try_new(offsets, Buffer::from_vec(self.bytes), None)?)
                    }
                };
                let keys = Int32Array::try_new(self.numbers.into(), nulls)?;
                Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, texts)?))
            }
        }
    }
}

impl Values<'_> {
    fn skip(&mut self, count: usize) -> Option<()> {
        match self {
            Self::Numbers(numbers) => numbers.skip(count),
            Self::Strings(rest) => {
                for _ in 0..count {
                    string(rest)?;
                }
                Some(())
            }
            Self::Deltas(deltas) => deltas.skip(count),
            Self::Ids(rest, size) => {
                *rest = rest.get(count.checked_mul(*size)?..)?;
                Some(())
            }
        }
    }

    fn take(&mut self, count: usize, picked: &mut Picked) -> Option<()> {
        let Picked { numbers, bytes, offsets, integers, .. } = picked;
        match self {
            Self::Deltas(deltas) => deltas.take(count, |integer| integers.push(integer)),
            Self::Ids(rest, size) => {
                let (ids, after) = rest.split_at_checked(count.checked_mul(*size)?)?;
                bytes.extend_from_slice(ids);
                *rest = after;
                Some(())
            }
            Self::Numbers(hybrid) => hybrid.take(count, |number| numbers.push(number.cast_signed())),
            Self::Strings(rest) => {
                for _ in 0..count {
                    numbers.push(i32::try_from(offsets.len() - 1).ok()?);
                    bytes.extend_from_slice(string(rest)?);
                    offsets.push(i32::try_from(bytes.len()).ok()?);
                }
                Some(())
            }
        }
    }
}

/// Gives the runs of the next levels: whether there are values, and how many. All are where there are no levels.
fn runs(
    levels: &mut Option<Hybrid<'_>>,
    count: usize,
    mut take: impl FnMut(bool, usize) -> Option<()>,
) -> Option<()> {
    match levels {
        None if count == 0 => Some(()),
        None => take(true, count),
        Some(levels) => levels.runs_of_bits(count, take),
    }
}

fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (text, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(text)
}

/// Values by their numbers.
fn gather<T: ArrowPrimitiveType, const BYTES: usize>(
    numbers: &[i32],
    (plain, count): (&[u8], usize),
    nulls: Option<NullBuffer>,
    value: impl Fn([u8; BYTES]) -> T::Native,
) -> Decoded<ArrayRef> {
    let (values, rest) = plain.as_chunks::<BYTES>();
    if values.len() != count || !rest.is_empty() || values.is_empty() {
        return Err("a dictionary is cut off".into());
    }
    let values: Vec<T::Native> = values.iter().map(|bytes| value(*bytes)).collect();
    let found = numbers.iter().map(|number| values.get(*number as usize).copied());
    let found: Option<Vec<T::Native>> = found.collect();
    let found = found.ok_or("a value is not in its dictionary")?;
    Ok(Arc::new(PrimitiveArray::<T>::try_new(found.into(), nulls)?))
}
