//! Searches: plans them as jobs, runs these, and puts together what they find.
//! Owns: the limits of a search, and which answers of jobs are kept for the next time.
//! Does not own: parameters and forms of the API, what a query means (vivace-traceql), where jobs run (`dispatch`).

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;
use vivace_memory::Governor;
use vivace_model::Clock;
use vivace_proto::internal::SearchJob;
use vivace_traceql::GroupLimit;

use crate::damage::Damage;
use crate::dispatch::{Dispatcher, JobFailure, SearchAnswer};
use crate::views::Views;
use crate::{Config, QueryError};

mod cache;
mod places;
mod plan;
mod reports;
mod run;
mod series;
mod tags;
mod traces;

pub(crate) use cache::ResultCache;
pub(crate) use plan::{Asked, Window};
pub(crate) use reports::Reports;
pub(crate) use series::FoundSeriesSet;
pub(crate) use tags::FoundTagsSet;
pub(crate) use traces::FoundTracesSet;

use cache::BlockJob;
use plan::PlannedJob;

/// Blocks of one job that are asked about at the same time, each in a job of its own, so that what is found in each can be
/// kept.
const BLOCKS_AT_ONCE: usize = 4;

/// What a search took, and how much there is of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) blocks: u64,
    pub(crate) block_bytes: u64,
    pub(crate) jobs: u64,
    pub(crate) jobs_completed: u64,
    pub(crate) bytes_inspected: u64,
    pub(crate) spans_inspected: u64,
    pub(crate) traces_inspected: u64,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.block_bytes += other.block_bytes;
        self.jobs += other.jobs;
        self.jobs_completed += other.jobs_completed;
        self.bytes_inspected += other.bytes_inspected;
        self.spans_inspected += other.spans_inspected;
        self.traces_inspected += other.traces_inspected;
    }
}

/// Runs searches.
#[derive(Debug)]
pub(crate) struct Searcher {
    pub(crate) config: Config,
    pub(crate) views: Arc<Views>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) damage: Arc<Damage>,
    pub(crate) cache: ResultCache,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) memory: Arc<Governor>,
}

impl Searcher {
    /// Refuses a search that is too large.
    fn check(&self, totals: &Totals) -> Result<(), QueryError> {
        let Config { search_jobs_max, search_bytes_max, .. } = self.config;
        if totals.jobs > search_jobs_max as u64 {
            return Err(QueryError::TooLarge(format!(
                "search takes {} jobs, more than the limit of {search_jobs_max} (VIVACE_QUERY_FRONTEND_SEARCH_JOBS_MAX); ask about a shorter time",
                totals.jobs
            )));
        }
        if search_bytes_max.0 > 0 && totals.block_bytes > search_bytes_max.0 {
            return Err(QueryError::TooLarge(format!(
                "search looks into blocks of {} bytes, more than the limit of {search_bytes_max} (VIVACE_QUERY_FRONTEND_SEARCH_BYTES_MAX); ask about a shorter time",
                totals.block_bytes
            )));
        }
        Ok(())
    }

    /// What groups of a query may take.
    fn groups(&self) -> GroupLimit {
        let setting = "VIVACE_QUERY_FRONTEND_GROUP_BYTES_MAX";
        GroupLimit { bytes_max: self.config.group_bytes_max.as_usize(), setting }
    }

    /// The answer of a job. Where blocks can be asked about one by one, only those are of which the answer is not known from before.
    /// `turns` are of the whole search.
    async fn answer(
        &self,
        job: &PlannedJob,
        message: SearchJob,
        turns: &Semaphore,
    ) -> Result<SearchAnswer, JobFailure> {
        let Some(parts) = self.cache.by_block(job, &message) else {
            return self.ask(&message, turns).await;
        };
        let parts = stream::iter(parts).map(|part| self.answer_of_block(part, turns));
        let mut answers = parts.buffered(BLOCKS_AT_ONCE);
        let mut all = SearchAnswer::default();
        while let Some(answer) = answers.try_next().await? {
            all.merge(answer);
        }
        Ok(all)
    }

    async fn answer_of_block(&self, job: BlockJob, turns: &Semaphore) -> Result<SearchAnswer, JobFailure> {
        if let Some(known) = self.cache.get(&job).await {
            return Ok(job.restore(known));
        }
        let answer = self.ask(&job.message, turns).await?;
        self.cache.insert(&job, &answer).await;
        Ok(job.restore(answer))
    }

    async fn ask(&self, message: &SearchJob, turns: &Semaphore) -> Result<SearchAnswer, JobFailure> {
        let _turn = turns.acquire().await.map_err(|_| JobFailure::Query(QueryError::Stopped))?;
        let answer = self.dispatcher.run(message).await?;
        self.dispatcher.metrics.bytes_read.inc_by(answer.metrics.bytes_read);
        self.dispatcher.metrics.spans_inspected.inc_by(answer.metrics.spans_inspected);
        Ok(answer)
    }
}
