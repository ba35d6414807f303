//! What things are called in queries, URLs and answers.
//! Owns: names of intrinsics, statuses and kinds, in both directions, and attributes by the name of a tag.

use std::sync::Arc;

use crate::ast::{Attribute, Intrinsic, Kind, Status, Target};
use crate::parse_error::ParseError;
use crate::lex;

/// Every spelling; the first of each is the one that is printed.
const INTRINSICS: [(&str, Intrinsic); 30] = [
    ("duration", Intrinsic::Duration),
    ("span:duration", Intrinsic::Duration),
    ("name", Intrinsic::Name),
    ("span:name", Intrinsic::Name),
    ("kind", Intrinsic::Kind),
    ("span:kind", Intrinsic::Kind),
    ("status", Intrinsic::Status),
    ("span:status", Intrinsic::Status),
    ("statusMessage", Intrinsic::StatusMessage),
    ("span:statusMessage", Intrinsic::StatusMessage),
    ("span:id", Intrinsic::SpanId),
    ("span:parentID", Intrinsic::ParentId),
    ("span:childCount", Intrinsic::ChildCount),
    ("trace:id", Intrinsic::TraceId),
    ("traceDuration", Intrinsic::TraceDuration),
    ("trace:duration", Intrinsic::TraceDuration),
    ("rootName", Intrinsic::RootName),
    ("trace:rootName", Intrinsic::RootName),
    ("rootServiceName", Intrinsic::RootServiceName),
    ("trace:rootService", Intrinsic::RootServiceName),
    ("nestedSetLeft", Intrinsic::NestedSetLeft),
    ("nestedSetRight", Intrinsic::NestedSetRight),
    ("nestedSetParent", Intrinsic::NestedSetParent),
    ("event:name", Intrinsic::EventName),
    ("event:timeSinceStart", Intrinsic::EventTimeSinceStart),
    ("link:traceID", Intrinsic::LinkTraceId),
    ("link:spanID", Intrinsic::LinkSpanId),
    ("instrumentation:name", Intrinsic::InstrumentationName),
    ("instrumentation:version", Intrinsic::InstrumentationVersion),
    ("parent", Intrinsic::Parent),
];

/// Names under which intrinsics are listed as tags.
pub const INTRINSIC_TAG_NAMES: [&str; 25] = [
    "duration",
    "event:name",
    "event:timeSinceStart",
    "instrumentation:name",
    "instrumentation:version",
    "kind",
    "link:spanID",
    "link:traceID",
    "name",
    "rootName",
    "rootServiceName",
    "span:duration",
    "span:id",
    "span:kind",
    "span:name",
    "span:parentID",
    "span:status",
    "span:statusMessage",
    "status",
    "statusMessage",
    "trace:duration",
    "trace:id",
    "trace:rootName",
    "trace:rootService",
    "traceDuration",
];

impl Intrinsic {
    /// By either spelling.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        INTRINSICS.iter().find(|(spelling, _)| *spelling == name).map(|(_, intrinsic)| *intrinsic)
    }

    /// The name that is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        INTRINSICS.iter().find(|(_, intrinsic)| *intrinsic == self).map_or("", |(name, _)| name)
    }

    /// By what follows `parent.`, where `parent` is a key like any other.
    pub(crate) fn of_parent(name: &str) -> Option<Self> {
        Self::from_name(name).filter(|intrinsic| *intrinsic != Self::Parent)
    }
}

impl Status {
    /// By number.
    pub const ALL: [Self; 3] = [Self::Unset, Self::Ok, Self::Error];

    /// As in queries and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }

    /// By [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// By OTLP's number; unknown ones are unset.
    #[must_use]
    pub const fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }
}

impl Kind {
    /// By number.
    pub const ALL: [Self; 6] =
        [Self::Unspecified, Self::Internal, Self::Server, Self::Client, Self::Producer, Self::Consumer];

    /// As in queries and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    /// By [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// By OTLP's number; unknown ones are unspecified.
    #[must_use]
    pub const fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Internal,
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Unspecified,
        }
    }
}

impl Attribute {
    /// Written as it is printed.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self { parent: false, written: Arc::from(target.to_string()), target }
    }

    /// By the name of a tag as URLs have it: `resource.service.name`, `.foo`, `span:kind`, `name`. Names may be quoted
    /// as in queries; unquoted they may hold what only quoted ones may hold in queries, such as blanks.
    ///
    /// # Errors
    /// No intrinsic has this name and no scope precedes it.
    pub fn parse(tag: &str) -> Result<Self, ParseError> {
        let tag = tag.trim();
        if let Some(intrinsic) = Intrinsic::from_name(tag) {
            return Ok(Self { parent: false, target: Target::Intrinsic(intrinsic), written: Arc::from(tag) });
        }
        if let Some(attribute) = lex::whole_attribute(tag) {
            return Ok(attribute);
        }
        match lex::split_scope(tag) {
            Some((scope, key)) if !key.is_empty() => Ok(Self::new(scope(Arc::from(key)))),
            _ => Err(unknown_tag(tag)),
        }
    }
}

fn unknown_tag(tag: &str) -> ParseError {
    ParseError::syntax(
        tag,
        0,
        format!("unknown tag {tag:?}: attributes are written .foo, span.foo or resource.foo"),
    )
}

#[cfg(test)]
mod tests {
    use vivace_model::schema::AttributeScope;

    use super::*;

    #[test]
    fn names_are_found_in_both_directions() {
        for (_, intrinsic) in INTRINSICS {
            assert_eq!(Intrinsic::from_name(intrinsic.name()), Some(intrinsic));
        }
        for tag in INTRINSIC_TAG_NAMES {
            assert!(matches!(Attribute::parse(tag).unwrap().target, Target::Intrinsic(_)), "{tag}");
        }
        for number in 0..7 {
            assert_eq!(
                Status::from_name(Status::from_number(number).name()),
                Some(Status::from_number(number))
            );
            assert_eq!(Kind::from_name(Kind::from_number(number).name()), Some(Kind::from_number(number)));
        }
        assert_eq!(Status::from_number(-1), Status::Unset);
    }

    #[test]
    fn tags_of_urls_need_no_quotes() {
        let span = |key: &str| Target::Scoped(AttributeScope::Span, Arc::from(key));
        for (tag, target, written) in [
            ("span.a", span("a"), "span.a"),
            ("span.a b", span("a b"), "span.\"a b\""),
            ("span.\"a b\"", span("a b"), "span.\"a b\""),
            ("span.a\"b", span("a\"b"), "span.\"a\\\"b\""),
            (".http.url", Target::Unscoped(Arc::from("http.url")), ".http.url"),
            (".5", Target::Unscoped(Arc::from("5")), ".\"5\""),
            ("span:kind", Target::Intrinsic(Intrinsic::Kind), "span:kind"),
            (
                "resource.service.name",
                Target::Scoped(AttributeScope::Resource, Arc::from("service.name")),
                "resource.service.name",
            ),
        ] {
            let attribute = Attribute::parse(tag).unwrap();
            assert_eq!((attribute.target, &*attribute.written), (target, written), "{tag}");
        }
        for bad in ["", ".", "span.", "foo", "http.url", "span:foo"] {
            assert!(Attribute::parse(bad).is_err(), "{bad}");
        }
    }
}
