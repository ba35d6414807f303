//! Lookups of names and values of attributes.

use std::ops::Range;
use std::time::Duration;

use vivace_model::{TenantId, UnixNanos};
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::{LabelValue, TagNamesKind, TagValuesKind, label_value};
use vivace_traceql::ast::{self, Attribute, FieldExpr, Intrinsic, Target};
use vivace_traceql::parse_lenient_filter;

use super::{asked, check_range, invalid};
use crate::search::{Asked, Window};
use crate::{Config, QueryError};

/// What is looked at where no time is given: what is recent, and blocks with spans of the last hour.
const LATELY: Duration = Duration::from_secs(3600);
/// Scopes whose names are looked up.
const SCOPES: [&str; 5] = ["resource", "span", "event", "link", "instrumentation"];
const INTRINSIC_SCOPE: &str = "intrinsic";

/// Names of attributes.
#[derive(Clone, Debug, Default)]
pub(crate) struct TagNamesRequest {
    /// Empty: all.
    pub(crate) scope: String,
    /// Of spans that match this filter, as far as it can be understood.
    pub(crate) filter: String,
    pub(crate) range: Option<Range<UnixNanos>>,
    /// Names of a scope; 0: as set.
    pub(crate) limit: u32,
}

/// Values of an attribute.
#[derive(Clone, Debug, Default)]
pub(crate) struct TagValuesRequest {
    pub(crate) tag: String,
    /// Of spans that match this filter, as far as it can be understood.
    pub(crate) filter: String,
    pub(crate) range: Option<Range<UnixNanos>>,
    /// 0: as set.
    pub(crate) limit: u32,
}

/// How a lookup is answered.
#[derive(Debug)]
pub(crate) enum TagsAnswer {
    /// It is known without a look.
    Known(Vec<LabelValue>),
    /// By a search for this, and so many of each set.
    Search(Box<Asked>, usize),
}

impl TagNamesRequest {
    /// None if no attribute is asked for.
    pub(crate) fn asked(
        &self,
        tenants: Vec<TenantId>,
        now: UnixNanos,
        config: &Config,
    ) -> Result<TagsAnswer, QueryError> {
        check_range(self.range.as_ref(), config)?;
        let scope = match self.scope.as_str() {
            "" | "none" | "all" => String::new(),
            INTRINSIC_SCOPE => return Ok(TagsAnswer::Known(Vec::new())),
            scope if SCOPES.contains(&scope) => scope.to_owned(),
            scope => {
                return Err(invalid(format!(
                    "unknown scope {scope:?}: must be one of {}, {INTRINSIC_SCOPE}",
                    SCOPES.join(", ")
                )));
            }
        };
        let limit = limit(self.limit, config);
        let kind = Kind::TagNames(TagNamesKind { scope, names_max: wire(limit) });
        let asked = lenient(tenants, &self.filter, self.range.clone(), kind, now)?;
        Ok(TagsAnswer::Search(Box::new(asked), limit))
    }

    /// Whether names of intrinsics are asked for.
    pub(crate) fn intrinsics(&self) -> bool {
        matches!(self.scope.as_str(), "" | "none" | "all" | INTRINSIC_SCOPE)
    }

    /// Whether only these are.
    pub(crate) fn only_intrinsics(&self) -> bool {
        self.scope == INTRINSIC_SCOPE
    }
}

impl TagValuesRequest {
    /// A tag as the first version of the API names it: mostly without its scope.
    pub(crate) fn unscoped(tag: &str) -> String {
        let scoped = tag.starts_with('.') || tag.starts_with("resource.") || tag.starts_with("span.");
        match tag {
            "status.code" => "status".to_owned(),
            _ if scoped || Intrinsic::from_name(tag).is_some() => tag.to_owned(),
            _ => format!(".{tag}"),
        }
    }

    pub(crate) fn asked(
        &self,
        tenants: Vec<TenantId>,
        now: UnixNanos,
        config: &Config,
    ) -> Result<TagsAnswer, QueryError> {
        check_range(self.range.as_ref(), config)?;
        let attribute = Attribute::parse(&self.tag).map_err(|error| invalid(error.to_string()))?;
        if let Target::Intrinsic(intrinsic) = attribute.target
            && let Some(values) = constant(intrinsic)
        {
            return Ok(TagsAnswer::Known(values));
        }
        let limit = limit(self.limit, config);
        let kind = Kind::TagValues(TagValuesKind { tag: self.tag.clone(), values_max: wire(limit) });
        let asked = lenient(tenants, &self.filter, self.range.clone(), kind, now)?;
        Ok(TagsAnswer::Search(Box::new(asked), limit))
    }
}

/// Values that need no look at spans: few and fixed, or so many that nobody chooses from them.
fn constant(intrinsic: Intrinsic) -> Option<Vec<LabelValue>> {
    let value = |value| LabelValue { value: Some(value) };
    let statuses = [ast::Status::Error, ast::Status::Ok, ast::Status::Unset];
    match intrinsic {
        Intrinsic::Status => {
            Some(statuses.map(|status| value(label_value::Value::Status(status as u32))).to_vec())
        }
        Intrinsic::Kind => {
            Some(ast::Kind::ALL.map(|kind| value(label_value::Value::Kind(kind as u32))).to_vec())
        }
        Intrinsic::Duration
        | Intrinsic::TraceDuration
        | Intrinsic::SpanId
        | Intrinsic::ParentId
        | Intrinsic::ChildCount
        | Intrinsic::TraceId
        | Intrinsic::NestedSetLeft
        | Intrinsic::NestedSetRight
        | Intrinsic::NestedSetParent
        | Intrinsic::EventTimeSinceStart
        | Intrinsic::LinkTraceId
        | Intrinsic::LinkSpanId
        | Intrinsic::Parent => Some(Vec::new()),
        Intrinsic::Name
        | Intrinsic::StatusMessage
        | Intrinsic::RootName
        | Intrinsic::RootServiceName
        | Intrinsic::EventName
        | Intrinsic::InstrumentationName
        | Intrinsic::InstrumentationVersion => None,
    }
}

/// A filter that cannot be understood restricts nothing: somebody is still typing it.
fn lenient(
    tenants: Vec<TenantId>,
    filter: &str,
    range: Option<Range<UnixNanos>>,
    kind: Kind,
    now: UnixNanos,
) -> Result<Asked, QueryError> {
    let understood = parse_lenient_filter(filter).filter(restricts).map(|filter| format!("{{ {filter} }}"));
    let filtered = understood.map(|query| asked(tenants.clone(), query, range.clone(), kind.clone()));
    let mut asked = match filtered {
        Some(Ok(asked)) => asked,
        Some(Err(_)) | None => asked(tenants, String::new(), range.clone(), kind)?,
    };
    if range.is_none() {
        let since = u64::try_from(LATELY.as_nanos()).unwrap_or(u64::MAX);
        asked.blocks = Window::Since(UnixNanos(now.0.saturating_sub(since)));
    }
    Ok(asked)
}

fn restricts(filter: &FieldExpr) -> bool {
    *filter != FieldExpr::Literal(ast::Literal::Bool(true))
}

const fn limit(asked: u32, config: &Config) -> usize {
    let asked = asked as usize;
    if asked == 0 || asked > config.tags_max { config.tags_max } else { asked }
}

fn wire(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}
