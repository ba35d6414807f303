//! What must hold of a whole chain, for the audit, the simulation and the tests.
//! Owns: [`ChainCheck`], which remembers everything that a chain ever said and so sees what the folded state cannot: a
//! block id that comes back long after it retired, a proposal that was written twice.
//! Does not own: the rules for one entry on top of a state; they are asked too, but what is checked here is worked
//! out in another way, so that neither hides a mistake of the other.

use std::collections::{BTreeMap, HashMap, HashSet};

use vivace_model::{BlockId, Offset, OffsetRange, Partition, TenantId};

use crate::state::{RETIRED_KEEP, Totals};
use crate::{BlockMeta, Entry, EntryBody, PartitionState, rules};

/// A rule of the ledger that is broken, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Not the JSON of an entry or snapshot.
    #[error("it cannot be read: {reason}")]
    Unreadable {
        /// What the parser said.
        reason: String,
    },
    /// Larger than anything that we write.
    #[error("it has {bytes} bytes, more than the {bytes_max} allowed")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A format that this version does not know.
    #[error("it has version {found} of the format, which this program does not know")]
    Version {
        /// The version.
        found: u32,
    },
    /// Of another chain.
    #[error("it belongs to the chain {topic}/{partition}")]
    Stranger {
        /// Topic it names.
        topic: String,
        /// Partition it names.
        partition: Partition,
    },
    /// Its number is not the next one.
    #[error("it has number {found} and follows entry {after}")]
    Sequence {
        /// The entry before.
        after: u64,
        /// Its own number.
        found: u64,
    },
    /// It is not there, although a later one is.
    #[error("it is missing, although entry {seen} exists")]
    Missing {
        /// The later one.
        seen: u64,
    },
    /// The attempt that wrote it has no proper name.
    #[error("its writer \"{writer}\" is not a UUID")]
    Writer {
        /// The name.
        writer: String,
    },
    /// Two entries carry the same proposal.
    #[error("entries {first} and {second} come from the same proposal")]
    Twice {
        /// Number of one.
        first: u64,
        /// Number of the other.
        second: u64,
    },
    /// Offsets that are empty or run backwards.
    #[error("its offsets {offsets} are empty or run backwards")]
    Range {
        /// The offsets.
        offsets: OffsetRange,
    },
    /// Offsets that nobody accounts for.
    #[error("its offsets {offsets} leave a gap after the chain's end {end}")]
    Gap {
        /// End of the chain.
        end: Offset,
        /// The entry's offsets.
        offsets: OffsetRange,
    },
    /// Offsets that are in the chain already.
    #[error("its offsets {offsets} overlap what is below the chain's end {end}")]
    Overlap {
        /// End of the chain.
        end: Offset,
        /// The entry's offsets.
        offsets: OffsetRange,
    },
    /// A rejected record that the entry does not cover.
    #[error("it rejects offset {offset}, which is outside of its {offsets}")]
    RejectedOutside {
        /// The record.
        offset: Offset,
        /// The entry's offsets.
        offsets: OffsetRange,
    },
    /// Replaces or expires nothing.
    #[error("it names no blocks")]
    NoBlocks,
    /// Replaces or expires what is not live.
    #[error("it retires block {id}, which is not live")]
    UnknownBlock {
        /// The block.
        id: BlockId,
    },
    /// A block id that was there before.
    #[error("block {id} is named twice")]
    RepeatedBlock {
        /// The block.
        id: BlockId,
    },
    /// A block that cannot be as described.
    #[error("block {id} is impossible: {reason}")]
    Block {
        /// The block.
        id: BlockId,
        /// Why.
        reason: &'static str,
    },
    /// A merge that made spans, or lost all of a tenant's.
    #[error("it merges {before} rows of tenant {tenant} into {after}")]
    Rows {
        /// The tenant.
        tenant: TenantId,
        /// Rows of the inputs.
        before: u64,
        /// Rows of the outputs.
        after: u64,
    },
    /// A state that is not what the entries say.
    #[error("the state after entry {sequence} differs from its entries in {what}")]
    Snapshot {
        /// The entry.
        sequence: u64,
        /// What differs.
        what: &'static str,
    },
}

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
    /// Every block ever, and when it was retired.
    blocks: HashMap<BlockId, (BlockMeta, Option<u64>)>,
    /// Time of the entry that retired a block last seen, by sequence.
    written: Vec<vivace_model::UnixNanos>,
    totals: Totals,
}

impl ChainCheck {
    /// Checks the next entry.
    ///
    /// # Errors
    /// The rule that it breaks; the check is of no use afterwards.
    pub fn push(&mut self, entry: &Entry) -> Result<(), Violation> {
        let (topic, partition) = self
            .chain
            .get_or_insert_with(|| (entry.topic.clone(), entry.partition));
        if *topic != entry.topic || *partition != entry.partition {
            return Err(Violation::Stranger {
                topic: entry.topic.clone(),
                partition: entry.partition,
            });
        }
        if entry.sequence != self.sequence + 1 {
            return Err(Violation::Sequence {
                after: self.sequence,
                found: entry.sequence,
            });
        }
        self.sequence = entry.sequence;
        self.written.push(entry.written);
        if let Some(first) = self.writers.insert(entry.writer.clone(), entry.sequence) {
            return Err(Violation::Twice {
                first,
                second: entry.sequence,
            });
        }
        if let Some(offsets) = entry.body.offsets() {
            self.cover(offsets)?;
        }
        match &entry.body {
            EntryBody::Ingested {
                offsets,
                blocks,
                rejected,
            } => {
                for block in blocks {
                    rules::check_block(block, entry.partition, *offsets)?;
                }
                if let Some(stray) = rejected
                    .iter()
                    .find(|rejected| !offsets.contains(rejected.offset))
                {
                    return Err(Violation::RejectedOutside {
                        offset: stray.offset,
                        offsets: *offsets,
                    });
                }
            }
            EntryBody::Compacted { inputs, outputs } => {
                let known = inputs
                    .iter()
                    .filter_map(|id| self.blocks.get(id))
                    .map(|(block, _)| block);
                rules::check_merge(&known.collect::<Vec<_>>(), outputs)?;
                let offsets = OffsetRange {
                    start: Offset::ZERO,
                    end: self.end(),
                };
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
        self.covered
            .last_key_value()
            .map_or(Offset::ZERO, |(_, end)| *end)
    }

    /// Number of the last entry.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The blocks that are live now, in no order.
    pub fn live(&self) -> impl Iterator<Item = &BlockMeta> {
        self.blocks
            .values()
            .filter(|(_, retired)| retired.is_none())
            .map(|(block, _)| block)
    }

    /// Whether `state` is what the entries so far fold into.
    ///
    /// # Errors
    /// Names what differs.
    pub fn check_state(&self, state: &PartitionState) -> Result<(), Violation> {
        let differs = |what| {
            Err(Violation::Snapshot {
                sequence: self.sequence,
                what,
            })
        };
        if state.sequence() != self.sequence {
            return differs("its number");
        }
        if state.end() != self.end() {
            return differs("its end");
        }
        if state.totals() != self.totals {
            return differs("its totals");
        }
        let stated: HashMap<_, _> = state
            .live()
            .iter()
            .map(|block| (block.id, block.as_ref()))
            .collect();
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
            let (until, later) = self.written[sequence - 1..]
                .split_first()
                .expect("the entry was pushed");
            later
                .iter()
                .all(|written| written.since(*until) <= RETIRED_KEEP)
                .then_some(*id)
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
        let retires = matches!(
            entry.body,
            EntryBody::Compacted { .. } | EntryBody::Expired { .. }
        );
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
