//! Where a property is found in a batch.
//! Owns: the places of each property, and in which order unscoped attributes are looked for.

use std::sync::Arc;

use vivace_model::schema::{self, AttributeScope};

use super::attributes::Items;
use super::{Lane, Spans, Values};
use crate::EvalError;
use crate::ast::{Attribute, Intrinsic, Target};

/// Order in which a scope is asked for an unscoped attribute, besides events and links, which come before the last.
const UNSCOPED: [AttributeScope; 3] =
    [AttributeScope::Span, AttributeScope::Resource, AttributeScope::Instrumentation];

impl<'a> Spans<'a> {
    /// Places in which the property may be, the first that has it counts for a row.
    pub(crate) fn sources(&self, target: &Target) -> Result<Vec<Values<'a>>, EvalError> {
        let found = match target {
            Target::Intrinsic(intrinsic) => self.intrinsic(*intrinsic)?,
            Target::Scoped(scope, key) => self.scoped(*scope, key)?,
            Target::Event(key) => self.nested_attributes(schema::EVENTS, key)?,
            Target::Link(key) => self.nested_attributes(schema::LINKS, key)?,
            Target::Unscoped(key) => return self.unscoped(key),
        };
        Ok(if found.lanes.is_empty() { Vec::new() } else { vec![found] })
    }

    fn unscoped(&self, key: &Arc<str>) -> Result<Vec<Values<'a>>, EvalError> {
        let [span, resource, instrumentation] = UNSCOPED;
        let mut sources = vec![
            self.scoped(span, key)?,
            self.scoped(resource, key)?,
            self.nested_attributes(schema::EVENTS, key)?,
            self.nested_attributes(schema::LINKS, key)?,
            self.scoped(instrumentation, key)?,
        ];
        sources.retain(|source| !source.lanes.is_empty());
        Ok(sources)
    }

    fn scoped(&self, scope: AttributeScope, key: &str) -> Result<Values<'a>, EvalError> {
        let mut lanes = Vec::new();
        lanes.extend(self.promoted(&scope.column(key))?);
        if let Some(overflow) = self.list(scope.overflow())?
            && let Some((items, found)) = Items::new(overflow, key)?
        {
            lanes.extend(Values::sparse(items.values(&found)?).lanes);
        }
        Ok(Values { lanes })
    }

    fn intrinsic(&self, intrinsic: Intrinsic) -> Result<Values<'a>, EvalError> {
        let lane = match intrinsic {
            Intrinsic::Duration => self.ints(schema::DURATION_NANOS)?.map(Lane::Duration),
            Intrinsic::Name => self.texts(schema::NAME)?.map(Lane::Text),
            Intrinsic::Kind => self.smalls(schema::KIND)?.map(Lane::Kind),
            Intrinsic::Status => self.smalls(schema::STATUS_CODE)?.map(Lane::Status),
            Intrinsic::StatusMessage => self.texts(schema::STATUS_MESSAGE)?.map(Lane::Text),
            Intrinsic::SpanId => self.ids(schema::SPAN_ID)?.map(Lane::Id),
            Intrinsic::ParentId => return self.parent_ids(),
            Intrinsic::ChildCount => return self.child_counts(),
            Intrinsic::TraceId => return self.trace_ids(),
            Intrinsic::TraceDuration => return self.trace_durations(),
            Intrinsic::RootName => self.texts(schema::ROOT_SPAN_NAME)?.map(Lane::Text),
            Intrinsic::RootServiceName => self.texts(schema::ROOT_SERVICE_NAME)?.map(Lane::Text),
            Intrinsic::NestedSetLeft => self.smalls(schema::NESTED_SET_LEFT)?.map(Lane::Small),
            Intrinsic::NestedSetRight => self.smalls(schema::NESTED_SET_RIGHT)?.map(Lane::Small),
            Intrinsic::NestedSetParent => self.smalls(schema::NESTED_SET_PARENT)?.map(Lane::Small),
            Intrinsic::EventName => return self.event_names(),
            Intrinsic::EventTimeSinceStart => return self.event_times(),
            Intrinsic::LinkTraceId => return self.link_ids(schema::TRACE_ID),
            Intrinsic::LinkSpanId => return self.link_ids(schema::SPAN_ID),
            Intrinsic::InstrumentationName => self.texts(schema::SCOPE_NAME)?.map(Lane::Text),
            Intrinsic::InstrumentationVersion => self.texts(schema::SCOPE_VERSION)?.map(Lane::Text),
            Intrinsic::Parent => None,
        };
        Ok(Values { lanes: lane.into_iter().collect() })
    }

    /// The same property of each span's parent, where that is in the batch.
    pub(super) fn values_of_parents(&self, attribute: &Attribute) -> Result<Values<'a>, EvalError> {
        let of_all = flat(self.sources(&attribute.target)?, self.rows());
        let mut values = Vec::new();
        for (row, parent) in self.parent_rows()?.into_iter().enumerate() {
            if let Some(parent) = parent {
                of_all.each(parent as usize, |value| values.push((row as u32, value)));
            }
        }
        Ok(Values::sparse(values))
    }
}

/// Sources as one: of each only the rows that none before it has.
pub(super) fn flat(sources: Vec<Values<'_>>, rows: usize) -> Values<'_> {
    let mut sources = sources.into_iter();
    let Some(mut flat) = sources.next() else {
        return Values::none();
    };
    for source in sources {
        if flat.lanes.iter().any(Lane::is_full) {
            break;
        }
        let mut missing = Vec::new();
        for row in (0..rows).filter(|row| flat.first(*row).is_none()) {
            source.each(row, |value| missing.push((row as u32, value)));
        }
        flat.lanes.extend(Values::sparse(missing).lanes);
    }
    flat
}
