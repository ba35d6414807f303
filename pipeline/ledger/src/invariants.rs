//! What must hold of a whole chain, for the audit, the simulation and the tests.
//! Owns: [`ChainCheck`], which remembers everything that a chain ever said and so sees what the folded state cannot: a
//! block id that comes back long after it retired, a proposal that was written twice.
//! Does not own: the rules for one entry on top of a state; they are asked too, but what is checked here is worked
//! out in another way, so that neither hides a mistake of the other.

use std::collections::{BTreeMap, HashMap, HashSet};

use vivace_model::{BlockId, Offset, OffsetRange, Partition, UnixNanos};

pub use crate::violation::Violation;

use crate::state::{RETIRED_KEEP, Totals};
use crate::{BlockMeta, Entry, EntryBody, PartitionState, rules};

/// Checks a chain from its first entry on.
///
/// # Errors
/// The first rule broken.
pub fn check_chain<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), Violation> {
    let mut check = ChainCheck::default();
    entries.into_iter().try_for_each(|entry| check.push(entry))
}

/// Checks a chain entry by entry; it keeps about a hundred bytes per entry and per block ever named.
#[derive(Debug, Default)]
pub struct ChainCheck {
    chain: Option<(String, Partition)>,
    sequence: u64,
    writers: HashMap<String, u64>,
    /// What accounts for each offset, by start.
    covered: BTreeMap<Offset, Offset>,
    /// Every block ever, and the entry that retired it.
    blocks: HashMap<BlockId, (BlockMeta, Option<u64>)>,
    /// When each entry was written.
    written: Vec<UnixNanos>,
    totals: Totals,
}

impl ChainCheck {
    /// Checks the next entry.
    ///
    /// # Errors
    /// The rule that it breaks; the check is of no use afterwards.
    pub fn push(&mut self, entry: &Entry) -> Result<(), Violation> {
        let (topic, partition) = self.chain.get_or_insert_with(|| (entry.topic.clone(), entry.partition));
        if *topic != entry.topic || *partition != entry.partition {
            return Err(Violation::Stranger { topic: entry.topic.clone(), partition: entry.partition });
        }
        if entry.sequence != self.sequence + 1 {
            return Err(Violation::Sequence { after: self.sequence, found: entry.sequence });
        }
        self.sequence = entry.sequence;
        self.written.push(entry.written);
        if let Some(first) = self.writers.insert(entry.writer.clone(), entry.sequence) {
            return Err(Violation::Twice { first, second: entry.sequence });
        }
        if let Some(offsets) = entry.body.offsets() {
            self.cover(offsets)?;
        }
        match &entry.body {
            EntryBody::Ingested { offsets, blocks, rejected } => {
                for block in blocks {
                    rules::check_block(block, entry.partition, *offsets)?;
                }
                if let Some(stray) = rejected.iter().find(|rejected| !offsets.contains(rejected.offset)) {
                    return Err(Violation::RejectedOutside { offset: stray.offset, offsets: *offsets });
                }
            }
            EntryBody::Compacted { inputs, outputs, duplicates, expired } => {
                let known = inputs.iter().filter_map(|id| self.blocks.get(id)).map(|(block, _)| block);
                rules::check_merge(&known.collect::<Vec<_>>(), outputs, *duplicates, *expired)?;
                let offsets = OffsetRange { start: Offset::ZERO, end: self.end() };
                for block in outputs {
                    rules::check_block(block, entry.partition, offsets)?;
                }
            }
            EntryBody::Expired { .. } | EntryBody::Lost { .. } => {}
        }
        self.change_blocks(entry)?;
        self.totals.add(&entry.body);
        Ok(())
    }

    /// The first offset that no entry accounts for.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.covered.last_key_value().map_or(Offset::ZERO, |(_, end)| *end)
    }

    /// Number of the last entry.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The blocks that are live now, in no order.
    pub fn live(&self) -> impl Iterator<Item = &BlockMeta> {
        self.blocks.values().filter(|(_, retired)| retired.is_none()).map(|(block, _)| block)
    }

    /// Whether `state` is what the entries so far fold into.
    ///
    /// # Errors
    /// Names what differs.
    pub fn check_state(&self, state: &PartitionState) -> Result<(), Violation> {
        let differs = |what| Err(Violation::Snapshot { sequence: self.sequence, what });
        if state.sequence() != self.sequence {
            return differs("its number");
        }
        if state.end() != self.end() {
            return differs("its end");
        }
        if state.totals() != self.totals {
            return differs("its totals");
        }
        let stated: HashMap<_, _> = state.live().iter().map(|block| (block.id, block.as_ref())).collect();
        let live: HashMap<_, _> = self.live().map(|block| (block.id, block)).collect();
        if stated != live || state.live().len() != live.len() {
            return differs("its live blocks");
        }
        if !state.live().is_sorted_by(|a, b| a.newest_first(b).is_lt()) {
            return differs("the order of its blocks");
        }
        let stated: HashSet<_> = state.retired().iter().map(|retired| retired.block.id).collect();
        if stated != self.retired().collect() || state.retired().len() != stated.len() {
            return differs("its retired blocks");
        }
        Ok(())
    }

    /// The blocks that were retired and that no later entry found too old.
    fn retired(&self) -> impl Iterator<Item = BlockId> {
        self.blocks.iter().filter_map(|(id, (_, retired))| {
            let sequence = usize::try_from((*retired)?).expect("as many entries as were pushed");
            let (until, later) = self.written[sequence - 1..].split_first().expect("the entry was pushed");
            later.iter().all(|written| written.since(*until) <= RETIRED_KEEP).then_some(*id)
        })
    }

    /// Puts the offsets beside what is covered so far.
    fn cover(&mut self, offsets: OffsetRange) -> Result<(), Violation> {
        if offsets.start >= offsets.end {
            return Err(Violation::Range { offsets });
        }
        let end = self.end();
        let before = self.covered.range(..offsets.end).next_back();
        if before.is_some_and(|(_, end)| *end > offsets.start) {
            return Err(Violation::Overlap { end, offsets });
        }
        if before.map_or(Offset::ZERO, |(_, end)| *end) != offsets.start {
            return Err(Violation::Gap { end, offsets });
        }
        self.covered.insert(offsets.start, offsets.end);
        Ok(())
    }

    fn change_blocks(&mut self, entry: &Entry) -> Result<(), Violation> {
        let retires = matches!(entry.body, EntryBody::Compacted { .. } | EntryBody::Expired { .. });
        if retires && entry.body.removed().is_empty() {
            return Err(Violation::NoBlocks);
        }
        let named: HashSet<_> = entry.body.removed().iter().collect();
        for id in entry.body.removed() {
            match self.blocks.get_mut(id) {
                Some((_, retired @ None)) => *retired = Some(entry.sequence),
                Some((_, Some(sequence))) if *sequence == entry.sequence && named.contains(id) => {
                    return Err(Violation::RepeatedBlock { id: *id });
                }
                Some(_) | None => return Err(Violation::UnknownBlock { id: *id }),
            }
        }
        for block in entry.body.added() {
            if self.blocks.insert(block.id, (block.clone(), None)).is_some() {
                return Err(Violation::RepeatedBlock { id: block.id });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
