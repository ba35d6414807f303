//! Trees of expressions to what is evaluated.
//! Owns: constants folded, negations pushed down, cheap tests first.

use std::sync::Arc;

use super::arithmetic::{compare, compute, negated as turned};
use super::leaf::{Leaf, LeafTest};
use super::node::Node;
use super::operand::Operand;
use super::predicate::Predicate;
use crate::EvalError;
use crate::ast::{Attribute, BinaryOp, FieldExpr, Intrinsic, Literal, Target};

/// What an expression, or its negation, demands of a row.
///
/// # Errors
/// [`EvalError::Query`] for a pattern that is none, or constants divided by zero.
pub(crate) fn compile(expr: &FieldExpr, negated: bool) -> Result<Node, EvalError> {
    match expr {
        FieldExpr::Literal(Literal::Bool(value)) => Ok(Node::Constant(*value != negated)),
        FieldExpr::Literal(_) | FieldExpr::Negate(_) => Ok(Node::Constant(false)),
        FieldExpr::Attribute(attribute) => leaf(attribute, BinaryOp::Equal, &Literal::Bool(!negated), false),
        FieldExpr::Not(operand) => compile(operand, !negated),
        FieldExpr::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), left, right } => {
            let all = (*op == BinaryOp::And) != negated;
            Ok(join(all, compile(left, negated)?, compile(right, negated)?))
        }
        FieldExpr::Binary { op, left, right } if op.is_comparison() => comparison(*op, left, right, negated),
        FieldExpr::Binary { .. } => Ok(Node::Constant(false)),
    }
}

/// An expression as a value.
///
/// # Errors
/// As for [`compile`].
pub(crate) fn operand(expr: &FieldExpr) -> Result<Operand, EvalError> {
    if let Some(literal) = constant(expr)? {
        return Ok(Operand::Constant(literal));
    }
    Ok(match expr {
        FieldExpr::Literal(literal) => Operand::Constant(literal.clone()),
        FieldExpr::Attribute(attribute) => Operand::Attribute(attribute.clone()),
        FieldExpr::Negate(inner) => Operand::Negate(Box::new(operand(inner)?)),
        FieldExpr::Binary { op, left, right } if op.is_arithmetic() => {
            Operand::Arithmetic(*op, Box::new(operand(left)?), Box::new(operand(right)?))
        }
        FieldExpr::Not(_) | FieldExpr::Binary { .. } => {
            Operand::Truth(Box::new(compile(expr, false)?), Box::new(compile(expr, true)?))
        }
    })
}

/// Both conditions, or one of them, without nesting the same in the same.
fn join(all: bool, left: Node, right: Node) -> Node {
    let mut nodes = Vec::new();
    for side in [left, right] {
        match side {
            Node::Constant(value) if value == all => {}
            Node::Constant(value) => return Node::Constant(value),
            Node::All(inner) if all => nodes.extend(inner),
            Node::Any(inner) if !all => nodes.extend(inner),
            other => nodes.push(other),
        }
    }
    nodes.sort_by_cached_key(Node::cost);
    match nodes.len() {
        0 => Node::Constant(all),
        1 => nodes.remove(0),
        _ if all => Node::All(nodes),
        _ => Node::Any(nodes),
    }
}

fn comparison(op: BinaryOp, left: &FieldExpr, right: &FieldExpr, negated: bool) -> Result<Node, EvalError> {
    match (constant(left)?, constant(right)?) {
        (Some(left), Some(right)) => Ok(Node::Constant(constants(op, &left, &right, negated)?)),
        (None, Some(literal)) => with_constant(left, op, &literal, negated),
        (Some(literal), None) => match flipped(op) {
            Some(op) => with_constant(right, op, &literal, negated),
            None => Err(EvalError::Query(format!("the right side of {op} must be a string"))),
        },
        (None, None) if matches!(op, BinaryOp::Matches | BinaryOp::NotMatches) => {
            Err(EvalError::Query(format!("the right side of {op} must be a string")))
        }
        (None, None) => Ok(Node::Pair { op, left: operand(left)?, right: operand(right)?, negated }),
    }
}

fn constants(op: BinaryOp, left: &Literal, right: &Literal, negated: bool) -> Result<bool, EvalError> {
    match (left.value(), right.value()) {
        (Some(left), Some(_)) if matches!(op, BinaryOp::Matches | BinaryOp::NotMatches) => {
            Ok(Predicate::new(op, right)?.holds(left) != negated)
        }
        (Some(left), Some(right)) => Ok(compare(op, left, right) != negated),
        (left, right) => Ok(match op {
            BinaryOp::Equal => (left.is_none() && right.is_none()) != negated,
            BinaryOp::NotEqual => (left.is_some() || right.is_some()) != negated,
            _ => false,
        }),
    }
}

fn with_constant(
    expr: &FieldExpr,
    op: BinaryOp,
    literal: &Literal,
    negated: bool,
) -> Result<Node, EvalError> {
    if let FieldExpr::Attribute(attribute) = expr {
        return leaf(attribute, op, literal, negated);
    }
    Ok(match test(op, literal, negated)? {
        Some(test) => Node::Computed(operand(expr)?, test),
        None => Node::Constant(false),
    })
}

fn leaf(attribute: &Attribute, op: BinaryOp, literal: &Literal, negated: bool) -> Result<Node, EvalError> {
    let literal = id_literal(attribute, op, literal);
    Ok(match test(op, &literal, negated)? {
        Some(test) => Node::Leaf(Leaf { attribute: attribute.clone(), test }),
        None => Node::Constant(false),
    })
}

/// None if it is never known: `nil` has no order.
fn test(op: BinaryOp, literal: &Literal, negated: bool) -> Result<Option<LeafTest>, EvalError> {
    if *literal == Literal::Nil {
        return Ok(match op {
            BinaryOp::Equal => Some(if negated { LeafTest::Exists } else { LeafTest::Missing }),
            BinaryOp::NotEqual => Some(if negated { LeafTest::Missing } else { LeafTest::Exists }),
            _ => None,
        });
    }
    let predicate = Predicate::new(op, literal)?;
    // To differ, all values must; that it does not differ takes one.
    let all = matches!(op, BinaryOp::NotEqual | BinaryOp::NotMatches) != negated;
    Ok(Some(LeafTest::Values { predicate, invert: negated, all }))
}

/// Ids come in capitals too, and without leading zeros.
fn id_literal(attribute: &Attribute, op: BinaryOp, literal: &Literal) -> Literal {
    let digits = match attribute.target {
        Target::Intrinsic(Intrinsic::TraceId | Intrinsic::LinkTraceId) => 32,
        Target::Intrinsic(Intrinsic::SpanId | Intrinsic::ParentId | Intrinsic::LinkSpanId) => 16,
        _ => return literal.clone(),
    };
    match literal {
        Literal::Text(text) if !matches!(op, BinaryOp::Matches | BinaryOp::NotMatches) => {
            let hex = text.len() <= digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let padded = || format!("{:0>digits$}", text.to_ascii_lowercase());
            Literal::Text(if hex { Arc::from(padded()) } else { Arc::clone(text) })
        }
        other => other.clone(),
    }
}

/// The operator with its sides changed; none for patterns.
const fn flipped(op: BinaryOp) -> Option<BinaryOp> {
    Some(match op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessOrEqual => BinaryOp::GreaterOrEqual,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterOrEqual => BinaryOp::LessOrEqual,
        BinaryOp::Matches | BinaryOp::NotMatches => return None,
        other => other,
    })
}

/// The value of an expression without attributes; none if it has any, or is true or false only by a comparison.
fn constant(expr: &FieldExpr) -> Result<Option<Literal>, EvalError> {
    Ok(match expr {
        FieldExpr::Literal(literal) => Some(literal.clone()),
        FieldExpr::Attribute(_) | FieldExpr::Not(_) => None,
        FieldExpr::Negate(inner) => {
            let inner = constant(inner)?;
            inner.and_then(|literal| literal.value().and_then(turned).map(|value| value.literal()))
        }
        FieldExpr::Binary { op, left, right } if op.is_arithmetic() => {
            match (constant(left)?, constant(right)?) {
                (Some(left), Some(right)) => match (left.value(), right.value()) {
                    (Some(left), Some(right)) => {
                        Some(compute(*op, left, right)?.map_or(Literal::Nil, |value| value.literal()))
                    }
                    _ => Some(Literal::Nil),
                },
                _ => None,
            }
        }
        FieldExpr::Binary { .. } => None,
    })
}

impl LeafTest {
    /// How much work it is, about.
    pub(super) const fn cost(&self) -> u32 {
        match self {
            Self::Exists | Self::Missing => 1,
            Self::Values { predicate, .. } => predicate.cost(),
        }
    }
}
