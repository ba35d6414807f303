//! Checks that a message has the structure that OTLP gives it: lengths, wire types, bounded nesting.

use super::WalkError;
use crate::wire::{Field, Fields, WireError};

/// Levels of messages below a span, resource or scope. Together with the levels above this stays under the 100 that
/// protobuf decoders commonly follow, so whoever reads the record can decode all of it.
pub(super) const NESTING_MAX: u32 = 64;

/// A message of OTLP traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Resource,
    Scope,
    Span,
    KeyValue,
    AnyValue,
    ArrayValue,
    KeyValueList,
    EntityRef,
    Event,
    Link,
    Status,
}

/// What a field holds.
enum Shape {
    Varint,
    Fixed32,
    Fixed64,
    /// A string or bytes.
    Bytes,
    Message(Kind),
    /// Not known: any value that is well-formed by itself.
    Unknown,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Resource => "Resource",
            Self::Scope => "InstrumentationScope",
            Self::Span => "Span",
            Self::KeyValue => "KeyValue",
            Self::AnyValue => "AnyValue",
            Self::ArrayValue => "ArrayValue",
            Self::KeyValueList => "KeyValueList",
            Self::EntityRef => "EntityRef",
            Self::Event => "Span.Event",
            Self::Link => "Span.Link",
            Self::Status => "Status",
        }
    }

    /// Field numbers and types as in opentelemetry-proto 1.x (`trace.proto`, `common.proto`, `resource.proto`).
    #[inline]
    const fn shape(self, number: u32) -> Shape {
        match (self, number) {
            (Self::Span, 1..=5) => Shape::Bytes,
            (Self::Span, 6 | 10 | 12 | 14) => Shape::Varint,
            (Self::Span, 7 | 8) | (Self::Event, 1) | (Self::AnyValue, 4) => Shape::Fixed64,
            (Self::Span, 16) | (Self::Link, 6) => Shape::Fixed32,
            (Self::Span, 11) => Shape::Message(Self::Event),
            (Self::Span, 13) => Shape::Message(Self::Link),
            (Self::Span, 15) => Shape::Message(Self::Status),

            (Self::Resource | Self::KeyValueList, 1)
            | (Self::Scope | Self::Event, 3)
            | (Self::Link, 4)
            | (Self::Span, 9) => Shape::Message(Self::KeyValue),
            (Self::Resource, 3) => Shape::Message(Self::EntityRef),
            (Self::KeyValue, 2) | (Self::ArrayValue, 1) => Shape::Message(Self::AnyValue),
            (Self::AnyValue, 5) => Shape::Message(Self::ArrayValue),
            (Self::AnyValue, 6) => Shape::Message(Self::KeyValueList),

            (Self::AnyValue, 1 | 7)
            | (Self::KeyValue, 1)
            | (Self::Scope, 1 | 2)
            | (Self::Event | Self::Status, 2)
            | (Self::Link, 1..=3)
            | (Self::EntityRef, 1..=4) => Shape::Bytes,

            (Self::AnyValue, 2 | 3 | 8)
            | (Self::Resource, 2)
            | (Self::Scope | Self::Event, 4)
            | (Self::Link, 5)
            | (Self::Status | Self::KeyValue, 3) => Shape::Varint,
            _ => Shape::Unknown,
        }
    }

    const fn error(self, source: WireError) -> WalkError {
        WalkError::Wire { message: self.name(), source }
    }
}

/// Checks a message and all messages in it.
pub(super) fn check_message(message: &[u8], kind: Kind) -> Result<(), WalkError> {
    check_nested(message, kind, NESTING_MAX)
}

/// Checks one field of a message, which its reader has found well-formed, and all messages in it.
#[inline]
pub(super) fn check_field(field: &Field<'_>, kind: Kind) -> Result<(), WalkError> {
    check_field_nested(field, kind, NESTING_MAX)
}

fn check_nested(message: &[u8], kind: Kind, levels: u32) -> Result<(), WalkError> {
    for field in Fields::new(message) {
        check_field_nested(&field.map_err(|error| kind.error(error))?, kind, levels)?;
    }
    Ok(())
}

#[inline]
fn check_field_nested(field: &Field<'_>, kind: Kind, levels: u32) -> Result<(), WalkError> {
    let well_typed = match kind.shape(field.number) {
        Shape::Varint => field.varint().map(drop),
        Shape::Fixed32 => field.fixed32().map(drop),
        Shape::Fixed64 => field.fixed64().map(drop),
        Shape::Bytes => field.bytes().map(drop),
        Shape::Unknown => Ok(()),
        Shape::Message(inner) => {
            let message = field.bytes().map_err(|error| kind.error(error))?;
            if inner == Kind::KeyValue && is_short_text(message) {
                return Ok(());
            }
            let levels = levels.checked_sub(1).ok_or(WalkError::TooDeep { max: NESTING_MAX })?;
            return check_nested(message, inner, levels);
        }
    };
    well_typed.map_err(|error| kind.error(error))
}

/// Whether it is a `KeyValue` of a key and a string value as every encoder writes it, with lengths of one byte. Most
/// attributes are, and this takes a fifth of the time of reading their fields.
#[inline]
fn is_short_text(message: &[u8]) -> bool {
    let [0x0a, key @ 0..0x80, rest @ ..] = message else { return false };
    let Some([0x12, value @ 2..0x80, 0x0a, text, rest @ ..]) = rest.get(usize::from(*key)..) else {
        return false;
    };
    *text == *value - 2 && rest.len() == usize::from(*text)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_short_text_is_well_formed(
            key in 0_u8..4, value in 0_u8..7, text in 0_u8..5, more in vec(any::<u8>(), 0..6), change: (u8, u8),
        ) {
            let mut message = [&[0x0a, key], &[b'k'; 3][..key.into()], &[0x12, value, 0x0a, text], &more].concat();
            if let (at, Some(byte)) = (change.0, message.get_mut(usize::from(change.0 % 16))) && at < 128 {
                *byte = change.1;
            }
            if is_short_text(&message) {
                prop_assert_eq!(check_nested(&message, Kind::KeyValue, 1), Ok(()));
            }
        }
    }

    #[test]
    fn short_text_is_recognised() {
        assert!(is_short_text(b"\x0a\x01k\x12\x04\x0a\x02ab"));
        assert!(is_short_text(b"\x0a\x00\x12\x02\x0a\x00"), "empty key, empty value");
        for other in [
            &b"\x0a\x01k\x12\x04\x0a\x02abc"[..],
            b"\x0a\x01k\x12\x04\x0a\x02a",
            b"\x0a\x01k\x12\x05\x0a\x02abc",
            b"\x0a\x01k\x12\x02\x18\x05",
            b"\x0a\x7fk",
            b"\x0a\xffk",
            b"\x0a\x01k\x12\x80\x0a\xff",
            b"",
        ] {
            assert!(!is_short_text(other), "{other:?}");
        }
    }
}
