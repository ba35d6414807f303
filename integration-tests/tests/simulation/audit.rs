//! Looks at the ledger and the blocks themselves, once everything is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use vivace_block::{BlockReader, ReaderConfig, to_traces_data};
use vivace_ledger::{BlockMeta, Entry, EntryBody, Rejected};
use vivace_log::Record;
use vivace_model::{Offset, OffsetRange, Partition, TenantId};
use vivace_operate::{AuditOptions, Auditor, Verdict};

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
    pub(crate) replays: u64,
    pub(crate) redactions: u64,
}

/// Spans by tenant and number, and how often.
type Counts = BTreeMap<(TenantId, u64), usize>;

/// What was seen of a chain so far.
struct Audit<'a> {
    world: &'a World,
    partition: Partition,
    log: BTreeMap<Offset, Known>,
    put_aside: BTreeSet<Offset>,
    /// Spans that entries before stored.
    seen: BTreeSet<(TenantId, u64)>,
    /// Spans in the records that the chain accounts for, but for the lost ones.
    in_log: Counts,
    end: Offset,
    stored: Stored,
}

/// Holds the chain of a partition, and every block that it names, against the log.
pub(crate) async fn audit(world: &World, partition: Partition) -> Stored {
    let entries = entries(world, partition).await;
    if let Err(violation) = vivace_ledger::invariants::check_chain(&entries) {
        world.fail(format_args!("partition {partition}: {violation}"));
    }
    let mut audit = Audit {
        world,
        partition,
        log: world.model.log(partition),
        put_aside: put_aside(world, partition),
        seen: BTreeSet::new(),
        in_log: Counts::new(),
        end: Offset::ZERO,
        stored: Stored::default(),
    };
    for entry in &entries {
        world
            .journal
            .note(format_args!("partition {partition}: {}", serde_json::to_string(entry).expect("plain")));
        audit.entry(&entry.body).await;
    }
    audit.check_live().await;
    let log_end = audit.log.last_key_value().map_or(Offset::ZERO, |(offset, _)| offset.next());
    if audit.end != log_end {
        audit.fail(format_args!("the ledger ends at {}, the log at {log_end}", audit.end));
    }
    audit.stored
}

/// The bucket is clean in the eyes of `vivace audit`, too.
pub(crate) async fn audit_as_operators(world: &World) {
    let options = AuditOptions { deep: true, grace: Duration::ZERO };
    let auditor = Auditor::new(world.true_bucket(), options);
    for partition in world.partitions() {
        let log = world.handle.watermarks(&world.topics.spans, partition);
        let report = auditor.partition(partition, ready(Ok(Some(log)))).await;
        if report.verdict() != Verdict::Clean || !report.warnings.is_empty() {
            world.fail(format_args!("the audit says {report:#?}"));
        }
    }
}

impl Audit<'_> {
    fn fail(&self, what: std::fmt::Arguments<'_>) -> ! {
        self.world.fail(format_args!("partition {}: {what}", self.partition));
    }

    async fn entry(&mut self, body: &EntryBody) {
        match body {
            EntryBody::Ingested { offsets, blocks, rejected, .. } => {
                self.stored.entries += 1;
                self.stored.blocks += blocks.len() as u64;
                self.stored.rows += blocks.iter().map(|block| block.rows).sum::<u64>();
                self.check_rejected(*offsets, rejected);
                self.account_for(*offsets);
                self.check_ingested(*offsets, blocks).await;
            }
            // The model knows whether it is true.
            EntryBody::Lost { offsets } => {
                self.stored.lost += offsets.len();
                self.end = offsets.end;
            }
            EntryBody::Compacted { .. } => self.stored.merges += 1,
            EntryBody::Replayed { offsets, outputs, abandoned, rejected, .. } => {
                self.stored.replays += 1;
                if !abandoned.is_empty() {
                    self.fail(format_args!("no file was gone, but blocks {abandoned:?} were given up"));
                }
                self.check_rejected(*offsets, rejected);
                if offsets.end > self.end {
                    self.account_for(OffsetRange::new(self.end, offsets.end));
                }
                self.check_replayed(*offsets, outputs).await;
            }
            EntryBody::Redacted { .. } if self.world.plan.redacts => self.stored.redactions += 1,
            EntryBody::Discarded { .. } => {}
            other => self.fail(format_args!("nobody has done that: {other:?}")),
        }
    }

    /// The entry names exactly the records that cannot be stored.
    fn check_rejected(&mut self, offsets: OffsetRange, rejected: &[Rejected]) {
        let named: BTreeSet<_> = rejected.iter().map(|rejected| rejected.offset).collect();
        let (_, unstorable) = count_log(&self.log, offsets);
        if named != unstorable {
            self.fail(format_args!("{offsets}: rejected {named:?} instead of {unstorable:?}"));
        }
    }

    /// These offsets follow what was accounted for.
    fn account_for(&mut self, offsets: OffsetRange) {
        let (in_log, unstorable) = count_log(&self.log, offsets);
        if let Some(missing) = unstorable.iter().find(|offset| !self.put_aside.contains(offset)) {
            self.fail(format_args!("record {missing} is not on the topic of rejected records"));
        }
        self.stored.rejected += unstorable.len() as u64;
        for (span, count) in in_log {
            *self.in_log.entry(span).or_default() += count;
        }
        self.end = offsets.end;
    }

    /// An entry's blocks hold the spans of its records, each once; a span may be left out if it was stored before, for
    /// then its record is one that was sent again.
    async fn check_ingested(&mut self, offsets: OffsetRange, blocks: &[BlockMeta]) {
        if !self.world.plan.files_stay() {
            return;
        }
        let (in_log, _) = count_log(&self.log, offsets);
        let in_blocks = self.count_blocks(blocks).await;
        for (span, count) in &in_blocks {
            if *count > 1 {
                self.fail(format_args!("entry {offsets} stores span {span:?} {count} times"));
            }
            if !in_log.contains_key(span) {
                self.fail(format_args!("entry {offsets} stores span {span:?}, which is not in its records"));
            }
        }
        for span in in_log.keys() {
            if !in_blocks.contains_key(span) && !self.seen.contains(span) {
                self.fail(format_args!("entry {offsets} does not store span {span:?}"));
            }
        }
        self.seen.extend(in_blocks.into_keys());
    }

    /// What was built anew holds all spans of its records, whatever is stored elsewhere, and none more often than it is
    /// there.
    async fn check_replayed(&self, offsets: OffsetRange, blocks: &[BlockMeta]) {
        if !self.world.plan.files_stay() {
            return;
        }
        let (in_log, _) = count_log(&self.log, offsets);
        let in_blocks = self.count_blocks(blocks).await;
        for span in in_log.keys().chain(in_blocks.keys()) {
            let of = |counts: &Counts| counts.get(span).copied().unwrap_or_default();
            let (most, found) = (of(&in_log), of(&in_blocks));
            if found > most || found == 0 {
                self.fail(format_args!("replay of {offsets} stores span {span:?} {found} times of {most}"));
            }
        }
    }

    async fn count_blocks(&self, blocks: &[BlockMeta]) -> Counts {
        let mut counts = Counts::new();
        for block in blocks {
            count_block(self.world, block, &mut counts).await;
        }
        counts
    }

    /// The live blocks, merged or not, hold every span of the log that was not removed, and none more often than it is
    /// there.
    async fn check_live(&self) {
        let state = self.world.true_chain(self.partition).load().await.expect("the true chain is whole");
        let mut live = Counts::new();
        for block in state.live() {
            count_block(self.world, block, &mut live).await;
        }
        let (mut least, mut most) = (BTreeSet::new(), Counts::new());
        for tenant in self.world.model.traces.iter().map(|trace| &trace.tenant).collect::<BTreeSet<_>>() {
            let left = self.world.model.left_of(tenant, self.end);
            least.extend(left.least.into_iter().map(|(_, number)| (tenant.clone(), number)));
            for (_, number) in left.most {
                *most.entry((tenant.clone(), number)).or_default() += 1;
            }
        }
        let missing = |span: &&(TenantId, u64)| least.contains(*span) && !live.contains_key(*span);
        if let Some(span) = self.in_log.keys().find(missing) {
            self.fail(format_args!("no live block has span {span:?}"));
        }
        for (span, count) in &live {
            let of = |counts: &Counts| counts.get(span).copied().unwrap_or_default();
            if *count > of(&self.in_log).min(of(&most)) {
                self.fail(format_args!("live blocks have span {span:?} {count} times, more than may be"));
            }
        }
    }
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
