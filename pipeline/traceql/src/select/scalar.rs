//! Numbers of spansets.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Selector;
use super::run::{Run, one_spanset};
use super::sets::{Sets, Units};
use crate::ast::{Aggregate, BinaryOp, Literal};
use crate::eval::{Bound, Mask, Number, Operand, compute};
use crate::{EvalError, Value};

/// A number of a spanset.
#[derive(Clone, Debug)]
pub(crate) enum Scalar {
    /// The same for all.
    Constant(Literal),
    /// Of the spanset's spans; `key` names it in the answer.
    Aggregate {
        /// Which.
        function: Aggregate,
        /// As it is printed.
        key: Arc<str>,
        /// Of what.
        field: Option<Operand>,
    },
    /// Arithmetic.
    Binary(BinaryOp, Box<Self>, Box<Self>),
    /// Of the spans that a pipeline of its own finds in the trace.
    Pipeline(Selector, Box<Self>),
}

/// A scalar with the values of a batch.
#[derive(Debug)]
pub(super) enum BoundScalar<'a> {
    Constant(Option<Value<'a>>),
    Aggregate { function: Aggregate, key: &'a Arc<str>, field: Option<Bound<'a>> },
    Binary(BinaryOp, Box<Self>, Box<Self>),
    Pipeline(Sets, Box<Self>),
}

impl<'a> BoundScalar<'a> {
    /// Pipelines are run on rows `within`; other aggregates are of spansets of rows of `input`.
    pub(super) fn new(
        run: &Run<'a>,
        scalar: &'a Scalar,
        units: &Units<'_>,
        (within, input): (Option<&Mask>, Option<&Mask>),
    ) -> Result<Self, EvalError> {
        let boxed = |scalar: &'a Scalar| {
            Ok::<_, EvalError>(Box::new(BoundScalar::new(run, scalar, units, (within, input))?))
        };
        Ok(match scalar {
            Scalar::Constant(literal) => Self::Constant(literal.value()),
            Scalar::Aggregate { function, key, field } => {
                let field = field.as_ref().map(|field| field.bind(&run.spans, input)).transpose()?;
                Self::Aggregate { function: *function, key, field }
            }
            Scalar::Binary(op, left, right) => Self::Binary(*op, boxed(left)?, boxed(right)?),
            Scalar::Pipeline(selector, inner) => {
                let sets = run.pipeline(selector, units, within)?.into_sets(units);
                let mask = sets.mask(run.spans.rows());
                let inner = BoundScalar::new(run, inner, units, (within, Some(&mask)))?;
                Self::Pipeline(sets, Box::new(inner))
            }
        })
    }

    /// Adds the spans that the scalar's own pipelines find.
    pub(super) fn spans(&self, mask: &mut Mask) {
        match self {
            Self::Constant(_) | Self::Aggregate { .. } => {}
            Self::Binary(_, left, right) => {
                left.spans(mask);
                right.spans(mask);
            }
            Self::Pipeline(sets, _) => sets.rows.iter().for_each(|row| mask.set(*row as usize)),
        }
    }

    /// The number of these rows, or of the unit where the scalar has a pipeline of its own. Aggregates of the rows are
    /// added to `attributes`.
    pub(super) fn value(
        &self,
        unit: u32,
        rows: &[u32],
        attributes: &mut Vec<(Arc<str>, Literal)>,
    ) -> Result<Option<Value<'a>>, EvalError> {
        Ok(match self {
            Self::Constant(value) => *value,
            Self::Aggregate { function, key, field } => {
                let Some((value, told)) = aggregate(*function, field.as_ref(), rows)? else {
                    return Ok(None);
                };
                if attributes.iter().all(|(other, _)| other != *key) {
                    attributes.push((Arc::clone(key), told));
                }
                Some(value)
            }
            Self::Binary(op, left, right) => {
                let left = left.value(unit, rows, attributes)?;
                let right = right.value(unit, rows, attributes)?;
                match left.zip(right) {
                    Some((left, right)) => compute(*op, left, right)?,
                    None => None,
                }
            }
            Self::Pipeline(sets, inner) => {
                let found = sets.of_unit(unit);
                let rows = match found.len() {
                    0 => &[],
                    1 => sets.rows_of(found.start),
                    _ => return Err(one_spanset()),
                };
                inner.value(unit, rows, &mut Vec::new())?
            }
        })
    }
}

/// The aggregate, as what it compares as and as what is told of it; none without any number.
fn aggregate<'a>(
    function: Aggregate,
    field: Option<&Bound<'a>>,
    rows: &[u32],
) -> Result<Option<(Value<'a>, Literal)>, EvalError> {
    let Some(field) = field else {
        let count = rows.len() as i64;
        return Ok(Some((Value::Int(count), Literal::Int(count))));
    };
    let mut numbers = Numbers::default();
    for row in rows {
        numbers.add(field.first(*row as usize)?);
    }
    Ok(numbers.finish(function))
}

#[derive(Debug, Default)]
struct Numbers {
    count: u64,
    ints: i128,
    floats: f64,
    any_float: bool,
    any_duration: bool,
    least: Option<Number>,
    most: Option<Number>,
}

impl Numbers {
    fn add(&mut self, value: Option<Value<'_>>) {
        let number = match value {
            Some(Value::Int(value)) => Number::Int(value),
            Some(Value::Duration(value)) => {
                self.any_duration = true;
                Number::Int(value)
            }
            Some(Value::Float(value)) => Number::Float(value),
            _ => return,
        };
        self.count += 1;
        match number {
            Number::Int(value) => self.ints += i128::from(value),
            Number::Float(value) => {
                self.any_float = true;
                self.floats += value;
            }
        }
        // NaN is beside any order, and is told only where there is nothing else.
        let beats = |best: Option<Number>, order: Ordering| match best.map(|best| number.order(best)) {
            None => true,
            Some(None) => !number.float().is_nan(),
            Some(Some(found)) => found == order,
        };
        if beats(self.least, Ordering::Less) {
            self.least = Some(number);
        }
        if beats(self.most, Ordering::Greater) {
            self.most = Some(number);
        }
    }

    fn finish<'a>(&self, function: Aggregate) -> Option<(Value<'a>, Literal)> {
        let (least, most) = self.least.zip(self.most)?;
        let sum = match self.any_float {
            true => Number::Float(self.ints as f64 + self.floats),
            false => Number::Int(self.ints.clamp(i64::MIN.into(), i64::MAX.into()) as i64),
        };
        let result = match function {
            Aggregate::Count => Number::Int(self.count as i64),
            Aggregate::Sum => sum,
            Aggregate::Min => least,
            Aggregate::Max => most,
            Aggregate::Avg => Number::Float((self.ints as f64 + self.floats) / self.count as f64),
        };
        let value = match result {
            Number::Int(value) if self.any_duration => Value::Duration(value),
            Number::Int(value) => Value::Int(value),
            Number::Float(value) => Value::Float(value),
        };
        // The average of durations lies between nanoseconds, and is told as a duration all the same.
        let told = match value {
            Value::Float(value) if self.any_duration => Literal::Duration(value.round() as i64),
            other => other.literal(),
        };
        Some((value, told))
    }
}
