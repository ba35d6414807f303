//! Values of labels: compared, put in order, sent.
//! Owns: the one form in which values of labels are equal, and its ways from and to the other forms.

use std::fmt::Write as _;
use std::sync::Arc;

use vivace_proto::internal::{LabelValue, label_value};

use crate::Value;
use crate::ast::{Kind, Literal, Status};

/// The value of a label. Equal only to one of the same type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum LabelKey {
    /// No value.
    Nil,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float's bits, turned so that they sort as floats do.
    Float(u64),
    /// Nanoseconds.
    Duration(i64),
    /// Status of a span.
    Status(Status),
    /// Kind of a span.
    Kind(Kind),
    /// Text.
    Text(Arc<str>),
}

const SIGN: u64 = 1 << 63;

impl LabelKey {
    /// All that are not a number are the same; so are both zeros.
    pub(crate) fn float(value: f64) -> Self {
        let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
        let bits = value.to_bits();
        Self::Float(if bits & SIGN == 0 { bits | SIGN } else { !bits })
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::Text(Arc::from(text))
    }

    pub(crate) fn of(value: Value<'_>) -> Self {
        match value {
            Value::Bool(value) => Self::Bool(value),
            Value::Int(value) => Self::Int(value),
            Value::Float(value) => Self::float(value),
            Value::Text(value) => Self::text(value),
            Value::Id(id) => Self::Text(hex(id).into()),
            Value::Duration(value) => Self::Duration(value),
            Value::Status(value) => Self::Status(value),
            Value::Kind(value) => Self::Kind(value),
        }
    }

    #[cfg(test)]
    pub(crate) fn of_literal(literal: &Literal) -> Self {
        match literal {
            Literal::Nil => Self::Nil,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::Int(value) => Self::Int(*value),
            Literal::Float(value) => Self::float(*value),
            Literal::Text(value) => Self::Text(Arc::clone(value)),
            Literal::Duration(value) => Self::Duration(*value),
            Literal::Status(value) => Self::Status(*value),
            Literal::Kind(value) => Self::Kind(*value),
        }
    }

    /// Bytes of memory held beside the value itself.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            // Counters of the text's owners are beside it.
            Self::Text(text) => text.len() + 2 * size_of::<usize>(),
            _ => 0,
        }
    }

    pub(crate) fn literal(&self) -> Literal {
        match self {
            Self::Nil => Literal::Nil,
            Self::Bool(value) => Literal::Bool(*value),
            Self::Int(value) => Literal::Int(*value),
            Self::Float(bits) => Literal::Float(float_of(*bits)),
            Self::Duration(value) => Literal::Duration(*value),
            Self::Status(value) => Literal::Status(*value),
            Self::Kind(value) => Literal::Kind(*value),
            Self::Text(value) => Literal::Text(Arc::clone(value)),
        }
    }

    pub(crate) fn message(&self) -> Option<LabelValue> {
        let value = match self {
            Self::Nil => return None,
            Self::Bool(value) => label_value::Value::Bool(*value),
            Self::Int(value) => label_value::Value::Int(*value),
            Self::Float(bits) => label_value::Value::Float(float_of(*bits)),
            Self::Duration(value) => label_value::Value::Duration(*value),
            Self::Status(value) => label_value::Value::Status(u32::from(*value as u8)),
            Self::Kind(value) => label_value::Value::Kind(u32::from(*value as u8)),
            Self::Text(value) => label_value::Value::Text(value.to_string()),
        };
        Some(LabelValue { value: Some(value) })
    }

    pub(crate) fn of_message(message: Option<LabelValue>) -> Self {
        match message.and_then(|message| message.value) {
            None => Self::Nil,
            Some(label_value::Value::Text(value)) => Self::Text(value.into()),
            Some(label_value::Value::Bool(value)) => Self::Bool(value),
            Some(label_value::Value::Int(value)) => Self::Int(value),
            Some(label_value::Value::Float(value)) => Self::float(value),
            Some(label_value::Value::Duration(value)) => Self::Duration(value),
            Some(label_value::Value::Status(value)) => Self::Status(Status::from_number(number(value))),
            Some(label_value::Value::Kind(value)) => Self::Kind(Kind::from_number(number(value))),
        }
    }
}

fn float_of(bits: u64) -> f64 {
    f64::from_bits(if bits & SIGN == 0 { !bits } else { bits ^ SIGN })
}

fn hex(id: &[u8]) -> String {
    let mut text = String::with_capacity(2 * id.len());
    for byte in id {
        write!(text, "{byte:02x}").expect("writing to a string never fails");
    }
    text
}

fn number(sent: u32) -> i32 {
    i32::try_from(sent).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_sort_and_come_back() {
        let floats = [f64::NEG_INFINITY, -2.5, -0.001, 0.0, 1e-9, 0.5, 3.0, f64::INFINITY];
        let keys: Vec<_> = floats.iter().map(|value| LabelKey::float(*value)).collect();
        assert!(keys.is_sorted());
        for (key, value) in keys.iter().zip(floats) {
            assert_eq!(key.literal(), Literal::Float(value));
        }
        assert_eq!(LabelKey::float(-0.0), LabelKey::float(0.0));
        assert_eq!(LabelKey::float(-f64::NAN), LabelKey::float(f64::NAN));
    }

    #[test]
    fn every_type_survives_the_way() {
        let keys = [
            LabelKey::Nil,
            LabelKey::Bool(true),
            LabelKey::Int(-3),
            LabelKey::float(0.25),
            LabelKey::Duration(7),
            LabelKey::Status(Status::Error),
            LabelKey::Kind(Kind::Consumer),
            LabelKey::text("x"),
        ];
        for key in keys {
            assert_eq!(LabelKey::of_message(key.message()), key);
            assert_eq!(LabelKey::of_literal(&key.literal()), key);
        }
        assert_eq!(LabelKey::of(Value::Id(&[0x0a, 0xff])), LabelKey::text("0aff"));
    }
}
