//! Parts of a file in memory.

use std::fmt;
use std::ops::Range;

use bytes::{Buf, Bytes, buf::Reader};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// Ranges of one file, read beforehand, that the Parquet library can read from as if they were the file.
#[derive(Clone, Default)]
pub(super) struct Fetched {
    file_bytes: u64,
    /// By start; may overlap.
    parts: Vec<(u64, Bytes)>,
}

impl Fetched {
    pub(super) fn new(file_bytes: u64, mut parts: Vec<(u64, Bytes)>) -> Self {
        parts.sort_unstable_by_key(|(start, _)| *start);
        Self { file_bytes, parts }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.file_bytes = other.file_bytes;
        self.parts.extend(other.parts);
        self.parts.sort_unstable_by_key(|(start, _)| *start);
    }

    /// The bytes of a range, if one part has them all.
    pub(super) fn get(&self, range: Range<u64>) -> Option<Bytes> {
        let after = self.parts.partition_point(|(start, _)| *start <= range.start);
        let (start, bytes) = &self.parts[..after].last()?;
        let from = usize::try_from(range.start - start).ok()?;
        let length = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        let end = from.checked_add(length).filter(|&end| end <= bytes.len())?;
        Some(bytes.slice(from..end))
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts.iter().map(|(start, bytes)| *start..*start + bytes.len() as u64);
        f.debug_list().entries(parts).finish()
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.file_bytes
    }
}

impl ChunkReader for Fetched {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let after = self.parts.partition_point(|(part, _)| *part <= start);
        let found = self.parts[..after].last().and_then(|(part, bytes)| {
            let from = usize::try_from(start - part).ok().filter(|&from| from <= bytes.len())?;
            Some(bytes.slice(from..))
        });
        found.map(Buf::reader).ok_or_else(|| ParquetError::EOF(format!("nothing was read at {start}")))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let found = start.checked_add(length as u64).and_then(|end| self.get(start..end));
        found.ok_or_else(|| ParquetError::EOF(format!("{length} bytes at {start} were not read")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_is_there_and_refuses_what_is_not() {
        let part = |start: u64, bytes: &'static [u8]| (start, Bytes::from_static(bytes));
        let mut fetched = Fetched::new(100, vec![part(20, b"cd")]);
        fetched.merge(Fetched::new(100, vec![part(10, b"ab")]));
        assert_eq!(fetched.get(10..12).as_deref(), Some(&b"ab"[..]));
        assert_eq!(fetched.get(21..22).as_deref(), Some(&b"d"[..]));
        assert_eq!(fetched.get_bytes(11, 1).unwrap(), "b");
        for wrong in [9..10, 11..13, 12..13, 22..23, 11..20] {
            assert_eq!(fetched.get(wrong), None);
        }
        assert!(fetched.get_bytes(u64::MAX, 2).is_err());
        assert!(fetched.get_read(13).is_err());
    }
}
