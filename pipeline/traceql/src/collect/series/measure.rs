//! What each metrics function makes of a span.

use super::cells::Fold;
use crate::ast::{Attribute, Intrinsic, MetricsFunction, Target};

/// What is made of each span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure<'a> {
    /// Which number of it; none: it is counted.
    pub(crate) attribute: Option<&'a Attribute>,
    /// What becomes of the numbers.
    pub(crate) fold: Fold,
    /// They are counted by powers of two.
    pub(crate) bucketed: bool,
}

impl<'a> Measure<'a> {
    pub(crate) const fn of(function: &'a MetricsFunction) -> Self {
        let (attribute, fold, bucketed) = match function {
            MetricsFunction::Rate | MetricsFunction::CountOverTime | MetricsFunction::Compare { .. } => {
                (None, Fold::Count, false)
            }
            MetricsFunction::MinOverTime(attribute) => (Some(attribute), Fold::Min, false),
            MetricsFunction::MaxOverTime(attribute) => (Some(attribute), Fold::Max, false),
            MetricsFunction::AvgOverTime(attribute) | MetricsFunction::SumOverTime(attribute) => {
                (Some(attribute), Fold::Sum, false)
            }
            MetricsFunction::QuantileOverTime(attribute, _)
            | MetricsFunction::HistogramOverTime(attribute) => (Some(attribute), Fold::Count, true),
        };
        Self { attribute, fold, bucketed }
    }

    /// What numbers are divided by before they are told: times are told in seconds.
    pub(crate) fn divisor(&self) -> f64 {
        if self.attribute.is_some_and(is_duration) { 1e9 } else { 1.0 }
    }
}

const fn is_duration(attribute: &Attribute) -> bool {
    matches!(
        attribute.target,
        Target::Intrinsic(Intrinsic::Duration | Intrinsic::TraceDuration | Intrinsic::EventTimeSinceStart)
    )
}
