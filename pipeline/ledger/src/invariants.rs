//! What must hold of a whole chain, for the audit, the simulation and the tests.
//! Owns: [`ChainCheck`], which remembers everything that a chain ever said and so sees what the folded state cannot: a
//! block id that comes back long after it retired, a proposal that was written twice.
//! Does not own: the rules for one entry on top of a state; they are asked too, but what is checked here is worked
//! out in another way, so that neither hides a mistake of the other.

use std::collections::{BTreeMap, HashMap, HashSet};

use vivace_model::{BlockId, Offset, OffsetRange, Partition, UnixNanos};

pub use crate::violation::Violation;

use crate::operated::{self, Replay};
use crate::state::{RETIRED_KEEP, Totals};
use crate::{BlockMeta, Entry, EntryBody, Fingerprint, PartitionState, rules};

/// Checks a chain from its first entry on.
///
/// # Errors
/// The first rule broken.
pub fn check_chain<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), Violation> {
    let mut check = ChainCheck::default();
    entries.into_iter().try_for_each(|entry| check.push(entry))
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Live,
    /// By that entry.
    Retired(u64),
    /// By a replay.
    Kept(u64),
    Discarded,
}

/// Checks a chain entry by entry; it keeps about a hundred bytes per entry and per block ever named.
#[derive(Debug, Default)]
pub struct ChainCheck {
    chain: Option<(String, Partition)>,
    sequence: u64,
    writers: HashMap<String, u64>,
    /// Where the offsets of the present topic begin.
    base: Offset,
    /// What accounts for each offset of the present topic, by start.
    covered: BTreeMap<Offset, Offset>,
    generation: u32,
    incarnation: u32,
    last: Option<Fingerprint>,
    redacted: Option<OffsetRange>,
    /// Every block ever, and what became of it.
    blocks: HashMap<BlockId, (BlockMeta, Fate)>,
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
            EntryBody::Ingested { offsets, blocks, rejected, last } => {
                for block in blocks {
                    rules::check_block(block, entry.partition, *offsets)?;
                    rules::check_incarnation(block, self.incarnation)?;
                }
                rules::check_rejected(rejected, *offsets)?;
                self.last = *last;
            }
            EntryBody::Compacted { inputs, outputs, duplicates, expired } => {
                let known = inputs.iter().filter_map(|id| self.blocks.get(id)).map(|(block, _)| block);
                rules::check_merge(&known.collect::<Vec<_>>(), outputs, *duplicates, *expired)?;
                self.check_outputs(outputs)?;
            }
            EntryBody::Lost { .. } => self.last = None,
            EntryBody::Expired { .. } | EntryBody::Discarded { .. } => {}
            EntryBody::Replayed { .. } | EntryBody::Recreated { .. } => self.begin_generation(&entry.body)?,
            EntryBody::Redacted { inputs, outputs, removed, duplicates, .. } => {
                let known = inputs.iter().filter_map(|id| self.blocks.get(id)).map(|(block, _)| block);
                let known: Vec<_> = known.collect();
                let ours = known.iter().filter(|block| block.incarnation == self.incarnation);
                let around = ours
                    .map(|block| block.offsets)
                    .chain(self.redacted)
                    .reduce(|a, b| OffsetRange { start: a.start.min(b.start), end: a.end.max(b.end) });
                self.check_outputs(outputs)?;
                operated::check_redaction(&known, outputs, removed.saturating_add(*duplicates))?;
                self.redacted = around;
            }
        }
        self.change_blocks(entry)?;
        self.totals.add(&entry.body);
        Ok(())
    }

    fn check_outputs(&self, outputs: &[BlockMeta]) -> Result<(), Violation> {
        let partition = self.chain.as_ref().map_or(Partition(0), |(_, partition)| *partition);
        for block in outputs {
            let offsets = rules::offsets_of(block, self.incarnation, self.end());
            rules::check_block(block, partition, offsets)?;
        }
        Ok(())
    }

    /// A replay, or a new topic.
    fn begin_generation(&mut self, body: &EntryBody) -> Result<(), Violation> {
        match body {
            EntryBody::Replayed {
                generation, offsets, inputs, outputs, abandoned, rejected, last, ..
            } => {
                operated::check_generation(self.generation, *generation)?;
                let end = self.end();
                let replay = Replay { offsets: *offsets, inputs, abandoned, outputs };
                replay.check(self.live(), self.incarnation, end)?;
                let partition = self.chain.as_ref().map_or(Partition(0), |(_, partition)| *partition);
                for block in outputs {
                    rules::check_block(block, partition, *offsets)?;
                }
                rules::check_rejected(rejected, *offsets)?;
                if offsets.end > end {
                    self.cover(OffsetRange { start: end, end: offsets.end })?;
                    self.last = *last;
                }
                self.generation = *generation;
            }
            EntryBody::Recreated { generation, end, .. } => {
                operated::check_generation(self.generation, *generation)?;
                (self.generation, self.incarnation) = (*generation, *generation);
                (self.base, self.last, self.redacted) = (*end, None, None);
                self.covered.clear();
            }
            EntryBody::Ingested { .. }
            | EntryBody::Compacted { .. }
            | EntryBody::Expired { .. }
            | EntryBody::Lost { .. }
            | EntryBody::Discarded { .. }
            | EntryBody::Redacted { .. } => {}
        }
        Ok(())
    }

    /// The first offset that no entry accounts for.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.covered.last_key_value().map_or(self.base, |(_, end)| *end)
    }

    /// Number of the last entry.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The blocks that are live now, in no order.
    pub fn live(&self) -> impl Iterator<Item = &BlockMeta> {
        self.blocks.values().filter(|(_, fate)| *fate == Fate::Live).map(|(block, _)| block)
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
        if (state.generation(), state.incarnation()) != (self.generation, self.incarnation) {
            return differs("its generation");
        }
        if state.last() != self.last {
            return differs("its last record");
        }
        if state.redacted() != self.redacted {
            return differs("the offsets that traces were removed from");
        }
        let kept =
            self.blocks.iter().filter(|(_, (_, fate))| matches!(fate, Fate::Kept(_))).map(|(id, _)| *id);
        let stated: HashSet<_> = state.kept().iter().map(|block| block.id).collect();
        if stated != kept.collect() || state.kept().len() != stated.len() {
            return differs("the blocks kept of earlier generations");
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
        self.blocks.iter().filter_map(|(id, (_, fate))| {
            let Fate::Retired(sequence) = *fate else { return None };
            let sequence = usize::try_from(sequence).expect("as many entries as were pushed");
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
        if before.map_or(self.base, |(_, end)| *end) != offsets.start {
            return Err(Violation::Gap { end, offsets });
        }
        self.covered.insert(offsets.start, offsets.end);
        Ok(())
    }

    fn discard(&mut self, blocks: &[BlockId]) -> Result<(), Violation> {
        if blocks.is_empty() {
            return Err(Violation::NoBlocks);
        }
        let mut named = HashSet::with_capacity(blocks.len());
        for id in blocks {
            if !named.insert(id) {
                return Err(Violation::RepeatedBlock { id: *id });
            }
            match self.blocks.get_mut(id) {
                Some((_, fate @ Fate::Kept(_))) => *fate = Fate::Discarded,
                Some(_) | None => return Err(Violation::UnknownBlock { id: *id }),
            }
        }
        Ok(())
    }

    fn change_blocks(&mut self, entry: &Entry) -> Result<(), Violation> {
        let retires = matches!(
            entry.body,
            EntryBody::Compacted { .. } | EntryBody::Expired { .. } | EntryBody::Redacted { .. }
        );
        if retires && entry.body.removed().is_empty() {
            return Err(Violation::NoBlocks);
        }
        let fate = match entry.body {
            EntryBody::Replayed { .. } => Fate::Kept(entry.sequence),
            _ => Fate::Retired(entry.sequence),
        };
        for id in entry.body.removed() {
            match self.blocks.get_mut(id) {
                Some((_, now @ Fate::Live)) => *now = fate,
                Some((_, now)) if *now == fate => return Err(Violation::RepeatedBlock { id: *id }),
                Some(_) | None => return Err(Violation::UnknownBlock { id: *id }),
            }
        }
        if let EntryBody::Discarded { blocks } = &entry.body {
            self.discard(blocks)?;
        }
        for block in entry.body.added() {
            if self.blocks.insert(block.id, (block.clone(), Fate::Live)).is_some() {
                return Err(Violation::RepeatedBlock { id: block.id });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
