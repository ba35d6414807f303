//! Attributes that have no column of their own: overflow, and those of events and links.
//! Owns: their storage while a block is open, and their form in Arrow (see `schema::attribute_fields`).

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BinaryViewBuilder, BooleanBuilder, Float64Builder, Int8Builder, Int64Builder,
    StringBuilder, StructArray,
};
use arrow::buffer::Buffer;
use hashbrown::HashMap;

use super::interner::Interner;
use super::value::{AnyValue, DecodeError};
use crate::schema::{FOLDED_KEY, LARGE_VALUE_BYTES, attribute_fields, value_type};

/// A piece of [`Items::bytes`] from `start` on, or, if it is longer than [`LARGE_VALUE_BYTES`], the buffer of that number in
/// [`Items::large`].
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u32,
    len: u32,
}

impl Piece {
    const fn is_large(self) -> bool {
        self.len as usize > LARGE_VALUE_BYTES
    }
}

#[derive(Clone, Copy, Debug)]
enum ItemValue {
    Empty,
    Bool(bool),
    Int(i64),
    Double(f64),
    String(Piece),
    Array(Piece),
    KvList(Piece),
    Bytes(Piece),
}

#[derive(Clone, Copy, Debug)]
struct Item {
    key: u32,
    value: ItemValue,
}

/// A growing list of attributes; who holds it knows which of them belong to what.
#[derive(Debug, Default)]
pub(crate) struct Items {
    list: Vec<Item>,
    keys: Interner,
    bytes: Vec<u8>,
    /// Large values, which columns share.
    large: Vec<Buffer>,
    large_bytes: usize,
}

impl Items {
    pub(crate) fn push(&mut self, key: &[u8], value: AnyValue<'_>) -> Result<(), DecodeError> {
        value.check_nested()?;
        let key = self.keys.intern(key)?;
        let value = match value {
            AnyValue::Empty => ItemValue::Empty,
            AnyValue::Bool(value) => ItemValue::Bool(value),
            AnyValue::Int(value) => ItemValue::Int(value),
            AnyValue::Double(value) => ItemValue::Double(value),
            AnyValue::String(bytes) => ItemValue::String(self.keep(bytes)),
            AnyValue::Array(bytes) => ItemValue::Array(self.keep(bytes)),
            AnyValue::KvList(bytes) => ItemValue::KvList(self.keep(bytes)),
            AnyValue::Bytes(bytes) => ItemValue::Bytes(self.keep(bytes)),
        };
        self.list.push(Item { key, value });
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Piece {
        if bytes.len() > LARGE_VALUE_BYTES {
            self.large.push(bytes.into());
            self.large_bytes += bytes.len();
            return Piece { start: self.large.len() as u32 - 1, len: bytes.len() as u32 };
        }
        let start = u32::try_from(self.bytes.len()).expect("a block is sealed long before 4 GiB");
        self.bytes.extend_from_slice(bytes);
        Piece { start, len: bytes.len() as u32 }
    }

    fn piece(&self, piece: Piece) -> &[u8] {
        if piece.is_large() {
            return &self.large[piece.start as usize];
        }
        &self.bytes[piece.start as usize..][..piece.len as usize]
    }

    pub(crate) const fn len(&self) -> usize {
        self.list.len()
    }

    /// Forgets all but the first `len` (a span that turned out to be invalid).
    pub(crate) fn truncate(&mut self, len: usize) {
        self.list.truncate(len);
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.list.capacity() * size_of::<Item>()
            + self.bytes.capacity()
            + self.keys.memory_bytes()
            + self.large.capacity() * size_of::<Buffer>()
            + self.large_bytes
    }

    /// The items of those numbers, in that order, as a struct array.
    pub(crate) fn to_array(&self, numbers: impl Iterator<Item = u32>) -> ArrayRef {
        let mut out = ItemBuilder::default();
        for number in numbers {
            self.append_to(&mut out, number);
        }
        out.finish()
    }

    /// Appends the item of that number.
    pub(crate) fn append_to(&self, out: &mut ItemBuilder, number: u32) {
        let (key, value) = self.get(number);
        out.append(key, value, self.large(number));
    }

    /// Bytes of an item in a column, a large value included.
    pub(crate) fn column_bytes(&self, number: u32) -> usize {
        let (key, value) = self.get(number);
        item_bytes(key, &value) + self.large(number).map_or(0, |large| large.len())
    }

    /// Bytes of a large value.
    fn large(&self, number: u32) -> Option<&Buffer> {
        match self.list[number as usize].value {
            ItemValue::String(piece)
            | ItemValue::Array(piece)
            | ItemValue::KvList(piece)
            | ItemValue::Bytes(piece) => piece.is_large().then(|| &self.large[piece.start as usize]),
            ItemValue::Empty | ItemValue::Bool(_) | ItemValue::Int(_) | ItemValue::Double(_) => None,
        }
    }

    /// All keys there are, by their numbers.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        (0..self.keys.len()).map(|number| self.keys.get(number as u32))
    }

    /// Number of an item's key.
    pub(crate) fn key_of(&self, number: usize) -> usize {
        self.list[number].key as usize
    }

    /// Key and value of an item.
    pub(crate) fn get(&self, number: u32) -> (&str, AnyValue<'_>) {
        let item = self.list[number as usize];
        let value = match item.value {
            ItemValue::Empty => AnyValue::Empty,
            ItemValue::Bool(value) => AnyValue::Bool(value),
            ItemValue::Int(value) => AnyValue::Int(value),
            ItemValue::Double(value) => AnyValue::Double(value),
            ItemValue::String(piece) => AnyValue::String(self.piece(piece)),
            ItemValue::Array(piece) => AnyValue::Array(self.piece(piece)),
            ItemValue::KvList(piece) => AnyValue::KvList(self.piece(piece)),
            ItemValue::Bytes(piece) => AnyValue::Bytes(self.piece(piece)),
        };
        (self.keys.get(item.key), value)
    }
}

/// Bytes of an item's members of fixed size, about.
const FIXED_BYTES: usize = 64;

/// Bytes that an attribute takes in a column, but for those of a large value, which rows share.
pub(crate) fn item_bytes(key: &str, value: &AnyValue<'_>) -> usize {
    let bytes = match value {
        AnyValue::String(bytes)
        | AnyValue::Array(bytes)
        | AnyValue::KvList(bytes)
        | AnyValue::Bytes(bytes) => Some(bytes.len()).filter(|len| *len <= LARGE_VALUE_BYTES),
        AnyValue::Empty | AnyValue::Bool(_) | AnyValue::Int(_) | AnyValue::Double(_) => None,
    };
    FIXED_BYTES + key.len() + bytes.unwrap_or_default()
}

/// Builds the struct array of `schema::attribute_fields`.
#[derive(Debug, Default)]
pub(crate) struct ItemBuilder {
    key: StringBuilder,
    kind: Int8Builder,
    string: StringBuilder,
    int: Int64Builder,
    double: Float64Builder,
    bool: BooleanBuilder,
    bytes: BinaryBuilder,
    large: BinaryViewBuilder,
    /// Of buffers, by where they are, their numbers in `large`.
    blocks: HashMap<*const u8, u32>,
}

impl ItemBuilder {
    /// Appends one attribute whose strings were checked before. `shared` has the bytes of a large value, which are not copied;
    /// without it they are.
    pub(crate) fn append(&mut self, key: &str, value: AnyValue<'_>, shared: Option<&Buffer>) {
        let (kind, content) = match value {
            AnyValue::Empty => (value_type::EMPTY, None),
            AnyValue::Bool(_) => (value_type::BOOL, None),
            AnyValue::Int(_) => (value_type::INT, None),
            AnyValue::Double(_) => (value_type::DOUBLE, None),
            AnyValue::String(bytes) => (value_type::STRING, Some(bytes)),
            AnyValue::Array(bytes) => (value_type::ARRAY, Some(bytes)),
            AnyValue::KvList(bytes) => (value_type::KVLIST, Some(bytes)),
            AnyValue::Bytes(bytes) => (value_type::BYTES, Some(bytes)),
        };
        self.key.append_value(key);
        self.kind.append_value(kind);
        self.int.append_option(if let AnyValue::Int(value) = value { Some(value) } else { None });
        self.double.append_option(if let AnyValue::Double(value) = value { Some(value) } else { None });
        self.bool.append_option(if let AnyValue::Bool(value) = value { Some(value) } else { None });
        let small = match content {
            Some(bytes) if bytes.len() > LARGE_VALUE_BYTES => {
                debug_assert!(shared.is_none_or(|shared| shared.as_slice() == bytes));
                self.append_large(&shared.map_or_else(|| bytes.into(), Buffer::clone));
                None
            }
            other => {
                self.large.append_null();
                other
            }
        };
        if kind == value_type::STRING {
            let text = small.map(|bytes| std::str::from_utf8(bytes).expect("checked when it was taken in"));
            self.string.append_option(text);
            self.bytes.append_null();
        } else {
            self.string.append_null();
            self.bytes.append_option(small);
        }
    }

    /// Appends an item that stands for all attributes of an OTLP `KeyValueList`.
    pub(crate) fn append_folded(&mut self, attributes: &Buffer) {
        self.key.append_value(FOLDED_KEY);
        self.kind.append_value(value_type::FOLDED);
        self.string.append_null();
        self.int.append_null();
        self.double.append_null();
        self.bool.append_null();
        self.bytes.append_null();
        self.append_large(attributes);
    }

    fn append_large(&mut self, bytes: &Buffer) {
        // The builder keeps the buffers, so that no other one comes to lie at the same place.
        let block =
            *self.blocks.entry(bytes.as_ptr()).or_insert_with(|| self.large.append_block(bytes.clone()));
        let length = u32::try_from(bytes.len()).expect("a value is smaller than its record");
        self.large.try_append_view(block, 0, length).expect("the block is as long as the value");
    }

    pub(crate) fn finish(mut self) -> ArrayRef {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(self.key.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(self.string.finish()),
            Arc::new(self.int.finish()),
            Arc::new(self.double.finish()),
            Arc::new(self.bool.finish()),
            Arc::new(self.bytes.finish()),
            Arc::new(self.large.finish()),
        ];
        Arc::new(StructArray::new(attribute_fields(), arrays, None))
    }
}
