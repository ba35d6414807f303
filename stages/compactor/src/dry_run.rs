//! What a compactor would do now, in words.

use std::collections::HashSet;
use std::sync::Arc;

use vivace_ledger::BlockMeta;
use vivace_model::{ByteSize, Partition};

use crate::error::CompactorError;
use crate::orphans::Orphans;
use crate::plan::{Job, plan};
use crate::shared::Shared;

/// One line for each thing to do, in the order of partitions, and one for each partition without any.
pub(crate) async fn dry_run(shared: &Arc<Shared>) -> Result<Vec<String>, CompactorError> {
    let mut lines = Vec::new();
    let now = shared.environment.clock.now();
    for partition in (0..shared.topics.partitions).map(Partition) {
        let state = shared.chain(partition).load().await?;
        let retention = shared.environment.retention.as_ref();
        let jobs = plan(&state, now, &shared.config, &|tenant| retention(tenant), &HashSet::new());
        if jobs.is_empty() {
            lines.push(format!(
                "partition {partition}: nothing to merge or expire, {} blocks",
                state.live().len()
            ));
        }
        for job in &jobs {
            let what = match job {
                Job::Expire(_) => "expire",
                Job::Merge(_) => "merge",
            };
            lines.push(format!("partition {partition}: {what} {}", describe(job.blocks())));
        }
        let grace = shared.config.grace;
        let due = state.retired().iter().filter(|retired| now.since(retired.at) > grace);
        lines.extend(due.map(|retired| format!("partition {partition}: delete {}", retired.block.path())));
    }
    let orphans = Orphans::new(Arc::clone(shared)).find().await?;
    lines.extend(orphans.iter().map(|path| format!("orphan: delete {path}")));
    Ok(lines)
}

fn describe(blocks: &[Arc<BlockMeta>]) -> String {
    let rows: u64 = blocks.iter().map(|block| block.rows).sum();
    let bytes = ByteSize(blocks.iter().map(|block| block.bytes).sum());
    let tenants: HashSet<_> = blocks.iter().map(|block| block.tenant.as_str()).collect();
    let dates: HashSet<_> = blocks.iter().map(|block| block.date.as_str()).collect();
    let sorted = |set: HashSet<&str>| {
        let mut list: Vec<_> = set.into_iter().collect();
        list.sort_unstable();
        list.join(" ")
    };
    let ids: Vec<_> = blocks.iter().map(|block| block.id.to_string()).collect();
    format!(
        "{} blocks of {} ({}), {rows} spans, {bytes}: {}",
        blocks.len(),
        sorted(tenants),
        sorted(dates),
        ids.join(" ")
    )
}
