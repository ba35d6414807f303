use std::fmt;
use std::str::FromStr;

/// A trace or span id that is not what OTLP says it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Wrong number of bytes.
    #[error("{what} id must be {expected} bytes, got {actual}")]
    Length {
        /// `trace` or `span`.
        what: &'static str,
        /// Bytes wanted.
        expected: usize,
        /// Bytes given.
        actual: usize,
    },
    /// All bytes zero, which OTLP reserves for "none".
    #[error("{what} id must not be all zero")]
    Zero {
        /// `trace` or `span`.
        what: &'static str,
    },
    /// Not hexadecimal digits, or too many of them.
    #[error("{what} id must be up to {digits} hexadecimal digits")]
    Hex {
        /// `trace` or `span`.
        what: &'static str,
        /// Digits allowed.
        digits: usize,
    },
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Checks length and that it is not all zero.
            ///
            /// # Errors
            /// [`IdError`] says which of the two is wrong.
            pub fn new(bytes: &[u8]) -> Result<Self, IdError> {
                let id: [u8; $bytes] = bytes.try_into().map_err(|_| IdError::Length {
                    what: $what,
                    expected: $bytes,
                    actual: bytes.len(),
                })?;
                if id == [0; $bytes] {
                    return Err(IdError::Zero { what: $what });
                }
                Ok(Self(id))
            }

            /// Takes bytes that were checked before (read back from a block, or asked for by a user).
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        /// Hexadecimal digits of either case; a short id is padded with zeros on the left, as Tempo does.
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let wrong = IdError::Hex { what: $what, digits: $bytes * 2 };
                if text.is_empty() || text.len() > $bytes * 2 {
                    return Err(wrong);
                }
                let mut bytes = [0; $bytes];
                let padded = format!("{text:0>width$}", width = $bytes * 2);
                hex::decode_to_slice(padded, &mut bytes).map_err(|_| wrong)?;
                Ok(Self(bytes))
            }
        }
    };
}

id!(
    /// The 16 bytes that all spans of a trace share.
    TraceId, 16, "trace"
);
id!(
    /// The 8 bytes that name a span within its trace.
    SpanId, 8, "span"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_hex_is_padded_on_the_left() {
        let id: TraceId = "aBc".parse().unwrap();
        assert_eq!(id.to_string(), "00000000000000000000000000000abc");
    }

    #[test]
    fn wrong_text_is_refused() {
        for text in ["", "xyz", "0123456789abcdef0123456789abcdef0", "é"] {
            assert!(text.parse::<TraceId>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_checked() {
        assert_eq!(TraceId::new(&[0; 16]), Err(IdError::Zero { what: "trace" }));
        assert_eq!(SpanId::new(&[1; 7]), Err(IdError::Length { what: "span", expected: 8, actual: 7 }));
        assert!(SpanId::new(&[0, 0, 0, 0, 0, 0, 0, 1]).is_ok());
    }
}
