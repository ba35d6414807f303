//! Expressions over one span, for all rows of a batch at once.
//! Owns: what an expression means on a batch. A compiled expression has its constants folded, its patterns built and its
//! negations pushed down to the tests, so that rows are either found or not: what is unknown is not found.
//! Does not own: where values are (`spans`).

mod arithmetic;
mod compile;
mod lanes;
mod leaf;
mod mask;
mod node;
mod number;
mod operand;
mod predicate;

use arrow::buffer::BooleanBuffer;

use crate::ast::FieldExpr;
use crate::{EvalError, Spans};

pub(crate) use arithmetic::{compare, compute};
pub(crate) use compile::{compile, operand};
pub(crate) use leaf::{Leaf, LeafTest};
pub(crate) use mask::Mask;
pub(crate) use node::Node;
pub(crate) use number::Number;
pub(crate) use operand::{Bound, Operand};
pub(crate) use predicate::{Predicate, TextTest};

/// A filter that is asked about many batches.
#[derive(Debug)]
pub(crate) struct Filter {
    node: Node,
}

impl Filter {
    /// # Errors
    /// [`EvalError::Query`] for a pattern that is none, or constants divided by zero.
    pub(crate) fn new(expr: &FieldExpr) -> Result<Self, EvalError> {
        Ok(Self { node: compile(expr, false)? })
    }

    /// For which rows the expression is true; not for those where it is unknown.
    ///
    /// # Errors
    /// [`EvalError`] for a batch of another form, or an integer divided by zero.
    pub(crate) fn matches(&self, spans: &Spans<'_>) -> Result<BooleanBuffer, EvalError> {
        Ok(self.node.matches(spans, None)?.into_buffer())
    }
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
