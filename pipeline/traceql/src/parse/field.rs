//! Expressions over one span: what stands in `{ … }`, `by(…)`, `avg(…)`.

use std::sync::Arc;

use super::climb::{Node, Operands, Operator, climb};
use super::{Parser, Result};
use crate::ast::{Attribute, FieldExpr, Intrinsic, Literal, Target};
use crate::parse_error::ParseError;
use crate::lex::{Symbol, Token};
use crate::operator::{Level, binary_op};

const OPERAND: &str = "an attribute, a literal or \"(\"";

impl Operands for FieldExpr {
    fn operand(parser: &mut Parser<'_>) -> Result<Node<Self>> {
        if let Some(literal) = parser.maybe_literal()? {
            return Ok(Node::leaf(Self::Literal(literal)));
        }
        match parser.symbol() {
            Some(Symbol::ParenOpen) => parser.nested(|parser| {
                parser.advance();
                let inside = climb(parser, Level::Logic)?;
                parser.expect(Symbol::ParenClose, "an operator or \")\"")?;
                Ok(inside)
            }),
            Some(Symbol::Not) => parser.nested(|parser| {
                parser.advance();
                let operand = climb::<Self>(parser, Level::Product)?;
                operand.above(parser, |operand| Self::Not(Box::new(operand)))
            }),
            Some(Symbol::Subtract) => parser.nested(|parser| {
                parser.advance();
                let operand = Self::operand(parser)?;
                negate(parser, operand)
            }),
            _ => Ok(Node::leaf(Self::Attribute(parser.attribute(OPERAND)?))),
        }
    }

    fn combine(parser: &Parser<'_>, operator: Operator, left: Self, right: Self) -> Result<Self> {
        match binary_op(operator.symbol) {
            Some(op) => Ok(Self::Binary { op, left: Box::new(left), right: Box::new(right) }),
            None => Err(operator.fail(parser, "stands between { } filters, not inside of one")),
        }
    }
}

/// `-(1)` is a constant as `-1` is.
fn negate(parser: &Parser<'_>, operand: Node<FieldExpr>) -> Result<Node<FieldExpr>> {
    let constant = match &operand.tree {
        FieldExpr::Literal(literal) => literal.negated(),
        _ => None,
    };
    match constant {
        Some(literal) => Ok(Node::leaf(FieldExpr::Literal(literal))),
        None => operand.above(parser, |operand| FieldExpr::Negate(Box::new(operand))),
    }
}

impl Literal {
    /// `-value`; none if it is no number.
    pub(crate) const fn negated(&self) -> Option<Self> {
        match self {
            Self::Int(value) => match value.checked_neg() {
                Some(value) => Some(Self::Int(value)),
                None => None,
            },
            Self::Float(value) => Some(Self::Float(-*value)),
            Self::Duration(value) => match value.checked_neg() {
                Some(value) => Some(Self::Duration(value)),
                None => None,
            },
            Self::Nil | Self::Bool(_) | Self::Text(_) | Self::Status(_) | Self::Kind(_) => None,
        }
    }
}

impl Parser<'_> {
    /// `{ expr }`; `{ }` is `{ true }`.
    pub(super) fn filter(&mut self) -> Result<Node<FieldExpr>> {
        self.expect(Symbol::BraceOpen, "\"{\"")?;
        if self.take(Symbol::BraceClose) {
            return Ok(Node::leaf(FieldExpr::Literal(Literal::Bool(true))));
        }
        let inside = climb(self, Level::Logic)?;
        self.expect(Symbol::BraceClose, "an operator or \"}\"")?;
        Ok(inside)
    }

    pub(super) fn attribute(&mut self, expected: &str) -> Result<Attribute> {
        let attribute = match self.peek() {
            Token::Attribute(attribute) => attribute.clone(),
            Token::Word(word) => match Intrinsic::from_name(word) {
                Some(intrinsic) => Attribute {
                    parent: false,
                    target: Target::Intrinsic(intrinsic),
                    written: Arc::from(*word),
                },
                None => return Err(self.unknown_word(word, expected)),
            },
            _ => return Err(self.unexpected(expected)),
        };
        self.advance();
        Ok(attribute)
    }

    fn unknown_word(&self, word: &str, expected: &str) -> ParseError {
        if matches!(word, "with" | "by" | "select" | "coalesce") {
            return self.unexpected(expected);
        }
        self.fail(format!(
            "unknown name \"{word}\": attributes are written .{word}, span.{word} or resource.{word}"
        ))
    }

    /// `a, b)`: at least one, and the bracket.
    pub(super) fn attributes(&mut self) -> Result<Vec<Attribute>> {
        let mut attributes = vec![self.attribute("an attribute")?];
        while !self.take(Symbol::ParenClose) {
            self.expect(Symbol::Comma, "\",\" or \")\"")?;
            attributes.push(self.attribute("an attribute")?);
        }
        Ok(attributes)
    }
}
