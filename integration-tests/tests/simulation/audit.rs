//! Looks at the ledger and the blocks themselves, once everything is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vivace_block::{BlockReader, ReaderConfig, to_traces_data};
use vivace_ledger::{BlockMeta, Entry, EntryBody};
use vivace_log::Record;
use vivace_model::{Offset, OffsetRange, Partition, TenantId};

use crate::model::Known;
use crate::spans::numbers_in;
use crate::world::World;

/// What is stored of a partition.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) entries: u64,
    pub(crate) blocks: u64,
    pub(crate) rows: u64,
    pub(crate) rejected: u64,
    pub(crate) lost: u64,
    pub(crate) merges: u64,
}

/// Spans by tenant and number, and how often.
type Counts = BTreeMap<(TenantId, u64), usize>;

/// Holds the chain of a partition, and every block that it names, against the log.
pub(crate) async fn audit(world: &World, partition: Partition) -> Stored {
    let entries = entries(world, partition).await;
    if let Err(violation) = vivace_ledger::invariants::check_chain(&entries) {
        world.fail(format_args!("partition {partition}: {violation}"));
    }
    let log = world.model.log(partition);
    let mut stored = Stored::default();
    let (mut seen, mut all_in_log) = (BTreeSet::new(), Counts::new());
    let put_aside = put_aside(world, partition);
    let mut end = Offset::ZERO;
    for entry in &entries {
        world
            .journal
            .note(format_args!("partition {partition}: {}", serde_json::to_string(entry).expect("plain")));
        let (offsets, blocks, rejected) = match &entry.body {
            EntryBody::Ingested { offsets, blocks, rejected, .. } => (offsets, blocks, rejected),
            EntryBody::Compacted { .. } => {
                stored.merges += 1;
                continue;
            }
            // The model knows whether it is true.
            EntryBody::Lost { offsets } => {
                stored.lost += offsets.len();
                end = offsets.end;
                continue;
            }
            other => world.fail(format_args!("partition {partition}: nothing expired: {other:?}")),
        };
        stored.entries += 1;
        end = offsets.end;
        let named: BTreeSet<_> = rejected.iter().map(|rejected| rejected.offset).collect();
        let (in_log, unstorable) = count_log(&log, *offsets);
        if named != unstorable {
            world.fail(format_args!(
                "partition {partition} {offsets}: rejected {named:?} instead of {unstorable:?}"
            ));
        }
        if let Some(missing) = unstorable.iter().find(|offset| !put_aside.contains(offset)) {
            world.fail(format_args!(
                "partition {partition}: record {missing} is not on the topic of rejected records"
            ));
        }
        let mut in_blocks = Counts::new();
        for block in blocks {
            if world.plan.files_stay() {
                count_block(world, block, &mut in_blocks).await;
            }
            stored.blocks += 1;
            stored.rows += block.rows;
        }
        if world.plan.files_stay() {
            check_entry(world, *offsets, &in_log, &in_blocks, &mut seen);
        }
        for (span, count) in in_log {
            *all_in_log.entry(span).or_default() += count;
        }
        stored.rejected += named.len() as u64;
    }
    check_live(world, partition, &all_in_log).await;
    let log_end = log.last_key_value().map_or(Offset::ZERO, |(offset, _)| offset.next());
    if end != log_end {
        world.fail(format_args!("partition {partition}: the ledger ends at {end}, the log at {log_end}"));
    }
    stored
}

/// Offsets of the records that the topic of rejected records holds of a partition.
fn put_aside(world: &World, partition: Partition) -> BTreeSet<Offset> {
    let records = world.handle.records(&world.topics.rejected, Partition(0));
    let number = |record: &Record, header| -> u64 {
        let text = record.header(header).and_then(|text| std::str::from_utf8(text).ok());
        text.and_then(|text| text.parse().ok()).expect("rejected records say where they come from")
    };
    let of_partition = records.iter().filter(|record| number(record, "partition") == u64::from(partition.0));
    of_partition.map(|record| Offset(number(record, "offset"))).collect()
}

async fn entries(world: &World, partition: Partition) -> Vec<Entry> {
    let chain = world.true_chain(partition);
    let mut entries = Vec::new();
    while let Some(entry) = chain.entry(entries.len() as u64 + 1).await.expect("the true chain is whole") {
        entries.push(entry);
    }
    entries
}

/// How often each span is in the records of these offsets, and which of them cannot be stored.
fn count_log(log: &BTreeMap<Offset, Known>, offsets: OffsetRange) -> (Counts, BTreeSet<Offset>) {
    let mut counts = Counts::new();
    let mut unstorable = BTreeSet::new();
    for (offset, known) in log.range(offsets.start..offsets.end) {
        match &known.content {
            Some((tenant, numbers)) => {
                for number in numbers.values().flatten() {
                    *counts.entry((tenant.clone(), *number)).or_default() += 1;
                }
            }
            None => {
                unstorable.insert(*offset);
            }
        }
    }
    (counts, unstorable)
}

async fn count_block(world: &World, block: &BlockMeta, counts: &mut Counts) {
    let store = Arc::clone(world.store.inner());
    let reader = BlockReader::new(store, ReaderConfig::default(), vivace_block::Metrics::default());
    let mut rows = 0;
    for trace in world.model.traces.iter().filter(|trace| trace.tenant == block.tenant) {
        let found = reader.trace(&block.path(), block.bytes, &trace.id).await.expect("the block is whole");
        let traces = to_traces_data(&found.batches).expect("the rows are whole");
        for number in numbers_in(traces.resource_spans).into_values().flatten() {
            *counts.entry((block.tenant.clone(), number)).or_default() += 1;
            rows += 1;
        }
    }
    if rows != block.rows {
        world.fail(format_args!("block {} has {} rows, found {rows}", block.id, block.rows));
    }
}

/// The live blocks, merged or not, hold every span of the log, and none more often than it is there.
async fn check_live(world: &World, partition: Partition, in_log: &Counts) {
    let state = world.true_chain(partition).load().await.expect("the true chain is whole");
    let mut live = Counts::new();
    for block in state.live() {
        count_block(world, block, &mut live).await;
    }
    if let Some(span) = in_log.keys().find(|span| !live.contains_key(*span)) {
        world.fail(format_args!("partition {partition}: no live block has span {span:?}"));
    }
    let more = |(span, count): &(&(TenantId, u64), &usize)| in_log.get(*span).is_none_or(|log| log < *count);
    if let Some((span, count)) = live.iter().find(more) {
        world.fail(format_args!("partition {partition}: live blocks have span {span:?} {count} times"));
    }
}

/// An entry's blocks hold the spans of its records, each once; a span may be left out if it was stored before, for then
/// its record is one that was sent again.
fn check_entry(
    world: &World,
    offsets: OffsetRange,
    in_log: &Counts,
    in_blocks: &Counts,
    seen: &mut BTreeSet<(TenantId, u64)>,
) {
    for (span, count) in in_blocks {
        if *count > 1 {
            world.fail(format_args!("entry {offsets} stores span {span:?} {count} times"));
        }
        if !in_log.contains_key(span) {
            world.fail(format_args!("entry {offsets} stores span {span:?}, which is not in its records"));
        }
    }
    for span in in_log.keys() {
        if !in_blocks.contains_key(span) && !seen.contains(span) {
            world.fail(format_args!("entry {offsets} does not store span {span:?}"));
        }
    }
    seen.extend(in_blocks.keys().cloned());
}
