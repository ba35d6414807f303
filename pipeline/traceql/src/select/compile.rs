//! Trees of pipelines to what is run.

use std::sync::Arc;

use super::scalar::Scalar;
use super::{Selector, Spansets, Step};
use crate::EvalError;
use crate::ast::{Pipeline, ScalarExpr, SpansetExpr, SpansetOp, Stage};
use crate::eval::{compile, operand};

pub(super) fn selector(pipeline: &Pipeline) -> Result<Selector, EvalError> {
    let mut stages = Vec::new();
    for (index, stage) in pipeline.stages.iter().enumerate() {
        stages.push(match stage {
            Stage::Spansets(expr) => Step::Spansets(spansets(expr)?),
            Stage::ScalarFilter { op, left, right } => {
                Step::Scalars { op: *op, left: scalar(left)?, right: scalar(right)?, first: index == 0 }
            }
            Stage::By(expr) => Step::By(Arc::from(format!("by({expr})")), operand(expr)?),
            Stage::Coalesce => Step::Coalesce,
            Stage::Select(_) => continue,
        });
    }
    Ok(Selector { stages })
}

fn spansets(expr: &SpansetExpr) -> Result<Spansets, EvalError> {
    Ok(match expr {
        SpansetExpr::Filter(expr) => Spansets::Filter(compile(expr, false)?),
        SpansetExpr::Binary { op, left, right } => {
            let (left, right) = (Box::new(spansets(left)?), Box::new(spansets(right)?));
            match *op {
                SpansetOp::And => Spansets::And(left, right),
                SpansetOp::Or => Spansets::Or(left, right),
                SpansetOp::Structural { relation, negated, union } => {
                    Spansets::Structural { relation, negated, union, left, right }
                }
            }
        }
        SpansetExpr::Pipeline(pipeline) => Spansets::Pipeline(selector(pipeline)?),
    })
}

fn scalar(expr: &ScalarExpr) -> Result<Scalar, EvalError> {
    Ok(match expr {
        ScalarExpr::Literal(literal) => Scalar::Constant(literal.clone()),
        ScalarExpr::Aggregate(function, field) => Scalar::Aggregate {
            function: *function,
            key: Arc::from(expr.to_string()),
            field: field.as_ref().map(operand).transpose()?,
        },
        ScalarExpr::Binary { op, left, right } => {
            Scalar::Binary(*op, Box::new(scalar(left)?), Box::new(scalar(right)?))
        }
        ScalarExpr::Pipeline(pipeline, inner) => {
            Scalar::Pipeline(selector(pipeline)?, Box::new(scalar(inner)?))
        }
    })
}
