//! Small makers of blocks, bodies and entries for the unit tests.

use std::ops::Range;
use std::sync::Arc;

use vivace_model::{BlockId, ManualClock, Offset, OffsetRange, Partition, Spread, TenantId, UnixNanos};

use object_store::ObjectStore;

use crate::entry::ENTRY_VERSION;
use crate::{BlockMeta, Chain, Entry, EntryBody, PartitionState, Proposal};

pub(crate) const TOPIC: &str = "vivace.spans";
/// When all entries are written.
pub(crate) const WRITTEN: UnixNanos = UnixNanos::from_secs(1_779_494_400);

pub(crate) fn block_id(number: u64) -> BlockId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    BlockId::new(WRITTEN, random)
}

/// A block of ten rows whose id and offsets follow from the arguments.
pub(crate) fn block(number: u64, offsets: Range<u64>) -> BlockMeta {
    BlockMeta {
        id: block_id(number),
        tenant: TenantId::default(),
        date: WRITTEN.date(),
        partition: Partition(0),
        spread: Spread::all(4),
        offsets: range(offsets),
        level: 0,
        rows: 10,
        traces: 2,
        bytes: 1000,
        start_min: UnixNanos(100),
        end_max: UnixNanos(200),
        created: WRITTEN,
    }
}

pub(crate) fn range(offsets: Range<u64>) -> OffsetRange {
    OffsetRange { start: Offset(offsets.start), end: Offset(offsets.end) }
}

pub(crate) fn ingested(blocks: Vec<BlockMeta>, offsets: Range<u64>) -> EntryBody {
    EntryBody::Ingested { offsets: range(offsets), blocks, rejected: vec![] }
}

/// Replaces blocks of ten rows; what the outputs lack are duplicates.
pub(crate) fn compacted(inputs: &[u64], outputs: Vec<BlockMeta>) -> EntryBody {
    let rows: u64 = outputs.iter().map(|output| output.rows).sum();
    let inputs: Vec<_> = inputs.iter().copied().map(block_id).collect();
    let duplicates = (10 * inputs.len() as u64).saturating_sub(rows);
    EntryBody::Compacted { inputs, outputs, duplicates, expired: 0 }
}

pub(crate) fn expired(blocks: &[u64]) -> EntryBody {
    EntryBody::Expired { blocks: blocks.iter().copied().map(block_id).collect() }
}

pub(crate) fn lost(offsets: Range<u64>) -> EntryBody {
    EntryBody::Lost { offsets: range(offsets) }
}

pub(crate) fn proposal(body: EntryBody, number: u64) -> Proposal {
    Proposal::new(body, u128::from(number).to_be_bytes())
}

pub(crate) fn entry(sequence: u64, body: EntryBody) -> Entry {
    let writer = proposal(body.clone(), sequence).writer().to_owned();
    let (topic, partition) = (TOPIC.to_owned(), Partition(0));
    Entry { version: ENTRY_VERSION, sequence, topic, partition, writer, written: WRITTEN, body }
}

pub(crate) fn entries(bodies: &[EntryBody]) -> Vec<Entry> {
    (1..).zip(bodies).map(|(sequence, body)| entry(sequence, body.clone())).collect()
}

/// The state after entries with these bodies.
pub(crate) fn state_of(bodies: &[EntryBody]) -> PartitionState {
    let mut state = PartitionState::empty(TOPIC, Partition(0));
    for entry in entries(bodies) {
        state.fold(&entry).expect("the test's entries keep the rules");
    }
    state
}

/// The numbers that the blocks were made from.
pub(crate) fn ids(blocks: &[Arc<BlockMeta>]) -> Vec<u64> {
    let number =
        |block: &Arc<BlockMeta>| (0..100).find(|&number| block_id(number) == block.id).expect("below 100");
    blocks.iter().map(number).collect()
}

/// The chain of partition 0, on a clock that stands.
pub(crate) fn chain(store: &Arc<dyn ObjectStore>) -> Chain {
    Chain::new(Arc::clone(store), TOPIC, Partition(0), Arc::new(ManualClock::new(WRITTEN)))
}

/// Appends `count` entries of ten offsets and one block each, and returns the last state.
pub(crate) async fn grow(chain: &Chain, mut state: PartitionState, count: u64) -> PartitionState {
    for _ in 0..count {
        let (number, start) = (state.sequence() + 1, state.end().0);
        let body = ingested(vec![block(number, start..start + 10)], start..start + 10);
        state = chain.append(&state, &proposal(body, number)).await.expect("nothing fails here");
    }
    state
}

/// Runs on one thread, under a clock that jumps to the next timer whenever all tasks wait.
pub(crate) fn paused<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().expect("a runtime starts").block_on(work)
}
