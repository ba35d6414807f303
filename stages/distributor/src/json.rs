//! Turns OTLP JSON into the protobuf of the same request, in one pass and without a tree of values in between.
//! Owns: what JSON is accepted: all of proto3's mapping (either spelling of names, `null` as absent, numbers as text and
//! text as numbers, `NaN`, enums by name, unknown fields skipped), with OTLP's exception that ids are hexadecimal.
//! Does not own: whether ids and nesting are right; the walk checks that for every format alike.

mod schema;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use vivace_model::wire::{put_bytes_header, put_varint};

use self::schema::{Field, Message, REQUEST, Shape};

/// The protobuf of a request in JSON.
pub(crate) fn to_protobuf(json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(json.len() / 2);
    let mut json = serde_json::Deserializer::from_slice(json);
    MessageWriter { message: &REQUEST, out: &mut out }.deserialize(&mut json)?;
    json.end()?;
    Ok(out)
}

/// Reads an object and writes it as a message.
struct MessageWriter<'a> {
    message: &'static Message,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for MessageWriter<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageWriter<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some(field) = object.next_key_seed(FieldName(self.message))? {
            match field {
                Some(field) => {
                    object.next_value_seed(FieldWriter { field, out: self.out, element: false })?
                }
                None => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Finds the field of a name.
struct FieldName(&'static Message);

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Option<&'static Field>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.fields.iter().find(|field| field.is_named(name)))
    }
}

/// Reads a value and writes it as a field; as each of its elements if it is a list.
struct FieldWriter<'a> {
    field: &'static Field,
    out: &'a mut Vec<u8>,
    /// Whether the value stands in a list.
    element: bool,
}

impl FieldWriter<'_> {
    fn wrong<E: Error>(&self, value: impl fmt::Display) -> E {
        E::custom(format_args!("{} cannot be {value}", self.field.name))
    }

    fn put_bytes(self, bytes: &[u8]) {
        put_bytes_header(self.out, self.field.number, bytes.len());
        self.out.extend_from_slice(bytes);
    }

    fn put_tag(&mut self, wire_type: u32) {
        put_varint(self.out, u64::from(self.field.number << 3 | wire_type));
    }

    /// Writes a whole number. Protobuf's varint of a negative one is that of its 64-bit two's complement.
    fn put_integer<E: Error>(mut self, number: i128) -> Result<(), E> {
        let range = match self.field.shape {
            Shape::Signed64 => i128::from(i64::MIN)..=i128::from(i64::MAX),
            Shape::Enum(_) => i128::from(i32::MIN)..=i128::from(i32::MAX),
            Shape::Unsigned32 | Shape::Fixed32 => 0..=i128::from(u32::MAX),
            _ => 0..=i128::from(u64::MAX),
        };
        if !range.contains(&number) {
            return Err(self.wrong(number));
        }
        match self.field.shape {
            Shape::Fixed32 => {
                self.put_tag(5);
                self.out.extend_from_slice(&(number as u32).to_le_bytes());
            }
            Shape::Fixed64 => {
                self.put_tag(1);
                self.out.extend_from_slice(&(number as u64).to_le_bytes());
            }
            Shape::Signed64 | Shape::Unsigned32 | Shape::Enum(_) => {
                self.put_tag(0);
                put_varint(self.out, number as u64);
            }
            _ => return Err(self.wrong(number)),
        }
        Ok(())
    }

    fn put_double(mut self, number: f64) {
        self.put_tag(1);
        self.out.extend_from_slice(&number.to_le_bytes());
    }

    /// Writes text that stands for something else.
    fn put_parsed<E: Error>(self, text: &str) -> Result<(), E> {
        match self.field.shape {
            Shape::Double => match text.parse::<f64>() {
                Ok(number) => {
                    self.put_double(number);
                    Ok(())
                }
                Err(_) => Err(self.wrong(format_args!("{text:?}"))),
            },
            Shape::Enum(names) => {
                let named =
                    names.iter().position(|name| *name == text).and_then(|at| i128::try_from(at).ok());
                match named.or_else(|| text.parse().ok()) {
                    Some(number) => self.put_integer(number),
                    None => Err(self.wrong(format_args!("{text:?}"))),
                }
            }
            Shape::Signed64 | Shape::Unsigned32 | Shape::Fixed32 | Shape::Fixed64 => {
                match text.parse::<i128>() {
                    Ok(number) => self.put_integer(number),
                    Err(_) => match text.parse::<f64>() {
                        Ok(number) => self.visit_f64(number),
                        Err(_) => Err(self.wrong(format_args!("{text:?}"))),
                    },
                }
            }
            _ => Err(self.wrong("a string")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for FieldWriter<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldWriter<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of {}", self.field.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.element { Err(self.wrong("null")) } else { Ok(()) }
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<(), E> {
        if !matches!(self.field.shape, Shape::Bool) {
            return Err(self.wrong(value));
        }
        self.put_tag(0);
        self.out.push(u8::from(value));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        if matches!(self.field.shape, Shape::Double) {
            self.put_double(number as f64);
            return Ok(());
        }
        self.put_integer(number.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        if matches!(self.field.shape, Shape::Double) {
            self.put_double(number as f64);
            return Ok(());
        }
        self.put_integer(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        if matches!(self.field.shape, Shape::Double) {
            self.put_double(number);
            return Ok(());
        }
        // `1e3` and `5.0` are whole numbers too. What is out of range saturates and is refused below.
        if number.fract() == 0.0 { self.put_integer(number as i128) } else { Err(self.wrong(number)) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.field.shape {
            Shape::Text => self.put_bytes(text.as_bytes()),
            Shape::Hex => match hex::decode(text) {
                Ok(bytes) => self.put_bytes(&bytes),
                Err(error) => return Err(self.wrong(format_args!("{text:?}: {error}"))),
            },
            Shape::Base64 => match decode_base64(text) {
                Ok(bytes) => self.put_bytes(&bytes),
                Err(error) => return Err(self.wrong(format_args!("other than base64: {error}"))),
            },
            _ => return self.put_parsed(text),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if !self.field.repeated || self.element {
            return Err(self.wrong("a list"));
        }
        let Self { field, out, .. } = self;
        while list.next_element_seed(FieldWriter { field, out: &mut *out, element: true })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<(), A::Error> {
        let Shape::Message(message) = self.field.shape else {
            return Err(self.wrong("an object"));
        };
        if self.field.repeated && !self.element {
            return Err(self.wrong("an object outside of a list"));
        }
        let mut inner = Vec::new();
        MessageWriter { message, out: &mut inner }.visit_map(object)?;
        self.put_bytes(&inner);
        Ok(())
    }
}

/// Either alphabet, with or without padding, as proto3 wants it.
fn decode_base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, LENIENT).decode(text)
}
