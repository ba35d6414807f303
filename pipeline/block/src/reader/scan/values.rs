//! The values of a chunk as blocks have them: numbers of dictionary values, strings one after the other, times, ids, bits.
//! The Parquet library decodes every row before it drops those that nobody asked for, and columns are many.
//! Owns: which chunks are decoded here, their values by position, the arrays of these.
//! Does not own: which rows have a value (`flat`, `lists`), reading pages, all other encodings.

use std::error::Error;
use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, GenericByteArray, Int32Array,
    PrimitiveArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{TakeOptions, take};
use arrow::datatypes::{
    ArrowPrimitiveType, BinaryType, ByteArrayType, DataType, Float64Type, Int8Type, Int32Type, Int64Type,
    TimeUnit, TimestampNanosecondType, UInt32Type, Utf8Type,
};
use parquet::basic::{Encoding, Type};
use parquet::column::page::Page;
use parquet::file::metadata::ColumnChunkMetaData;

use super::facts::strings;
use crate::reader::delta::Deltas;
use crate::reader::hybrid::Hybrid;
use crate::reader::pages::Chunk;

pub(super) type Decoded<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What all pages of a chunk hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Numbers of values in the dictionary.
    Numbers,
    /// Strings, each after its length.
    Strings,
    /// Integers by their differences.
    Deltas,
    /// Ids of that many bytes, as they are.
    Ids(usize),
    /// Booleans.
    Bits,
}

/// The values picked so far.
#[derive(Debug)]
pub(super) struct Picked {
    form: Form,
    /// Of each value its number in the dictionary, or among `offsets`, or itself if it is a bit.
    numbers: Vec<i32>,
    /// The strings, where there is no dictionary, or the ids.
    bytes: Vec<u8>,
    offsets: Vec<i32>,
    /// The integers, where there is no dictionary.
    integers: Vec<i64>,
}

/// Values of a page, in order.
pub(super) enum Values<'a> {
    Numbers(Hybrid<'a>),
    Strings(&'a [u8]),
    Deltas(Deltas<'a>),
    Ids(&'a [u8], usize),
    /// Bytes of bits, and how many were read.
    Bits(&'a [u8], usize),
}

/// What the pages hold; none if the Parquet library is to decode them.
pub(super) fn form(meta: &ColumnChunkMetaData, data_type: &DataType, chunk: Chunk<'_>) -> Option<Form> {
    let physical = meta.column_type();
    let own = match (physical, data_type) {
        (Type::BYTE_ARRAY, DataType::Utf8 | DataType::Binary) => true,
        (Type::BYTE_ARRAY, found) => *found == crate::schema::dictionary(),
        (Type::BOOLEAN, DataType::Boolean) => true,
        (Type::INT32, DataType::Int8 | DataType::Int32 | DataType::UInt32)
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
            DataType::Boolean => Some(Form::Bits),
            _ => None,
        },
        _ => None,
    };
    let mut forms = chunk.pages().map(|(_, page)| of(page));
    let first = forms.next().flatten().filter(|_| own)?;
    forms.all(|form| form == Some(first)).then_some(first)
}

impl Picked {
    /// For about that many values.
    pub(super) fn new(form: Form, count: usize) -> Self {
        let (numbers, bytes, offsets, integers) = (Vec::new(), Vec::new(), vec![0], Vec::new());
        let mut picked = Self { form, numbers, bytes, offsets, integers };
        match form {
            Form::Numbers | Form::Strings | Form::Bits => picked.numbers.reserve_exact(count),
            Form::Deltas => picked.integers.reserve_exact(count),
            Form::Ids(size) => picked.bytes.reserve_exact(count * size),
        }
        picked
    }

    pub(super) const fn len(&self) -> usize {
        match self.form {
            Form::Numbers | Form::Strings | Form::Bits => self.numbers.len(),
            Form::Deltas => self.integers.len(),
            Form::Ids(size) => self.bytes.len() / size,
        }
    }

    /// The values in their places: one for each bit of `valid` that is set. The values of the dictionary are those of
    /// `known`, or go there.
    pub(super) fn into_array(
        self,
        data_type: &DataType,
        valid: Option<BooleanBuffer>,
        dictionary: Option<&Page>,
        known: Option<&OnceLock<ArrayRef>>,
    ) -> Decoded<ArrayRef> {
        let nulls = valid.filter(|valid| valid.len() > self.len()).map(NullBuffer::new);
        let plain = dictionary.map(|page| (&page.buffer()[..], page.num_values() as usize));
        let numbers = &self.numbers;
        match (data_type, self.form) {
            (DataType::FixedSizeBinary(size), _) => {
                let bytes = match &nulls {
                    Some(nulls) => spread_ids(&self.bytes, *size as usize, nulls),
                    None => self.bytes,
                };
                Ok(Arc::new(FixedSizeBinaryArray::try_new(*size, Buffer::from_vec(bytes), nulls)?))
            }
            (DataType::Timestamp(..), Form::Deltas) => {
                primitive::<TimestampNanosecondType>(self.integers, nulls)
            }
            (_, Form::Deltas) => primitive::<Int64Type>(self.integers, nulls),
            (DataType::Boolean, _) => {
                let bits = spread(self.numbers, nulls.as_ref());
                let bits = BooleanBuffer::collect_bool(bits.len(), |row| bits[row] != 0);
                Ok(Arc::new(BooleanArray::new(bits, nulls)))
            }
            (DataType::Timestamp(..), _) => {
                gather::<TimestampNanosecondType, 8>(numbers, plain, known, nulls, i64::from_le_bytes)
            }
            (DataType::Int8, _) => {
                gather::<Int8Type, 4>(numbers, plain, known, nulls, |[byte, ..]| byte.cast_signed())
            }
            (DataType::Int32, _) => gather::<Int32Type, 4>(numbers, plain, known, nulls, i32::from_le_bytes),
            (DataType::UInt32, _) => {
                gather::<UInt32Type, 4>(numbers, plain, known, nulls, u32::from_le_bytes)
            }
            (DataType::Int64, _) => gather::<Int64Type, 8>(numbers, plain, known, nulls, i64::from_le_bytes),
            (DataType::Float64, _) => {
                gather::<Float64Type, 8>(numbers, plain, known, nulls, f64::from_le_bytes)
            }
            (DataType::Utf8, _) => self.texts::<Utf8Type>(plain, known, nulls, false),
            (DataType::Binary, _) => self.texts::<BinaryType>(plain, known, nulls, false),
            _ => self.texts::<Utf8Type>(plain, known, nulls, true),
        }
    }

    /// Strings or bytes, as numbers of those in a dictionary if `keys` says so.
    fn texts<T: ByteArrayType<Offset = i32>>(
        self,
        plain: Option<(&[u8], usize)>,
        known: Option<&OnceLock<ArrayRef>>,
        nulls: Option<NullBuffer>,
        keys: bool,
    ) -> Decoded<ArrayRef> {
        let texts: ArrayRef = if self.form == Form::Numbers {
            dictionary(known, || match plain {
                Some((bytes, count)) => Ok(Arc::new(strings::<T>(bytes, count)?)),
                None => Ok(Arc::new(GenericByteArray::<T>::new_null(0))),
            })?
        } else {
            let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
            Arc::new(GenericByteArray::<T>::try_new(offsets, Buffer::from_vec(self.bytes), None)?)
        };
        if !keys && self.form == Form::Strings && nulls.is_none() {
            return Ok(texts);
        }
        let numbers = Int32Array::try_new(spread(self.numbers, nulls.as_ref()).into(), nulls)?;
        if keys {
            return Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(numbers, texts)?));
        }
        Ok(take(&texts, &numbers, Some(TakeOptions { check_bounds: true }))?)
    }
}

impl<'a> Values<'a> {
    /// Those of a page, behind its levels. None if they are not of that form.
    pub(super) fn new(form: Form, bytes: &'a [u8]) -> Option<Self> {
        Some(match form {
            Form::Numbers => match bytes.split_first() {
                Some((width, numbers)) => Values::Numbers(Hybrid::new(numbers, usize::from(*width))?),
                // A page without any value.
                None => Values::Numbers(Hybrid::new(bytes, 0)?),
            },
            Form::Strings => Values::Strings(bytes),
            Form::Deltas => Values::Deltas(Deltas::new(bytes)?),
            Form::Ids(size) => Values::Ids(bytes, size),
            Form::Bits => Values::Bits(bytes, 0),
        })
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
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
            Self::Bits(bytes, read) => {
                *read = read.checked_add(count).filter(|read| *read <= bytes.len() * 8)?;
                Some(())
            }
        }
    }

    pub(super) fn take(&mut self, count: usize, picked: &mut Picked) -> Option<()> {
        let Picked { numbers, bytes, offsets, integers, .. } = picked;
        match self {
            Self::Deltas(deltas) => deltas.take(count, |integer| integers.push(integer)),
            Self::Ids(rest, size) => {
                let (ids, after) = rest.split_at_checked(count.checked_mul(*size)?)?;
                bytes.extend_from_slice(ids);
                *rest = after;
                Some(())
            }
            Self::Numbers(hybrid) => hybrid.take(count, numbers),
            Self::Bits(bytes, read) => {
                let end = read.checked_add(count).filter(|end| *end <= bytes.len() * 8)?;
                numbers.extend((*read..end).map(|bit| i32::from(bytes[bit / 8] >> (bit % 8) & 1)));
                *read = end;
                Some(())
            }
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

fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (text, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(text)
}

/// Values by their numbers.
fn gather<T: ArrowPrimitiveType, const BYTES: usize>(
    numbers: &[i32],
    plain: Option<(&[u8], usize)>,
    known: Option<&OnceLock<ArrayRef>>,
    nulls: Option<NullBuffer>,
    value: impl Fn([u8; BYTES]) -> T::Native,
) -> Decoded<ArrayRef> {
    let values = dictionary(known, || {
        let (plain, count) = plain.ok_or("a dictionary is missing")?;
        let (values, rest) = plain.as_chunks::<BYTES>();
        if values.len() != count || !rest.is_empty() {
            return Err("a dictionary is cut off".into());
        }
        let values: Vec<T::Native> = values.iter().map(|bytes| value(*bytes)).collect();
        Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), None)))
    })?;
    let values = values.as_primitive_opt::<T>().ok_or("a dictionary is of another type")?.values();
    let mut found = Vec::with_capacity(numbers.len());
    for number in numbers {
        found.push(*values.get(*number as usize).ok_or("a value is not in its dictionary")?);
    }
    primitive::<T>(found, nulls)
}

/// The values of a dictionary: those that are known, or decoded and then known.
fn dictionary(
    known: Option<&OnceLock<ArrayRef>>,
    decode: impl FnOnce() -> Decoded<ArrayRef>,
) -> Decoded<ArrayRef> {
    let Some(known) = known else { return decode() };
    if let Some(values) = known.get() {
        return Ok(Arc::clone(values));
    }
    let values = decode()?;
    Ok(Arc::clone(known.get_or_init(|| values)))
}

fn primitive<T: ArrowPrimitiveType>(values: Vec<T::Native>, nulls: Option<NullBuffer>) -> Decoded<ArrayRef> {
    let values = spread(values, nulls.as_ref());
    Ok(Arc::new(PrimitiveArray::<T>::try_new(values.into(), nulls)?))
}

/// Puts values in their rows; rows without one get any.
fn spread<T: Copy + Default>(values: Vec<T>, nulls: Option<&NullBuffer>) -> Vec<T> {
    let Some(nulls) = nulls else { return values };
    let mut rows = vec![T::default(); nulls.len()];
    let mut rest = &values[..];
    for (rows, mut valid) in rows.chunks_mut(64).zip(nulls.inner().bit_chunks().iter_padded()) {
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

/// Puts ids in their rows; rows without one get zeros.
fn spread_ids(ids: &[u8], size: usize, nulls: &NullBuffer) -> Vec<u8> {
    let mut rows = vec![0; nulls.len() * size];
    let mut rest = ids;
    for (start, end) in nulls.valid_slices() {
        let (ids, after) = rest.split_at((end - start) * size);
        rows[start * size..end * size].copy_from_slice(ids);
        rest = after;
    }
    rows
}
