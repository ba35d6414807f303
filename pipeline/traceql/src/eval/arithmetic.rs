//! Values computed from and compared with each other, one row at a time.

use super::number::Number;
use super::predicate::{hex, ordered};
use crate::ast::{BinaryOp, Literal};
use crate::{EvalError, Value};

/// Whether the comparison holds. Values whose types do not compare meet none, not even `!=`.
pub(crate) fn compare(op: BinaryOp, left: Value<'_>, right: Value<'_>) -> bool {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => ordered(op, left.cmp(right)),
        (Value::Id(left), Value::Id(right)) => ordered(op, left.cmp(right)),
        (Value::Id(left), Value::Text(right)) => ordered(op, hex(left).as_str().cmp(right)),
        (Value::Text(left), Value::Id(right)) => ordered(op, left.cmp(hex(right).as_str())),
        (Value::Bool(left), Value::Bool(right)) => match op {
            BinaryOp::Equal => left == right,
            BinaryOp::NotEqual => left != right,
            _ => false,
        },
        (Value::Status(_), Value::Kind(_)) | (Value::Kind(_), Value::Status(_)) => false,
        _ => match (numbered(left), numbered(right)) {
            (Some(left), Some(right)) => match left.order(right) {
                Some(order) => ordered(op, order),
                None => op == BinaryOp::NotEqual,
            },
            _ => false,
        },
    }
}

/// As a number to compare with.
const fn numbered(value: Value<'_>) -> Option<Number> {
    match value {
        Value::Int(value) | Value::Duration(value) => Some(Number::Int(value)),
        Value::Float(value) => Some(Number::Float(value)),
        Value::Status(status) => Some(Number::Int(status as i64)),
        Value::Kind(kind) => Some(Number::Int(kind as i64)),
        Value::Bool(_) | Value::Text(_) | Value::Id(_) => None,
    }
}

/// The result of an arithmetic operator; none if an operand is no number. Integers wrap around.
///
/// # Errors
/// An integer divided by the integer zero.
pub(crate) fn compute<'a>(
    op: BinaryOp,
    left: Value<'_>,
    right: Value<'_>,
) -> Result<Option<Value<'a>>, EvalError> {
    Ok(match (left, right) {
        (Value::Int(left), Value::Int(right)) => integers(op, left, right)?,
        (Value::Float(left), Value::Float(right)) => Some(Value::Float(floats(op, left, right))),
        (Value::Int(left), Value::Float(right)) => Some(Value::Float(floats(op, left as f64, right))),
        (Value::Float(left), Value::Int(right)) => Some(Value::Float(floats(op, left, right as f64))),
        (Value::Duration(left), Value::Duration(right)) => match op {
            BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Modulo => duration(integers(op, left, right)?),
            // A ratio, or what has no unit.
            _ => Some(Value::Float(floats(op, left as f64, right as f64))),
        },
        (Value::Duration(left), Value::Int(right)) => match op {
            BinaryOp::Power => Some(Value::Float(floats(op, left as f64, right as f64))),
            _ => duration(integers(op, left, right)?),
        },
        (Value::Int(left), Value::Duration(right)) => match op {
            BinaryOp::Divide | BinaryOp::Power => Some(Value::Float(floats(op, left as f64, right as f64))),
            _ => duration(integers(op, left, right)?),
        },
        (Value::Duration(left), Value::Float(right)) => match op {
            BinaryOp::Power => Some(Value::Float(floats(op, left as f64, right))),
            _ => nanoseconds(floats(op, left as f64, right)),
        },
        (Value::Float(left), Value::Duration(right)) => match op {
            BinaryOp::Divide | BinaryOp::Power => Some(Value::Float(floats(op, left, right as f64))),
            _ => nanoseconds(floats(op, left, right as f64)),
        },
        _ => None,
    })
}

const fn duration(value: Option<Value<'_>>) -> Option<Value<'_>> {
    match value {
        Some(Value::Int(value)) => Some(Value::Duration(value)),
        other => other,
    }
}

/// A duration where it is one: infinities and NaN stay what they are.
fn nanoseconds<'a>(value: f64) -> Option<Value<'a>> {
    let fits = value.abs() < 9.2e18;
    Some(if fits { Value::Duration(value.round() as i64) } else { Value::Float(value) })
}

fn floats(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        BinaryOp::Divide => left / right,
        BinaryOp::Modulo => left % right,
        BinaryOp::Power => left.powf(right),
        _ => f64::NAN,
    }
}

fn integers<'a>(op: BinaryOp, left: i64, right: i64) -> Result<Option<Value<'a>>, EvalError> {
    Ok(Some(match op {
        BinaryOp::Add => Value::Int(left.wrapping_add(right)),
        BinaryOp::Subtract => Value::Int(left.wrapping_sub(right)),
        BinaryOp::Multiply => Value::Int(left.wrapping_mul(right)),
        BinaryOp::Divide | BinaryOp::Modulo if right == 0 => {
            return Err(EvalError::Query("integer division by zero".into()));
        }
        BinaryOp::Divide => Value::Int(left.wrapping_div(right)),
        BinaryOp::Modulo => Value::Int(left.wrapping_rem(right)),
        BinaryOp::Power => {
            let exact = u32::try_from(right).ok().and_then(|exponent| left.checked_pow(exponent));
            exact.map_or_else(|| Value::Float(floats(op, left as f64, right as f64)), Value::Int)
        }
        _ => return Ok(None),
    }))
}

/// With the sign turned; none for what is no number.
pub(crate) const fn negated(value: Value<'_>) -> Option<Value<'_>> {
    match value {
        Value::Int(value) => Some(Value::Int(value.wrapping_neg())),
        Value::Float(value) => Some(Value::Float(-value)),
        Value::Duration(value) => Some(Value::Duration(value.wrapping_neg())),
        _ => None,
    }
}

impl Literal {
    /// As a value; none for nil.
    pub(crate) fn value(&self) -> Option<Value<'_>> {
        Some(match self {
            Self::Nil => return None,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Text(text) => Value::Text(text),
            Self::Duration(value) => Value::Duration(*value),
            Self::Status(status) => Value::Status(*status),
            Self::Kind(kind) => Value::Kind(*kind),
        })
    }
}

impl Value<'_> {
    /// As a constant. Ids become text.
    #[must_use]
    pub fn literal(&self) -> Literal {
        match *self {
            Self::Bool(value) => Literal::Bool(value),
            Self::Int(value) => Literal::Int(value),
            Self::Float(value) => Literal::Float(value),
            Self::Text(text) => Literal::Text(text.into()),
            Self::Id(id) => Literal::Text(hex(id).into()),
            Self::Duration(value) => Literal::Duration(value),
            Self::Status(status) => Literal::Status(status),
            Self::Kind(kind) => Literal::Kind(kind),
        }
    }
}
