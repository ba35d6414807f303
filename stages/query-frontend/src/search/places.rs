//! Where the spans of a trace may be, besides where some were found.
//! Owns: which partitions are asked about a trace. Does not own: asking them.
//!
//! Vivace's distributors hash the trace id, so a trace is in one partition, unless partitions were added, or the tenant's
//! share of them was changed, while it was sent. Other producers may spread its spans over all partitions.

use std::collections::BTreeSet;

use vivace_ledger::View;
use vivace_model::{Partition, Spread, TenantId, TraceId};

use super::run::Run;
use crate::views::Views;

/// Of a search, where traces may be.
#[derive(Debug, Default)]
pub(super) struct Places {
    tenants: Vec<Tenant>,
    /// Of each shard, which tenant and partition it is.
    shards: Vec<(usize, Partition)>,
}

#[derive(Debug)]
struct Tenant {
    id: TenantId,
    spread: Traces,
}

/// How the traces of a tenant were spread.
#[derive(Debug)]
enum Traces {
    /// Each is in one partition: where it was found.
    Whole,
    /// In the partitions that these spreads tell.
    Of(BTreeSet<Spread>),
    /// Anywhere.
    Anywhere,
}

impl Places {
    pub(super) fn new(
        run: &Run<'_>,
        tenants: &[TenantId],
        view: &View,
        views: &Views,
        pruning: bool,
    ) -> Self {
        let spread = |tenant| {
            let spreads = views.spreads(view, tenant);
            if !pruning || spreads.contains(&Spread::UNKNOWN) {
                Traces::Anywhere
            } else if spreads.len() > 1 {
                Traces::Of(spreads)
            } else {
                Traces::Whole
            }
        };
        let tenants: Vec<_> =
            tenants.iter().map(|id| Tenant { id: id.clone(), spread: spread(id) }).collect();
        let shard = |(tenant, partition): (&TenantId, Partition)| {
            let number = tenants.iter().position(|known| known.id == *tenant);
            (number.unwrap_or_default(), partition)
        };
        let shards = (0..run.shards()).map(|number| shard(run.place(number))).collect();
        Self { tenants, shards }
    }

    /// The tenant of a shard.
    pub(super) fn tenant(&self, shard: usize) -> usize {
        self.shards[shard].0
    }

    /// Shards where more of a tenant's trace may be, wherever some of it was found.
    pub(super) fn more(&self, tenant: usize, trace_id: &[u8; 16]) -> Vec<usize> {
        let Tenant { id, spread } = &self.tenants[tenant];
        let partitions = match spread {
            Traces::Whole => return Vec::new(),
            Traces::Anywhere => None,
            Traces::Of(spreads) => {
                let trace_id = TraceId::from_bytes(*trace_id);
                let partition = |spread: &Spread| spread.partition_of(id, &trace_id);
                Some(spreads.iter().filter_map(partition).collect::<BTreeSet<_>>())
            }
        };
        let shards = self.shards.iter().enumerate();
        let asked = shards.filter(|(_, (of, partition))| {
            *of == tenant && partitions.as_ref().is_none_or(|partitions| partitions.contains(partition))
        });
        asked.map(|(number, _)| number).collect()
    }
}
