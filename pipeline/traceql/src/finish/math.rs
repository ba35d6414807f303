//! Math between series: `({ … } | rate()) / ({ … } | rate()) * 100`.
//! Owns: which series of the two sides belong together, and what the result is called.

use std::slice::Iter;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;

use super::functions::{self, NAME};
use super::merged::Merged;
use super::{Labels, Line, stages};
use crate::EvalError;
use crate::ast::{BinaryOp, MetricsExpr};
use crate::collect::labels::LabelKey;
use crate::limits::Room;

/// The value of a metrics expression.
#[derive(Debug)]
pub(super) enum Outcome {
    Lines(Vec<Line>),
    Number(f64),
}

/// An expression being evaluated.
pub(super) struct Evaluation<'a> {
    /// What was added up, in the order in which pipelines are written.
    pub(super) pipelines: Iter<'a, Merged>,
    pub(super) room: &'a Room,
}

impl Evaluation<'_> {
    pub(super) fn evaluate(&mut self, body: &MetricsExpr) -> Result<Outcome, EvalError> {
        match body {
            MetricsExpr::Pipeline { .. } => self.pipeline(usize::MAX),
            MetricsExpr::Stage { input, stage } => {
                let Outcome::Lines(mut lines) = self.evaluate(input)? else {
                    return Err(EvalError::Query("a number has no series to choose from".into()));
                };
                stages::apply(stage, &mut lines)?;
                Ok(Outcome::Lines(lines))
            }
            MetricsExpr::Number(literal) => Ok(Outcome::Number(stages::number(literal)?)),
            MetricsExpr::Binary { op, left, right } => {
                let operator = Operator::new(*op)?;
                let (left, right) = (self.evaluate(left)?, self.evaluate(right)?);
                self.combine(operator, left, right)
            }
        }
    }

    /// The series of the next pipeline. Of more than `series_max` one more is given, which says that some were left out.
    pub(super) fn pipeline(&mut self, series_max: usize) -> Result<Outcome, EvalError> {
        let merged = self.pipelines.next().expect("made of the same expression");
        Ok(Outcome::Lines(functions::lines(merged, series_max, self.room)?))
    }

    fn combine(&self, operator: Operator, left: Outcome, right: Outcome) -> Result<Outcome, EvalError> {
        Ok(match (left, right) {
            (Outcome::Number(left), Outcome::Number(right)) => Outcome::Number((operator.apply)(left, right)),
            (Outcome::Lines(lines), Outcome::Number(number)) => {
                let name = |name: &str| operator.name(name, &number.to_string());
                Outcome::Lines(each(lines, |sample| (operator.apply)(sample, number), name))
            }
            (Outcome::Number(number), Outcome::Lines(lines)) => {
                let name = |name: &str| operator.name(&number.to_string(), name);
                Outcome::Lines(each(lines, |sample| (operator.apply)(number, sample), name))
            }
            (Outcome::Lines(left), Outcome::Lines(right)) => {
                let steps = left.first().map_or(0, |line| line.samples.len());
                let steps = u32::try_from(steps).unwrap_or(u32::MAX);
                self.room.take(left.len().max(right.len()), steps)?;
                Outcome::Lines(operator.join(&left, &right))
            }
        })
    }
}

#[derive(Clone, Copy)]
struct Operator {
    symbol: char,
    apply: fn(f64, f64) -> f64,
}

impl Operator {
    fn new(op: BinaryOp) -> Result<Self, EvalError> {
        Ok(match op {
            BinaryOp::Add => Self { symbol: '+', apply: |left, right| left + right },
            BinaryOp::Subtract => Self { symbol: '-', apply: |left, right| left - right },
            BinaryOp::Multiply => Self { symbol: '*', apply: |left, right| left * right },
            BinaryOp::Divide => Self { symbol: '/', apply: |left, right| left / right },
            _ => return Err(EvalError::Query("between series there are only +, -, * and /".into())),
        })
    }

    /// Each series with the one of the same labels on the other side, or with the only one if that has no labels.
    fn join(self, left: &[Line], right: &[Line]) -> Vec<Line> {
        if let [only] = right
            && key(only).is_empty()
        {
            return left.iter().map(|line| self.pair(line, only, &line.labels)).collect();
        }
        if let [only] = left
            && key(only).is_empty()
        {
            return right.iter().map(|line| self.pair(only, line, &line.labels)).collect();
        }
        let by_labels: HashMap<Labels, &Line, RandomState> =
            right.iter().map(|line| (key(line), line)).collect();
        let pairs = left.iter().filter_map(|line| Some((line, *by_labels.get(&key(line))?)));
        pairs.map(|(left, right)| self.pair(left, right, &left.labels)).collect()
    }

    fn pair(self, left: &Line, right: &Line, labels: &Labels) -> Line {
        let samples = left.samples.iter().zip(&right.samples);
        let samples = samples.map(|(left, right)| (self.apply)(*left, *right)).collect();
        let mut labels = labels.clone();
        if let Some((left, right)) = name(left).zip(name(right)) {
            let name = self.name(&left, &right);
            set_name(&mut labels, &name);
        }
        let exemplars = left.exemplars.iter().chain(&right.exemplars).cloned().collect();
        Line { labels, samples, exemplars }
    }

    fn name(self, left: &str, right: &str) -> String {
        format!("({left} {} {right})", self.symbol)
    }
}

/// Changes each sample, and names.
fn each(mut lines: Vec<Line>, sample: impl Fn(f64) -> f64, rename: impl Fn(&str) -> String) -> Vec<Line> {
    for line in &mut lines {
        line.samples.iter_mut().for_each(|value| *value = sample(*value));
        if let Some(name) = name(line) {
            set_name(&mut line.labels, &rename(&name));
        }
    }
    lines
}

/// What series are matched by: labels without the name, in one order whatever `by()` they come from.
fn key(line: &Line) -> Labels {
    let mut key: Labels = line.labels.iter().filter(|(name, _)| &**name != NAME).cloned().collect();
    key.sort();
    key
}

fn name(line: &Line) -> Option<Arc<str>> {
    line.labels.iter().find_map(|(name, value)| match value {
        LabelKey::Text(text) if &**name == NAME => Some(Arc::clone(text)),
        _ => None,
    })
}

fn set_name(labels: &mut Labels, name: &str) {
    for (_, value) in labels.iter_mut().filter(|(other, _)| &**other == NAME) {
        *value = LabelKey::text(name);
    }
}
