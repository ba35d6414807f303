//! Adds up series.
//! Guarantee: what a partition found counts only once all of it is there by one state of its ledger, so no span is counted twice.

use std::sync::Arc;

use vivace_memory::{Part, Permit};
use vivace_proto::internal::FoundSeries;
use vivace_proto::internal::search_job_part::Found;
use vivace_traceql::ast::Body;
use vivace_traceql::{FinishOptions, Finished, Grid, SeriesMerger};

use super::run::{Run, Step};
use super::{Reports, Searcher, Totals};
use crate::QueryError;
use crate::budget::Held;
use crate::compute::compute;
use crate::damage::Damaged;
use crate::request::SeriesAsked;

/// Series of a query.
#[derive(Clone, Debug)]
pub(crate) struct FoundSeriesSet {
    pub(crate) grid: Grid,
    /// In a report, nothing: a series that was told once stays on the screen, and it may not be among the final ones.
    pub(crate) finished: Finished,
    pub(crate) totals: Totals,
    pub(crate) damaged: Vec<Arc<Damaged>>,
    /// Of the series.
    memory: Option<Arc<Permit>>,
}

impl FoundSeriesSet {
    /// Memory that the series take.
    pub(crate) fn bytes(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.bytes())
    }
}

/// What a shard found while it is not all there.
#[derive(Default)]
struct Pending {
    found: Vec<FoundSeries>,
    held: Held,
}

impl Searcher {
    /// All series of a metrics query.
    pub(crate) async fn series(
        &self,
        question: &SeriesAsked,
        mut reports: Reports<FoundSeriesSet>,
    ) -> Result<FoundSeriesSet, QueryError> {
        let SeriesAsked { asked, query, grid, exemplars_max, series_max } = question;
        let Body::Metrics(body) = &query.body else {
            return Err(QueryError::Invalid("the query is no metrics query".into()));
        };
        let options = FinishOptions {
            series_max: *series_max,
            exemplars_max: *exemplars_max as usize,
            groups: self.groups(),
        };
        let mut memory = self.memory.empty(Part::Groups);
        let mut merger = SeriesMerger::new(body, *grid, options);
        let mut run = Run::new(self, asked, 0, self.config.query_jobs_max)?;
        let mut pending: Vec<_> = (0..run.shards()).map(|_| Pending::default()).collect();
        loop {
            let step = tokio::select! {
                biased;
                () = reports.due() => {
                    let (finished, totals, damaged) = (Finished::default(), run.totals(), run.damaged());
                    reports.send(FoundSeriesSet { grid: *grid, finished, totals, damaged, memory: None }).await;
                    continue;
                }
                step = run.next(|_| true) => step?,
            };
            match step {
                Some(Step::Found { shard, found, held, .. }) => {
                    pending[shard].take(found, held)?;
                    if run.is_finished(shard) {
                        (merger, memory) =
                            merged(merger, memory, std::mem::take(&mut pending[shard])).await?;
                    }
                }
                Some(Step::Dropped { shard }) => pending[shard] = Pending::default(),
                None => break,
            }
        }
        let (totals, damaged) = (run.totals(), run.damaged());
        memory.grow(merger.finished_bytes())?;
        let finish = move || {
            let finished = merger.finish().map_err(QueryError::of_evaluation);
            drop(merger);
            Ok((finished?, memory))
        };
        let (finished, memory) = compute(finish).await?;
        Ok(FoundSeriesSet { grid: *grid, finished, totals, damaged, memory: Some(Arc::new(memory)) })
    }
}

impl Pending {
    fn take(&mut self, found: Vec<Found>, held: Held) -> Result<(), QueryError> {
        self.held.merge(held);
        for found in found {
            let Found::Series(series) = found else {
                return Err(QueryError::unexpected_answer());
            };
            self.found.push(series);
        }
        Ok(())
    }
}

/// Adds what a shard found, within what memory there is.
async fn merged(
    mut merger: SeriesMerger,
    mut memory: Permit,
    pending: Pending,
) -> Result<(SeriesMerger, Permit), QueryError> {
    let add = move || {
        let Pending { found, held: _held } = pending;
        for found in found {
            merger.add(found).map_err(QueryError::of_evaluation)?;
            memory.resize(merger.bytes())?;
        }
        Ok((merger, memory))
    };
    compute(add).await
}
