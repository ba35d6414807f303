//! Pages as they were before compression.
//! The Parquet library makes a compressor and a decompressor for each column, which for a lookup, a page of each of a
//! hundred columns, costs as much as all the rest. So pages are taken from it as they are stored.

use std::fmt;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::page::Page;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

/// Bytes of a page at most: the format keeps its size in 31 bits.
const PAGE_BYTES_MAX: u64 = i32::MAX as u64;

/// Decompresses pages of many columns, one after the other.
#[derive(Default)]
pub(super) struct Inflate {
    zstd: Option<Decompressor<'static>>,
}

impl Inflate {
    /// The column as one that is not compressed, if it is here that its pages will be decompressed.
    pub(super) fn stored(column: &ColumnChunkMetaData) -> Result<Option<ColumnChunkMetaData>> {
        if !matches!(column.compression(), Compression::ZSTD(_)) {
            return Ok(None);
        }
        let stored = column.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        Ok(Some(stored))
    }

    /// The page of a stored column, decompressed.
    pub(super) fn page(&mut self, mut page: Page) -> Result<Page> {
        let levels = match &page {
            Page::DataPageV2 { is_compressed: false, .. } => return Ok(page),
            Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
                *def_levels_byte_len as usize + *rep_levels_byte_len as usize
            }
            Page::DataPage { .. } | Page::DictionaryPage { .. } => 0,
        };
        let (Page::DataPage { buf, .. } | Page::DataPageV2 { buf, .. } | Page::DictionaryPage { buf, .. }) =
            &mut page;
        let (levels, values) = buf.split_at_checked(levels).ok_or_else(|| wrong("levels are cut off"))?;
        *buf = self.bytes(levels, values)?;
        Ok(page)
    }

    fn bytes(&mut self, levels: &[u8], values: &[u8]) -> Result<Bytes> {
        if values.is_empty() {
            return Ok(Bytes::copy_from_slice(levels));
        }
        let size = get_frame_content_size(values).ok().flatten();
        let size = size.filter(|&size| size <= PAGE_BYTES_MAX);
        let size = size.ok_or_else(|| wrong("the size of a page is unknown"))? as usize;
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(Decompressor::new()?),
        };
        if levels.is_empty() {
            return Ok(zstd.decompress(values, size)?.into());
        }
        Ok([levels, &zstd.decompress(values, size)?].concat().into())
    }
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflate").finish_non_exhaustive()
    }
}

fn wrong(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}
