//! Adds up series.
//! Guarantee: what a partition found counts only once all of it is there by one state of its ledger, so no span is counted twice.

use std::sync::Arc;

use tonic::Status;
use vivace_model::ErrorKind;
use vivace_proto::internal::FoundSeries;
use vivace_proto::internal::search_job_part::Found;
use vivace_traceql::ast::Body;
use vivace_traceql::{EvalError, FinishOptions, Finished, Grid, SeriesMerger};

use super::run::{Run, Step};
use super::{Reports, Searcher, Totals};
use crate::QueryError;
use crate::budget::Held;
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
        let options = FinishOptions { series_max: *series_max, exemplars_max: *exemplars_max as usize };
        let mut merger = SeriesMerger::new(body, *grid, options);
        let mut run = Run::new(self, asked, 0, self.config.query_jobs_max)?;
        let mut pending: Vec<_> = (0..run.shards()).map(|_| Pending::default()).collect();
        loop {
            let step = tokio::select! {
                biased;
                () = reports.due() => {
                    let (finished, totals, damaged) = (Finished::default(), run.totals(), run.damaged());
                    reports.send(FoundSeriesSet { grid: *grid, finished, totals, damaged }).await;
                    continue;
                }
                step = run.next(|_| true) => step?,
            };
            match step {
                Some(Step::Found { shard, found, held, .. }) => {
                    pending[shard].take(found, held)?;
                    if run.is_finished(shard) {
                        for found in std::mem::take(&mut pending[shard]).found {
                            merger.add(found).map_err(told)?;
                        }
                    }
                }
                Some(Step::Dropped { shard }) => pending[shard] = Pending::default(),
                None => break,
            }
        }
        let (totals, damaged) = (run.totals(), run.damaged());
        let finish = vivace_runtime::compute(move || merger.finish());
        let finished = finish.await.map_err(|_| QueryError::Stopped)?.map_err(told)?;
        Ok(FoundSeriesSet { grid: *grid, finished, totals, damaged })
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

fn told(error: EvalError) -> QueryError {
    match error.kind() {
        ErrorKind::Invalid => QueryError::Invalid(error.to_string()),
        ErrorKind::Unavailable | ErrorKind::Fenced | ErrorKind::Corrupt => {
            QueryError::Job(Status::data_loss(error.to_string()))
        }
    }
}
