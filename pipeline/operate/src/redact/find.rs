//! Finds traces, and the blocks that hold them.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use vivace_block::BlockScan;
use vivace_ledger::BlockMeta;
use vivace_model::TraceId;
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::{Search, TracesKind};
use vivace_traceql::{ScanPlan, Spans};

use super::{Affected, Ids, Redactor};
use crate::OperateError;

/// Blocks that are looked at at once.
const BLOCKS_AT_ONCE: usize = 4;
/// Of more traces, all row groups of a block are looked through instead of asking its filters for each.
const ASKED_MAX: usize = 64;

impl Redactor {
    /// The traces of which a block holds spans that the query selects.
    pub(super) async fn matching(&self, query: &str, blocks: &[Arc<BlockMeta>]) -> Result<Ids, OperateError> {
        let kind = Some(Kind::Traces(TracesKind { limit: u32::MAX, spans_max: 1 }));
        let plan = ScanPlan::new(&Search { query: query.to_owned(), kind, ..Search::default() })?;
        let looks = stream::iter(blocks).map(|block| {
            let plan = &plan;
            async move { Ok::<_, OperateError>((block, self.matching_in(plan, block).await?)) }
        });
        let mut looks = looks.buffered(BLOCKS_AT_ONCE);
        let mut ids = Ids::new();
        while let Some((block, found)) = looks.try_next().await? {
            if !found.is_empty() {
                ids.entry(block.tenant.clone()).or_default().extend(found);
            }
            let count: usize = ids.values().map(BTreeSet::len).sum();
            if count > self.limits.traces_max {
                let most = self.limits.traces_max;
                return Err(OperateError::Refused(format!("the query selects more than {most} traces")));
            }
        }
        Ok(ids)
    }

    async fn matching_in(
        &self,
        plan: &ScanPlan,
        block: &BlockMeta,
    ) -> Result<BTreeSet<[u8; 16]>, OperateError> {
        let scan = self.reader.open(&block.path(), block.bytes).await?;
        let mut found = BTreeSet::new();
        for group in 0..scan.row_groups() {
            if !scan.may_match(group, plan.condition(), None).await? {
                continue;
            }
            let runs = scan.runs(group).await?;
            let batch = scan.columns(group, plan.first(), None).await?;
            let selected = plan.select(&Spans::new(&batch, &runs))?;
            let spansets = selected.iter().flat_map(|selected| &selected.spansets);
            found.extend(spansets.map(|spanset| runs.ids()[spanset.trace as usize]));
        }
        Ok(found)
    }

    /// The blocks that hold any of the traces.
    pub(super) async fn affected(
        &self,
        ids: &Ids,
        blocks: &[Arc<BlockMeta>],
    ) -> Result<Vec<Affected>, OperateError> {
        let concerned = blocks.iter().filter_map(|block| Some((block, ids.get(&block.tenant)?)));
        let looks = stream::iter(concerned).map(|(block, ids)| async move {
            let scan = self.reader.open(&block.path(), block.bytes).await?;
            let (traces, rows) = count(&scan, ids).await?;
            let affected = Affected { block: Arc::clone(block), traces, rows };
            Ok::<_, OperateError>((rows > 0).then_some(affected))
        });
        let affected: Vec<Option<Affected>> = looks.buffered(BLOCKS_AT_ONCE).try_collect().await?;
        Ok(affected.into_iter().flatten().collect())
    }
}

/// How many of the traces a block holds, and how many spans of them.
async fn count(scan: &BlockScan, ids: &BTreeSet<[u8; 16]>) -> Result<(u64, u64), OperateError> {
    let mut groups: BTreeSet<usize> = (0..scan.row_groups()).collect();
    if ids.len() <= ASKED_MAX {
        groups.clear();
        for id in ids {
            groups.extend(scan.may_hold(&TraceId::from_bytes(*id)).await?);
        }
    }
    let (mut traces, mut rows) = (BTreeSet::new(), 0);
    for group in groups {
        let runs = scan.runs(group).await?;
        for (number, id) in runs.ids().iter().enumerate().filter(|(_, id)| ids.contains(*id)) {
            traces.insert(*id);
            rows += runs.rows_of(number).len() as u64;
        }
    }
    Ok((traces.len() as u64, rows))
}
