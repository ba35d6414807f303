//! What small parts of a column chunk tell about all of its values: its dictionary, its bloom filter.
//! Owns: where they are, when they tell anything, decoding and remembering them.
//! Does not own: what follows from them.

use std::collections::HashMap;
use std::error::Error;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, GenericByteArray, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::ByteArrayType;
use parquet::basic::{Encoding, Type};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::Block;
use crate::BlockError;
use crate::reader::fetched::Fetched;
use crate::reader::inflate::Inflate;

type Decoded<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Which fact, of which column chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::reader) struct FactKey {
    pub(super) group: usize,
    pub(super) leaf: usize,
    pub(super) kind: FactKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::reader) enum FactKind {
    Bloom,
    Dictionary,
}

/// What is known of a chunk's values.
#[derive(Debug)]
pub(in crate::reader) enum Fact {
    /// Says no of strings that are not among them.
    Bloom(Sbbf),
    /// All of them, and maybe more.
    Dictionary(StringArray),
}

/// Facts by what they are about.
pub(super) type Facts = HashMap<FactKey, Arc<Fact>>;

impl Fact {
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Bloom(bloom) => bloom.num_blocks() * 32,
            Self::Dictionary(values) => values.get_array_memory_size(),
        }
    }

    /// Whether the string may be among the values.
    pub(super) fn may_have(&self, text: &str) -> bool {
        match self {
            Self::Bloom(bloom) => bloom.check(text.as_bytes()),
            Self::Dictionary(values) => values.iter().flatten().any(|value| value == text),
        }
    }
}

impl Block {
    /// The dictionary of a chunk of strings, if it holds all of the chunk's values.
    pub(super) fn dictionary(&self, group: usize, leaf: usize) -> Option<FactKey> {
        let chunk = self.chunk(group, leaf);
        let whole = chunk.page_encoding_stats_mask().is_some_and(|mask| {
            mask.is_only(Encoding::RLE_DICTIONARY) || mask.is_only(Encoding::PLAIN_DICTIONARY)
        });
        let there = !self.index.leaves(group)[leaf].dictionary.is_empty();
        let found = whole && there && chunk.column_type() == Type::BYTE_ARRAY;
        found.then_some(FactKey { group, leaf, kind: FactKind::Dictionary })
    }

    /// The bloom filter of a chunk of strings, if it has one.
    pub(super) fn bloom(&self, group: usize, leaf: usize) -> Option<FactKey> {
        let chunk = self.chunk(group, leaf);
        let found = bloom_range(chunk).is_some() && chunk.column_type() == Type::BYTE_ARRAY;
        found.then_some(FactKey { group, leaf, kind: FactKind::Bloom })
    }

    fn chunk(&self, group: usize, leaf: usize) -> &ColumnChunkMetaData {
        self.index.metadata.row_group(group).column(leaf)
    }

    /// Those of the facts that are in memory, and the file's parts that the others are decoded from.
    pub(super) async fn recall(
        &self,
        keys: &[FactKey],
    ) -> Result<(Facts, Vec<FactKey>, Fetched), BlockError> {
        let (mut known, mut missing, mut ranges) = (Facts::new(), Vec::new(), Vec::new());
        for &key in keys {
            if known.contains_key(&key) || missing.contains(&key) {
                continue;
            }
            if let Some(fact) = self.cache.fact(&self.path, key).await {
                known.insert(key, fact);
                continue;
            }
            missing.push(key);
            ranges.extend(match key.kind {
                FactKind::Bloom => bloom_range(self.chunk(key.group, key.leaf)),
                FactKind::Dictionary => Some(self.index.leaves(key.group)[key.leaf].dictionary.clone()),
            });
        }
        let fetched =
            if ranges.is_empty() { Fetched::default() } else { self.source().ranges(ranges).await? };
        Ok((known, missing, fetched))
    }

    /// Decodes a fact.
    pub(super) fn fact(&self, key: FactKey, fetched: &Arc<Fetched>) -> Decoded<Fact> {
        let chunk = self.chunk(key.group, key.leaf);
        match key.kind {
            FactKind::Bloom => {
                let bytes = bloom_range(chunk).and_then(|range| fetched.get(range));
                let bloom = Sbbf::from_bytes(&bytes.ok_or("its filter was not read")?)?;
                if bloom.num_blocks() == 0 {
                    return Err("its filter is empty".into());
                }
                Ok(Fact::Bloom(bloom))
            }
            FactKind::Dictionary => {
                let stored = Inflate::stored(chunk)?;
                let locations = self.index.leaves(key.group)[key.leaf].locations.clone();
                let meta = stored.as_ref().unwrap_or(chunk);
                let rows = self.rows(key.group);
                let mut reader = SerializedPageReader::new(Arc::clone(fetched), meta, rows, Some(locations))?;
                let page = reader.get_next_page()?.ok_or("a dictionary is missing")?;
                let page = if stored.is_some() { Inflate::default().page(page)? } else { page };
                let Page::DictionaryPage { buf, num_values, .. } = page else {
                    return Err("a dictionary is missing".into());
                };
                Ok(Fact::Dictionary(strings(&buf, num_values as usize)?))
            }
        }
    }

    /// Keeps facts for later.
    pub(super) async fn remember(&self, facts: Facts) {
        for (key, fact) in facts {
            self.cache.learn(&self.path, key, fact).await;
        }
    }
}

fn bloom_range(chunk: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let start = u64::try_from(chunk.bloom_filter_offset()?).ok()?;
    let length = u64::try_from(chunk.bloom_filter_length()?).ok()?;
    Some(start..start.checked_add(length)?)
}

/// Strings, or bytes, that each follow their length.
pub(super) fn strings<T: ByteArrayType<Offset = i32>>(
    bytes: &[u8],
    count: usize,
) -> Decoded<GenericByteArray<T>> {
    let text_bytes = count.checked_mul(4).and_then(|lengths| bytes.len().checked_sub(lengths));
    let text_bytes = text_bytes.ok_or("a dictionary is cut off")?;
    let (mut texts, mut offsets) = (Vec::with_capacity(text_bytes), Vec::with_capacity(count + 1));
    offsets.push(0_i32);
    let mut rest = bytes;
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>().ok_or("a dictionary is cut off")?;
        let length = u32::from_le_bytes(*length) as usize;
        let (text, after) = after.split_at_checked(length).ok_or("a dictionary is cut off")?;
        texts.extend_from_slice(text);
        offsets.push(i32::try_from(texts.len())?);
        rest = after;
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Ok(GenericByteArray::try_new(offsets, Buffer::from_vec(texts), None)?)
}
