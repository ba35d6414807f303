//! Series.

use std::fmt::{self, Display, Formatter};

use super::spansets::list;
use super::{Operand, sides};
use crate::ast::{MetricsExpr, MetricsFunction, SecondStage};
use crate::operator::Level;

impl Display for MetricsExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline { spans, function, by } => {
                write!(f, "{spans} | {function}")?;
                if by.is_empty() {
                    return Ok(());
                }
                f.write_str(" by(")?;
                list(f, by)?;
                f.write_str(")")
            }
            Self::Stage { input, stage } => write!(f, "{input}{stage}"),
            Self::Number(number) => number.fmt(f),
            Self::Binary { op, left, right } => {
                let (left_level, right_level) = sides(op.level());
                write!(f, "{} {op} {}", left.at_least(left_level), right.at_least(right_level))
            }
        }
    }
}

impl Operand for MetricsExpr {
    fn level(&self) -> Level {
        match self {
            Self::Number(_) => Level::Operand,
            Self::Binary { op, .. } => op.level(),
            // A `|` is looser than all operators.
            Self::Pipeline { .. } | Self::Stage { .. } => Level::Logic,
        }
    }
}

impl MetricsFunction {
    /// As in queries; series without labels are named by it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::CountOverTime => "count_over_time",
            Self::MinOverTime(_) => "min_over_time",
            Self::MaxOverTime(_) => "max_over_time",
            Self::AvgOverTime(_) => "avg_over_time",
            Self::SumOverTime(_) => "sum_over_time",
            Self::QuantileOverTime(..) => "quantile_over_time",
            Self::HistogramOverTime(_) => "histogram_over_time",
            Self::Compare { .. } => "compare",
        }
    }
}

impl Display for MetricsFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name())?;
        match self {
            Self::Rate | Self::CountOverTime => {}
            Self::MinOverTime(attribute)
            | Self::MaxOverTime(attribute)
            | Self::AvgOverTime(attribute)
            | Self::SumOverTime(attribute)
            | Self::HistogramOverTime(attribute) => attribute.fmt(f)?,
            Self::QuantileOverTime(attribute, quantiles) => {
                attribute.fmt(f)?;
                quantiles.iter().try_for_each(|quantile| write!(f, ", {quantile:?}"))?;
            }
            Self::Compare { selection, top_n, window } => {
                write!(f, "{{ {selection} }}, {top_n}")?;
                if let Some((start, end)) = window {
                    write!(f, ", {start}, {end}")?;
                }
            }
        }
        f.write_str(")")
    }
}

impl Display for SecondStage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::TopK(count) => write!(f, " | topk({count})"),
            Self::BottomK(count) => write!(f, " | bottomk({count})"),
            Self::Filter(op, constant) => write!(f, " {op} {constant}"),
        }
    }
}
