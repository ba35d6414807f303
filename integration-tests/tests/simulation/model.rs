//! What is true: which spans are in the log at which offset, which were acknowledged, and what an answer must hold.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use rand::RngExt;
use vivace_log::Record;
use vivace_model::{Offset, Partition, TenantId, TraceId};

use crate::plan::{Plan, dice};
use crate::spans::{self, Numbers, TraceKey};

/// A record as it is in the log.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Its tenant and spans; none if it cannot be stored.
    pub(crate) content: Option<(TenantId, Numbers)>,
}

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
    span_next: u64,
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

    pub(crate) fn ack(&self, tenant: &TenantId, spans: &[(TraceId, u64)]) {
        let mut state = self.state.lock();
        for (id, number) in spans {
            let key = TraceKey { tenant: tenant.clone(), id: *id };
            state.acked.entry(key).or_default().insert(*number);
        }
    }

    pub(crate) fn acked(&self, trace: &TraceKey) -> BTreeSet<u64> {
        self.state.lock().acked.get(trace).cloned().unwrap_or_default()
    }

    /// All spans of a tenant that were acknowledged, each once.
    pub(crate) fn acked_of(&self, tenant: &TenantId) -> Vec<(TraceId, u64)> {
        let state = self.state.lock();
        let acked = state.acked.iter().filter(|(trace, _)| trace.tenant == *tenant);
        acked.flat_map(|(trace, numbers)| numbers.iter().map(|number| (trace.id, *number))).collect()
    }

    /// All spans of a tenant in the log, as often as they are there: one that was sent again may be dropped or not.
    pub(crate) fn logged_of(&self, tenant: &TenantId) -> Vec<(TraceId, u64)> {
        let state = self.state.lock();
        let contents =
            state.log.values().flat_map(BTreeMap::values).filter_map(|known| known.content.as_ref());
        let traces = contents.filter(|(other, _)| other == tenant).flat_map(|(_, numbers)| numbers);
        traces.flat_map(|(trace, numbers)| numbers.iter().map(|number| (*trace, *number))).collect()
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

    /// The spans of a trace in the records below an offset.
    pub(crate) fn in_log(&self, trace: &TraceKey, partition: Partition, below: Offset) -> BTreeSet<u64> {
        let state = self.state.lock();
        let Some(known) = state.log.get(&partition) else { return BTreeSet::new() };
        let contents = known.range(..below).filter_map(|(_, known)| known.content.as_ref());
        let of_tenant = contents.filter(|(tenant, _)| *tenant == trace.tenant);
        of_tenant.filter_map(|(_, numbers)| numbers.get(&trace.id)).flatten().copied().collect()
    }
}
