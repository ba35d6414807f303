//! Trees to text: what is printed parses to the same tree.
//! Owns: the canonical text, with as few brackets as precedence allows.

mod literal;
mod metrics;
mod spansets;

use std::fmt::{self, Display, Formatter};

use vivace_model::schema::AttributeScope;

use crate::ast::{Attribute, Body, FieldExpr, Query, Target};
use crate::lex::is_key_char;
use crate::operator::Level;

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.body.fmt(f)?;
        if self.hints.is_empty() {
            return Ok(());
        }
        f.write_str(" with(")?;
        for (index, (key, value)) in self.hints.iter().enumerate() {
            write!(f, "{}{key}={value}", if index == 0 { "" } else { ", " })?;
        }
        f.write_str(")")
    }
}

impl Display for Body {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spans(pipeline) => pipeline.fmt(f),
            Self::Metrics(series) => series.fmt(f),
        }
    }
}

impl Display for FieldExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(literal) => literal.fmt(f),
            Self::Attribute(attribute) => attribute.fmt(f),
            Self::Not(operand) => write!(f, "!{}", operand.at_least(Level::Product)),
            // Else the minus became a part of the constant.
            Self::Negate(operand) if matches!(**operand, Self::Literal(_)) => write!(f, "-({operand})"),
            Self::Negate(operand) => write!(f, "-{}", operand.at_least(Level::Operand)),
            Self::Binary { op, left, right } => {
                let (left_level, right_level) = sides(op.level());
                write!(f, "{} {op} {}", left.at_least(left_level), right.at_least(right_level))
            }
        }
    }
}

/// Trees that may need brackets where they are operands.
trait Operand: Display {
    fn level(&self) -> Level;

    /// In brackets if it binds less tightly.
    fn at_least(&self, loosest: Level) -> Bracketed<'_, Self> {
        Bracketed { tree: self, brackets: self.level() < loosest }
    }
}

struct Bracketed<'a, T: ?Sized> {
    tree: &'a T,
    brackets: bool,
}

impl<T: Display + ?Sized> Display for Bracketed<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.brackets { write!(f, "({})", self.tree) } else { self.tree.fmt(f) }
    }
}

/// What each side of an operator must at least be to do without brackets. Powers are of the right, all else of the left.
const fn sides(level: Level) -> (Level, Level) {
    match level {
        Level::Power => (Level::Operand, Level::Power),
        _ => (level, level.tighter()),
    }
}

impl Operand for FieldExpr {
    fn level(&self) -> Level {
        match self {
            Self::Literal(_) | Self::Attribute(_) | Self::Negate(_) => Level::Operand,
            // Before a product it would be of the whole product.
            Self::Not(_) => Level::Sum,
            Self::Binary { op, .. } => op.level(),
        }
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (prefix, key) = match self {
            Self::Intrinsic(intrinsic) => return f.write_str(intrinsic.name()),
            Self::Scoped(AttributeScope::Span, key) => ("span.", key),
            Self::Scoped(AttributeScope::Resource, key) => ("resource.", key),
            Self::Scoped(AttributeScope::Instrumentation, key) => ("instrumentation.", key),
            Self::Event(key) => ("event.", key),
            Self::Link(key) => ("link.", key),
            Self::Unscoped(key) => (".", key),
        };
        f.write_str(prefix)?;
        // `.5` is a number.
        let number = prefix == "." && key.starts_with(|c: char| c.is_ascii_digit());
        if key.chars().all(is_key_char) && !number {
            return f.write_str(key);
        }
        write!(f, "\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
    }
}
