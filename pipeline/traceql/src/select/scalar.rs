//! Numbers of spansets.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, Int64Array};

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

    /// Names of the aggregates of the spanset itself, in the order in which [`Self::value`] tells them.
    pub(super) fn keys<'s>(&'s self, keys: &mut Vec<&'s Arc<str>>) {
        match self {
            Self::Constant(_) | Self::Pipeline(..) => {}
            Self::Aggregate { key, .. } => keys.push(key),
            Self::Binary(_, left, right) => {
                left.keys(keys);
                right.keys(keys);
            }
        }
    }

    /// The number of these rows, or of the unit where the scalar has a pipeline of its own. If there is one, all aggregates
    /// of the rows are added to `told`.
    pub(super) fn value(
        &self,
        unit: u32,
        rows: &[u32],
        told: &mut Vec<Literal>,
    ) -> Result<Option<Value<'a>>, EvalError> {
        Ok(match self {
            Self::Constant(value) => *value,
            Self::Aggregate { function, field, .. } => {
                let Some((value, literal)) = aggregate(*function, field.as_ref(), rows)? else {
                    return Ok(None);
                };
                told.push(literal);
                Some(value)
            }
            Self::Binary(op, left, right) => {
                let left = left.value(unit, rows, told)?;
                let right = right.value(unit, rows, told)?;
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
    match field.ints() {
        Some((values, duration)) => numbers.add_ints(values, duration, rows),
        None => {
            for row in rows {
                numbers.add(field.first(*row as usize)?);
            }
        }
    }
    Ok(numbers.finish(function))
}

/// Numbers so far, integers apart from others.
#[derive(Debug)]
struct Numbers {
    ints: u64,
    int_sum: i128,
    int_bounds: (i64, i64),
    floats: u64,
    float_sum: f64,
    /// NaN while there is nothing but NaN.
    float_bounds: (f64, f64),
    any_duration: bool,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            ints: 0,
            int_sum: 0,
            int_bounds: (i64::MAX, i64::MIN),
            floats: 0,
            float_sum: 0.0,
            float_bounds: (f64::NAN, f64::NAN),
            any_duration: false,
        }
    }
}

impl Numbers {
    fn add(&mut self, value: Option<Value<'_>>) {
        match value {
            Some(Value::Int(value)) => self.add_int(value),
            Some(Value::Duration(value)) => {
                self.any_duration = true;
                self.add_int(value);
            }
            Some(Value::Float(value)) => {
                self.floats += 1;
                self.float_sum += value;
                let (least, most) = self.float_bounds;
                self.float_bounds = (least.min(value), most.max(value));
            }
            _ => {}
        }
    }

    #[inline]
    fn add_int(&mut self, value: i64) {
        self.ints += 1;
        self.int_sum += i128::from(value);
        self.int_bounds = (self.int_bounds.0.min(value), self.int_bounds.1.max(value));
    }

    fn add_ints(&mut self, values: &Int64Array, duration: bool, rows: &[u32]) {
        for row in rows.iter().filter(|row| values.is_valid(**row as usize)) {
            self.add_int(values.value(*row as usize));
        }
        self.any_duration |= duration && self.ints > 0;
    }

    fn finish<'a>(&self, function: Aggregate) -> Option<(Value<'a>, Literal)> {
        let count = self.ints + self.floats;
        if count == 0 {
            return None;
        }
        let sum = self.int_sum as f64 + self.float_sum;
        let result = match function {
            Aggregate::Count => Number::Int(count as i64),
            Aggregate::Sum if self.floats > 0 => Number::Float(sum),
            Aggregate::Sum => Number::Int(self.int_sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64),
            Aggregate::Min => self.bound(self.int_bounds.0, self.float_bounds.0, Ordering::Less),
            Aggregate::Max => self.bound(self.int_bounds.1, self.float_bounds.1, Ordering::Greater),
            Aggregate::Avg => Number::Float(sum / count as f64),
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

    /// NaN is beside any order, and is told only where there is nothing else.
    fn bound(&self, int: i64, float: f64, beats: Ordering) -> Number {
        let (int, float) = (Number::Int(int), Number::Float(float));
        if self.ints == 0 || float.order(int) == Some(beats) { float } else { int }
    }
}
