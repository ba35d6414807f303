//! The values of a chunk as blocks have them: numbers of dictionary values, strings one after the other, times, ids, bits.
//! The Parquet library decodes every row before it drops those that nobody asked for, and columns are many.
//! Owns: which chunks are decoded here, their values by position, the arrays of these.
//! Does not own: which rows have a value (`flat`, `lists`), reading pages, all other encodings.

use std::error::Error;
use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, BinaryArray, BinaryViewBuilder, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, StringArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, BinaryType, DataType, Float64Type, Int8Type, Int32Type, Int64Type, TimeUnit,
    TimestampNanosecondType, UInt32Type, Utf8Type,
};
use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::Page;
use parquet::file::metadata::ColumnChunkMetaData;

use super::facts::strings;
use crate::numbered::{Column, Numbered, packed, spread};
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
    /// The same, each to have a buffer of its own.
    Large,
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
    /// The large values, where there is no dictionary.
    large: Vec<Buffer>,
}

/// Values of a page, in order.
pub(super) enum Values<'a> {
    Numbers(Hybrid<'a>),
    Strings(&'a [u8]),
    Large(&'a [u8]),
    Deltas(Deltas<'a>),
    Ids(&'a [u8], usize),
    /// Bytes of bits, and how many were read.
    Bits(&'a [u8], usize),
}

/// What the pages hold; none if the Parquet library is to decode them.
pub(super) fn form(meta: &ColumnChunkMetaData, data_type: &DataType, chunk: Chunk<'_>) -> Option<Form> {
    let physical = meta.column_type();
    let own = match (physical, data_type) {
        (Type::BYTE_ARRAY, DataType::Utf8 | DataType::Binary | DataType::BinaryView) => true,
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
            Some(if *data_type == DataType::BinaryView { Form::Large } else { Form::Strings })
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
        let mut picked = Self { form, numbers, bytes, offsets, integers, large: Vec::new() };
        match form {
            Form::Numbers | Form::Strings | Form::Large | Form::Bits => picked.numbers.reserve_exact(count),
            Form::Deltas => picked.integers.reserve_exact(count),
            Form::Ids(size) => picked.bytes.reserve_exact(count * size),
        }
        picked
    }

    pub(super) const fn len(&self) -> usize {
        match self.form {
            Form::Numbers | Form::Strings | Form::Large | Form::Bits => self.numbers.len(),
            Form::Deltas => self.integers.len(),
            Form::Ids(size) => self.bytes.len() / size,
        }
    }

    /// The column: a row for each bit of `valid`, with a value where it is set. The values of the dictionary are those of
    /// `known`, or go there.
    pub(super) fn into_column(
        self,
        data_type: &DataType,
        valid: Option<BooleanBuffer>,
        dictionary: Option<&Page>,
        known: Option<&OnceLock<ArrayRef>>,
    ) -> Decoded<Column> {
        let nulls = valid.filter(|valid| valid.len() > self.len()).map(NullBuffer::new);
        let keyed = matches!(data_type, DataType::Dictionary(..));
        let array: ArrayRef = match (self.form, data_type) {
            (Form::Numbers, _) => {
                let values = dictionary_values(data_type, dictionary, known)?;
                return Ok(Column::Numbered(Numbered::try_new(self.numbers, nulls, values, keyed)?));
            }
            (Form::Strings, _) => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
                let bytes = Buffer::from_vec(self.bytes);
                let texts: ArrayRef = match data_type {
                    DataType::Binary => Arc::new(BinaryArray::try_new(offsets, bytes, None)?),
                    _ => Arc::new(StringArray::try_new(offsets, bytes, None)?),
                };
                if keyed || nulls.is_some() {
                    return Ok(Column::Numbered(Numbered::try_new(self.numbers, nulls, texts, keyed)?));
                }
                texts
            }
            (Form::Large, _) => {
                let values = views(self.large)?;
                return Ok(Column::Numbered(Numbered::try_new(self.numbers, nulls, values, keyed)?));
            }
            (Form::Deltas, DataType::Timestamp(..)) => {
                let times = spread(self.integers, nulls.as_ref());
                Arc::new(PrimitiveArray::<TimestampNanosecondType>::try_new(times.into(), nulls)?)
            }
            (Form::Deltas, _) => {
                let integers = spread(self.integers, nulls.as_ref());
                Arc::new(PrimitiveArray::<Int64Type>::try_new(integers.into(), nulls)?)
            }
            (Form::Ids(size), _) => {
                let bytes = match &nulls {
                    Some(nulls) => spread_ids(&self.bytes, size, nulls),
                    None => self.bytes,
                };
                Arc::new(FixedSizeBinaryArray::try_new(i32::try_from(size)?, Buffer::from_vec(bytes), nulls)?)
            }
            (Form::Bits, _) => {
                let bits = spread(self.numbers, nulls.as_ref());
                Arc::new(BooleanArray::new(packed(&bits, |bit| bit != 0), nulls))
            }
        };
        Ok(Column::Array(array))
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
            Form::Large => Values::Large(bytes),
            Form::Deltas => Values::Deltas(Deltas::new(bytes)?),
            Form::Ids(size) => Values::Ids(bytes, size),
            Form::Bits => Values::Bits(bytes, 0),
        })
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        match self {
            Self::Numbers(numbers) => numbers.skip(count),
            Self::Strings(rest) | Self::Large(rest) => {
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
        let Picked { numbers, bytes, offsets, integers, large, .. } = picked;
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
            Self::Large(rest) => {
                for _ in 0..count {
                    numbers.push(i32::try_from(large.len()).ok()?);
                    large.push(string(rest)?.into());
                }
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

/// The values of a chunk's dictionary, without rows: those that are known, or decoded and then known.
fn dictionary_values(
    data_type: &DataType,
    page: Option<&Page>,
    known: Option<&OnceLock<ArrayRef>>,
) -> Decoded<ArrayRef> {
    if let Some(values) = known.and_then(OnceLock::get) {
        return Ok(Arc::clone(values));
    }
    let page = page.ok_or("a dictionary is missing")?;
    let (plain, count) = (&page.buffer()[..], page.num_values() as usize);
    let values: ArrayRef = match data_type {
        DataType::Int8 => integers::<Int8Type, 4>(plain, count, |[byte, ..]| byte.cast_signed())?,
        DataType::Int32 => integers::<Int32Type, 4>(plain, count, i32::from_le_bytes)?,
        DataType::UInt32 => integers::<UInt32Type, 4>(plain, count, u32::from_le_bytes)?,
        DataType::Int64 => integers::<Int64Type, 8>(plain, count, i64::from_le_bytes)?,
        DataType::Timestamp(..) => integers::<TimestampNanosecondType, 8>(plain, count, i64::from_le_bytes)?,
        DataType::Float64 => integers::<Float64Type, 8>(plain, count, f64::from_le_bytes)?,
        DataType::Binary => Arc::new(strings::<BinaryType>(plain, count)?),
        DataType::BinaryView => shared(page.buffer(), count)?,
        _ => Arc::new(strings::<Utf8Type>(plain, count)?),
    };
    let values = known.map_or(&values, |known| known.get_or_init(|| Arc::clone(&values)));
    Ok(Arc::clone(values))
}

/// The values of a dictionary as views of its bytes.
fn shared(plain: &Bytes, count: usize) -> Decoded<ArrayRef> {
    let buffer = Buffer::from(plain.clone());
    let (mut builder, mut rest) = (BinaryViewBuilder::with_capacity(count), &plain[..]);
    let block = builder.append_block(buffer);
    for _ in 0..count {
        let value = string(&mut rest).ok_or("a dictionary is cut off")?;
        let end = plain.len() - rest.len();
        builder.try_append_view(block, u32::try_from(end - value.len())?, u32::try_from(value.len())?)?;
    }
    if !rest.is_empty() {
        return Err("a dictionary has more than its values".into());
    }
    Ok(Arc::new(builder.finish()))
}

/// Views of values that have a buffer each.
fn views(values: Vec<Buffer>) -> Decoded<ArrayRef> {
    let mut builder = BinaryViewBuilder::with_capacity(values.len());
    for value in values {
        let length = u32::try_from(value.len())?;
        let block = builder.append_block(value);
        builder.try_append_view(block, 0, length)?;
    }
    Ok(Arc::new(builder.finish()))
}

/// Numbers of a fixed size.
fn integers<T: ArrowPrimitiveType, const BYTES: usize>(
    plain: &[u8],
    count: usize,
    value: impl Fn([u8; BYTES]) -> T::Native,
) -> Decoded<ArrayRef> {
    let (values, rest) = plain.as_chunks::<BYTES>();
    if values.len() != count || !rest.is_empty() {
        return Err("a dictionary is cut off".into());
    }
    let values: Vec<T::Native> = values.iter().map(|bytes| value(*bytes)).collect();
    Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), None)))
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
