//! Expressions over one span, for all rows of a batch at once.

use arrow::array::BooleanArray;

use crate::ast::FieldExpr;
use crate::{EvalError, Spans};

/// For which rows the expression is true: null where it is unknown, because an operand has no value.
///
/// # Errors
/// [`EvalError`] for a batch of another form, or an integer divided by zero.
pub(crate) fn truth(expr: &FieldExpr, spans: &Spans<'_>) -> Result<BooleanArray, EvalError> {
    let _ = (expr, spans);
    Err(EvalError::Batch("not there yet".into()))
}
