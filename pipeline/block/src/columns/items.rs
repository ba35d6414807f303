//! Attributes that have no column of their own: overflow, and those of events and links.
//! Owns: their storage while a block is open, and their form in Arrow (see `schema::attribute_fields`).

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Float64Builder, Int8Builder, Int64Builder, StringBuilder,
    StructArray,
};

use super::interner::Interner;
use super::value::{AnyValue, DecodeError};
use crate::schema::{LARGE_VALUE_BYTES, attribute_fields, value_type};

/// A piece of [`Items::bytes`].
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u32,
    len: u32,
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
        let start = u32::try_from(self.bytes.len()).expect("a block is sealed long before 4 GiB");
        self.bytes.extend_from_slice(bytes);
        Piece { start, len: bytes.len() as u32 }
    }

    fn piece(&self, piece: Piece) -> &[u8] {
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
        self.list.capacity() * size_of::<Item>() + self.bytes.capacity() + self.keys.memory_bytes()
    }

    /// The items of those numbers, in that order, as a struct array.
    pub(crate) fn to_array(&self, numbers: impl Iterator<Item = u32>) -> ArrayRef {
        let mut out = ItemBuilder::default();
        for number in numbers {
            let (key, value) = self.get(number);
            out.append(key, value);
        }
        out.finish()
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
    large: BinaryBuilder,
}

impl ItemBuilder {
    /// Appends one attribute whose strings were checked before.
    pub(crate) fn append(&mut self, key: &str, value: AnyValue<'_>) {
        self.key.append_value(key);
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
        self.kind.append_value(kind);
        self.int.append_option(if let AnyValue::Int(value) = value { Some(value) } else { None });
        self.double.append_option(if let AnyValue::Double(value) = value { Some(value) } else { None });
        self.bool.append_option(if let AnyValue::Bool(value) = value { Some(value) } else { None });
        let (large, small) = match content {
            Some(bytes) if bytes.len() > LARGE_VALUE_BYTES => (Some(bytes), None),
            other => (None, other),
        };
        self.large.append_option(large);
        if kind == value_type::STRING {
            let text = small.map(|bytes| std::str::from_utf8(bytes).expect("checked when it was taken in"));
            self.string.append_option(text);
            self.bytes.append_null();
        } else {
            self.string.append_null();
            self.bytes.append_option(small);
        }
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
