//! Resources and scopes of an open block, each decoded once however many spans came from it.

use std::hash::BuildHasher;

use arrow::buffer::Buffer;
use hashbrown::{DefaultHashBuilder, HashSet, HashTable};
use vivace_model::wire::Fields;

use super::value::{AnyValue, DecodeError, key_value};
use crate::schema::LARGE_VALUE_BYTES;

/// An attribute value that owns its bytes, in buffers that columns share.
#[derive(Clone, Debug)]
pub(crate) enum OwnedValue {
    Empty,
    /// UTF-8.
    String(Buffer),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(Buffer),
    KvList(Buffer),
    Bytes(Buffer),
}

impl OwnedValue {
    fn new(value: AnyValue<'_>) -> Result<Self, DecodeError> {
        value.check_nested()?;
        Ok(match value {
            AnyValue::Empty => Self::Empty,
            AnyValue::String(text) => Self::String(text.into()),
            AnyValue::Bool(value) => Self::Bool(value),
            AnyValue::Int(value) => Self::Int(value),
            AnyValue::Double(value) => Self::Double(value),
            AnyValue::Array(bytes) => Self::Array(bytes.into()),
            AnyValue::KvList(bytes) => Self::KvList(bytes.into()),
            AnyValue::Bytes(bytes) => Self::Bytes(bytes.into()),
        })
    }

    pub(crate) fn as_any(&self) -> AnyValue<'_> {
        match self {
            Self::Empty => AnyValue::Empty,
            Self::String(text) => AnyValue::String(text),
            Self::Bool(value) => AnyValue::Bool(*value),
            Self::Int(value) => AnyValue::Int(*value),
            Self::Double(value) => AnyValue::Double(*value),
            Self::Array(bytes) => AnyValue::Array(bytes),
            Self::KvList(bytes) => AnyValue::KvList(bytes),
            Self::Bytes(bytes) => AnyValue::Bytes(bytes),
        }
    }

    /// The bytes of a large value; none of others.
    pub(crate) fn large(&self) -> Option<&Buffer> {
        match self {
            Self::String(bytes) | Self::Array(bytes) | Self::KvList(bytes) | Self::Bytes(bytes) => {
                Some(bytes).filter(|bytes| bytes.len() > LARGE_VALUE_BYTES)
            }
            Self::Empty | Self::Bool(_) | Self::Int(_) | Self::Double(_) => None,
        }
    }
}

/// An attribute of a resource or scope.
#[derive(Clone, Debug)]
pub(crate) struct OwnedAttribute {
    pub(crate) key: Box<str>,
    pub(crate) value: OwnedValue,
    /// No attribute before it has the same key.
    pub(crate) first: bool,
}

/// A resource or an instrumentation scope, with the schema URL of what it holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// Name of a scope; empty for a resource.
    pub(crate) name: Box<str>,
    /// Version of a scope; empty for a resource.
    pub(crate) version: Box<str>,
    pub(crate) schema_url: Box<str>,
    pub(crate) attributes: Vec<OwnedAttribute>,
    pub(crate) dropped_attributes_count: u32,
}

/// Which of the two messages an [`Origin`] is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginKind {
    /// `Resource`: 1 attributes, 2 dropped_attributes_count.
    Resource,
    /// `InstrumentationScope`: 1 name, 2 version, 3 attributes, 4 dropped_attributes_count.
    Scope,
}

impl Origin {
    fn decode(kind: OriginKind, message: &[u8], schema_url: &[u8]) -> Result<Self, DecodeError> {
        let mut origin = Self { schema_url: std::str::from_utf8(schema_url)?.into(), ..Self::default() };
        let mut keys: HashSet<&[u8]> = HashSet::new();
        for field in Fields::new(message) {
            let field = field?;
            match (kind, field.number) {
                (OriginKind::Scope, 1) => origin.name = std::str::from_utf8(field.bytes()?)?.into(),
                (OriginKind::Scope, 2) => origin.version = std::str::from_utf8(field.bytes()?)?.into(),
                (OriginKind::Resource, 1) | (OriginKind::Scope, 3) => {
                    let (key, value) = key_value(field.bytes()?)?;
                    let first = keys.insert(key);
                    let (key, value) = (std::str::from_utf8(key)?.into(), OwnedValue::new(value)?);
                    origin.attributes.push(OwnedAttribute { key, value, first });
                }
                (OriginKind::Resource, 2) | (OriginKind::Scope, 4) => {
                    origin.dropped_attributes_count = field.varint()? as u32;
                }
                _ => {}
            }
        }
        Ok(origin)
    }

    fn memory_bytes(&self) -> usize {
        let value_bytes = |value: &OwnedValue| match value {
            OwnedValue::String(bytes)
            | OwnedValue::Array(bytes)
            | OwnedValue::KvList(bytes)
            | OwnedValue::Bytes(bytes) => bytes.len(),
            OwnedValue::Empty | OwnedValue::Bool(_) | OwnedValue::Int(_) | OwnedValue::Double(_) => 0,
        };
        let attributes = self.attributes.iter();
        128 + attributes
            .map(|OwnedAttribute { key, value, .. }| 56 + key.len() + value_bytes(value))
            .sum::<usize>()
    }
}

/// An origin as it stood on the wire.
#[derive(Debug)]
struct Raw {
    message: Box<[u8]>,
    schema_url: Box<[u8]>,
}

/// Distinct origins of a block, found again by their bytes on the wire.
#[derive(Debug)]
pub(crate) struct Origins {
    kind: OriginKind,
    pub(crate) list: Vec<Origin>,
    raw: Vec<Raw>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    memory_bytes: usize,
}

impl Origins {
    pub(crate) fn new(kind: OriginKind) -> Self {
        Self {
            kind,
            list: Vec::new(),
            raw: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            memory_bytes: 0,
        }
    }

    /// Number of the origin with these bytes, decoded now if it is new.
    pub(crate) fn intern(&mut self, message: &[u8], schema_url: &[u8]) -> Result<u32, DecodeError> {
        let hash = self.hasher.hash_one((message, schema_url));
        let raw = &self.raw;
        let same =
            |&n: &u32| *raw[n as usize].message == *message && *raw[n as usize].schema_url == *schema_url;
        if let Some(&number) = self.table.find(hash, same) {
            return Ok(number);
        }
        let origin = Origin::decode(self.kind, message, schema_url)?;
        let number = self.list.len() as u32;
        self.memory_bytes += origin.memory_bytes() + message.len() + schema_url.len();
        self.list.push(origin);
        self.raw.push(Raw { message: message.into(), schema_url: schema_url.into() });
        let (raw, hasher) = (&self.raw, &self.hasher);
        self.table.insert_unique(hash, number, |&n| {
            let Raw { message, schema_url } = &raw[n as usize];
            hasher.hash_one((&**message, &**schema_url))
        });
        Ok(number)
    }

    pub(crate) const fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}
