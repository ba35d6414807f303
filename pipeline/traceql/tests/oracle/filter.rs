//! Expressions over one span.

use std::cmp::Ordering;

use regex::Regex;
use vivace_traceql::ast::{BinaryOp, FieldExpr, Literal};

use crate::lookup;
use crate::trace::{Seen, Trace};

/// True, false, or unknown because something is missing.
pub(crate) fn truth(trace: &Trace, span: usize, expr: &FieldExpr) -> Option<bool> {
    match expr {
        FieldExpr::Not(inner) => truth(trace, span, inner).map(|known| !known),
        FieldExpr::Binary { op: BinaryOp::And, left, right } => {
            match (truth(trace, span, left), truth(trace, span, right)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            }
        }
        FieldExpr::Binary { op: BinaryOp::Or, left, right } => {
            match (truth(trace, span, left), truth(trace, span, right)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            }
        }
        FieldExpr::Binary { op, left, right } if !is_arithmetic(*op) => {
            comparison(trace, span, *op, left, right)
        }
        // As `expr = true`; of several flags one that is true is enough.
        _ => {
            let values = values(trace, span, expr);
            let any = |flag: bool| values.contains(&Seen::Bool(flag));
            if any(true) { Some(true) } else { any(false).then_some(false) }
        }
    }
}

fn comparison(trace: &Trace, span: usize, op: BinaryOp, left: &FieldExpr, right: &FieldExpr) -> Option<bool> {
    let nil = FieldExpr::Literal(Literal::Nil);
    if *left == nil || *right == nil {
        let other = if *left == nil { right } else { left };
        let missing = values(trace, span, other).is_empty();
        return Some(missing == (op == BinaryOp::Equal));
    }
    let (lefts, rights) = (values(trace, span, left), values(trace, span, right));
    if lefts.is_empty() || rights.is_empty() {
        return None;
    }
    let mut pairs = lefts.iter().flat_map(|left| rights.iter().map(move |right| (left, right)));
    Some(match op {
        BinaryOp::NotEqual | BinaryOp::NotMatches => pairs.all(|(left, right)| compare(op, left, right)),
        _ => pairs.any(|(left, right)| compare(op, left, right)),
    })
}

/// Values of an expression. What is computed is computed of the first values.
pub(crate) fn values(trace: &Trace, span: usize, expr: &FieldExpr) -> Vec<Seen> {
    match expr {
        FieldExpr::Literal(literal) => Seen::of_literal(literal).into_iter().collect(),
        FieldExpr::Attribute(attribute) => lookup::values(trace, span, attribute),
        FieldExpr::Negate(inner) => match first(trace, span, inner) {
            Some(Seen::Int(value)) => vec![Seen::Int(-value)],
            Some(Seen::Float(value)) => vec![Seen::Float(-value)],
            Some(Seen::Duration(value)) => vec![Seen::Duration(-value)],
            _ => Vec::new(),
        },
        FieldExpr::Binary { op, left, right } if is_arithmetic(*op) => {
            let (left, right) = (first(trace, span, left), first(trace, span, right));
            left.zip(right).and_then(|(left, right)| compute(*op, &left, &right)).into_iter().collect()
        }
        FieldExpr::Not(_) | FieldExpr::Binary { .. } => {
            truth(trace, span, expr).map(Seen::Bool).into_iter().collect()
        }
    }
}

pub(crate) fn first(trace: &Trace, span: usize, expr: &FieldExpr) -> Option<Seen> {
    values(trace, span, expr).into_iter().next()
}

pub(crate) const fn is_arithmetic(op: BinaryOp) -> bool {
    use BinaryOp::{Add, Divide, Modulo, Multiply, Power, Subtract};
    matches!(op, Add | Subtract | Multiply | Divide | Modulo | Power)
}

/// Values of types that do not go together meet no comparison.
pub(crate) fn compare(op: BinaryOp, left: &Seen, right: &Seen) -> bool {
    if let (BinaryOp::Matches | BinaryOp::NotMatches, Seen::Text(text), Seen::Text(pattern)) =
        (op, left, right)
    {
        let regex = Regex::new(&format!("(?s)^(?:{pattern})$")).expect("the generator makes good patterns");
        return regex.is_match(text) == (op == BinaryOp::Matches);
    }
    let order = match (left, right) {
        (Seen::Text(left), Seen::Text(right)) => left.cmp(right),
        (Seen::Bool(left), Seen::Bool(right)) if matches!(op, BinaryOp::Equal | BinaryOp::NotEqual) => {
            left.cmp(right)
        }
        (Seen::Status(_), Seen::Kind(_)) | (Seen::Kind(_), Seen::Status(_)) => return false,
        _ => match (number(left), number(right)) {
            (Some(left), Some(right)) => left.partial_cmp(&right).expect("the generator makes no NaN"),
            _ => return false,
        },
    };
    match op {
        BinaryOp::Equal => order == Ordering::Equal,
        BinaryOp::NotEqual => order != Ordering::Equal,
        BinaryOp::Less => order == Ordering::Less,
        BinaryOp::LessOrEqual => order != Ordering::Greater,
        BinaryOp::Greater => order == Ordering::Greater,
        BinaryOp::GreaterOrEqual => order != Ordering::Less,
        _ => false,
    }
}

/// Exact for what the generator makes.
fn number(value: &Seen) -> Option<f64> {
    match value {
        Seen::Int(value) | Seen::Duration(value) => Some(*value as f64),
        Seen::Float(value) => Some(*value),
        Seen::Status(status) => Some(f64::from(*status as u8)),
        Seen::Kind(kind) => Some(f64::from(*kind as u8)),
        Seen::Text(_) | Seen::Bool(_) => None,
    }
}

/// Sums, differences and products of integers are integers; with a duration they are durations, but a product of
/// durations; all else is a float. (The generator divides by floats only, so that no division fails.)
pub(crate) fn compute(op: BinaryOp, left: &Seen, right: &Seen) -> Option<Seen> {
    let durations = [left, right].iter().filter(|side| matches!(side, Seen::Duration(_))).count();
    let float = [left, right].iter().any(|side| matches!(side, Seen::Float(_)));
    let result = match (left, right) {
        (
            Seen::Int(_) | Seen::Float(_) | Seen::Duration(_),
            Seen::Int(_) | Seen::Float(_) | Seen::Duration(_),
        ) => {
            let (left, right) = (number(left)?, number(right)?);
            match op {
                BinaryOp::Add => left + right,
                BinaryOp::Subtract => left - right,
                BinaryOp::Multiply => left * right,
                BinaryOp::Divide => left / right,
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(match durations {
        0 if float => Seen::Float(result),
        0 => Seen::Int(result as i64),
        2 if op == BinaryOp::Multiply => Seen::Float(result),
        _ => Seen::Duration(result.round() as i64),
    })
}
