//! Finds the newest traces, no more than asked for, and knows when no newer one can come.
//! Owns: which traces are certain. Does not own: putting together what jobs tell of one trace (vivace-traceql).
//!
//! A trace may be in several partitions (`places`): it is one result nevertheless.
//!
//! A trace begins no later than any piece of it that was seen. So what jobs tell first is where a trace begins at the latest; for those
//! that would be told, all other pieces are asked too. Then a trace is certain if no span that was not read yet starts as late.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use vivace_memory::Part;
use vivace_model::UnixNanos;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{FoundTrace, FoundTraces, TraceSummary};
use vivace_traceql::{TracesMerger, merge_summary};

use super::places::Places;
use super::plan::{Asked, Purpose, summaries_job, widened};
use super::run::{Run, Step};
use super::{Reports, Searcher, Totals};
use crate::QueryError;
use crate::damage::Damaged;

/// Traces kept of each shard beyond the limit: some that seemed newer may turn out to begin earlier.
const SPARE_TRACES: usize = 256;
/// A shard that told too little is asked for so many times as much.
const LIMIT_GROWTH: u32 = 4;
/// How often. Beyond, jobs leave out traces for other reasons than the limit.
const RESTARTS_MAX: u32 = 4;
/// With a high limit, looking for the newest traces after each answer would cost more than it saves.
const TRACES_PER_LOOK: usize = 1024;

type TraceKey = [u8; 16];
/// Order of traces: by start, then by id.
type Order = (u64, TraceKey);

/// The newest traces.
#[derive(Clone, Debug, Default)]
pub(crate) struct FoundTracesSet {
    /// Newest first. In a report, those that are certain and were not told before.
    pub(crate) traces: Vec<FoundTrace>,
    pub(crate) totals: Totals,
    pub(crate) damaged: Vec<Arc<Damaged>>,
}

impl Searcher {
    /// The newest `limit` traces, with `spans_max` spans of each spanset.
    pub(crate) async fn traces(
        &self,
        asked: &Asked,
        limit: u32,
        spans_max: u32,
        mut reports: Reports<FoundTracesSet>,
    ) -> Result<FoundTracesSet, QueryError> {
        let view = self.views.current()?;
        // The newest block of each.
        let slots = asked.tenants.len() * view.partitions().len();
        let mut run = Run::new(self, asked, limit, slots)?;
        let places = Places::new(&run, &asked.tenants, &view, &self.views, self.config.partition_pruning);
        let mut newest = Newest::new(asked.whole, run.shards(), places, limit, spans_max);
        let mut memory = self.memory.empty(Part::Groups);
        let mut steps = 0;
        loop {
            let floor = newest.floor();
            let wanted = move |time: UnixNanos| floor.is_none_or(|(start, _)| time.0 >= start);
            if !run.unread().is_some_and(wanted) {
                newest.complete(&mut run, self, None);
                if newest.is_complete() {
                    let Some((shard, limit)) = newest.short_of() else { break };
                    newest.clear(shard, limit);
                    run.restart(shard, limit)?;
                }
            }
            let step = tokio::select! {
                biased;
                () = reports.due() => {
                    let unread = run.unread();
                    newest.look();
                    newest.complete(&mut run, self, unread);
                    let traces = newest.certain(unread);
                    let (totals, damaged) = (run.totals(), run.damaged());
                    reports.send(FoundTracesSet { traces, totals, damaged }).await;
                    continue;
                }
                step = run.next(wanted) => step?,
            };
            steps += 1;
            match step {
                Some(Step::Found { shard, purpose, found, held: _held }) => {
                    newest.add(shard, &purpose, found)?;
                    let bytes = newest.bytes();
                    self.groups().check_traces(bytes).map_err(QueryError::of_evaluation)?;
                    memory.resize(bytes)?;
                }
                Some(Step::Dropped { shard }) => newest.clear(shard, newest.shards[shard].limit),
                None => newest.look(),
            }
            if steps % (1 + newest.limit / TRACES_PER_LOOK) == 0 {
                newest.look();
            }
        }
        Ok(FoundTracesSet { traces: newest.finish(), totals: run.totals(), damaged: run.damaged() })
    }
}

/// The newest traces of all shards.
struct Newest {
    whole: bool,
    limit: usize,
    spans_max: usize,
    places: Places,
    shards: Vec<ShardTraces>,
    /// The newest of all, newest first, `limit` at most.
    top: Vec<Candidate>,
    told: HashSet<(usize, TraceKey)>,
}

struct ShardTraces {
    /// Traces that each job was asked for.
    limit: u32,
    merger: TracesMerger,
    /// What all pieces together say of a trace.
    summaries: HashMap<TraceKey, TraceSummary>,
    asked: HashSet<TraceKey>,
    /// There may be traces that were not told, none of them newer than this.
    untold: Option<Order>,
}

/// A trace that may be told.
#[derive(Clone, Debug)]
struct Candidate {
    tenant: usize,
    /// Where some of it was found.
    shards: Vec<usize>,
    order: Order,
    /// Where it was seen.
    seen: Range<UnixNanos>,
    /// Whether all pieces of it were seen.
    complete: bool,
}

impl ShardTraces {
    fn new(limit: u32, spans_max: usize) -> Self {
        Self {
            limit,
            merger: TracesMerger::new((limit as usize).saturating_add(SPARE_TRACES), spans_max),
            summaries: HashMap::new(),
            asked: HashSet::new(),
            untold: None,
        }
    }
}

impl Newest {
    fn new(whole: bool, shards: usize, places: Places, limit: u32, spans_max: u32) -> Self {
        let spans_max = spans_max as usize;
        Self {
            whole,
            places,
            limit: limit as usize,
            spans_max,
            shards: (0..shards).map(|_| ShardTraces::new(limit, spans_max)).collect(),
            top: Vec::new(),
            told: HashSet::new(),
        }
    }

    /// Bytes of memory that found traces take.
    fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.merger.bytes()).sum()
    }

    fn clear(&mut self, shard: usize, limit: u32) {
        self.shards[shard] = ShardTraces::new(limit, self.spans_max);
        self.look();
    }

    fn add(&mut self, shard: usize, purpose: &Purpose, found: Vec<Found>) -> Result<(), QueryError> {
        let shard = &mut self.shards[shard];
        for found in found {
            let Found::Traces(found) = found else {
                return Err(QueryError::unexpected_answer());
            };
            match purpose {
                Purpose::Find => {
                    if found.more {
                        shard.untold = shard.untold.max(found.traces.last().map(order));
                    }
                    shard.merger.add(found);
                }
                Purpose::Summaries(_) => {
                    for trace in found.traces {
                        let known = shard.summaries.entry(key(&trace)).or_default();
                        merge_summary(known, trace.summary.unwrap_or_default());
                    }
                }
            }
        }
        if let Purpose::Summaries(ids) = purpose {
            // Also those of which nothing was told, so that nobody waits for them.
            for id in ids.iter() {
                shard.summaries.entry(*id).or_default();
            }
        }
        Ok(())
    }

    /// Looks again which are the newest.
    fn look(&mut self) {
        self.top.clear();
        let mut untold = Vec::new();
        let mut known: HashMap<(usize, TraceKey), usize> = HashMap::new();
        for (number, shard) in self.shards.iter().enumerate() {
            let tenant = self.places.tenant(number);
            for trace in shard.merger.best() {
                let found = candidate(tenant, number, shard, trace);
                match known.entry((tenant, found.order.1)) {
                    Entry::Vacant(entry) => {
                        entry.insert(self.top.len());
                        self.top.push(found);
                    }
                    Entry::Occupied(entry) => self.top[*entry.get()].merge(found),
                }
            }
            if shard.merger.horizon().is_some() {
                // It may have left out some, none of them newer than the last that it kept.
                let last = shard.merger.best().last().map(order);
                untold.push((number, last));
            }
        }
        for (number, last) in untold {
            self.shards[number].untold = self.shards[number].untold.max(last);
        }
        let mut top = std::mem::take(&mut self.top);
        top.iter_mut().for_each(|candidate| self.look_elsewhere(candidate));
        top.sort_by_key(|candidate| Reverse((candidate.order, Reverse(candidate.tenant))));
        top.truncate(self.limit);
        self.top = top;
    }

    /// Takes in what is known of a trace where none of it matched.
    fn look_elsewhere(&self, candidate: &mut Candidate) {
        let id = candidate.order.1;
        for shard in self.places.more(candidate.tenant, &id) {
            if let Some(known) = self.shards[shard].summaries.get(&id).filter(|known| known.start > 0) {
                candidate.order.0 = candidate.order.0.min(known.start);
            }
        }
        candidate.complete = self.unasked(candidate).is_empty();
    }

    /// Shards of which it is not known what they hold of a trace.
    fn unasked(&self, candidate: &Candidate) -> Vec<usize> {
        let Candidate { tenant, shards, order: (_, id), .. } = candidate;
        let mut all = self.places.more(*tenant, id);
        all.extend(shards.iter().filter(|shard| !all.contains(shard)).copied().collect::<Vec<_>>());
        all.retain(|shard| {
            let seen = self.whole && shards.contains(shard);
            !seen && !self.shards[*shard].summaries.contains_key(id)
        });
        all
    }

    /// The last of as many traces as asked for: what is older is not told.
    fn floor(&self) -> Option<Order> {
        (self.top.len() == self.limit).then(|| self.top.last().map(|last| last.order))?
    }

    fn is_complete(&self) -> bool {
        self.top.iter().all(|candidate| candidate.complete)
    }

    /// Asks for all pieces of the newest traces, of those that begin after `after`.
    fn complete(&mut self, run: &mut Run<'_>, searcher: &Searcher, after: Option<UnixNanos>) {
        let slack = searcher.config.trace_slack;
        // In order, so that a simulation repeats.
        let mut wanted: BTreeMap<usize, Vec<(TraceKey, Range<UnixNanos>)>> = BTreeMap::new();
        for candidate in &self.top {
            let Candidate { order: (start, id), complete, seen, .. } = candidate;
            let certain = after.is_none_or(|after| *start > after.0);
            if !certain || *complete {
                continue;
            }
            for shard in self.unasked(candidate) {
                // While the state of a shard is read anew, it cannot be asked; afterwards it is.
                if run.shard(shard).1.is_some() && self.shards[shard].asked.insert(*id) {
                    wanted.entry(shard).or_default().push((*id, widened(seen, slack)));
                }
            }
        }
        for (shard, traces) in wanted {
            if let (tenant, Some(planned)) = run.shard(shard) {
                let job = summaries_job(shard, &traces, tenant, planned);
                run.add(job);
            }
        }
    }

    /// A shard whose jobs told less than is needed, and what to ask them for.
    fn short_of(&self) -> Option<(usize, u32)> {
        let floor = self.floor();
        let short =
            |shard: &ShardTraces| shard.untold.is_some_and(|untold| floor.is_none_or(|floor| untold > floor));
        let most =
            u32::try_from(self.limit).unwrap_or(u32::MAX).saturating_mul(LIMIT_GROWTH.pow(RESTARTS_MAX));
        let again = |shard: &ShardTraces| shard.limit < most && short(shard);
        let (number, shard) = self.shards.iter().enumerate().find(|(_, shard)| again(shard))?;
        Some((number, shard.limit.saturating_mul(LIMIT_GROWTH)))
    }

    /// Traces that are certain and were not told yet.
    fn certain(&mut self, unread: Option<UnixNanos>) -> Vec<FoundTrace> {
        let certain = |candidate: &&Candidate| {
            candidate.complete && unread.is_none_or(|unread| candidate.order.0 > unread.0)
        };
        // A newer one that is not certain may turn out older, which changes nothing for those after it.
        let certain: Vec<_> = self.top.iter().filter(certain).cloned().collect();
        let new: Vec<_> = certain
            .into_iter()
            .filter(|candidate| self.told.insert((candidate.tenant, candidate.order.1)))
            .collect();
        self.traces(&new)
    }

    fn finish(&self) -> Vec<FoundTrace> {
        self.traces(&self.top)
    }

    fn traces(&self, candidates: &[Candidate]) -> Vec<FoundTrace> {
        let place = |candidate: &Candidate| (candidate.tenant, candidate.order.1);
        let places: HashMap<_, _> =
            candidates.iter().enumerate().map(|(index, candidate)| (place(candidate), index)).collect();
        let mut traces: Vec<Vec<FoundTrace>> = vec![Vec::new(); candidates.len()];
        for (number, shard) in self.shards.iter().enumerate() {
            let tenant = self.places.tenant(number);
            for trace in shard.merger.best() {
                let Some(index) = places.get(&(tenant, key(trace))) else { continue };
                let seen = trace.summary.clone().unwrap_or_default();
                let known = shard.summaries.get(&key(trace)).filter(|known| known.start > 0);
                let summary = Some(known.cloned().unwrap_or(seen));
                traces[*index].push(FoundTrace { summary, ..trace.clone() });
            }
        }
        candidates.iter().zip(traces).map(|(candidate, pieces)| self.together(candidate, pieces)).collect()
    }

    /// The pieces of a trace that match, as one, with what is known of it where none match.
    fn together(&self, candidate: &Candidate, mut pieces: Vec<FoundTrace>) -> FoundTrace {
        let id = candidate.order.1;
        let mut trace = match pieces.len() {
            1 => pieces.pop().unwrap_or_default(),
            _ => {
                let mut merger = TracesMerger::new(1, self.spans_max);
                merger.add(FoundTraces { traces: pieces, more: false });
                merger.finish().pop().unwrap_or_default()
            }
        };
        let others = self.places.more(candidate.tenant, &id);
        for shard in others.into_iter().filter(|shard| !candidate.shards.contains(shard)) {
            if let Some(known) = self.shards[shard].summaries.get(&id) {
                merge_summary(trace.summary.get_or_insert_default(), known.clone());
            }
        }
        trace
    }
}

impl Candidate {
    /// Takes in what another shard found of the same trace.
    fn merge(&mut self, other: Self) {
        self.shards.extend(other.shards);
        self.order = self.order.min(other.order);
        self.seen = self.seen.start.min(other.seen.start)..self.seen.end.max(other.seen.end);
    }
}

fn candidate(tenant: usize, number: usize, shard: &ShardTraces, trace: &FoundTrace) -> Candidate {
    let id = key(trace);
    let known = shard.summaries.get(&id);
    let seen = trace.summary.as_ref().map_or((0, 0), |summary| (summary.start, summary.end));
    let start = known.filter(|known| known.start > 0).map_or(seen.0, |known| known.start.min(seen.0));
    Candidate {
        tenant,
        shards: vec![number],
        order: (start, id),
        seen: UnixNanos(seen.0)..UnixNanos(seen.1.max(seen.0).saturating_add(1)),
        complete: false,
    }
}

fn order(trace: &FoundTrace) -> Order {
    (trace.summary.as_ref().map_or(0, |summary| summary.start), key(trace))
}

fn key(trace: &FoundTrace) -> TraceKey {
    let mut id = [0; 16];
    if trace.trace_id.len() == id.len() {
        id.copy_from_slice(&trace.trace_id);
    }
    id
}
