//! The rules of entries that operators have written: replays, new topics, redactions.
//! Owns: what such an entry must keep on top of what is live.
//! Does not own: rules that hold of all entries (`rules`), when an operator may do what.
//! Guarantee: whatever an operator does, an offset of a topic is in the blocks of one generation only.

use std::collections::{BTreeMap, HashSet};

use vivace_model::{BlockId, Offset, OffsetRange, Spread, TenantId};

use crate::{BlockMeta, Violation};

/// The generation that follows.
pub(crate) const fn check_generation(known: u32, found: u32) -> Result<(), Violation> {
    if found == known + 1 { Ok(()) } else { Err(Violation::Generation { after: known, found }) }
}

/// A replay as its entry describes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replay<'a> {
    pub(crate) offsets: OffsetRange,
    pub(crate) inputs: &'a [BlockId],
    pub(crate) abandoned: &'a [BlockId],
    pub(crate) outputs: &'a [BlockMeta],
}

impl Replay<'_> {
    /// Whether the new blocks stand for exactly what the inputs stood for: no block that stays holds any of the offsets,
    /// and no input holds others, unless it is given up.
    pub(crate) fn check<'b>(
        &self,
        live: impl IntoIterator<Item = &'b BlockMeta>,
        incarnation: u32,
        end: Offset,
    ) -> Result<(), Violation> {
        let offsets = self.offsets;
        // Without offsets it only gives blocks up.
        if offsets.start > offsets.end || (offsets.start == offsets.end && self.abandoned.is_empty()) {
            return Err(Violation::Range { offsets });
        }
        if offsets.start > end {
            return Err(Violation::Gap { end, offsets });
        }
        let inputs: HashSet<_> = self.inputs.iter().collect();
        let abandoned: HashSet<_> = self.abandoned.iter().collect();
        if let Some(id) = self.abandoned.iter().find(|id| !inputs.contains(id)) {
            return Err(Violation::UnknownBlock { id: *id });
        }
        for block in live {
            let ours = block.incarnation == incarnation;
            let touches = ours && touch(block.offsets, offsets);
            let within = ours && offsets.start <= block.offsets.start && block.offsets.end <= offsets.end;
            let reason = match inputs.contains(&block.id) {
                false if touches => "holds some of them and stays",
                true if !within && !abandoned.contains(&block.id) => "holds others and goes",
                _ => continue,
            };
            return Err(Violation::Replayed { offsets, id: block.id, reason });
        }
        for output in self.outputs {
            if output.incarnation != incarnation {
                let reason = "is of another topic of that name";
                return Err(Violation::Replayed { offsets, id: output.id, reason });
            }
        }
        Ok(())
    }
}

/// Whether two ranges have an offset in common.
const fn touch(a: OffsetRange, b: OffsetRange) -> bool {
    a.start.0 < b.end.0 && b.start.0 < a.end.0
}

/// A redaction takes whole traces out and nothing else: rows add up, and each output is of the kind of its inputs.
pub(crate) fn check_redaction(
    inputs: &[&BlockMeta],
    outputs: &[BlockMeta],
    left_out: u64,
) -> Result<(), Violation> {
    let key = |block: &BlockMeta| (block.tenant.clone(), block.spread, block.incarnation);
    let mut groups = BTreeMap::<(TenantId, Spread, u32), OffsetRange>::new();
    for input in inputs {
        let range = groups.entry(key(input)).or_insert(input.offsets);
        range.start = range.start.min(input.offsets.start);
        range.end = range.end.max(input.offsets.end);
    }
    for output in outputs {
        let reason = match groups.get(&key(output)) {
            None => "no input is of its tenant and number of partitions",
            Some(range) if output.offsets.start < range.start || output.offsets.end > range.end => {
                "its offsets are not within those of the inputs"
            }
            Some(_) => continue,
        };
        return Err(Violation::Block { id: output.id, reason });
    }
    let before = inputs.iter().map(|block| block.rows).fold(0, u64::saturating_add);
    let after = outputs.iter().map(|block| block.rows).fold(0, u64::saturating_add);
    match inputs.first() {
        None => Err(Violation::NoBlocks),
        Some(_) if before == after.saturating_add(left_out) => Ok(()),
        Some(_) => Err(Violation::Redacted { before, after, left_out }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::ChainCheck;
    use crate::testing::{block, block_id, entries, entry, expired, ids, ingested, lost, range, state_of};
    use crate::{Entry, EntryBody, PartitionState};

    fn replayed(
        generation: u32,
        offsets: std::ops::Range<u64>,
        inputs: &[u64],
        outputs: Vec<BlockMeta>,
    ) -> EntryBody {
        EntryBody::Replayed {
            generation,
            offsets: range(offsets),
            inputs: inputs.iter().copied().map(block_id).collect(),
            outputs,
            abandoned: vec![],
            rejected: vec![],
            last: None,
            reason: "a bad deploy".into(),
        }
    }

    fn recreated(generation: u32, end: u64) -> EntryBody {
        EntryBody::Recreated { generation, end: Offset(end), reason: "lost".into() }
    }

    fn redacted(inputs: &[u64], outputs: Vec<BlockMeta>, removed: u64) -> EntryBody {
        let inputs = inputs.iter().copied().map(block_id).collect();
        EntryBody::Redacted { inputs, outputs, removed, duplicates: 0, reason: "asked".into() }
    }

    fn discarded(blocks: &[u64]) -> EntryBody {
        EntryBody::Discarded { blocks: blocks.iter().copied().map(block_id).collect() }
    }

    fn of(incarnation: u32, number: u64, offsets: std::ops::Range<u64>) -> BlockMeta {
        BlockMeta { incarnation, ..block(number, offsets) }
    }

    /// Blocks 1 `[0, 10)` and 2 `[10, 20)`.
    fn two() -> Vec<EntryBody> {
        vec![ingested(vec![block(1, 0..10)], 0..10), ingested(vec![block(2, 10..20)], 10..20)]
    }

    /// Folds and checks a chain both ways; gives the state.
    fn whole(bodies: &[EntryBody]) -> PartitionState {
        let mut check = ChainCheck::default();
        for (index, entry) in entries(bodies).iter().enumerate() {
            check.push(entry).unwrap();
            check.check_state(&state_of(&bodies[..=index])).unwrap();
        }
        state_of(bodies)
    }

    /// What both ways to check say of one more entry, which must be the same.
    fn broken(before: &[EntryBody], body: EntryBody) -> Violation {
        let next: Entry = entry(before.len() as u64 + 1, body);
        let mut check = ChainCheck::default();
        entries(before).iter().for_each(|entry| check.push(entry).unwrap());
        let checked = check.push(&next).unwrap_err();
        assert_eq!(state_of(before).fold(&next), Err(checked.clone()));
        checked
    }

    #[test]
    fn a_replay_replaces_blocks_at_once_and_keeps_the_old() {
        let bodies =
            [&two()[..], &[replayed(1, 10..20, &[2], vec![block(3, 10..15), block(4, 15..20)])]].concat();
        let state = whole(&bodies);
        assert_eq!((state.generation(), state.incarnation(), state.end()), (1, 0, Offset(20)));
        let mut live = ids(state.live());
        live.sort_unstable();
        assert_eq!((live, ids(state.kept()), state.retired()), (vec![1, 3, 4], vec![2], &[][..]));
        let state = whole(&[&bodies[..], &[discarded(&[2])]].concat());
        assert!(state.kept().is_empty());
        // A replay may go on beyond the end, as in an empty chain.
        let state = whole(&[lost(0..5), replayed(1, 5..30, &[], vec![block(1, 5..30)])]);
        assert_eq!(state.end(), Offset(30));
    }

    #[test]
    fn replays_never_leave_an_offset_twice() {
        let stays = |body| match broken(&two(), body) {
            Violation::Replayed { reason, .. } => reason,
            other => panic!("{other}"),
        };
        assert!(stays(replayed(1, 5..20, &[2], vec![])).contains("stays"));
        assert!(stays(replayed(1, 0..15, &[1, 2], vec![])).contains("goes"));
        assert!(stays(replayed(1, 0..10, &[1], vec![of(7, 3, 0..10)])).contains("another topic"));
        assert!(matches!(broken(&two(), replayed(2, 0..10, &[1], vec![])), Violation::Generation { .. }));
        assert!(matches!(broken(&two(), replayed(1, 21..30, &[], vec![])), Violation::Gap { .. }));
        assert!(matches!(broken(&two(), replayed(1, 5..5, &[], vec![])), Violation::Range { .. }));
        assert!(matches!(
            broken(&two(), replayed(1, 0..20, &[1, 2, 9], vec![])),
            Violation::UnknownBlock { .. }
        ));
        assert!(matches!(
            broken(&two(), replayed(1, 0..10, &[1], vec![block(2, 0..10)])),
            Violation::RepeatedBlock { .. }
        ));
        let after = [&two()[..], &[replayed(1, 0..10, &[1], vec![block(3, 0..10)])]].concat();
        assert!(matches!(
            broken(&after, ingested(vec![block(1, 20..30)], 20..30)),
            Violation::RepeatedBlock { .. }
        ));
        assert!(matches!(broken(&after, expired(&[1])), Violation::UnknownBlock { .. }));
        assert!(matches!(broken(&after, discarded(&[2])), Violation::UnknownBlock { .. }));
        assert!(matches!(broken(&after, discarded(&[])), Violation::NoBlocks));
    }

    #[test]
    fn a_new_topic_starts_offsets_anew_and_keeps_all_blocks() {
        let bodies = [&two()[..], &[recreated(1, 3), ingested(vec![of(1, 3, 3..9)], 3..9)]].concat();
        let state = whole(&bodies);
        assert_eq!((state.generation(), state.incarnation(), state.end()), (1, 1, Offset(9)));
        assert_eq!(state.live().len(), 3);
        // The old topic's offsets are neither replayed nor in the way.
        whole(&[&bodies[..], &[replayed(2, 3..9, &[3], vec![of(1, 4, 3..9)])]].concat());
        assert!(matches!(broken(&bodies, ingested(vec![block(5, 9..12)], 9..12)), Violation::Block { .. }));
        assert!(matches!(broken(&bodies, ingested(vec![], 20..30)), Violation::Gap { .. }));
        assert!(matches!(broken(&bodies, recreated(1, 0)), Violation::Generation { after: 1, found: 1 }));
    }

    #[test]
    fn a_redaction_accounts_for_every_row() {
        let state = whole(
            &[&two()[..], &[redacted(&[1], vec![BlockMeta { rows: 7, ..block(3, 0..10) }], 3)]].concat(),
        );
        assert_eq!((state.live().len(), state.retired().len()), (2, 1));
        assert_eq!(state.redacted(), Some(range(0..10)));
        whole(&[&two()[..], &[redacted(&[1], vec![], 10)]].concat());
        let seven = || BlockMeta { rows: 7, ..block(3, 0..10) };
        assert!(matches!(broken(&two(), redacted(&[1], vec![seven()], 2)), Violation::Redacted { .. }));
        assert!(matches!(broken(&two(), redacted(&[], vec![], 0)), Violation::NoBlocks));
        let strange = BlockMeta { tenant: "b".parse().unwrap(), ..seven() };
        assert!(matches!(broken(&two(), redacted(&[1], vec![strange], 3)), Violation::Block { .. }));
    }
}
