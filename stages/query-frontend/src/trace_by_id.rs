//! Finds one trace: every partition concerned by itself, then all pieces together.
//! Owns: the limits of one trace.
//! Does not own: planning a partition anew when its View was too old (`replan`), HTTP, which form the answer takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::try_join_all;
use prost::Message;
use tokio::sync::Semaphore;
use vivace_block::{Combined, TraceCombiner};
use vivace_ledger::{PartitionState, View};
use vivace_model::{Offset, Partition, Spread};
use vivace_proto::internal::trace_job::Source;
use vivace_proto::internal::{JobMetrics, TraceJob};
use vivace_proto::otlp::trace::TracesData;

use crate::budget::Held;
use crate::compute::compute;
use crate::damage::{Damage, Damaged};
use crate::dispatch::{Dispatcher, JobAnswer, JobFailure};
use crate::plan::Question;
use crate::replan::Planned;
use crate::views::Views;
use crate::{Config, QueryError};

/// Pieces up to that size are put together on the async thread, within a millisecond.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// Spans take so many times as much memory as their bytes on the wire.
const DECODED: usize = 3;

/// A trace that was looked for.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Its spans; none if there is no such trace.
    pub(crate) trace: TracesData,
    pub(crate) spans: usize,
    /// Why spans are missing, if some are.
    pub(crate) truncated: Option<String>,
    /// Blocks that could not be read: spans in them are missing.
    pub(crate) damaged: Vec<Arc<Damaged>>,
    /// For each partition asked: the answer holds all records below that offset.
    pub(crate) through: BTreeMap<Partition, Offset>,
    pub(crate) metrics: JobMetrics,
    pub(crate) held: Held,
}

/// Finds traces.
#[derive(Debug)]
pub(crate) struct TraceFinder {
    pub(crate) config: Config,
    pub(crate) views: Arc<Views>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) damage: Arc<Damage>,
}

impl TraceFinder {
    /// Answers all questions (one for each tenant asked for) and puts the answers together.
    pub(crate) async fn find(&self, questions: Vec<Question>) -> Result<Found, QueryError> {
        let view = self.views.current()?;
        if questions.iter().all(|question| *question.trace_id.as_bytes() == [0; 16]) {
            // OTLP's word for "none": no span has it.
            return Ok(Found::default());
        }
        let jobs = Semaphore::new(self.config.query_jobs_max);
        let (likely, others): (Vec<_>, Vec<_>) = questions
            .iter()
            .flat_map(|question| {
                let concerned = self.concerned(question, &view);
                let states = view.partitions().iter();
                states.map(move |state| (concerned.contains(&state.partition()), question, state.clone()))
            })
            .partition(|(concerned, ..)| *concerned);
        let ask = |asked: Vec<(bool, _, PartitionState)>| {
            let asked = asked.into_iter();
            try_join_all(asked.map(|(_, question, state)| self.ask_partition(question, state, &jobs)))
        };
        let mut answers = ask(likely).await?;
        // Who spread it otherwise a moment ago may not have told us yet. Only a trace that is not there costs that.
        if answers.iter().flat_map(|answer| &answer.answers).all(|answer| answer.metrics.spans == 0) {
            answers.extend(ask(others).await?);
        }
        self.combine(answers).await
    }

    /// The partitions where the trace is to be expected.
    fn concerned(&self, question: &Question, view: &View) -> BTreeSet<Partition> {
        let all = || view.partitions().iter().map(PartitionState::partition).collect();
        if !self.config.partition_pruning {
            return all();
        }
        let spreads = self.views.spreads(view, &question.tenant);
        if spreads.contains(&Spread::UNKNOWN) { all() } else { question.partitions(&spreads) }
    }

    /// The answers of all jobs of one partition, by one state of its ledger.
    async fn ask_partition(
        &self,
        question: &Question,
        state: PartitionState,
        jobs: &Semaphore,
    ) -> Result<PartitionAnswer, QueryError> {
        let partition = state.partition();
        if let Some(error) = self.views.refused(partition) {
            let damaged = vec![self.damage.exclude_partition(partition, error)?];
            return Ok(PartitionAnswer { partition, answers: Vec::new(), damaged });
        }
        let mut planned = Planned::new(state);
        loop {
            let (views, metrics) = (&self.views, &self.dispatcher.metrics);
            planned = match self.ask_state(question, &planned, jobs).await {
                Ok(answers) => return Ok(PartitionAnswer { partition, answers, damaged: planned.damaged }),
                Err(JobFailure::Query(error)) => return Err(error),
                Err(JobFailure::Stale(message)) => planned.anew(views, metrics, message).await?,
                Err(JobFailure::Block(block)) => planned.without(views, metrics, &self.damage, block).await?,
            };
        }
    }

    async fn ask_state(
        &self,
        question: &Question,
        planned: &Planned,
        jobs: &Semaphore,
    ) -> Result<Vec<JobAnswer>, JobFailure> {
        let Config { partition_pruning, job_blocks_max, trace_bytes_max, .. } = self.config;
        let sources = question.jobs(planned, partition_pruning, job_blocks_max);
        let run = |source: Source| async move {
            let _turn = jobs.acquire().await.map_err(|_| JobFailure::Query(QueryError::Stopped))?;
            let job = TraceJob {
                tenant: question.tenant.as_str().to_owned(),
                trace_id: question.trace_id.as_bytes().to_vec(),
                bytes_max: trace_bytes_max.0,
                source: Some(source),
            };
            self.dispatcher.run(&job).await
        };
        try_join_all(sources.into_iter().map(run)).await
    }

    async fn combine(&self, answers: Vec<PartitionAnswer>) -> Result<Found, QueryError> {
        let mut found = Found::default();
        let mut parts = Vec::new();
        let mut cut = false;
        for PartitionAnswer { partition, answers, damaged } in answers {
            found.damaged.extend(damaged);
            // The first is the one about recent data; blocks end where it begins.
            if let Some(recent) = answers.first() {
                let through = Offset(recent.through_offset);
                let known = found.through.entry(partition).or_insert(through);
                *known = through.min(*known);
            }
            for answer in answers {
                cut |= answer.metrics.truncated;
                add(&mut found.metrics, &answer.metrics);
                found.held.merge(answer.held);
                parts.extend(answer.parts);
            }
        }
        self.dispatcher.metrics.bytes_read.inc_by(found.metrics.bytes_read);
        let (spans_max, bytes_max) = (self.config.trace_spans_max, self.config.trace_bytes_max.as_usize());
        let bytes: usize = parts.iter().map(bytes::Bytes::len).sum();
        self.dispatcher.budget.hold_memory(&mut found.held, bytes.saturating_mul(DECODED))?;
        let work = move || put_together(parts, spans_max, bytes_max);
        let (combined, too_large) = if bytes <= INLINE_BYTES_MAX { work()? } else { compute(work).await? };
        if cut || too_large {
            let limit = self.config.trace_bytes_max;
            found.truncated =
                Some(format!("trace is larger than the limit of {limit}; some of its spans are missing"));
        } else if combined.truncated {
            found.truncated =
                Some(format!("trace has more spans than the limit of {spans_max}; some of them are missing"));
        }
        found.spans = combined.spans;
        found.trace = combined.traces_data;
        Ok(found)
    }
}

/// What was found by one state of one partition.
#[derive(Debug)]
struct PartitionAnswer {
    partition: Partition,
    /// The first is about recent data.
    answers: Vec<JobAnswer>,
    /// Blocks that were left out.
    damaged: Vec<Arc<Damaged>>,
}

/// Decodes pieces and puts them together; true if there were more bytes than allowed.
fn put_together(
    parts: Vec<bytes::Bytes>,
    spans_max: usize,
    bytes_max: usize,
) -> Result<(Combined, bool), QueryError> {
    let mut combiner = TraceCombiner::new(spans_max);
    let mut bytes_left = bytes_max;
    let mut too_large = false;
    for part in parts {
        let Some(left) = bytes_left.checked_sub(part.len()) else {
            too_large = true;
            break;
        };
        bytes_left = left;
        let piece = TracesData::decode(part).map_err(|error| {
            QueryError::Job(tonic::Status::data_loss(format!(
                "querier sent a piece that cannot be read: {error}"
            )))
        })?;
        combiner.push(piece);
    }
    Ok((combiner.finish(), too_large))
}

const fn add(sum: &mut JobMetrics, metrics: &JobMetrics) {
    sum.blocks_inspected += metrics.blocks_inspected;
    sum.blocks_skipped += metrics.blocks_skipped;
    sum.bytes_read += metrics.bytes_read;
    sum.spans += metrics.spans;
}
