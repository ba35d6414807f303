//! What is known of given traces: for those that were found elsewhere, and for the parts of found traces that did not
//! match themselves.
//! Owns: which pieces are asked about which traces.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, stream};
use vivace_model::WorkBudget;
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{FoundTraces, Search, SearchJobMetrics, SummariesKind};
use vivace_traceql::{ScanPlan, merge_summary};

use super::evaluation::{Evaluation, Looked, Task};
use super::piece::{Block, Piece};
use crate::JobError;

/// Looks at what pieces hold of these traces, besides what was told already.
pub(super) async fn tasks(looked: Vec<Looked>, ids: &[[u8; 16]]) -> Result<Vec<Task>, JobError> {
    let mut known: Vec<(Arc<Block>, BTreeSet<usize>)> = Vec::new();
    let mut tasks = Vec::new();
    for Looked { piece, told } in looked {
        if let Piece::Stored(block, group) = &piece {
            let position = known.iter().position(|(other, _)| Arc::ptr_eq(other, block));
            let position = match position {
                Some(position) => position,
                None => {
                    known.push((Arc::clone(block), may_hold(block, ids).await?));
                    known.len() - 1
                }
            };
            if !known[position].1.contains(group) {
                continue;
            }
        }
        let runs = piece.runs().await?;
        let traces = ids.iter().filter_map(|id| runs.find(id)).map(|trace| trace as u32);
        let mut traces: Vec<u32> = traces.filter(|trace| told.binary_search(trace).is_err()).collect();
        traces.sort_unstable();
        if !traces.is_empty() {
            tasks.push(Task { traces: Some(traces), few: true, ..Task::whole(piece) });
        }
    }
    Ok(tasks)
}

/// Row groups that may hold any of the traces.
async fn may_hold(block: &Block, ids: &[[u8; 16]]) -> Result<BTreeSet<usize>, JobError> {
    let mut groups = BTreeSet::new();
    for id in ids {
        groups.extend(block.may_hold(id).await?);
    }
    Ok(groups)
}

/// Adds to found traces what pieces hold of them that did not match, so that each is told of as far as the job can see.
pub(super) async fn complete(
    (tenant, budget): (&str, &WorkBudget),
    found: &mut FoundTraces,
    looked: Vec<Looked>,
    evaluation: impl FnOnce(&Arc<ScanPlan>) -> Arc<Evaluation>,
) -> Result<SearchJobMetrics, JobError> {
    let mut ids: Vec<[u8; 16]> =
        found.traces.iter().filter_map(|trace| trace.trace_id.as_slice().try_into().ok()).collect();
    ids.sort_unstable();
    let tasks = tasks(looked, &ids).await?;
    if tasks.is_empty() {
        return Ok(SearchJobMetrics::default());
    }
    let trace_ids = ids.iter().map(|id| id.to_vec()).collect();
    let search = Search {
        tenant: tenant.to_owned(),
        kind: Some(Kind::Summaries(SummariesKind { trace_ids })),
        ..Search::default()
    };
    let evaluation = evaluation(&Arc::new(ScanPlan::within(&search, budget)?));
    evaluation.run(stream::iter(tasks).map(Ok).boxed()).await?;
    let (rest, metrics, _) = evaluation.finish().await?;
    if let Found::Traces(rest) = rest {
        for part in rest.traces {
            let whole = found.traces.iter_mut().find(|trace| trace.trace_id == part.trace_id);
            if let (Some(whole), Some(summary)) = (whole, part.summary) {
                let known = whole.summary.get_or_insert_default();
                let start = known.start;
                merge_summary(known, summary);
                // None that is not told starts later than the last one told did when it was found: so it has to stay.
                if found.more {
                    known.start = start;
                }
            }
        }
    }
    let start = |summary: &Option<vivace_proto::internal::TraceSummary>| summary.as_ref().map(|it| it.start);
    found.traces.sort_by(|a, b| (start(&b.summary), &b.trace_id).cmp(&(start(&a.summary), &a.trace_id)));
    Ok(metrics)
}
