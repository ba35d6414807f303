//! OTLP's `KeyValue` and `AnyValue` as they stand on the wire, without copies.

use std::str::Utf8Error;

use vivace_model::wire::{Fields, Value, WireError, put_bytes_header, put_varint};

/// Messages below a value that are followed: more than the distributor lets pass (64 below a span), and few enough that
/// prost, which refuses a trace whose messages are more than 100 deep, can read what comes back.
const LEVELS_MAX: usize = 72;
/// Messages from an array to the value of an item: `ArrayValue`, `AnyValue`.
const ARRAY_LEVELS: usize = 2;
/// Messages from a map to the value of an item: `KeyValueList`, `KeyValue`, `AnyValue`.
const MAP_LEVELS: usize = 3;

/// Why a span can't be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("a string is not valid UTF-8")]
    Utf8,
    #[error("{0} id has {1} bytes")]
    IdLength(&'static str, usize),
    #[error("{0} id is all zero")]
    IdZero(&'static str),
    #[error("attribute values are nested deeper than {LEVELS_MAX} messages")]
    Depth,
}

impl From<Utf8Error> for DecodeError {
    fn from(_: Utf8Error) -> Self {
        Self::Utf8
    }
}

/// A value; strings, arrays and maps are unchecked bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum AnyValue<'a> {
    Empty,
    String(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(&'a [u8]),
    KvList(&'a [u8]),
    Bytes(&'a [u8]),
}

impl<'a> AnyValue<'a> {
    #[inline]
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, WireError> {
        let mut found = Self::Empty;
        for field in Fields::new(message) {
            let field = field?;
            found = match field.number {
                1 => Self::String(field.bytes()?),
                2 => Self::Bool(field.varint()? != 0),
                3 => Self::Int(field.varint()? as i64),
                4 => Self::Double(f64::from_bits(field.fixed64()?)),
                5 => Self::Array(field.bytes()?),
                6 => Self::KvList(field.bytes()?),
                7 => Self::Bytes(field.bytes()?),
                _ => continue,
            };
        }
        Ok(found)
    }

    /// Checks all that is nested in an array or a map: the wire format and UTF-8.
    pub(crate) fn check_nested(&self) -> Result<(), DecodeError> {
        self.check(0)
    }

    fn check(&self, level: usize) -> Result<(), DecodeError> {
        if level > LEVELS_MAX {
            return Err(DecodeError::Depth);
        }
        match *self {
            Self::String(text) => {
                std::str::from_utf8(text)?;
            }
            Self::Array(message) => {
                for field in Fields::new(message) {
                    let field = field?;
                    if field.number == 1 {
                        Self::parse(field.bytes()?)?.check(level + ARRAY_LEVELS)?;
                    }
                }
            }
            Self::KvList(message) => {
                for field in Fields::new(message) {
                    let field = field?;
                    if field.number == 1 {
                        let (key, value) = key_value(field.bytes()?)?;
                        std::str::from_utf8(key)?;
                        value.check(level + MAP_LEVELS)?;
                    }
                }
            }
            Self::Empty | Self::Bool(_) | Self::Int(_) | Self::Double(_) | Self::Bytes(_) => {}
        }
        Ok(())
    }
}

/// Appends field 1 of a `KeyValueList`: one `KeyValue`.
pub(crate) fn put_key_value(out: &mut Vec<u8>, key: &str, value: &AnyValue<'_>) {
    let mut message = Vec::new();
    match *value {
        AnyValue::Empty => {}
        AnyValue::String(bytes) => put_bytes(&mut message, 1, bytes),
        AnyValue::Bool(value) => put_number(&mut message, 2, u64::from(value)),
        AnyValue::Int(value) => put_number(&mut message, 3, value.cast_unsigned()),
        AnyValue::Double(value) => {
            put_varint(&mut message, 4 << 3 | FIXED64);
            message.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        AnyValue::Array(bytes) => put_bytes(&mut message, 5, bytes),
        AnyValue::KvList(bytes) => put_bytes(&mut message, 6, bytes),
        AnyValue::Bytes(bytes) => put_bytes(&mut message, 7, bytes),
    }
    let mut pair = Vec::with_capacity(message.len() + key.len() + 16);
    put_bytes(&mut pair, 1, key.as_bytes());
    put_bytes(&mut pair, 2, &message);
    put_bytes(out, 1, &pair);
}

/// Wire type of eight bytes.
const FIXED64: u64 = 1;

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_bytes_header(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, field: u64, number: u64) {
    put_varint(out, field << 3);
    put_varint(out, number);
}

/// Key and value of a `KeyValue`.
#[inline]
pub(crate) fn key_value(message: &[u8]) -> Result<(&[u8], AnyValue<'_>), WireError> {
    short_text(message)
        .map_or_else(|| any_key_value(message), |(key, text)| Ok((key, AnyValue::String(text))))
}

/// Key and text of what nearly all attributes are: a key and a string as every encoder writes them, with lengths of one
/// byte.
#[inline]
fn short_text(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x0a, key_len @ 0..0x80, rest @ ..] = message else { return None };
    let (key, rest) = rest.split_at_checked(usize::from(*key_len))?;
    let [0x12, value_len @ 2..0x80, 0x0a, text_len, text @ ..] = rest else { return None };
    let right = *text_len == *value_len - 2 && text.len() == usize::from(*text_len);
    right.then_some((key, text))
}

fn any_key_value(message: &[u8]) -> Result<(&[u8], AnyValue<'_>), WireError> {
    let (mut key, mut value) = (&message[..0], AnyValue::Empty);
    for field in Fields::new(message) {
        let field = field?;
        match (field.number, field.value) {
            (1, Value::Bytes(bytes)) => key = bytes,
            (2, Value::Bytes(bytes)) => value = AnyValue::parse(bytes)?,
            (number @ (1 | 2), _) => return Err(WireError::Mismatch { field: number }),
            _ => {}
        }
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn short_texts_are_read_as_all_others(
            key in 0_u8..4, value in 0_u8..7, text in 0_u8..5, more in vec(any::<u8>(), 0..6), change: (u8, u8),
        ) {
            let mut message = [&[0x0a, key], &[b'k'; 3][..key.into()], &[0x12, value, 0x0a, text], &more].concat();
            if let (at, Some(byte)) = (change.0, message.get_mut(usize::from(change.0 % 16))) && at < 128 {
                *byte = change.1;
            }
            prop_assert_eq!(key_value(&message), any_key_value(&message));
        }
    }

    #[test]
    fn a_short_text_is_recognised() {
        assert_eq!(short_text(b"\x0a\x01k\x12\x04\x0a\x02ab"), Some((&b"k"[..], &b"ab"[..])));
    }
}
