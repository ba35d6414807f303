//! Types of expressions over one span.

use std::fmt;

use vivace_model::schema::AttributeScope;

use super::{Result, supported};
use crate::ast::{Attribute, BinaryOp, FieldExpr, Intrinsic, Literal, Target};
use crate::parse_error::{ParseError, clip};
use crate::pattern::{PatternBudget, PatternError};

/// What is known of a value before any span is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Attributes may have any.
    Any,
    Nil,
    Bool,
    Int,
    Float,
    Duration,
    Text,
    Status,
    Kind,
}

impl Type {
    pub(super) const fn of_attribute(attribute: &Attribute) -> Self {
        match attribute.target {
            Target::Intrinsic(intrinsic) => Self::of_intrinsic(intrinsic),
            Target::Scoped(..) | Target::Event(_) | Target::Link(_) | Target::Unscoped(_) => Self::Any,
        }
    }

    const fn of_intrinsic(intrinsic: Intrinsic) -> Self {
        match intrinsic {
            Intrinsic::Duration | Intrinsic::TraceDuration | Intrinsic::EventTimeSinceStart => Self::Duration,
            Intrinsic::Kind => Self::Kind,
            Intrinsic::Status => Self::Status,
            Intrinsic::ChildCount
            | Intrinsic::NestedSetLeft
            | Intrinsic::NestedSetRight
            | Intrinsic::NestedSetParent => Self::Int,
            Intrinsic::Name
            | Intrinsic::StatusMessage
            | Intrinsic::SpanId
            | Intrinsic::ParentId
            | Intrinsic::TraceId
            | Intrinsic::RootName
            | Intrinsic::RootServiceName
            | Intrinsic::EventName
            | Intrinsic::LinkTraceId
            | Intrinsic::LinkSpanId
            | Intrinsic::InstrumentationName
            | Intrinsic::InstrumentationVersion => Self::Text,
            Intrinsic::Parent => Self::Nil,
        }
    }

    const fn of_literal(literal: &Literal) -> Self {
        match literal {
            Literal::Nil => Self::Nil,
            Literal::Bool(_) => Self::Bool,
            Literal::Int(_) => Self::Int,
            Literal::Float(_) => Self::Float,
            Literal::Text(_) => Self::Text,
            Literal::Duration(_) => Self::Duration,
            Literal::Status(_) => Self::Status,
            Literal::Kind(_) => Self::Kind,
        }
    }

    /// Can be a number: all of them go with each other, durations as nanoseconds.
    pub(super) const fn is_number(self) -> bool {
        matches!(self, Self::Any | Self::Int | Self::Float | Self::Duration)
    }

    const fn is_bool(self) -> bool {
        matches!(self, Self::Any | Self::Bool)
    }

    /// Whether an operator that compares can stand between these.
    fn compares(self, op: BinaryOp, other: Self) -> bool {
        match (self, other) {
            (Self::Nil, _) | (_, Self::Nil) => false,
            (Self::Any, known) | (known, Self::Any) => !(op.is_ordering() && known == Self::Bool),
            (Self::Status, Self::Int) | (Self::Int, Self::Status) => true,
            (Self::Bool | Self::Status | Self::Kind, _) => self == other && !op.is_ordering(),
            (Self::Text, _) => other == Self::Text,
            (Self::Int | Self::Float | Self::Duration, _) => other.is_number(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "of any type",
            Self::Nil => "nil",
            Self::Bool => "true or false",
            Self::Int => "an integer",
            Self::Float => "a float",
            Self::Duration => "a duration",
            Self::Text => "a string",
            Self::Status => "a status",
            Self::Kind => "a kind",
        })
    }
}

/// One walk over a query.
#[derive(Debug, Default)]
pub(super) struct Checker {
    patterns: PatternBudget,
}

impl Checker {
    /// The type of an expression all parts of which make sense.
    pub(super) fn type_of(&mut self, expr: &FieldExpr) -> Result<Type> {
        match expr {
            FieldExpr::Literal(literal) => Ok(Type::of_literal(literal)),
            FieldExpr::Attribute(attribute) => supported(attribute).map(|()| Type::of_attribute(attribute)),
            FieldExpr::Not(operand) => match self.type_of(operand)? {
                found if found.is_bool() => Ok(Type::Bool),
                found => Err(needs("!", "true or false", operand, found)),
            },
            FieldExpr::Negate(operand) => match self.type_of(operand)? {
                found if found.is_number() => Ok(found),
                found => Err(needs("-", "a number", operand, found)),
            },
            FieldExpr::Binary { op, left, right } => self.binary(*op, left, right),
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &FieldExpr, right: &FieldExpr) -> Result<Type> {
        if is_nil(left) || is_nil(right) {
            return nil(op, left, right);
        }
        let (left_type, right_type) = (self.type_of(left)?, self.type_of(right)?);
        let both = |expected: &str, fits: fn(Type) -> bool| match (fits(left_type), fits(right_type)) {
            (true, true) => Ok(()),
            (false, _) => Err(needs(&op.to_string(), expected, left, left_type)),
            (true, false) => Err(needs(&op.to_string(), expected, right, right_type)),
        };
        match op {
            BinaryOp::And | BinaryOp::Or => both("true or false", Type::is_bool).map(|()| Type::Bool),
            BinaryOp::Matches | BinaryOp::NotMatches => self.matches(op, left, left_type, right),
            _ if op.is_arithmetic() => {
                both("a number", Type::is_number).map(|()| arithmetic(left_type, right_type))
            }
            _ if left_type.compares(op, right_type) => Ok(Type::Bool),
            _ => {
                let (left, right) = (clip(&left.to_string()), clip(&right.to_string()));
                let message =
                    format!("cannot compare {left}, {left_type}, with {right}, {right_type}, by {op}");
                Err(ParseError::invalid(message))
            }
        }
    }

    fn matches(
        &mut self,
        op: BinaryOp,
        left: &FieldExpr,
        left_type: Type,
        right: &FieldExpr,
    ) -> Result<Type> {
        if !matches!(left_type, Type::Any | Type::Text) {
            return Err(needs(&op.to_string(), "a string", left, left_type));
        }
        let FieldExpr::Literal(Literal::Text(text)) = right else {
            let message =
                format!("the right side of {op} must be a string, and is {}", clip(&right.to_string()));
            return Err(ParseError::invalid(message));
        };
        match self.patterns.take(text) {
            Ok(()) => Ok(Type::Bool),
            Err(PatternError::TooMany(message)) => Err(ParseError::invalid(message)),
            Err(PatternError::Bad(why)) => {
                Err(ParseError::invalid(format!("bad regular expression \"{}\": {why}", clip(text))))
            }
        }
    }
}

fn arithmetic(left: Type, right: Type) -> Type {
    match (left, right) {
        (Type::Any, _) | (_, Type::Any) => Type::Any,
        (Type::Duration, _) | (_, Type::Duration) => Type::Duration,
        (Type::Int, Type::Int) => Type::Int,
        _ => Type::Float,
    }
}

fn needs(op: &str, expected: &str, operand: &FieldExpr, found: Type) -> ParseError {
    ParseError::invalid(format!("{op} needs {expected}, and {} is {found}", clip(&operand.to_string())))
}

const fn is_nil(expr: &FieldExpr) -> bool {
    matches!(expr, FieldExpr::Literal(Literal::Nil))
}

/// `nil` tests whether a span has an attribute. Clients ask `!= nil` of whatever they list, so that is always allowed;
/// `= nil` of what every span has can only be a mistake.
fn nil(op: BinaryOp, left: &FieldExpr, right: &FieldExpr) -> Result<Type> {
    if !matches!(op, BinaryOp::Equal | BinaryOp::NotEqual) {
        return Err(ParseError::invalid(format!("nil goes with = and != only, not with {op}")));
    }
    let FieldExpr::Attribute(attribute) = (if is_nil(left) { right } else { left }) else {
        return Err(ParseError::invalid("nil can only be compared with an attribute"));
    };
    supported(attribute)?;
    let always = match &attribute.target {
        _ if attribute.parent => false,
        Target::Intrinsic(_) => true,
        Target::Scoped(AttributeScope::Resource, key) => **key == *"service.name",
        Target::Scoped(..) | Target::Event(_) | Target::Link(_) | Target::Unscoped(_) => false,
    };
    if op == BinaryOp::Equal && always {
        return Err(ParseError::invalid(format!(
            "{attribute} = nil never holds: every span has {attribute}"
        )));
    }
    Ok(Type::Bool)
}
