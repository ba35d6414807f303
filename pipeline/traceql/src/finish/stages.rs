//! Second stages: which samples of series stay.

use std::cmp::Ordering;

use super::Line;
use crate::EvalError;
use crate::ast::{BinaryOp, Literal, SecondStage};

/// Keeps of all samples those that the stage is for, and of all series those that have any.
pub(super) fn apply(stage: &SecondStage, lines: &mut Vec<Line>) -> Result<(), EvalError> {
    match stage {
        SecondStage::TopK(count) => keep_first(lines, *count, |a, b| b.total_cmp(a)),
        SecondStage::BottomK(count) => keep_first(lines, *count, f64::total_cmp),
        SecondStage::Filter(op, literal) => {
            let limit = number(literal)?;
            let holds = comparison(*op)?;
            for sample in lines.iter_mut().flat_map(|line| &mut line.samples) {
                if !holds(*sample, limit) {
                    *sample = f64::NAN;
                }
            }
        }
    }
    drop_empty(lines);
    Ok(())
}

/// Drops series without samples, and exemplars where there is none.
fn drop_empty(lines: &mut Vec<Line>) {
    lines.retain(|line| !line.is_empty());
    for line in lines {
        let Line { samples, exemplars, .. } = line;
        exemplars
            .retain(|(interval, _)| samples.get(*interval as usize).is_some_and(|sample| !sample.is_nan()));
    }
}

/// Keeps the first samples of each interval, in the order given, equal ones by their series' labels.
fn keep_first(lines: &mut [Line], count: usize, order: impl Fn(&f64, &f64) -> Ordering) {
    lines.sort_by(|a, b| a.labels.cmp(&b.labels));
    let intervals = lines.first().map_or(0, |line| line.samples.len());
    let mut ranked: Vec<(f64, usize)> = Vec::with_capacity(lines.len());
    for interval in 0..intervals {
        let samples = lines.iter().map(|line| line.samples[interval]).zip(0..);
        ranked.clear();
        ranked.extend(samples.filter(|(sample, _)| !sample.is_nan()));
        // Stable, so that equal ones stay in the order of labels.
        ranked.sort_by(|a, b| order(&a.0, &b.0));
        for (_, line) in ranked.iter().skip(count) {
            lines[*line].samples[interval] = f64::NAN;
        }
    }
}

fn comparison(op: BinaryOp) -> Result<fn(f64, f64) -> bool, EvalError> {
    Ok(match op {
        BinaryOp::Equal => |sample, limit| sample == limit,
        BinaryOp::NotEqual => |sample, limit| !sample.is_nan() && sample != limit,
        BinaryOp::Less => |sample, limit| sample < limit,
        BinaryOp::LessOrEqual => |sample, limit| sample <= limit,
        BinaryOp::Greater => |sample, limit| sample > limit,
        BinaryOp::GreaterOrEqual => |sample, limit| sample >= limit,
        _ => return Err(EvalError::Query("series can only be compared with a number".into())),
    })
}

/// A constant as samples are: times are seconds.
pub(super) fn number(literal: &Literal) -> Result<f64, EvalError> {
    match literal {
        Literal::Int(value) => Ok(*value as f64),
        Literal::Float(value) => Ok(*value),
        Literal::Duration(nanos) => Ok(*nanos as f64 / 1e9),
        _ => Err(EvalError::Query("series can only be calculated with numbers".into())),
    }
}
