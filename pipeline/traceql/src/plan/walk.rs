//! What a query mentions.

use crate::ast::{
    Aggregate, Attribute, FieldExpr, MetricsExpr, MetricsFunction, Pipeline, ScalarExpr, SpansetExpr,
    SpansetOp, Stage,
};

/// What the stages of a pipeline mention, in the order in which it is written.
#[derive(Debug, Default)]
pub(super) struct Mentioned {
    /// In filters, aggregates and groups.
    pub(super) asked: Vec<Attribute>,
    /// By `select()`.
    pub(super) selected: Vec<Attribute>,
    /// Whether spans are related to others.
    pub(super) structural: bool,
}

impl Mentioned {
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let mut mentioned = Self::default();
        mentioned.pipeline(pipeline);
        mentioned
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        for stage in &pipeline.stages {
            match stage {
                Stage::Spansets(spansets) => self.spansets(spansets),
                Stage::ScalarFilter { left, right, .. } => {
                    self.scalar(left);
                    self.scalar(right);
                }
                Stage::By(expr) => self.field(expr),
                Stage::Coalesce => {}
                Stage::Select(attributes) => self.selected.extend(attributes.iter().cloned()),
            }
        }
    }

    fn spansets(&mut self, spansets: &SpansetExpr) {
        match spansets {
            SpansetExpr::Filter(expr) => self.field(expr),
            SpansetExpr::Binary { op, left, right } => {
                self.structural |= matches!(op, SpansetOp::Structural { .. });
                self.spansets(left);
                self.spansets(right);
            }
            SpansetExpr::Pipeline(pipeline) => self.pipeline(pipeline),
        }
    }

    fn scalar(&mut self, scalar: &ScalarExpr) {
        match scalar {
            ScalarExpr::Literal(_) | ScalarExpr::Aggregate(Aggregate::Count, _) => {}
            ScalarExpr::Aggregate(_, field) => field.iter().for_each(|field| self.field(field)),
            ScalarExpr::Binary { left, right, .. } => {
                self.scalar(left);
                self.scalar(right);
            }
            ScalarExpr::Pipeline(pipeline, scalar) => {
                self.pipeline(pipeline);
                self.scalar(scalar);
            }
        }
    }

    pub(super) fn field(&mut self, expr: &FieldExpr) {
        match expr {
            FieldExpr::Literal(_) => {}
            FieldExpr::Attribute(attribute) => self.asked.push(attribute.clone()),
            FieldExpr::Not(operand) | FieldExpr::Negate(operand) => self.field(operand),
            FieldExpr::Binary { left, right, .. } => {
                self.field(left);
                self.field(right);
            }
        }
    }
}

/// A metrics pipeline.
pub(super) type Metrics<'a> = (&'a Pipeline, &'a MetricsFunction, &'a [Attribute]);

/// The metrics pipelines of an expression, from left to right.
pub(super) fn metrics<'a>(series: &'a MetricsExpr, found: &mut Vec<Metrics<'a>>) {
    match series {
        MetricsExpr::Pipeline { spans, function, by } => found.push((spans, function, by)),
        MetricsExpr::Stage { input, .. } => metrics(input, found),
        MetricsExpr::Number(_) => {}
        MetricsExpr::Binary { left, right, .. } => {
            metrics(left, found);
            metrics(right, found);
        }
    }
}

/// The attribute that a function is of.
pub(super) const fn measured(function: &MetricsFunction) -> Option<&Attribute> {
    match function {
        MetricsFunction::MinOverTime(attribute)
        | MetricsFunction::MaxOverTime(attribute)
        | MetricsFunction::AvgOverTime(attribute)
        | MetricsFunction::SumOverTime(attribute)
        | MetricsFunction::QuantileOverTime(attribute, _)
        | MetricsFunction::HistogramOverTime(attribute) => Some(attribute),
        MetricsFunction::Rate | MetricsFunction::CountOverTime | MetricsFunction::Compare { .. } => None,
    }
}
