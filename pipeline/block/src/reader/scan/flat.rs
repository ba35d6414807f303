//! Chunks of flat columns whose pages hold numbers of dictionary values, or strings one after the other: most of a block.
//! The Parquet library decodes every row before it drops those that nobody asked for, and columns are many.
//! Owns: which chunks are decoded here, and how. Does not own: reading pages, all other encodings.
//! Guarantee: damaged pages give an error, never other rows.

use std::error::Error;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBufferBuilder, DictionaryArray, Int32Array, PrimitiveArray, StringArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float64Type, Int32Type, Int64Type, UInt32Type};
use parquet::basic::{Encoding, Type};
use parquet::column::page::Page;
use parquet::file::metadata::ColumnChunkMetaData;

use super::facts::strings;
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
}

/// The rows picked so far.
#[derive(Debug)]
struct Picked {
    /// Of each row the number of its value in the dictionary, or among `offsets`; any for a row without a value.
    numbers: Vec<i32>,
    /// Which rows have a value; none if all columns of the kind have one in each row.
    valid: Option<BooleanBufferBuilder>,
    /// The strings, where there is no dictionary.
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

/// Values of a page, in order.
enum Values<'a> {
    Numbers(Hybrid<'a>),
    Strings(&'a [u8]),
}

/// The column in the rows asked for, of which there are `count`; none if the Parquet library is to decode it.
pub(super) fn column(
    meta: &ColumnChunkMetaData,
    data_type: &DataType,
    chunk: Chunk<'_>,
    count: usize,
) -> Decoded<Option<ArrayRef>> {
    let description = meta.column_descr();
    let max_def = description.max_def_level();
    if description.max_rep_level() > 0 || max_def > 1 {
        return Ok(None);
    }
    let Some(form) = form(meta.column_type(), data_type, chunk) else { return Ok(None) };
    let valid = (max_def > 0).then(|| BooleanBufferBuilder::new(count));
    let mut picked =
        Picked { numbers: Vec::with_capacity(count), valid, bytes: Vec::new(), offsets: vec![0] };
    for (rows, page) in chunk.pages().filter(|(rows, _)| rows.count > 0) {
        picked.page(page, form, rows).ok_or("a page is cut off")?;
    }
    if picked.numbers.len() != count {
        return Err("fewer rows than asked for".into());
    }
    picked.into_array(data_type, chunk.dictionary).map(Some)
}

fn form(physical: Type, data_type: &DataType, chunk: Chunk<'_>) -> Option<Form> {
    let own = match (physical, data_type) {
        (Type::BYTE_ARRAY, found) => *found == crate::schema::dictionary(),
        (Type::INT32, DataType::Int32 | DataType::UInt32)
        | (Type::INT64, DataType::Int64)
        | (Type::DOUBLE, DataType::Float64) => true,
        _ => false,
    };
    let of = |page: &Page| match page {
        Page::DataPage { encoding: Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY, .. } => {
            Some(Form::Numbers)
        }
        Page::DataPage { encoding: Encoding::PLAIN, .. } if physical == Type::BYTE_ARRAY => {
            Some(Form::Strings)
        }
        _ => None,
    };
    let mut forms = chunk.pages().map(|(_, page)| of(page));
    let first = forms.next().flatten().filter(|_| own)?;
    forms.all(|form| form == Some(first)).then_some(first)
}

impl Picked {
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
        };
        if rows.is_scattered() {
            let levels = levels.map(|mut levels| levels.bits(rows.bits.len()));
            let there = levels.unwrap_or_else(|| Some(BooleanBuffer::new_set(rows.bits.len())))?;
            return self.scattered(&rows.bits, &there, values);
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
                    values.take(count, &mut self.numbers, &mut self.bytes, &mut self.offsets)
                } else {
                    self.numbers.resize(self.numbers.len() + count, 0);
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
                    self.numbers.push(0);
                    continue;
                }
                let place = before + (there & (bit - 1)).count_ones() as usize;
                values.skip(place - passed)?;
                values.take(1, &mut self.numbers, &mut self.bytes, &mut self.offsets)?;
                passed = place + 1;
            }
            before += there.count_ones() as usize;
        }
        Some(())
    }

    fn into_array(self, data_type: &DataType, dictionary: Option<&Page>) -> Decoded<ArrayRef> {
        let nulls = self.valid.map(|mut valid| NullBuffer::new(valid.finish()));
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let missing = || "a dictionary is missing";
        let plain = dictionary.map(|page| (&page.buffer()[..], page.num_values() as usize));
        match data_type {
            DataType::Int32 => {
                gather::<Int32Type, 4>(&self.numbers, plain.ok_or_else(missing)?, nulls, i32::from_le_bytes)
            }
            DataType::UInt32 => {
                gather::<UInt32Type, 4>(&self.numbers, plain.ok_or_else(missing)?, nulls, u32::from_le_bytes)
            }
            DataType::Int64 => {
                gather::<Int64Type, 8>(&self.numbers, plain.ok_or_else(missing)?, nulls, i64::from_le_bytes)
            }
            DataType::Float64 => {
                gather::<Float64Type, 8>(&self.numbers, plain.ok_or_else(missing)?, nulls, f64::from_le_bytes)
            }
            _ => {
                let texts = match plain {
                    Some((bytes, count)) if self.offsets.len() == 1 => strings(bytes, count)?,
                    _ => {
                        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
                        StringArray::try_new(offsets, Buffer::from_vec(self.bytes), None)?
                    }
                };
                let keys = Int32Array::try_new(self.numbers.into(), nulls)?;
                Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(texts))?))
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
        }
    }

    fn take(
        &mut self,
        count: usize,
        numbers: &mut Vec<i32>,
        bytes: &mut Vec<u8>,
        offsets: &mut Vec<i32>,
    ) -> Option<()> {
        match self {
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
