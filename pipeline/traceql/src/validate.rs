//! Which trees make sense.
//! Owns: what is known of a query before any span is seen: types of intrinsics and constants, where `nil` may stand,
//! patterns, arguments. Attributes have any type, so what they are compared with is not checked.

#[cfg(test)]
mod tests;
mod types;

use crate::ast::{
    Attribute, BinaryOp, Body, FieldExpr, Intrinsic, MetricsExpr, MetricsFunction, Pipeline, Query,
    ScalarExpr, SecondStage, SpansetExpr, Stage, Target,
};
use crate::parse_error::{ParseError, clip};
use types::{Checker, Type};

type Result<T> = std::result::Result<T, ParseError>;

pub(crate) fn query(query: &Query) -> Result<()> {
    let mut checker = Checker::default();
    match &query.body {
        Body::Spans(pipeline) => checker.pipeline(pipeline),
        Body::Metrics(series) => checker.metrics(series),
    }
}

/// Filters that stand in one text, which share its limits.
#[derive(Debug, Default)]
pub(crate) struct Filters(Checker);

impl Filters {
    /// Checks one more.
    pub(crate) fn check(&mut self, expr: &FieldExpr) -> Result<()> {
        self.0.filter(expr)
    }
}

impl Checker {
    fn pipeline(&mut self, pipeline: &Pipeline) -> Result<()> {
        pipeline.stages.iter().try_for_each(|stage| self.stage(stage))
    }

    fn stage(&mut self, stage: &Stage) -> Result<()> {
        match stage {
            Stage::Spansets(spansets) => self.spansets(spansets),
            Stage::ScalarFilter { op, left, right } => {
                if matches!(op, BinaryOp::Matches | BinaryOp::NotMatches) {
                    return Err(ParseError::invalid(format!("{op} compares text, and {left} is a number")));
                }
                if is_constant(left) && is_constant(right) {
                    let message =
                        format!("{left} {op} {right} does not depend on spans: it needs an aggregate");
                    return Err(ParseError::invalid(message));
                }
                self.scalar(left)?;
                self.scalar(right)
            }
            Stage::By(group) => {
                self.type_of(group)?;
                needs_attribute(group, "by()")
            }
            Stage::Coalesce => Ok(()),
            Stage::Select(attributes) => attributes.iter().try_for_each(supported),
        }
    }

    fn spansets(&mut self, spansets: &SpansetExpr) -> Result<()> {
        match spansets {
            SpansetExpr::Filter(expr) => self.filter(expr),
            SpansetExpr::Binary { left, right, .. } => {
                self.spansets(left)?;
                self.spansets(right)
            }
            SpansetExpr::Pipeline(pipeline) => self.pipeline(pipeline),
        }
    }

    fn filter(&mut self, expr: &FieldExpr) -> Result<()> {
        match self.type_of(expr)? {
            Type::Bool | Type::Any => Ok(()),
            other => {
                let message =
                    format!("a filter must be true or false, and {} is {other}", clip(&expr.to_string()));
                Err(ParseError::invalid(message))
            }
        }
    }

    fn scalar(&mut self, scalar: &ScalarExpr) -> Result<()> {
        match scalar {
            ScalarExpr::Literal(_) | ScalarExpr::Aggregate(_, None) => Ok(()),
            ScalarExpr::Aggregate(function, Some(field)) => {
                let function = function.name();
                let found = self.type_of(field)?;
                if !found.is_number() {
                    let message =
                        format!("{function}() needs a number, and {} is {found}", clip(&field.to_string()));
                    return Err(ParseError::invalid(message));
                }
                needs_attribute(field, &format!("{function}()"))
            }
            ScalarExpr::Binary { left, right, .. } => {
                self.scalar(left)?;
                self.scalar(right)
            }
            ScalarExpr::Pipeline(pipeline, scalar) => {
                if is_constant(scalar) {
                    return Err(ParseError::invalid(format!(
                        "a pipeline cannot end in {scalar}: it needs an aggregate"
                    )));
                }
                self.pipeline(pipeline)?;
                self.scalar(scalar)
            }
        }
    }

    fn metrics(&mut self, series: &MetricsExpr) -> Result<()> {
        match series {
            MetricsExpr::Pipeline { spans, function, by } => {
                self.pipeline(spans)?;
                self.function(function)?;
                by.iter().try_for_each(supported)
            }
            MetricsExpr::Stage { input, stage } => {
                not_compare(input)?;
                second_stage(stage)?;
                self.metrics(input)
            }
            MetricsExpr::Number(_) => Ok(()),
            MetricsExpr::Binary { left, right, .. } => {
                not_compare(left)?;
                not_compare(right)?;
                self.metrics(left)?;
                self.metrics(right)
            }
        }
    }

    fn function(&mut self, function: &MetricsFunction) -> Result<()> {
        match function {
            MetricsFunction::Rate | MetricsFunction::CountOverTime => Ok(()),
            MetricsFunction::MinOverTime(attribute)
            | MetricsFunction::MaxOverTime(attribute)
            | MetricsFunction::AvgOverTime(attribute)
            | MetricsFunction::SumOverTime(attribute)
            | MetricsFunction::HistogramOverTime(attribute) => numeric(attribute, function.name()),
            MetricsFunction::QuantileOverTime(attribute, quantiles) => {
                numeric(attribute, function.name())?;
                if quantiles.is_empty() {
                    return Err(ParseError::invalid("quantile_over_time() needs quantiles, such as 0.9"));
                }
                match quantiles.iter().find(|quantile| !(0.0..=1.0).contains(*quantile)) {
                    Some(quantile) => {
                        Err(ParseError::invalid(format!("quantile {quantile} is not within 0 and 1")))
                    }
                    None => Ok(()),
                }
            }
            MetricsFunction::Compare { selection, top_n, window } => {
                self.filter(selection)?;
                if *top_n == 0 {
                    return Err(ParseError::invalid(
                        "compare() must tell at least 1 value of each attribute",
                    ));
                }
                match window {
                    Some((start, end)) if start >= end => Err(ParseError::invalid(format!(
                        "the window of compare() ends at {end}, before its start"
                    ))),
                    _ => Ok(()),
                }
            }
        }
    }
}

fn second_stage(stage: &SecondStage) -> Result<()> {
    match stage {
        SecondStage::TopK(0) => Err(ParseError::invalid("topk() needs a number above 0")),
        SecondStage::BottomK(0) => Err(ParseError::invalid("bottomk() needs a number above 0")),
        SecondStage::Filter(BinaryOp::Matches | BinaryOp::NotMatches, _) => {
            Err(ParseError::invalid("series are numbers, which no pattern can match"))
        }
        SecondStage::TopK(_) | SecondStage::BottomK(_) | SecondStage::Filter(..) => Ok(()),
    }
}

fn not_compare(series: &MetricsExpr) -> Result<()> {
    match series {
        MetricsExpr::Pipeline { function: MetricsFunction::Compare { .. }, .. } => {
            Err(ParseError::invalid("compare() must be the last stage, and no math is possible with it"))
        }
        _ => Ok(()),
    }
}

fn numeric(attribute: &Attribute, function: &str) -> Result<()> {
    supported(attribute)?;
    let found = Type::of_attribute(attribute);
    if found.is_number() {
        return Ok(());
    }
    Err(ParseError::invalid(format!("{function}() needs a number, and {attribute} is {found}")))
}

/// `parent` alone is in the language and means nothing.
fn supported(attribute: &Attribute) -> Result<()> {
    match attribute.target {
        Target::Intrinsic(Intrinsic::Parent) => Err(ParseError::invalid(
            "parent alone has no value: write parent.span.foo, parent.duration or similar",
        )),
        _ => Ok(()),
    }
}

fn needs_attribute(expr: &FieldExpr, place: &str) -> Result<()> {
    if has_attribute(expr) {
        return Ok(());
    }
    Err(ParseError::invalid(format!("{place} needs an attribute, and {} has none", clip(&expr.to_string()))))
}

fn has_attribute(expr: &FieldExpr) -> bool {
    match expr {
        FieldExpr::Literal(_) => false,
        FieldExpr::Attribute(_) => true,
        FieldExpr::Not(operand) | FieldExpr::Negate(operand) => has_attribute(operand),
        FieldExpr::Binary { left, right, .. } => has_attribute(left) || has_attribute(right),
    }
}

fn is_constant(scalar: &ScalarExpr) -> bool {
    match scalar {
        ScalarExpr::Literal(_) => true,
        ScalarExpr::Aggregate(..) | ScalarExpr::Pipeline(..) => false,
        ScalarExpr::Binary { left, right, .. } => is_constant(left) && is_constant(right),
    }
}
