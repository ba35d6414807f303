//! A typed value with an order, so that sets of them are the same whoever makes them.

use std::cmp::Ordering;

use vivace_proto::internal::LabelValue;
use vivace_proto::internal::label_value::Value as Wire;

/// A value of a tag. By type first, then by value.
#[derive(Clone, Debug)]
pub(crate) enum TagValue {
    /// Text.
    Text(Box<str>),
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number with a fraction; all NaN of one form are one.
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    /// OTLP's number of a status.
    Status(u32),
    /// OTLP's number of a kind.
    Kind(u32),
}

impl TagValue {
    /// Of a message; none where it holds no value.
    pub(crate) fn from_wire(value: LabelValue) -> Option<Self> {
        Some(match value.value? {
            Wire::Text(text) => Self::Text(text.into()),
            Wire::Bool(value) => Self::Bool(value),
            Wire::Int(value) => Self::Int(value),
            Wire::Float(value) => Self::Float(value),
            Wire::Duration(value) => Self::Duration(value),
            Wire::Status(value) => Self::Status(value),
            Wire::Kind(value) => Self::Kind(value),
        })
    }

    /// As a message.
    pub(crate) fn into_wire(self) -> LabelValue {
        let value = match self {
            Self::Text(text) => Wire::Text(text.into()),
            Self::Bool(value) => Wire::Bool(value),
            Self::Int(value) => Wire::Int(value),
            Self::Float(value) => Wire::Float(value),
            Self::Duration(value) => Wire::Duration(value),
            Self::Status(value) => Wire::Status(value),
            Self::Kind(value) => Wire::Kind(value),
        };
        LabelValue { value: Some(value) }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Text(_) => 0,
            Self::Bool(_) => 1,
            Self::Int(_) => 2,
            Self::Float(_) => 3,
            Self::Duration(_) => 4,
            Self::Status(_) => 5,
            Self::Kind(_) => 6,
        }
    }
}

impl Ord for TagValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) | (Self::Duration(a), Self::Duration(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Status(a), Self::Status(b)) | (Self::Kind(a), Self::Kind(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for TagValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for TagValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for TagValue {}
