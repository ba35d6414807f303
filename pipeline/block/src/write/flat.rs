//! Chunks of flat columns, encoded here and not by the Parquet library: it hashes every row's string anew to find the
//! number that the column's dictionary array holds already, and compares it twice for the bounds. Here a value is looked
//! at once per page.
//! Owns: which columns are encoded here, and how. Does not own: pages and their headers (`chunk`), anything of lists.

use std::sync::Arc;

use arrow::array::{Array, AsArray, DictionaryArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Int32Type, Int64Type, UInt32Type};
use hashbrown::HashMap;
use parquet::basic::Encoding;
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterPropertiesPtr;
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{Chunk, ChunkBuilder};
use super::runs::{bit_width, put_levels, put_numbers, put_run};
use super::value::Value;

/// A chunk's dictionary may take this many bytes; beyond, the Parquet library writes the rest of the chunk plain.
pub(super) const DICTIONARY_BYTES_MAX: usize = 1 << 20;
/// Integers below this find their number without a hash: kinds, codes, counts, nested sets.
const SMALL: usize = 1 << 10;
const NONE: u32 = u32::MAX;

/// Encodes one chunk after the other and keeps its memory.
pub(super) struct FlatEncoder {
    properties: WriterPropertiesPtr,
    page_rows_max: usize,
    compressor: zstd::bulk::Compressor<'static>,
    /// Of each value that is there, its number in the chunk's dictionary.
    numbers: Vec<u32>,
    /// The page that a number was seen in last.
    seen_in: Vec<u32>,
    content: Vec<u8>,
}

/// A column to be encoded.
struct Column<'a> {
    description: ColumnDescPtr,
    nulls: Option<&'a NullBuffer>,
    rows: usize,
}

/// Some rows of a column.
struct PageRows {
    rows: usize,
    /// Which of them have a value; none if all have.
    valid: Option<BooleanBuffer>,
    values: usize,
}

impl Column<'_> {
    /// The rows of each page.
    fn pages(&self, rows_max: usize) -> impl Iterator<Item = PageRows> {
        (0..self.rows).step_by(rows_max).map(move |start| {
            let rows = rows_max.min(self.rows - start);
            let valid = self.nulls.map(|nulls| nulls.inner().slice(start, rows));
            let values = valid.as_ref().map_or(rows, BooleanBuffer::count_set_bits);
            PageRows { rows, valid, values }
        })
    }

    /// Collects what `number` says of each value that is there. Of equal neighbours, which are many, it is asked once.
    fn number<T: Copy + PartialEq>(
        &self,
        numbers: &mut Vec<u32>,
        values: &[T],
        mut number: impl FnMut(T) -> u32,
    ) {
        numbers.clear();
        numbers.reserve(self.rows);
        let mut last = None;
        let mut push = |value: T| {
            let found = match last {
                Some((same, found)) if same == value => found,
                _ => number(value),
            };
            last = Some((value, found));
            numbers.push(found);
        };
        match self.nulls {
            Some(nulls) => nulls
                .valid_slices()
                .for_each(|(start, end)| values[start..end].iter().copied().for_each(&mut push)),
            None => values.iter().copied().for_each(push),
        }
    }
}

impl PageRows {
    /// Appends the definition levels, with their length before them; nothing for a column that has no nulls by its type.
    fn put_levels(&self, column: &ColumnDescPtr, out: &mut Vec<u8>) {
        if column.max_def_level() == 0 {
            return;
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        match &self.valid {
            Some(valid) => put_levels(out, valid, self.values),
            None => put_run(out, self.rows, 1, 1),
        }
        let length = u32::try_from(out.len() - start - 4).expect("levels of a page are few bytes");
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    const fn counts(&self) -> (usize, usize) {
        (self.rows, self.rows - self.values)
    }
}

impl FlatEncoder {
    pub(super) fn new(
        properties: WriterPropertiesPtr,
        page_rows_max: usize,
        zstd_level: i32,
    ) -> Result<Self, ParquetError> {
        Ok(Self {
            properties,
            page_rows_max,
            compressor: zstd::bulk::Compressor::new(zstd_level)?,
            numbers: Vec::new(),
            seen_in: Vec::new(),
            content: Vec::new(),
        })
    }

    /// The chunk of a column; none if the Parquet library is to encode it.
    pub(super) fn encode(
        &mut self,
        description: &ColumnDescPtr,
        array: &dyn Array,
    ) -> Result<Option<Chunk>, ParquetError> {
        let path = description.path();
        let column = Column { description: Arc::clone(description), nulls: array.nulls(), rows: array.len() };
        let dictionary = self.properties.dictionary_enabled(path);
        match array.data_type() {
            DataType::Dictionary(..) if dictionary => self.strings(&column, array.as_dictionary()),
            DataType::Int32 if dictionary => self.integers::<Int32Type>(&column, array),
            DataType::UInt32 if dictionary => self.integers::<UInt32Type>(&column, array),
            DataType::Int64 if dictionary => self.integers::<Int64Type>(&column, array),
            DataType::FixedSizeBinary(8) if !dictionary => self.ids::<8>(&column, array).map(Some),
            DataType::FixedSizeBinary(16) if !dictionary => self.ids::<16>(&column, array).map(Some),
            _ => Ok(None),
        }
    }

    /// Numbers the dictionary's strings anew, in the order of their first row, leaving out those of other row groups.
    fn strings(
        &mut self,
        column: &Column<'_>,
        array: &DictionaryArray<Int32Type>,
    ) -> Result<Option<Chunk>, ParquetError> {
        let texts = array.values().as_string::<i32>();
        let keys = array.keys().values();
        let mut number_of = vec![NONE; texts.len()];
        let mut values = Vec::new();
        column.number(&mut self.numbers, keys, |key| {
            let number = &mut number_of[key as usize];
            if *number == NONE {
                *number = values.len() as u32;
                values.push(texts.value(key as usize));
            }
            *number
        });
        self.dictionary(column, &values)
    }

    fn integers<T>(&mut self, column: &Column<'_>, array: &dyn Array) -> Result<Option<Chunk>, ParquetError>
    where
        T: ArrowPrimitiveType,
        T::Native: Value + TryInto<usize>,
    {
        let integers = array.as_primitive::<T>().values();
        let mut small = [NONE; SMALL];
        let mut large = HashMap::new();
        let mut values: Vec<T::Native> = Vec::new();
        column.number(&mut self.numbers, integers, |integer| {
            let number = match integer.try_into() {
                Ok(index @ 0..SMALL) => &mut small[index],
                _ => large.entry(integer).or_insert(NONE),
            };
            if *number == NONE {
                *number = values.len() as u32;
                values.push(integer);
            }
            *number
        });
        self.dictionary(column, &values)
    }

    /// Encodes `self.numbers` and the values behind them.
    fn dictionary<V: Value>(
        &mut self,
        column: &Column<'_>,
        values: &[V],
    ) -> Result<Option<Chunk>, ParquetError> {
        let content = &mut self.content;
        content.clear();
        values.iter().for_each(|value| value.put(content));
        if content.len() > DICTIONARY_BYTES_MAX {
            return Ok(None);
        }
        let compression = self.properties.compression(column.description.path());
        let mut chunk = ChunkBuilder::new(Arc::clone(&column.description), compression, &mut self.compressor);
        chunk.dictionary(content, values.len())?;
        let width = bit_width(values.len());
        self.seen_in.clear();
        self.seen_in.resize(values.len(), NONE);
        let mut rest = &self.numbers[..];
        for (page, index) in column.pages(self.page_rows_max).zip(0_u32..) {
            let (numbers, more) = rest.split_at(page.values);
            rest = more;
            content.clear();
            page.put_levels(&column.description, content);
            content.push(width as u8);
            put_numbers(content, numbers, width);
            let bounds = bounds(numbers.iter().filter_map(|&number| {
                let seen_in = &mut self.seen_in[number as usize];
                (std::mem::replace(seen_in, index) != index).then(|| values[number as usize])
            }));
            chunk.page(content, Encoding::RLE_DICTIONARY, page.counts(), bounds)?;
        }
        let filter = self.properties.bloom_filter_properties(column.description.path());
        let filter = filter.map(|wanted| {
            let mut filter = Sbbf::new_with_ndv_fpp(wanted.ndv(), wanted.fpp())?;
            values.iter().for_each(|value| value.with_bytes(|bytes| filter.insert(bytes)));
            filter.fold_to_target_fpp(wanted.fpp());
            Ok::<_, ParquetError>(filter)
        });
        chunk.finish(filter.transpose()?).map(Some)
    }

    /// Ids as they are.
    fn ids<const N: usize>(&mut self, column: &Column<'_>, array: &dyn Array) -> Result<Chunk, ParquetError> {
        let array = array.as_fixed_size_binary();
        assert_eq!(array.value_data().len(), N * column.rows, "the values of a slice are those of its rows");
        let (ids, _) = array.value_data().as_chunks::<N>();
        let compression = self.properties.compression(column.description.path());
        let mut chunk = ChunkBuilder::new(Arc::clone(&column.description), compression, &mut self.compressor);
        let wanted = self.properties.bloom_filter_properties(column.description.path());
        let filter = wanted.map(|wanted| Sbbf::new_with_ndv_fpp(wanted.ndv(), wanted.fpp()));
        let mut filter = filter.transpose()?;
        let mut start = 0;
        for page in column.pages(self.page_rows_max) {
            let all = &ids[start..start + page.rows];
            start += page.rows;
            let content = &mut self.content;
            content.clear();
            page.put_levels(&column.description, content);
            let values = content.len();
            match &page.valid {
                Some(valid) => valid.set_indices().for_each(|row| content.extend_from_slice(&all[row])),
                None => content.extend_from_slice(all.as_flattened()),
            }
            let (ids, _) = content[values..].as_chunks::<N>();
            let bounds = bounds(ids.iter().copied());
            if let Some(filter) = &mut filter {
                // Blocks are sorted by trace: the same ids follow each other.
                ids.chunk_by(|a, b| a == b).for_each(|same| filter.insert(&same[0][..]));
            }
            chunk.page(content, Encoding::PLAIN, page.counts(), bounds)?;
        }
        if let (Some(filter), Some(wanted)) = (&mut filter, wanted) {
            filter.fold_to_target_fpp(wanted.fpp());
        }
        chunk.finish(filter)
    }
}

fn bounds<V: Value>(mut values: impl Iterator<Item = V>) -> Option<(V, V)> {
    let first = values.next()?;
    Some(values.fold((first, first), |(min, max), value| (min.min(value), max.max(value))))
}
