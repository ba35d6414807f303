//! A protobuf reader that copies nothing: fields of one message, in their order on the wire.
//! Owns: the wire format (varints, tags, lengths) and its bounds.
//! Does not own: what a field means. Nested messages are handed out as bytes, to be read by another [`Fields`].
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

/// A message that is not protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends inside a field.
    #[error("protobuf message ends inside a field")]
    Truncated,
    /// A varint of more than ten bytes.
    #[error("protobuf varint is longer than ten bytes")]
    Varint,
    /// Field number zero, or above 2^29 - 1.
    #[error("protobuf field number is out of range")]
    FieldNumber,
    /// Wire types 3, 4 (groups, which OTLP never had), 6 and 7.
    #[error("protobuf wire type {0} is not supported")]
    WireType(u8),
    /// A known field with the wire type of another kind of value.
    #[error("protobuf field {field} has the wrong wire type")]
    Mismatch {
        /// Number of the field.
        field: u32,
    },
}

/// One value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0: integers, bools, enums.
    Varint(u64),
    /// Wire type 1: fixed64, double.
    Fixed64(u64),
    /// Wire type 2: strings, bytes, messages, packed lists.
    Bytes(&'a [u8]),
    /// Wire type 5: fixed32, float.
    Fixed32(u32),
}

/// A field: its number and value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// Number of the field in its message.
    pub number: u32,
    /// What it holds.
    pub value: Value<'a>,
}

impl<'a> Field<'a> {
    /// The value as bytes (string, bytes or message).
    ///
    /// # Errors
    /// [`WireError::Mismatch`] if it is of another wire type.
    #[inline]
    pub const fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Varint(_) | Value::Fixed64(_) | Value::Fixed32(_) => Err(self.mismatch()),
        }
    }

    /// The value as a varint.
    ///
    /// # Errors
    /// [`WireError::Mismatch`] if it is of another wire type.
    #[inline]
    pub const fn varint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(number) => Ok(number),
            Value::Bytes(_) | Value::Fixed64(_) | Value::Fixed32(_) => Err(self.mismatch()),
        }
    }

    /// The value as a 64-bit fixed number.
    ///
    /// # Errors
    /// [`WireError::Mismatch`] if it is of another wire type.
    #[inline]
    pub const fn fixed64(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Fixed64(number) => Ok(number),
            Value::Bytes(_) | Value::Varint(_) | Value::Fixed32(_) => Err(self.mismatch()),
        }
    }

    /// The value as a 32-bit fixed number.
    ///
    /// # Errors
    /// [`WireError::Mismatch`] if it is of another wire type.
    #[inline]
    pub const fn fixed32(&self) -> Result<u32, WireError> {
        match self.value {
            Value::Fixed32(number) => Ok(number),
            Value::Bytes(_) | Value::Varint(_) | Value::Fixed64(_) => Err(self.mismatch()),
        }
    }

    const fn mismatch(&self) -> WireError {
        WireError::Mismatch { field: self.number }
    }
}

/// Reads the fields of one message in order; after an error it gives nothing more.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    #[must_use]
    pub const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been read yet. With the message's length this gives a field's position and size on the wire.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Short strings and messages below field 16, most of what OTLP holds, are read right here: the general way is too
    /// long to be inlined where fields are read.
    #[inline(always)]
    fn read(&mut self) -> Result<Field<'a>, WireError> {
        if let [tag @ 0x08..0x80, length @ 0..0x80, rest @ ..] = self.rest
            && tag & 7 == 2
            && let Some((bytes, rest)) = rest.split_at_checked(usize::from(*length))
        {
            self.rest = rest;
            return Ok(Field { number: u32::from(tag >> 3), value: Value::Bytes(bytes) });
        }
        self.read_any()
    }

    fn read_any(&mut self) -> Result<Field<'a>, WireError> {
        let tag = self.read_varint()?;
        let number = match u32::try_from(tag >> 3) {
            Ok(number) if number != 0 && number < 1 << 29 => number,
            _ => return Err(WireError::FieldNumber),
        };
        let value = match tag & 7 {
            0 => Value::Varint(self.read_varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.read_array()?)),
            2 => {
                let length = usize::try_from(self.read_varint()?).map_err(|_| WireError::Truncated)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.read_array()?)),
            other => return Err(WireError::WireType(other as u8)),
        };
        Ok(Field { number, value })
    }

    #[inline]
    fn read_array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }

    #[inline]
    fn read_varint(&mut self) -> Result<u64, WireError> {
        // Tags and short lengths, nearly all of what OTLP holds, take one byte.
        if let [first, rest @ ..] = self.rest
            && *first < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(*first));
        }
        self.read_long_varint()
    }

    fn read_long_varint(&mut self) -> Result<u64, WireError> {
        let mut number = 0_u64;
        for (index, &byte) in self.rest.iter().take(10).enumerate() {
            if index == 9 && byte > 1 {
                return Err(WireError::Varint);
            }
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(number);
            }
        }
        Err(if self.rest.len() < 10 { WireError::Truncated } else { WireError::Varint })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Bytes that a varint takes.
#[must_use]
pub const fn varint_len(number: u64) -> usize {
    (70 - (number | 1).leading_zeros() as usize) / 7
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends the tag and length of a field of wire type 2; its bytes follow.
pub fn put_bytes_header(out: &mut Vec<u8>, field: u32, length: usize) {
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, length as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(number: u64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            prop_assert_eq!(bytes.len(), varint_len(number));
            prop_assert_eq!(Fields::new(&bytes).read_varint(), Ok(number));
        }

        #[test]
        fn any_bytes_end_without_panic(bytes: Vec<u8>) {
            let fields = Fields::new(&bytes).count();
            prop_assert!(fields <= bytes.len());
        }
    }

    #[test]
    fn errors_end_the_reading() {
        let truncated = [0x0a, 0x05, 1, 2];
        let read: Vec<_> = Fields::new(&truncated).collect();
        assert_eq!(read, [Err(WireError::Truncated)]);
        assert_eq!(Fields::new(&[0x00]).next(), Some(Err(WireError::FieldNumber)));
        assert_eq!(Fields::new(&[0x0b]).next(), Some(Err(WireError::WireType(3))));
        assert_eq!(Fields::new(&[0xff; 11]).next(), Some(Err(WireError::Varint)));
    }
}
