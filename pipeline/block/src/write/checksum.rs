//! Checksums of pages, which the Parquet library checks when it reads but does not write.
//! Owns: adding the field `crc` to a page's header, in our own chunks and in those that the library encoded.
//! Does not own: what pages hold, checking (the library does it, by its feature `crc`).
//!
//! Parquet has no checksum for the footer, the indexes and the filters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, PageKey, PageStore, PageStoreArgs,
    PageStoreFactory,
};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;

use super::chunk::Chunk;

/// Field header of an `i32` whose number is one more than that of the field before.
const NEXT_I32: u8 = 0x15;
/// One in the upper half of a field header, which says by how much its number is larger than the one before.
const NUMBER_STEP: u8 = 0x10;
/// Type of a dictionary page, as the header has it.
const DICTIONARY_PAGE: u8 = 2 << 1;

/// Appends a page with its checksum; gives by how much its header grew. `header` is as the library writes it: type, size,
/// compressed size, then one message about the page.
pub(super) fn put_page(out: &mut Vec<u8>, header: &[u8], body: &[u8]) -> Result<usize, ParquetError> {
    let start = out.len();
    let mut at = 0;
    for _ in 0..3 {
        if header.get(at) != Some(&NEXT_I32) {
            return Err(unknown());
        }
        at += 1;
        while header.get(at).ok_or_else(unknown)? & 0x80 != 0 {
            at += 1;
        }
        at += 1;
    }
    let (before, after) = header.split_at(at);
    // Not the next field yet: then there would be a checksum already.
    let (&next, after) = after.split_first().filter(|(next, _)| **next >> 4 > 1).ok_or_else(unknown)?;
    out.extend_from_slice(before);
    out.push(NEXT_I32);
    put_i32(out, crc32fast::hash(body).cast_signed());
    out.push(next - NUMBER_STEP);
    out.extend_from_slice(after);
    let grown = out.len() - start - header.len();
    out.extend_from_slice(body);
    Ok(grown)
}

fn put_i32(out: &mut Vec<u8>, number: i32) {
    let mut rest = ((number << 1) ^ (number >> 31)).cast_unsigned();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn unknown() -> ParquetError {
    ParquetError::General("the header of a page is not as the Parquet library wrote them before".into())
}

/// Makes the library's encoders.
pub(super) struct Columns {
    factory: ArrowRowGroupWriterFactory,
    stores: Stores,
}

impl Columns {
    pub(super) fn new(factory: ArrowRowGroupWriterFactory) -> Self {
        let stores = Stores::default();
        Self { factory: factory.with_page_store_factory(Arc::new(stores.clone())), stores }
    }

    /// An encoder for each leaf of a row group, and what it writes into.
    pub(super) fn writers(&self, group: usize) -> Result<Vec<(ArrowColumnWriter, Store)>, ParquetError> {
        let writers = self.factory.create_column_writers(group)?.into_iter().enumerate();
        let with_store = |(leaf, writer)| Ok((writer, self.stores.take(leaf).ok_or_else(unknown)?));
        writers.map(with_store).collect()
    }
}

/// What the library's encoders wrote of each leaf column of a row group: headers and bodies of pages in turn.
#[derive(Clone, Debug, Default)]
struct Stores(Arc<Mutex<HashMap<usize, Store>>>);

/// The pages of one chunk.
#[derive(Clone, Debug, Default)]
pub(super) struct Store(Arc<Mutex<Vec<Bytes>>>);

impl PageStoreFactory for Stores {
    fn create(&self, leaf: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>, ParquetError> {
        let store = Store::default();
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stores.insert(leaf.column_index(), store.clone());
        Ok(Box::new(store))
    }
}

impl Stores {
    /// What a leaf's encoder writes into.
    fn take(&self, leaf: usize) -> Option<Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&leaf)
    }
}

impl PageStore for Store {
    fn put(&mut self, value: Bytes) -> Result<PageKey, ParquetError> {
        let mut blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.push(value);
        Ok(PageKey::new(blobs.len() as u64))
    }

    fn take(&mut self, _: PageKey) -> Result<Bytes, ParquetError> {
        Err(ParquetError::General("pages are taken all at once".into()))
    }

    fn memory_size(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Bytes::len).sum()
    }
}

impl Store {
    /// The chunk that the library closed, with checksums.
    pub(super) fn finish(self, mut closed: ArrowColumnChunk) -> Result<Chunk, ParquetError> {
        let blobs = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let is_dictionary = |page: &&[Bytes]| page[0].get(1) == Some(&DICTIONARY_PAGE);
        let (dictionaries, data): (Vec<_>, Vec<_>) = blobs.chunks_exact(2).partition(is_dictionary);
        let mut bytes = Vec::with_capacity(blobs.iter().map(Bytes::len).sum::<usize>() + 8 * blobs.len());
        let mut grown = 0;
        for page in dictionaries {
            grown += put_page(&mut bytes, &page[0], &page[1])?;
        }
        let data_at = bytes.len();
        let close = closed.close_mut();
        let (bloom_filter, column_index) = (close.bloom_filter.take(), close.column_index.take());
        let mut offset_index = close.offset_index.take();
        let mut locations = offset_index.iter_mut().flat_map(|index| &mut index.page_locations);
        for page in data {
            let start = bytes.len();
            grown += put_page(&mut bytes, &page[0], &page[1])?;
            let location = locations.next().ok_or_else(unknown)?;
            location.offset = i64::try_from(start)?;
            location.compressed_page_size = i32::try_from(bytes.len() - start)?;
        }
        let metadata = &close.metadata;
        let uncompressed = metadata.uncompressed_size() + i64::try_from(grown)?;
        let metadata = metadata
            .clone()
            .into_builder()
            .set_dictionary_page_offset((data_at > 0).then_some(0))
            .set_data_page_offset(i64::try_from(data_at)?)
            .set_total_compressed_size(i64::try_from(bytes.len())?)
            .set_total_uncompressed_size(uncompressed)
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: close.rows_written,
            metadata,
            bloom_filter,
            column_index,
            offset_index,
        };
        Ok(Chunk { bytes: bytes.into(), close })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_gets_the_field_and_keeps_the_rest() {
        // Type 2, sizes 300 and 20, then a message that is field 7.
        let header = [0x15, 4, 0x15, 0xd8, 0x04, 0x15, 40, 0x4c, 0x15, 6, 0, 0];
        let mut out = vec![9];
        assert_eq!(put_page(&mut out, &header, b"123456789").unwrap(), 6);
        // 0xcbf43926, as the check value of CRC-32 is.
        let expected =
            [9, 0x15, 4, 0x15, 0xd8, 0x04, 0x15, 40, 0x15, 0xb3, 0x9b, 0xde, 0xc0, 0x06, 0x3c, 0x15, 6, 0, 0];
        assert_eq!(out[..expected.len()], expected);
        assert_eq!(out[expected.len()..], *b"123456789");
        assert!(put_page(&mut out, &header[..5], b"").is_err());
        let with_checksum = [&header[..7], &[0x15, 2, 0x3c, 0]].concat();
        assert!(put_page(&mut out, &with_checksum, b"").is_err());
    }
}
