//! From the message that asks to selectors, columns and what is collected.

use vivace_model::scan::Projection;
use vivace_model::schema::{self, AttributeScope};
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::{Search, SeriesKind, SummariesKind, TagNamesKind, TagValuesKind, TracesKind};

use super::walk::{Mentioned, Metrics, measured, metrics};
use super::{Grid, Hints, PlanKind, needs, told, whole};
use crate::ast::{Attribute, Body, Literal, MetricsFunction, Query};
use crate::eval::{Node, compile};
use crate::select::Selector;
use crate::{EvalError, parse, parse_lenient_filter};

/// What a search asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) kind: PlanKind,
    pub(super) selectors: Vec<Selector>,
    pub(super) first: Projection,
    pub(super) second: Projection,
    pub(super) whole: bool,
    pub(super) hints: Hints,
}

impl Asked {
    pub(super) fn new(search: &Search) -> Result<Self, EvalError> {
        match &search.kind {
            None => Err(EvalError::Query("the search does not say what it is for".into())),
            Some(Kind::Traces(asked)) => Self::traces(asked, &search.query),
            Some(Kind::Series(asked)) => Self::series(asked, &search.query),
            Some(Kind::TagNames(asked)) => Self::tag_names(asked, &search.query),
            Some(Kind::TagValues(asked)) => Self::tag_values(asked, &search.query),
            Some(Kind::Summaries(asked)) => Self::summaries(asked),
        }
    }

    fn traces(asked: &TracesKind, text: &str) -> Result<Self, EvalError> {
        let query = parse(text)?;
        let hints = hints(&query);
        let Body::Spans(pipeline) = query.body else {
            return Err(EvalError::Query("a search for traces cannot have metrics functions".into()));
        };
        let mentioned = Mentioned::of(&pipeline);
        let attributes = told::told(&mentioned);
        let selector = Selector::new(&pipeline)?;
        let mut first = Projection::default();
        needs::add_asked(&mentioned, &mut first);
        let mut second = summary();
        second.fixed.insert(schema::NESTED_SET_LEFT);
        for attribute in &attributes {
            needs::add(attribute, &mut second);
            if attribute.needs_trace() {
                needs::add(attribute, &mut first);
            }
        }
        // What is told may be of the whole where what decides is not: `{ true || childCount > 1 }`.
        let whole = whole::selector(&selector)
            || attributes.iter().any(whole::told)
            || mentioned.selected.iter().any(Attribute::needs_trace);
        let kind =
            PlanKind::Traces { limit: asked.limit as usize, spans_max: asked.spans_max as usize, attributes };
        Ok(Self { kind, selectors: vec![selector], first, second, whole, hints })
    }

    fn series(asked: &SeriesKind, text: &str) -> Result<Self, EvalError> {
        let query = parse(text)?;
        let Body::Metrics(series) = &query.body else {
            return Err(EvalError::Query(
                "a query for series needs a metrics function, such as rate()".into(),
            ));
        };
        let mut found = Vec::new();
        metrics(series, &mut found);
        let (mut first, mut second) = (Projection::default(), Projection::default());
        second.fixed.insert(schema::START_TIME);
        let mut selectors = Vec::new();
        let mut is_whole = false;
        for pipeline in &found {
            let selector = Selector::new(pipeline.0)?;
            is_whole |= whole::selector(&selector) | columns_of(*pipeline, &mut first, &mut second)?;
            // The comparison tells the name of each span's root, which the span's piece may lack.
            is_whole |=
                matches!(pipeline.1, MetricsFunction::Compare { .. }) && !whole::only_roots(&selector);
            selectors.push(selector);
        }
        let grid = Grid {
            start: asked.grid_start,
            step: asked.step,
            intervals: asked.intervals,
            instant: asked.instant,
        };
        let kind = PlanKind::Series {
            pipelines: found.iter().map(|(_, function, by)| ((*function).clone(), by.to_vec())).collect(),
            grid,
            exemplars_max: asked.exemplars_max as usize,
            series_max: asked.series_max as usize,
        };
        Ok(Self { kind, selectors, first, second, whole: is_whole, hints: hints(&query) })
    }

    fn tag_names(asked: &TagNamesKind, text: &str) -> Result<Self, EvalError> {
        let mut second = Projection::default();
        let wanted = |name: &str| asked.scope.is_empty() || asked.scope == name;
        for (scope, name) in [
            (AttributeScope::Resource, "resource"),
            (AttributeScope::Span, "span"),
            (AttributeScope::Instrumentation, "instrumentation"),
        ] {
            if wanted(name) {
                second.scopes.insert(scope);
            }
        }
        for (column, name) in [(schema::EVENTS, "event"), (schema::LINKS, "link")] {
            if wanted(name) {
                second.fixed.insert(column);
            }
        }
        let kind = PlanKind::TagNames {
            scope: Some(asked.scope.clone()).filter(|scope| !scope.is_empty()),
            names_max: asked.names_max as usize,
        };
        Self::filtered(kind, text, second)
    }

    fn tag_values(asked: &TagValuesKind, text: &str) -> Result<Self, EvalError> {
        let attribute = Attribute::parse(&asked.tag)?;
        let mut second = Projection::default();
        needs::add(&attribute, &mut second);
        let mut plan = Self::filtered(
            PlanKind::TagValues { attribute: attribute.clone(), values_max: asked.values_max as usize },
            text,
            second,
        )?;
        if attribute.needs_trace() {
            needs::add(&attribute, &mut plan.first);
        }
        Ok(plan)
    }

    /// Tags of the spans that a filter finds, which may still be being typed.
    fn filtered(kind: PlanKind, text: &str, second: Projection) -> Result<Self, EvalError> {
        let mut mentioned = Mentioned::default();
        let node = match parse_lenient_filter(text) {
            Some(filter) => {
                mentioned.field(&filter);
                compile(&filter, false)?
            }
            None => Node::Constant(true),
        };
        let selector = Selector::of_filter(node);
        let mut first = Projection::default();
        needs::add_asked(&mentioned, &mut first);
        let whole = whole::selector(&selector);
        Ok(Self { kind, selectors: vec![selector], first, second, whole, hints: Hints::default() })
    }

    fn summaries(asked: &SummariesKind) -> Result<Self, EvalError> {
        let ids = asked.trace_ids.iter().map(|id| <[u8; 16]>::try_from(id.as_slice()));
        let ids: Result<Vec<_>, _> = ids.collect();
        let mut ids = ids.map_err(|_| EvalError::Query("a trace id does not have 16 bytes".into()))?;
        ids.sort_unstable();
        ids.dedup();
        Ok(Self {
            kind: PlanKind::Summaries { ids: ids.into() },
            selectors: Vec::new(),
            first: Projection::default(),
            second: summary(),
            whole: false,
            hints: Hints::default(),
        })
    }
}

fn summary() -> Projection {
    let mut columns = Projection::default();
    columns.fixed.extend(needs::SUMMARY);
    columns.attributes.insert((AttributeScope::Resource, "service.name".to_owned()));
    columns
}

/// Adds the columns of a metrics pipeline. Returns whether what it measures or groups by needs whole traces.
fn columns_of(
    (spans, function, by): Metrics<'_>,
    first: &mut Projection,
    second: &mut Projection,
) -> Result<bool, EvalError> {
    needs::add_asked(&Mentioned::of(spans), first);
    let mut whole = false;
    for attribute in measured(function).into_iter().chain(by) {
        needs::add(attribute, second);
        if attribute.needs_trace() {
            needs::add(attribute, first);
            whole = true;
        }
    }
    if let MetricsFunction::Compare { selection, .. } = function {
        second.scopes.extend(AttributeScope::ALL);
        second.fixed.extend(needs::COMPARED);
        let mut mentioned = Mentioned::default();
        mentioned.field(selection);
        // Whichever batch the selection is looked for in.
        needs::add_asked(&mentioned, first);
        needs::add_asked(&mentioned, second);
        whole |= whole::node(&compile(selection, false)?);
    }
    Ok(whole)
}

fn hints(query: &Query) -> Hints {
    let mut hints = Hints::default();
    for (key, value) in &query.hints {
        match (key.as_str(), value) {
            ("exemplars", Literal::Int(count)) => hints.exemplars = usize::try_from(*count).ok(),
            ("exemplars", Literal::Bool(false)) => hints.exemplars = Some(0),
            ("most_recent", Literal::Bool(value)) => hints.most_recent = Some(*value),
            _ => {}
        }
    }
    hints
}
