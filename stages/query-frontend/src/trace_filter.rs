//! Leaves out spans of a trace that a filter does not match.
//! Owns: which filters are allowed, and which spans around those that match stay. Does not own: what a filter means (vivace-traceql).

use std::collections::{BTreeSet, HashMap};

use prost::Message;
use vivace_block::{BlockConfig, DuplicateFilter, OpenBlock, to_traces_data};
use vivace_model::scan::TraceRuns;
use vivace_model::{TenantId, TraceId, WorkBudget};
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::{Search, TracesKind};
use vivace_proto::otlp::trace::TracesData;
use vivace_traceql::ast::{Attribute, Body, Intrinsic, SpansetExpr, Stage, Target};
use vivace_traceql::{EvalError, ScanPlan, Spans, Value, parse};

use crate::QueryError;

/// Which spans of a trace are told.
#[derive(Debug)]
pub(crate) struct TraceFilter {
    plan: ScanPlan,
    hierarchy: Hierarchy,
}

/// Which relatives of the spans that match are told too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Generations of ancestors.
    pub(crate) ancestors: usize,
    /// Generations of descendants.
    pub(crate) descendants: usize,
}

impl TraceFilter {
    /// Only single filters are allowed that can be decided for each span by itself.
    pub(crate) fn new(query: &str, hierarchy: Hierarchy, budget: &WorkBudget) -> Result<Self, QueryError> {
        let invalid = |text: &str| QueryError::Invalid(text.to_owned());
        let parsed = parse(query).map_err(|error| QueryError::Invalid(error.to_string()))?;
        let single = match &parsed.body {
            Body::Spans(pipeline) => matches!(&*pipeline.stages, [Stage::Spansets(SpansetExpr::Filter(_))]),
            Body::Metrics(_) => false,
        };
        if !single {
            return Err(invalid("spans of a trace can only be filtered by a single { … }"));
        }
        let kind = Kind::Traces(TracesKind { limit: 1, spans_max: u32::MAX });
        let search = Search { query: query.to_owned(), kind: Some(kind), ..Search::default() };
        let plan = ScanPlan::within(&search, budget).map_err(QueryError::of_evaluation)?;
        if plan.whole() {
            return Err(invalid(
                "spans of a trace cannot be filtered by what is said of the trace as a whole",
            ));
        }
        Ok(Self { plan, hierarchy })
    }

    /// The spans that match, and how many they are. Takes some microseconds per span.
    pub(crate) fn apply(&self, trace: &TracesData, id: &TraceId) -> Result<(TracesData, usize), QueryError> {
        let mut block = OpenBlock::new(TenantId::default(), &BlockConfig::default());
        block.append(&trace.encode_to_vec(), &mut DuplicateFilter::new(0));
        let Some(batch) = block.trace(id) else {
            return Ok((TracesData::default(), 0));
        };
        let runs = TraceRuns::new(std::iter::repeat_n(id.as_bytes(), batch.num_rows()));
        let spans = Spans::new(&batch, &runs);
        let damaged = |error: &dyn std::fmt::Display| {
            QueryError::Job(tonic::Status::data_loss(format!("failed to filter the trace: {error}")))
        };
        let selected = self.plan.select(&spans).map_err(|error| match error {
            EvalError::Batch(text) => QueryError::Invalid(text),
            other => QueryError::of_evaluation(other),
        })?;
        let matching = selected.iter().flat_map(|selected| &selected.rows).map(|row| *row as usize);
        let mut rows: BTreeSet<usize> = matching.collect();
        if self.hierarchy != Hierarchy::default() {
            let family = Family::of(&spans).map_err(|error| damaged(&error))?;
            rows = family.with_relatives(&rows, self.hierarchy);
        }
        let kept: Vec<_> = rows.iter().map(|row| batch.slice(*row, 1)).collect();
        let trace = to_traces_data(&kept).map_err(|error| damaged(&error))?;
        Ok((trace, rows.len()))
    }
}

/// Parents and children among the spans of a trace, by row.
struct Family {
    parents: Vec<Option<usize>>,
    children: Vec<Vec<usize>>,
}

impl Family {
    fn of(spans: &Spans<'_>) -> Result<Self, EvalError> {
        let ids = spans.values(&Attribute::new(Target::Intrinsic(Intrinsic::SpanId)))?;
        let parent_ids = spans.values(&Attribute::new(Target::Intrinsic(Intrinsic::ParentId)))?;
        let mut by_id = HashMap::new();
        for row in 0..spans.rows() {
            if let Some(Value::Id(id)) = ids.first(row) {
                by_id.entry(id).or_insert(row);
            }
        }
        let parent = |row| match parent_ids.first(row) {
            Some(Value::Id(id)) => by_id.get(id).copied().filter(|parent| *parent != row),
            _ => None,
        };
        let parents: Vec<_> = (0..spans.rows()).map(parent).collect();
        let mut children = vec![Vec::new(); parents.len()];
        for (row, parent) in parents.iter().enumerate() {
            if let Some(parent) = parent {
                children[*parent].push(row);
            }
        }
        Ok(Self { parents, children })
    }

    fn with_relatives(&self, rows: &BTreeSet<usize>, hierarchy: Hierarchy) -> BTreeSet<usize> {
        let ancestors = self.reached(rows, hierarchy.ancestors, |row| self.parents[row].as_slice());
        let descendants = self.reached(rows, hierarchy.descendants, |row| self.children[row].as_slice());
        ancestors.union(&descendants).copied().collect()
    }

    /// All rows that are so many steps away at most.
    fn reached<'a>(
        &'a self,
        rows: &BTreeSet<usize>,
        steps: usize,
        next: impl Fn(usize) -> &'a [usize],
    ) -> BTreeSet<usize> {
        let mut reached = rows.clone();
        let mut edge: Vec<_> = rows.iter().copied().collect();
        for _ in 0..steps {
            let further = edge.iter().flat_map(|row| next(*row)).copied();
            edge = further.filter(|row| reached.insert(*row)).collect();
            if edge.is_empty() {
                break;
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relatives_are_found_by_generations() {
        // 0 - 1 - 2 - 3, and 4 below 1.
        let parents = vec![None, Some(0), Some(1), Some(2), Some(1)];
        let children = vec![vec![1], vec![2, 4], vec![3], vec![], vec![]];
        let family = Family { parents, children };
        let rows = |ancestors, descendants| {
            let found = family.with_relatives(&BTreeSet::from([2]), Hierarchy { ancestors, descendants });
            found.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(rows(0, 0), [2]);
        assert_eq!(rows(1, 0), [1, 2]);
        assert_eq!(rows(usize::MAX, 1), [0, 1, 2, 3]);
    }

    #[test]
    fn only_single_filters_are_allowed() {
        for wrong in ["{", "{} | rate()", "{} | count() > 1", "{} >> {}", "{} && {}", "{ rootName = \"x\" }"]
        {
            let error = TraceFilter::new(wrong, Hierarchy::default(), &WorkBudget::unlimited())
                .map(drop)
                .unwrap_err();
            assert_eq!(error.status(), 400, "{wrong}");
        }
    }
}
