//! Spansets, pipelines and their numbers.

use std::fmt::{self, Display, Formatter};

use super::{Operand, sides};
use crate::ast::{Attribute, Pipeline, ScalarExpr, SpansetExpr, Stage};
use crate::operator::Level;

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, stage) in self.stages.iter().enumerate() {
            write!(f, "{}{stage}", if index == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spansets(spansets) => spansets.fmt(f),
            Self::ScalarFilter { op, left, right } => write!(f, "{left} {op} {right}"),
            Self::By(group) => write!(f, "by({group})"),
            Self::Coalesce => f.write_str("coalesce()"),
            Self::Select(attributes) => {
                f.write_str("select(")?;
                list(f, attributes)?;
                f.write_str(")")
            }
        }
    }
}

/// `a, b`
pub(super) fn list(f: &mut Formatter<'_>, attributes: &[Attribute]) -> fmt::Result {
    for (index, attribute) in attributes.iter().enumerate() {
        write!(f, "{}{attribute}", if index == 0 { "" } else { ", " })?;
    }
    Ok(())
}

impl Display for SpansetExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(filter) => write!(f, "{{ {filter} }}"),
            Self::Binary { op, left, right } => {
                let (left_level, right_level) = sides(op.level());
                write!(f, "{} {op} {}", left.at_least(left_level), right.at_least(right_level))
            }
            Self::Pipeline(pipeline) => write!(f, "({pipeline})"),
        }
    }
}

impl Operand for SpansetExpr {
    fn level(&self) -> Level {
        match self {
            Self::Filter(_) | Self::Pipeline(_) => Level::Operand,
            Self::Binary { op, .. } => op.level(),
        }
    }
}

impl Display for ScalarExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(literal) => literal.fmt(f),
            Self::Aggregate(function, None) => write!(f, "{}()", function.name()),
            Self::Aggregate(function, Some(field)) => write!(f, "{}({field})", function.name()),
            Self::Binary { op, left, right } => {
                let (left_level, right_level) = sides(op.level());
                write!(f, "{} {op} {}", left.at_least(left_level), right.at_least(right_level))
            }
            Self::Pipeline(pipeline, scalar) => write!(f, "({pipeline} | {scalar})"),
        }
    }
}

impl Operand for ScalarExpr {
    fn level(&self) -> Level {
        match self {
            Self::Literal(_) | Self::Aggregate(..) | Self::Pipeline(..) => Level::Operand,
            Self::Binary { op, .. } => op.level(),
        }
    }
}
