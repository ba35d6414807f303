//! Chunks of leaf columns, encoded here and not by the Parquet library: it hashes every row's string anew to find the
//! number that the column's dictionary array holds already, and compares it twice for the bounds. Here a value is looked
//! at once per page.
//! Owns: which leaves are encoded here, and how their values are.
//! Does not own: pages and their headers (`chunk`), which rows have a value (`flat`, `lists`).

use std::sync::Arc;

use arrow::array::{Array, AsArray, BinaryViewArray, DictionaryArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float64Type, Int8Type, Int32Type, Int64Type, TimestampNanosecondType,
    UInt32Type,
};
use hashbrown::HashMap;
use parquet::basic::Encoding;
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterPropertiesPtr;
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{Chunk, ChunkBuilder, PageLevels};
use super::runs::{bit_width, put_numbers};
use super::value::{Double, Value};
use crate::numbered::Numbered;

/// A chunk's dictionary may take this many bytes; beyond, the Parquet library writes the rest of the chunk plain.
pub(super) const DICTIONARY_BYTES_MAX: usize = 1 << 20;
/// The same for a dictionary of shared values: what one page may have, by far.
const SHARED_BYTES_MAX: usize = 1 << 30;
/// Integers below this find their number without a hash: kinds, codes, counts, nested sets.
const SMALL: usize = 1 << 10;
const NONE: u32 = u32::MAX;

/// Encodes one chunk after the other and keeps its memory.
pub(super) struct Encoder {
    properties: WriterPropertiesPtr,
    page_rows_max: usize,
    compressor: zstd::bulk::Compressor<'static>,
    /// Of each value that is there, its number in the chunk's dictionary.
    numbers: Vec<u32>,
    /// The page that a number was seen in last.
    seen_in: Vec<u32>,
    content: Vec<u8>,
}

/// Where the values of a leaf are.
pub(super) trait Cells {
    /// Gives the place in the array of each value that is there, in order.
    fn each(&self, place: impl FnMut(usize));

    /// The pages.
    fn pages(&self) -> impl Iterator<Item = impl PageLevels>;
}

/// Numbers values anew, in the order of their first row, leaving out those of other row groups.
struct Used {
    /// Of each value its new number.
    numbers: Vec<u32>,
    /// Of each new number where its value is.
    places: Vec<usize>,
}

impl Used {
    fn of(values: &dyn Array) -> Self {
        Self { numbers: vec![NONE; values.len()], places: Vec::new() }
    }

    #[inline]
    fn number(&mut self, place: i32) -> u32 {
        let number = &mut self.numbers[place as usize];
        if *number == NONE {
            *number = self.places.len() as u32;
            self.places.push(place as usize);
        }
        *number
    }
}

impl Encoder {
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

    /// Rows of a page.
    pub(super) const fn page_rows_max(&self) -> usize {
        self.page_rows_max
    }

    /// The chunk of a leaf; none if the Parquet library is to encode it.
    pub(super) fn encode(
        &mut self,
        leaf: &ColumnDescPtr,
        array: &dyn Array,
        cells: &impl Cells,
    ) -> Result<Option<Chunk>, ParquetError> {
        let dictionary = self.properties.dictionary_enabled(leaf.path());
        match array.data_type() {
            DataType::Boolean => {
                let bits = array.as_boolean();
                self.bits(leaf, |place| bits.value(place), cells).map(Some)
            }
            DataType::FixedSizeBinary(8) if !dictionary => self.ids::<8>(leaf, array, cells).map(Some),
            DataType::FixedSizeBinary(16) if !dictionary => self.ids::<16>(leaf, array, cells).map(Some),
            _ if !dictionary => Ok(None),
            DataType::Dictionary(..) => self.strings(leaf, array.as_dictionary(), cells),
            DataType::Utf8 => {
                let texts = array.as_string::<i32>();
                self.hashed(leaf, |place| texts.value(place), cells)
            }
            DataType::Binary => {
                let bytes = array.as_binary::<i32>();
                self.hashed(leaf, |place| bytes.value(place), cells)
            }
            DataType::BinaryView => self.shared(leaf, array.as_binary_view(), cells),
            DataType::Float64 => {
                let doubles = array.as_primitive::<Float64Type>().values();
                // Bounds leave them out, and a page of nothing else has none.
                if doubles.iter().any(|double| double.is_nan()) {
                    return Ok(None);
                }
                self.hashed(leaf, |place| Double(doubles[place]), cells)
            }
            DataType::Int8 => {
                let integers = array.as_primitive::<Int8Type>().values();
                self.hashed(leaf, |place| i32::from(integers[place]), cells)
            }
            DataType::Int32 => self.integers::<Int32Type>(leaf, array, cells),
            DataType::UInt32 => self.integers::<UInt32Type>(leaf, array, cells),
            DataType::Int64 => self.integers::<Int64Type>(leaf, array, cells),
            DataType::Timestamp(..) => self.integers::<TimestampNanosecondType>(leaf, array, cells),
            _ => Ok(None),
        }
    }

    /// Collects what `number` says of each value that is there. Of equal neighbours, which are many, it is asked once.
    fn number<T: Copy + PartialEq>(
        &mut self,
        cells: &impl Cells,
        value: impl Fn(usize) -> T,
        mut number: impl FnMut(T) -> u32,
    ) {
        self.numbers.clear();
        let mut last = None;
        cells.each(|place| {
            let value = value(place);
            let found = match last {
                Some((same, found)) if same == value => found,
                _ => number(value),
            };
            last = Some((value, found));
            self.numbers.push(found);
        });
    }

    /// A dictionary's strings.
    fn strings(
        &mut self,
        leaf: &ColumnDescPtr,
        array: &DictionaryArray<Int32Type>,
        cells: &impl Cells,
    ) -> Result<Option<Chunk>, ParquetError> {
        let (keys, mut used) = (array.keys().values(), Used::of(array.values()));
        self.numbers.clear();
        cells.each(|place| self.numbers.push(used.number(keys[place])));
        self.values_of(leaf, cells, array.values(), &used.places)
    }

    /// The chunk of a column that is known by numbers; none if the Parquet library is to encode it.
    pub(super) fn numbered(
        &mut self,
        leaf: &ColumnDescPtr,
        column: &Numbered,
        cells: &impl Cells,
    ) -> Result<Option<Chunk>, ParquetError> {
        if !self.properties.dictionary_enabled(leaf.path()) {
            return Ok(None);
        }
        let mut used = Used::of(column.values());
        self.numbers.clear();
        self.numbers.extend(column.numbers().iter().map(|number| used.number(*number)));
        self.values_of(leaf, cells, column.values(), &used.places)
    }

    /// Encodes `self.numbers` and the values of the array that they stand for.
    fn values_of(
        &mut self,
        leaf: &ColumnDescPtr,
        cells: &impl Cells,
        array: &dyn Array,
        places: &[usize],
    ) -> Result<Option<Chunk>, ParquetError> {
        fn pick<T: ArrowPrimitiveType>(array: &dyn Array, places: &[usize]) -> Vec<T::Native> {
            let values = array.as_primitive::<T>().values();
            places.iter().map(|place| values[*place]).collect()
        }
        match array.data_type() {
            DataType::Utf8 => {
                let texts = array.as_string::<i32>();
                let values: Vec<&str> = places.iter().map(|place| texts.value(*place)).collect();
                self.dictionary(leaf, cells, &values)
            }
            DataType::Int32 => self.dictionary(leaf, cells, &pick::<Int32Type>(array, places)),
            DataType::UInt32 => self.dictionary(leaf, cells, &pick::<UInt32Type>(array, places)),
            DataType::Int64 => self.dictionary(leaf, cells, &pick::<Int64Type>(array, places)),
            DataType::Float64 => {
                let doubles = pick::<Float64Type>(array, places);
                if doubles.iter().any(|double| double.is_nan()) {
                    return Ok(None);
                }
                let values: Vec<Double> = doubles.into_iter().map(Double).collect();
                self.dictionary(leaf, cells, &values)
            }
            _ => Ok(None),
        }
    }

    fn integers<T>(
        &mut self,
        leaf: &ColumnDescPtr,
        array: &dyn Array,
        cells: &impl Cells,
    ) -> Result<Option<Chunk>, ParquetError>
    where
        T: ArrowPrimitiveType,
        T::Native: Value + TryInto<usize>,
    {
        let integers = array.as_primitive::<T>().values();
        let mut small = [NONE; SMALL];
        let mut large = HashMap::new();
        let mut values: Vec<T::Native> = Vec::new();
        let number = |integer: T::Native| {
            let number = match integer.try_into() {
                Ok(index @ 0..SMALL) => &mut small[index],
                _ => large.entry(integer).or_insert(NONE),
            };
            if *number == NONE {
                *number = values.len() as u32;
                values.push(integer);
            }
            *number
        };
        self.number(cells, |place| integers[place], number);
        self.dictionary(leaf, cells, &values)
    }

    /// Values of which few are there.
    fn hashed<V: Value>(
        &mut self,
        leaf: &ColumnDescPtr,
        value: impl Fn(usize) -> V,
        cells: &impl Cells,
    ) -> Result<Option<Chunk>, ParquetError> {
        let mut number_of = HashMap::new();
        let mut values = Vec::new();
        let number = |value: V| {
            *number_of.entry(value).or_insert_with(|| {
                values.push(value);
                values.len() as u32 - 1
            })
        };
        self.number(cells, value, number);
        self.dictionary(leaf, cells, &values)
    }

    /// Views of large values. Those that many rows share stand in the dictionary once, whatever their size; others are
    /// left to the Parquet library, whose pages end by bytes.
    fn shared(
        &mut self,
        leaf: &ColumnDescPtr,
        array: &BinaryViewArray,
        cells: &impl Cells,
    ) -> Result<Option<Chunk>, ParquetError> {
        let (mut by_view, mut by_content) = (HashMap::new(), HashMap::new());
        let mut values: Vec<&[u8]> = Vec::new();
        let (mut all, mut distinct) = (0, 0);
        self.numbers.clear();
        cells.each(|place| {
            let view = array.views()[place];
            let number = *by_view.entry(view).or_insert_with(|| {
                let value = array.value(place);
                *by_content.entry(value).or_insert_with(|| {
                    distinct += value.len();
                    values.push(value);
                    values.len() as u32 - 1
                })
            });
            all += values[number as usize].len();
            self.numbers.push(number);
        });
        if all < 2 * distinct {
            return self.dictionary(leaf, cells, &values);
        }
        self.dictionary_within(leaf, cells, &values, SHARED_BYTES_MAX)
    }

    /// Encodes `self.numbers` and the values behind them.
    fn dictionary<V: Value>(
        &mut self,
        leaf: &ColumnDescPtr,
        cells: &impl Cells,
        values: &[V],
    ) -> Result<Option<Chunk>, ParquetError> {
        self.dictionary_within(leaf, cells, values, DICTIONARY_BYTES_MAX)
    }

    fn dictionary_within<V: Value>(
        &mut self,
        leaf: &ColumnDescPtr,
        cells: &impl Cells,
        values: &[V],
        bytes_max: usize,
    ) -> Result<Option<Chunk>, ParquetError> {
        let content = &mut self.content;
        content.clear();
        for value in values {
            value.put(content);
            if content.len() > bytes_max {
                return Ok(None);
            }
        }
        let compression = self.properties.compression(leaf.path());
        let mut chunk = ChunkBuilder::new(Arc::clone(leaf), compression, &mut self.compressor);
        chunk.dictionary(content, values.len())?;
        let width = bit_width(values.len());
        self.seen_in.clear();
        self.seen_in.resize(values.len(), NONE);
        let mut rest = &self.numbers[..];
        for (page, index) in cells.pages().zip(0_u32..) {
            let (numbers, more) = rest.split_at(page.counts().values);
            rest = more;
            content.clear();
            page.put(content);
            content.push(width as u8);
            put_numbers(content, numbers, width);
            chunk.unencoded(numbers.iter().map(|number| values[*number as usize]));
            let bounds = bounds(numbers.iter().filter_map(|&number| {
                let seen_in = &mut self.seen_in[number as usize];
                (std::mem::replace(seen_in, index) != index).then(|| values[number as usize])
            }));
            chunk.page(content, Encoding::RLE_DICTIONARY, &page, bounds)?;
        }
        let filter = self.properties.bloom_filter_properties(leaf.path());
        let filter = filter.map(|wanted| {
            let mut filter = Sbbf::new_with_ndv_fpp(wanted.ndv(), wanted.fpp())?;
            values.iter().for_each(|value| value.with_bytes(|bytes| filter.insert(bytes)));
            filter.fold_to_target_fpp(wanted.fpp());
            Ok::<_, ParquetError>(filter)
        });
        chunk.finish(filter.transpose()?).map(Some)
    }

    /// Ids as they are.
    fn ids<const N: usize>(
        &mut self,
        leaf: &ColumnDescPtr,
        array: &dyn Array,
        cells: &impl Cells,
    ) -> Result<Chunk, ParquetError> {
        let array = array.as_fixed_size_binary();
        assert_eq!(array.value_data().len(), N * array.len(), "the values of a slice are those of its rows");
        let (all, _) = array.value_data().as_chunks::<N>();
        let mut ids = Vec::with_capacity(all.len());
        cells.each(|place| ids.push(all[place]));
        let wanted = self.properties.bloom_filter_properties(leaf.path());
        let filter = wanted.map(|wanted| {
            let mut filter = Sbbf::new_with_ndv_fpp(wanted.ndv(), wanted.fpp())?;
            // Blocks are sorted by trace: the same ids follow each other.
            ids.chunk_by(|a, b| a == b).for_each(|same| filter.insert(&same[0][..]));
            filter.fold_to_target_fpp(wanted.fpp());
            Ok::<_, ParquetError>(filter)
        });
        let put = |ids: &[[u8; N]], out: &mut Vec<u8>| out.extend_from_slice(ids.as_flattened());
        self.plain(leaf, cells, &ids, put, filter.transpose()?)
    }

    /// Booleans, a bit each.
    fn bits(
        &mut self,
        leaf: &ColumnDescPtr,
        value: impl Fn(usize) -> bool,
        cells: &impl Cells,
    ) -> Result<Chunk, ParquetError> {
        let mut bits = Vec::new();
        cells.each(|place| bits.push(value(place)));
        let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        let put = |bits: &[bool], out: &mut Vec<u8>| out.extend(bits.chunks(8).map(byte));
        self.plain(leaf, cells, &bits, put, None)
    }

    /// Values as they are: `put` appends those of a page.
    fn plain<V: Value>(
        &mut self,
        leaf: &ColumnDescPtr,
        cells: &impl Cells,
        values: &[V],
        put: impl Fn(&[V], &mut Vec<u8>),
        filter: Option<Sbbf>,
    ) -> Result<Chunk, ParquetError> {
        let compression = self.properties.compression(leaf.path());
        let mut chunk = ChunkBuilder::new(Arc::clone(leaf), compression, &mut self.compressor);
        let mut rest = values;
        for page in cells.pages() {
            let (values, more) = rest.split_at(page.counts().values);
            rest = more;
            self.content.clear();
            page.put(&mut self.content);
            put(values, &mut self.content);
            chunk.page(&self.content, Encoding::PLAIN, &page, bounds(values.iter().copied()))?;
        }
        chunk.finish(filter)
    }
}

fn bounds<V: Value>(mut values: impl Iterator<Item = V>) -> Option<(V, V)> {
    let first = values.next()?;
    Some(values.fold((first, first), |(min, max), value| (min.min(value), max.max(value))))
}
