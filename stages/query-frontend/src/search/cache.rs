//! Keeps what was found in single blocks: a block never changes, so neither does that.
//! Owns: dividing a job by its blocks, which questions about a block are the same, and how much is kept.
//! Does not own: asking for what is not known.

use bytes::{Buf, Bytes};
use moka::future::Cache;
use prost::Message;
use vivace_ledger::BlockMeta;
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{Search, SearchJob, SearchJobMetrics, SearchJobPart, SeriesKind};

use super::plan::PlannedJob;
use crate::budget::Held;
use crate::dispatch::SearchAnswer;
use crate::{Config, Metrics};

/// Answers by the job, as encoded `SearchJobPart`s one after the other.
#[derive(Clone, Debug)]
pub(crate) struct ResultCache {
    answers: Option<Cache<Vec<u8>, Bytes>>,
    metrics: Metrics,
}

/// The part of a job that is about one block.
#[derive(Debug)]
pub(crate) struct BlockJob {
    /// In a form that does not depend on the time that was asked about, as far as the block allows.
    pub(crate) message: SearchJob,
    /// By how many intervals its series begin later than those that were asked for.
    shift: u32,
    key: Vec<u8>,
}

impl ResultCache {
    pub(crate) fn new(config: &Config, metrics: Metrics) -> Self {
        let bytes_max = config.result_cache_bytes.as_u64();
        let weigh =
            |key: &Vec<u8>, answer: &Bytes| u32::try_from(key.len() + answer.len()).unwrap_or(u32::MAX);
        let answers =
            (bytes_max > 0).then(|| Cache::builder().max_capacity(bytes_max).weigher(weigh).build());
        Self { answers, metrics }
    }

    /// The job, block by block. None if what it finds is not that of single blocks put together, or is not kept.
    pub(crate) fn by_block(&self, job: &PlannedJob, message: &SearchJob) -> Option<Vec<BlockJob>> {
        self.answers.as_ref()?;
        if job.recent || !job.finds() {
            return None;
        }
        let search = message.search.as_ref()?;
        let parts = job.blocks.iter().zip(&message.blocks).filter_map(|(block, asked)| {
            // Of a block without an interval of the question there is nothing to ask.
            let (search, shift) = within(search, block)?;
            let mut key = search.encode_to_vec();
            key.extend_from_slice(block.path().as_ref().as_bytes());
            let message = SearchJob {
                search: Some(search),
                blocks: vec![asked.clone()],
                recent: None,
                read_start: message.read_start,
                read_end: message.read_end,
            };
            Some(BlockJob { message, shift, key })
        });
        Some(parts.collect())
    }

    /// Whether all that a job finds is known.
    pub(crate) fn knows(&self, job: &PlannedJob, message: &SearchJob) -> bool {
        let parts = self.by_block(job, message);
        self.answers
            .as_ref()
            .zip(parts)
            .is_some_and(|(answers, parts)| parts.iter().all(|part| answers.contains_key(&part.key)))
    }

    pub(crate) async fn get(&self, job: &BlockJob) -> Option<SearchAnswer> {
        let known = self.answers.as_ref()?.get(&job.key).await.and_then(decoded);
        let counter = if known.is_some() { &self.metrics.cache_hits } else { &self.metrics.cache_misses };
        counter.inc();
        let (metrics, held) = (SearchJobMetrics::default(), Held::default());
        known.map(|found| SearchAnswer { found, metrics, held })
    }

    pub(crate) async fn insert(&self, job: &BlockJob, answer: &SearchAnswer) {
        let Some(answers) = &self.answers else { return };
        let mut bytes = Vec::new();
        for found in &answer.found {
            let part = SearchJobPart { found: Some(found.clone()), ..SearchJobPart::default() };
            bytes.extend(part.encode_length_delimited_to_vec());
        }
        answers.insert(job.key.clone(), bytes.into()).await;
        self.metrics.cache_bytes.set(i64::try_from(answers.weighted_size()).unwrap_or(i64::MAX));
    }
}

impl BlockJob {
    /// The answer as it was asked for.
    pub(crate) fn restore(&self, mut answer: SearchAnswer) -> SearchAnswer {
        for found in &mut answer.found {
            if let Found::Series(series) = found {
                let intervals = series.series.iter_mut().flat_map(|series| &mut series.intervals);
                intervals.for_each(|interval| *interval = interval.saturating_add(self.shift));
            }
        }
        answer
    }
}

/// The search as far as it concerns the block, and by how many intervals its series begin later.
fn within(search: &Search, block: &BlockMeta) -> Option<(Search, u32)> {
    let mut search = search.clone();
    // Its latest span starts no later than it ends.
    let (first, last) = (block.start_min.0, block.end_max.0);
    let mut shift = 0;
    if let Some(Kind::Series(kind)) = &mut search.kind {
        shift = narrowed(kind, first, last)?;
    }
    if (search.start, search.end) != (0, 0) {
        let inside = search.start <= first && last < search.end;
        let clipped = (search.start.max(first), search.end.min(last.saturating_add(1)));
        (search.start, search.end) = if inside { (0, 0) } else { clipped };
    }
    Some((search, shift))
}

/// Keeps the intervals that spans of the block can be in; tells how many came before. None if there is none.
fn narrowed(kind: &mut SeriesKind, first: u64, last: u64) -> Option<u32> {
    if kind.instant || kind.step == 0 {
        return Some(0);
    }
    // Interval i is (start + i * step, start + (i + 1) * step].
    let interval = |time: u64| time.saturating_sub(kind.grid_start).saturating_sub(1) / kind.step;
    let (from, to) = (interval(first), interval(last).min(u64::from(kind.intervals).checked_sub(1)?));
    let intervals = u32::try_from(to.checked_sub(from)?).ok()? + 1;
    kind.grid_start += from * kind.step;
    kind.intervals = intervals;
    u32::try_from(from).ok()
}

fn decoded(mut bytes: Bytes) -> Option<Vec<Found>> {
    let mut found = Vec::new();
    while bytes.has_remaining() {
        found.extend(SearchJobPart::decode_length_delimited(&mut bytes).ok()?.found);
    }
    Some(found)
}
