//! Values of expressions, row by row: arithmetic, and what `by()` and aggregates ask for.

use arrow::array::{DictionaryArray, Int64Array};
use arrow::datatypes::Int32Type;

use super::arithmetic::{compute, negated};
use super::mask::Mask;
use super::node::Node;
use crate::ast::{Attribute, BinaryOp, Literal};
use crate::{EvalError, Lane, Spans, Value, Values};

/// A compiled expression that has a value.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    /// A constant.
    Constant(Literal),
    /// A property of the span.
    Attribute(Attribute),
    /// True where the first is met, false where the second is.
    Truth(Box<Node>, Box<Node>),
    /// With the sign turned.
    Negate(Box<Self>),
    /// Two operands and an arithmetic operator.
    Arithmetic(BinaryOp, Box<Self>, Box<Self>),
}

/// An operand with its values in a batch.
#[derive(Debug)]
pub(crate) enum Bound<'a> {
    Constant(Option<Value<'a>>),
    Values(Values<'a>),
    Truth(Mask, Mask),
    Negate(Box<Self>),
    Arithmetic(BinaryOp, Box<Self>, Box<Self>),
}

impl Operand {
    /// Finds the values of a batch. Only rows `within` will be asked for.
    pub(crate) fn bind<'a>(
        &'a self,
        spans: &Spans<'a>,
        within: Option<&Mask>,
    ) -> Result<Bound<'a>, EvalError> {
        let boxed = |operand: &'a Self| Ok::<_, EvalError>(Box::new(operand.bind(spans, within)?));
        Ok(match self {
            Self::Constant(literal) => Bound::Constant(literal.value()),
            Self::Attribute(attribute) => Bound::Values(spans.values(attribute)?),
            Self::Truth(yes, no) => Bound::Truth(yes.matches(spans, within)?, no.matches(spans, within)?),
            Self::Negate(operand) => Bound::Negate(boxed(operand)?),
            Self::Arithmetic(op, left, right) => Bound::Arithmetic(*op, boxed(left)?, boxed(right)?),
        })
    }
}

impl<'a> Bound<'a> {
    /// The first value of a row.
    pub(crate) fn first(&self, row: usize) -> Result<Option<Value<'a>>, EvalError> {
        Ok(match self {
            Self::Constant(value) => *value,
            Self::Values(values) => values.first(row),
            Self::Truth(yes, no) => match (yes.get(row), no.get(row)) {
                (true, _) => Some(Value::Bool(true)),
                (_, true) => Some(Value::Bool(false)),
                _ => None,
            },
            Self::Negate(operand) => operand.first(row)?.and_then(negated),
            Self::Arithmetic(op, left, right) => match (left.first(row)?, right.first(row)?) {
                (Some(left), Some(right)) => compute(*op, left, right)?,
                _ => None,
            },
        })
    }

    /// The column if these are texts of one column.
    pub(crate) fn texts(&self) -> Option<&'a DictionaryArray<Int32Type>> {
        match self {
            Self::Values(values) => match values.lanes.as_slice() {
                [Lane::Text(texts)] => Some(texts),
                _ => None,
            },
            _ => None,
        }
    }

    /// The column if these are integers of one column, and whether they are durations.
    pub(crate) fn ints(&self) -> Option<(&'a Int64Array, bool)> {
        match self {
            Self::Values(values) => match values.lanes.as_slice() {
                [Lane::Int(numbers)] => Some((numbers, false)),
                [Lane::Duration(numbers)] => Some((numbers, true)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether no row has several values.
    pub(crate) fn is_single(&self) -> bool {
        match self {
            Self::Values(values) => values.lanes.len() <= 1 && !values.lanes.iter().any(Lane::is_sparse),
            _ => true,
        }
    }

    /// All values of a row. What is computed is computed of the first ones.
    pub(crate) fn each(&self, row: usize, take: &mut dyn FnMut(Value<'a>)) -> Result<(), EvalError> {
        if let Self::Values(values) = self {
            values.each(row, take);
        } else if let Some(value) = self.first(row)? {
            take(value);
        }
        Ok(())
    }
}
