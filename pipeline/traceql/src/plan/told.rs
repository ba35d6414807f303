//! What answers tell of each span, and what it is called there.

use crate::ast::{Attribute, Intrinsic, Target};

use super::walk::Mentioned;

impl Attribute {
    /// What the attribute is called in an answer: its key without the scope, or the intrinsic as it was written.
    #[must_use]
    pub fn answer_key(&self) -> &str {
        match &self.target {
            Target::Intrinsic(_) => &self.written,
            _ if self.parent => &self.written,
            Target::Scoped(_, key) | Target::Event(key) | Target::Link(key) | Target::Unscoped(key) => key,
        }
    }

    /// Whether it can only be told of a span with its whole trace at hand: in a batch of [`first`](crate::ScanPlan::first)
    /// columns, with its runs. All others are properties of the span alone.
    #[must_use]
    pub const fn needs_trace(&self) -> bool {
        self.parent
            || matches!(
                self.target,
                Target::Intrinsic(
                    Intrinsic::ChildCount
                        | Intrinsic::TraceDuration
                        | Intrinsic::RootName
                        | Intrinsic::RootServiceName
                        | Intrinsic::NestedSetLeft
                        | Intrinsic::NestedSetRight
                        | Intrinsic::NestedSetParent
                )
            )
    }

    /// Whether answers tell it anyway, of the span or of its trace, so that a filter on it does not add it.
    const fn told_anyway(&self) -> bool {
        !self.parent
            && matches!(
                self.target,
                Target::Intrinsic(
                    Intrinsic::Name
                        | Intrinsic::Duration
                        | Intrinsic::SpanId
                        | Intrinsic::ParentId
                        | Intrinsic::TraceId
                        | Intrinsic::TraceDuration
                        | Intrinsic::RootName
                        | Intrinsic::RootServiceName
                )
            )
    }
}

/// Attributes told of each span, each once: those that `select()` names, and those that the query looks at.
pub(super) fn told(mentioned: &Mentioned) -> Vec<Attribute> {
    let asked = mentioned.asked.iter().filter(|attribute| !attribute.told_anyway());
    let mut told: Vec<Attribute> = Vec::new();
    for attribute in asked.chain(&mentioned.selected) {
        let same = |other: &Attribute| other.parent == attribute.parent && other.target == attribute.target;
        if !told.iter().any(same) {
            told.push(attribute.clone());
        }
    }
    told
}
