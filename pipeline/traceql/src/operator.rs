//! Operators: how they are written, how tightly they bind, which group they belong to.

use std::fmt;

use crate::ast::{Aggregate, BinaryOp, Literal, Relation, SpansetOp};
use crate::lex::Symbol;

const BINARY: [(BinaryOp, Symbol); 16] = [
    (BinaryOp::And, Symbol::And),
    (BinaryOp::Or, Symbol::Or),
    (BinaryOp::Equal, Symbol::Equal),
    (BinaryOp::NotEqual, Symbol::NotEqual),
    (BinaryOp::Less, Symbol::Less),
    (BinaryOp::LessOrEqual, Symbol::LessOrEqual),
    (BinaryOp::Greater, Symbol::Greater),
    (BinaryOp::GreaterOrEqual, Symbol::GreaterOrEqual),
    (BinaryOp::Matches, Symbol::Matches),
    (BinaryOp::NotMatches, Symbol::NotMatches),
    (BinaryOp::Add, Symbol::Add),
    (BinaryOp::Subtract, Symbol::Subtract),
    (BinaryOp::Multiply, Symbol::Multiply),
    (BinaryOp::Divide, Symbol::Divide),
    (BinaryOp::Modulo, Symbol::Modulo),
    (BinaryOp::Power, Symbol::Power),
];

/// Structural operators that are written as operators between values are.
const SHARED: [(SpansetOp, Symbol); 5] = [
    (SpansetOp::And, Symbol::And),
    (SpansetOp::Or, Symbol::Or),
    (SpansetOp::Structural { relation: Relation::Child, negated: false, union: false }, Symbol::Greater),
    (SpansetOp::Structural { relation: Relation::Parent, negated: false, union: false }, Symbol::Less),
    (SpansetOp::Structural { relation: Relation::Sibling, negated: true, union: false }, Symbol::NotMatches),
];

/// The operator between values; none if the symbol is none.
pub(crate) fn binary_op(symbol: Symbol) -> Option<BinaryOp> {
    BINARY.iter().find(|(_, other)| *other == symbol).map(|(op, _)| *op)
}

/// The operator between spansets; none if the symbol is none.
pub(crate) fn spanset_op(symbol: Symbol) -> Option<SpansetOp> {
    match symbol {
        Symbol::Structural { relation, negated, union } => {
            Some(SpansetOp::Structural { relation, negated, union })
        }
        _ => SHARED.iter().find(|(_, other)| *other == symbol).map(|(op, _)| *op),
    }
}

/// How tightly an operator binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Logic,
    Comparison,
    Sum,
    /// Unary `!` is between this and `Sum`: what it applies to is a product.
    Product,
    Power,
    /// No operator: an operand, with its minus sign.
    Operand,
}

impl Level {
    pub(crate) const fn of(symbol: Symbol) -> Option<Self> {
        Some(match symbol {
            Symbol::And | Symbol::Or => Self::Logic,
            Symbol::Equal
            | Symbol::NotEqual
            | Symbol::Less
            | Symbol::LessOrEqual
            | Symbol::Greater
            | Symbol::GreaterOrEqual
            | Symbol::Matches
            | Symbol::NotMatches
            | Symbol::Structural { .. } => Self::Comparison,
            Symbol::Add | Symbol::Subtract => Self::Sum,
            Symbol::Multiply | Symbol::Divide | Symbol::Modulo => Self::Product,
            Symbol::Power => Self::Power,
            Symbol::BraceOpen
            | Symbol::BraceClose
            | Symbol::ParenOpen
            | Symbol::ParenClose
            | Symbol::Comma
            | Symbol::Pipe
            | Symbol::Not => return None,
        })
    }

    pub(crate) const fn tighter(self) -> Self {
        match self {
            Self::Logic => Self::Comparison,
            Self::Comparison => Self::Sum,
            Self::Sum => Self::Product,
            Self::Product => Self::Power,
            Self::Power | Self::Operand => Self::Operand,
        }
    }
}

impl BinaryOp {
    /// `+ - * / % ^`
    #[must_use]
    pub fn is_arithmetic(self) -> bool {
        self.level() >= Level::Sum
    }

    /// `= != < <= > >= =~ !~`
    #[must_use]
    pub fn is_comparison(self) -> bool {
        self.level() == Level::Comparison
    }

    /// `< <= > >=`
    #[must_use]
    pub const fn is_ordering(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual)
    }

    pub(crate) fn level(self) -> Level {
        self.symbol().and_then(Level::of).unwrap_or(Level::Operand)
    }

    fn symbol(self) -> Option<Symbol> {
        BINARY.iter().find(|(op, _)| *op == self).map(|(_, symbol)| *symbol)
    }
}

impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.symbol().map_or(Ok(()), |symbol| symbol.fmt(f))
    }
}

impl SpansetOp {
    pub(crate) const fn level(self) -> Level {
        match self {
            Self::And | Self::Or => Level::Logic,
            Self::Structural { .. } => Level::Comparison,
        }
    }
}

impl fmt::Display for SpansetOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (SHARED.iter().find(|(op, _)| op == self), *self) {
            (Some((_, symbol)), _) => symbol.fmt(f),
            (None, Self::Structural { relation, negated, union }) => {
                Symbol::Structural { relation, negated, union }.fmt(f)
            }
            (None, Self::And | Self::Or) => Ok(()),
        }
    }
}

impl Aggregate {
    /// As in queries.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::Avg => "avg",
        }
    }
}

impl Literal {
    /// Integers, floats and durations, which all compare with each other.
    #[must_use]
    pub const fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Float(_) | Self::Duration(_))
    }
}
