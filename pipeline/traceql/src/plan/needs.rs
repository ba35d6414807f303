//! Which columns properties of spans stand in.

use vivace_model::scan::Projection;
use vivace_model::schema::{self, AttributeScope};

use super::walk::Mentioned;
use crate::ast::{Attribute, Intrinsic, Target};

/// What answers tell of traces and of their spans.
pub(super) const SUMMARY: [&str; 9] = [
    schema::TRACE_ID,
    schema::SPAN_ID,
    schema::PARENT_SPAN_ID,
    schema::NAME,
    schema::START_TIME,
    schema::DURATION_NANOS,
    schema::STATUS_CODE,
    schema::ROOT_SERVICE_NAME,
    schema::ROOT_SPAN_NAME,
];

/// What compare() looks at besides attributes.
pub(super) const COMPARED: [&str; 8] = [
    schema::NAME,
    schema::KIND,
    schema::STATUS_CODE,
    schema::STATUS_MESSAGE,
    schema::ROOT_SPAN_NAME,
    schema::ROOT_SERVICE_NAME,
    schema::SCOPE_NAME,
    schema::SCOPE_VERSION,
];

/// Adds the columns of a property.
pub(super) fn add(attribute: &Attribute, columns: &mut Projection) {
    if attribute.parent {
        columns.fixed.extend([schema::NESTED_SET_LEFT, schema::NESTED_SET_PARENT]);
    }
    match &attribute.target {
        Target::Intrinsic(intrinsic) => columns.fixed.extend(of_intrinsic(*intrinsic)),
        Target::Scoped(scope, key) => {
            columns.attributes.insert((*scope, key.to_string()));
        }
        Target::Event(_) => {
            columns.fixed.insert(schema::EVENTS);
        }
        Target::Link(_) => {
            columns.fixed.insert(schema::LINKS);
        }
        Target::Unscoped(key) => {
            columns.fixed.extend([schema::EVENTS, schema::LINKS]);
            columns.attributes.extend(AttributeScope::ALL.map(|scope| (scope, key.to_string())));
        }
    }
}

/// Adds the columns that decide which spans are found.
pub(super) fn add_asked(mentioned: &Mentioned, columns: &mut Projection) {
    mentioned.asked.iter().for_each(|attribute| add(attribute, columns));
    if mentioned.structural {
        columns.fixed.extend([schema::NESTED_SET_LEFT, schema::NESTED_SET_RIGHT, schema::NESTED_SET_PARENT]);
    }
}

const fn of_intrinsic(intrinsic: Intrinsic) -> &'static [&'static str] {
    match intrinsic {
        Intrinsic::Duration => &[schema::DURATION_NANOS],
        Intrinsic::Name => &[schema::NAME],
        Intrinsic::Kind => &[schema::KIND],
        Intrinsic::Status => &[schema::STATUS_CODE],
        Intrinsic::StatusMessage => &[schema::STATUS_MESSAGE],
        Intrinsic::SpanId => &[schema::SPAN_ID],
        Intrinsic::ParentId => &[schema::PARENT_SPAN_ID],
        Intrinsic::ChildCount => &[schema::NESTED_SET_LEFT, schema::NESTED_SET_PARENT],
        Intrinsic::TraceId => &[schema::TRACE_ID],
        Intrinsic::TraceDuration => &[schema::START_TIME, schema::DURATION_NANOS],
        Intrinsic::RootName => &[schema::ROOT_SPAN_NAME],
        Intrinsic::RootServiceName => &[schema::ROOT_SERVICE_NAME],
        Intrinsic::NestedSetLeft => &[schema::NESTED_SET_LEFT],
        Intrinsic::NestedSetRight => &[schema::NESTED_SET_RIGHT],
        Intrinsic::NestedSetParent => &[schema::NESTED_SET_PARENT],
        Intrinsic::EventName => &[schema::EVENTS],
        Intrinsic::EventTimeSinceStart => &[schema::EVENTS, schema::START_TIME],
        Intrinsic::LinkTraceId | Intrinsic::LinkSpanId => &[schema::LINKS],
        Intrinsic::InstrumentationName => &[schema::SCOPE_NAME],
        Intrinsic::InstrumentationVersion => &[schema::SCOPE_VERSION],
        Intrinsic::Parent => &[],
    }
}
