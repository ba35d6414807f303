//! What is true: which spans are in the log at which offset, which were acknowledged, what the chains declared lost, and
//! so what an answer must hold and may hold.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use rand::RngExt;
use vivace_ledger::{Entry, EntryBody};
use vivace_log::Record;
use vivace_model::{Offset, OffsetRange, Partition, TenantId, TraceId};

use crate::plan::{Plan, dice};
use crate::spans::{self, Numbers, TraceKey};

/// A record as it is in the log.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Its tenant and spans; none if it cannot be stored.
    pub(crate) content: Option<(TenantId, Numbers)>,
}

/// A span: its trace and its number.
pub(crate) type SpanKey = (TraceId, u64);

/// What is true so far.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) traces: Vec<TraceKey>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    acked: BTreeMap<TraceKey, BTreeSet<u64>>,
    /// Kept although the log may have deleted it.
    log: BTreeMap<Partition, BTreeMap<Offset, Known>>,
    chains: BTreeMap<Partition, Told>,
    redacted: BTreeMap<TraceKey, Redacted>,
    span_next: u64,
}

/// What a chain has said of records that are in no block.
#[derive(Clone, Debug, Default)]
struct Told {
    /// Number of the last entry that was read.
    sequence: u64,
    /// Offsets that it declared lost.
    lost: Vec<OffsetRange>,
    /// Where the log began after each deletion.
    starts: BTreeSet<Offset>,
}

/// How far redactions of a trace have come: all that lies before `removed` is gone, some that lies before `touched` may be.
#[derive(Clone, Copy, Debug, Default)]
struct Redacted {
    removed: Offset,
    touched: Offset,
    /// One is going on.
    going: bool,
}

/// Spans by what must be and what may be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// Each once.
    pub(crate) least: BTreeSet<SpanKey>,
    /// As often as they may be told.
    pub(crate) most: Vec<SpanKey>,
}

impl State {
    /// The spans of a tenant, each with the offsets of its records that are not declared lost.
    fn left(&self, tenant: &TenantId) -> BTreeMap<SpanKey, Vec<Offset>> {
        let mut left = BTreeMap::<SpanKey, Vec<Offset>>::new();
        for (partition, known) in &self.log {
            let lost = self.chains.get(partition).map_or(&[][..], |told| &told.lost);
            for (offset, known) in known {
                let content = known.content.as_ref().filter(|(other, _)| other == tenant);
                let Some((_, numbers)) = content else { continue };
                if lost.iter().any(|lost| lost.contains(*offset)) {
                    continue;
                }
                for (trace, number) in spans_of(numbers) {
                    left.entry((trace, number)).or_default().push(*offset);
                }
            }
        }
        left
    }
}

fn spans_of(numbers: &Numbers) -> impl Iterator<Item = SpanKey> {
    numbers.iter().flat_map(|(trace, numbers)| numbers.iter().map(|number| (*trace, *number)))
}

impl Model {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut dice = dice(plan.seed, "traces");
        let trace = |number| {
            let tenant = if number % 3 == 2 { "other".parse().expect("valid") } else { TenantId::default() };
            TraceKey { tenant, id: TraceId::from_bytes(dice.random()) }
        };
        Self { traces: (0..plan.traces).map(trace).collect(), state: Mutex::default() }
    }

    /// A span id that was never used.
    pub(crate) fn fresh_span(&self) -> u64 {
        let mut state = self.state.lock();
        state.span_next += 1;
        state.span_next
    }

    pub(crate) fn ack(&self, tenant: &TenantId, spans: &[SpanKey]) {
        let mut state = self.state.lock();
        for (id, number) in spans {
            let key = TraceKey { tenant: tenant.clone(), id: *id };
            state.acked.entry(key).or_default().insert(*number);
        }
    }

    pub(crate) fn acked(&self, trace: &TraceKey) -> BTreeSet<u64> {
        self.state.lock().acked.get(trace).cloned().unwrap_or_default()
    }

    /// All spans of a tenant that were acknowledged.
    pub(crate) fn acked_of(&self, tenant: &TenantId) -> BTreeSet<SpanKey> {
        let state = self.state.lock();
        let acked = state.acked.iter().filter(|(trace, _)| trace.tenant == *tenant);
        acked.flat_map(|(trace, numbers)| numbers.iter().map(|number| (trace.id, *number))).collect()
    }

    /// All spans of a tenant in the log, as often as they were put there: one that was sent again may be dropped or not.
    pub(crate) fn logged_of(&self, tenant: &TenantId) -> Vec<SpanKey> {
        let state = self.state.lock();
        let contents =
            state.log.values().flat_map(BTreeMap::values).filter_map(|known| known.content.as_ref());
        contents.filter(|(other, _)| other == tenant).flat_map(|(_, numbers)| spans_of(numbers)).collect()
    }

    /// The spans of a tenant that are left: not declared lost, not removed, in records below an offset.
    pub(crate) fn left_of(&self, tenant: &TenantId, below: Offset) -> Expected {
        let state = self.state.lock();
        let mut expected = Expected::default();
        for ((trace, number), offsets) in state.left(tenant) {
            let key = TraceKey { tenant: tenant.clone(), id: trace };
            let redacted = state.redacted.get(&key).copied().unwrap_or_default();
            let first = offsets.iter().min().copied().unwrap_or_default();
            // If a record that was there before is removed, a later one may have been dropped as sent again.
            if first < below && first >= redacted.touched && !redacted.going {
                expected.least.insert((trace, number));
            }
            let told = offsets.into_iter().filter(|offset| *offset >= redacted.removed);
            expected.most.extend(told.map(|_| (trace, number)));
        }
        expected
    }

    /// The same of a trace.
    pub(crate) fn left_in(&self, trace: &TraceKey, below: Offset) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let Expected { least, most } = self.left_of(&trace.tenant, below);
        let ours = |(id, number)| (id == trace.id).then_some(number);
        (least.into_iter().filter_map(ours).collect(), most.into_iter().filter_map(ours).collect())
    }

    /// Someone begins to remove a trace.
    pub(crate) fn redaction_begins(&self, trace: &TraceKey) {
        self.state.lock().redacted.entry(trace.clone()).or_default().going = true;
    }

    /// It has ended or was given up, when the chain went up to `end`; if it went well, all that was listed before
    /// `removed` is gone.
    pub(crate) fn redaction_ends(&self, trace: &TraceKey, removed: Option<Offset>, end: Offset) {
        let mut state = self.state.lock();
        let redacted = state.redacted.entry(trace.clone()).or_default();
        redacted.going = false;
        redacted.touched = redacted.touched.max(end);
        redacted.removed = redacted.removed.max(removed.unwrap_or_default());
    }

    /// The traces that someone tried to remove.
    pub(crate) fn redacted(&self) -> Vec<TraceKey> {
        self.state.lock().redacted.keys().cloned().collect()
    }

    /// The spans of a trace that were ever in the log.
    pub(crate) fn logged(&self, trace: &TraceKey) -> BTreeSet<u64> {
        let logged = self.logged_of(&trace.tenant);
        logged.into_iter().filter(|(id, _)| *id == trace.id).map(|(_, number)| number).collect()
    }

    /// Takes in the records of a partition that are new.
    pub(crate) fn learn(&self, partition: Partition, records: Vec<Record>) {
        let mut state = self.state.lock();
        let known = state.log.entry(partition).or_default();
        for record in records {
            known.entry(record.offset).or_insert_with(|| Known { content: spans::parse(&record) });
        }
    }

    pub(crate) fn log(&self, partition: Partition) -> BTreeMap<Offset, Known> {
        self.state.lock().log.get(&partition).cloned().unwrap_or_default()
    }

    /// Notes that the log begins there now.
    pub(crate) fn truncated(&self, partition: Partition, start: Offset) {
        self.state.lock().chains.entry(partition).or_default().starts.insert(start);
    }

    /// Number of the last entry of a chain that was taken in.
    pub(crate) fn sequence(&self, partition: Partition) -> u64 {
        self.state.lock().chains.get(&partition).map_or(0, |told| told.sequence)
    }

    /// Takes in the next entry of a chain.
    ///
    /// # Errors
    /// If it declares lost what was not.
    pub(crate) fn hear(&self, entry: &Entry) -> Result<(), String> {
        let mut state = self.state.lock();
        let told = state.chains.entry(entry.partition).or_default();
        // Two may read the chain at once.
        if entry.sequence <= told.sequence {
            return Ok(());
        }
        told.sequence = entry.sequence;
        let EntryBody::Lost { offsets } = entry.body else { return Ok(()) };
        told.lost.push(offsets);
        match told.starts.contains(&offsets.end) {
            true => Ok(()),
            false => Err(format!("offsets {offsets} are not lost: the log never began at {}", offsets.end)),
        }
    }
}
