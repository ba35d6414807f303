//! The rules that one entry must keep on top of a state. They are asked before an entry is written and again whenever
//! it is read; [`crate::invariants`] checks whole chains in another way.

use std::collections::{BTreeMap, HashMap, HashSet};

use vivace_model::{BlockId, Offset, OffsetRange, Partition, Spread, TenantId};

use crate::entry::ENTRY_VERSION;
use crate::{BlockMeta, Entry, EntryBody, PartitionState, Violation};

/// Whether `entry` may follow `state`.
pub(crate) fn check(state: &PartitionState, entry: &Entry) -> Result<(), Violation> {
    if entry.version != ENTRY_VERSION {
        return Err(Violation::Version { found: entry.version });
    }
    if entry.topic != state.topic() || entry.partition != state.partition() {
        return Err(Violation::Stranger { topic: entry.topic.clone(), partition: entry.partition });
    }
    if entry.sequence != state.sequence() + 1 {
        return Err(Violation::Sequence { after: state.sequence(), found: entry.sequence });
    }
    match &entry.body {
        EntryBody::Ingested { offsets, blocks, rejected } => {
            check_follows(state.end(), *offsets)?;
            for block in blocks {
                check_block(block, state.partition(), *offsets)?;
            }
            check_fresh(state, blocks)?;
            match rejected.iter().find(|rejected| !offsets.contains(rejected.offset)) {
                None => Ok(()),
                Some(stray) => Err(Violation::RejectedOutside { offset: stray.offset, offsets: *offsets }),
            }
        }
        EntryBody::Compacted { inputs, outputs, duplicates, expired } => {
            let replaced = live_blocks(state, inputs)?;
            for block in outputs {
                check_block(block, state.partition(), OffsetRange { start: Offset::ZERO, end: state.end() })?;
            }
            check_fresh(state, outputs)?;
            check_merge(&replaced, outputs, *duplicates, *expired)
        }
        EntryBody::Expired { blocks } => live_blocks(state, blocks).map(drop),
        EntryBody::Lost { offsets } => check_follows(state.end(), *offsets),
    }
}

/// Rule 1: no gap and no overlap. An empty range is refused too: it could be appended twice unnoticed.
fn check_follows(end: Offset, offsets: OffsetRange) -> Result<(), Violation> {
    if offsets.start >= offsets.end {
        return Err(Violation::Range { offsets });
    }
    match offsets.start.cmp(&end) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(Violation::Gap { end, offsets }),
        std::cmp::Ordering::Less => Err(Violation::Overlap { end, offsets }),
    }
}

/// What can be said of a block by itself, and that its records lie within `offsets`.
pub(crate) fn check_block(
    block: &BlockMeta,
    partition: Partition,
    offsets: OffsetRange,
) -> Result<(), Violation> {
    let within = offsets.start <= block.offsets.start && block.offsets.end <= offsets.end;
    let reason = if block.partition != partition {
        "it is of another partition"
    } else if block.spread != Spread::UNKNOWN && block.partition.0 >= block.spread.partition_count {
        "its partition is not one of those that its records were hashed over"
    } else if block.offsets.start >= block.offsets.end {
        "its offsets are empty or run backwards"
    } else if !within {
        "its offsets are not within those of the entry"
    } else if block.rows == 0 || block.traces == 0 || block.traces > block.rows {
        "its counts of rows and traces cannot be"
    } else if block.start_min > block.end_max {
        "its times run backwards"
    } else if !is_date(&block.date) {
        "its date is not yyyy-mm-dd"
    } else {
        return Ok(());
    };
    Err(Violation::Block { id: block.id, reason })
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// No id is used twice: a block that comes back would be counted again.
fn check_fresh(state: &PartitionState, added: &[BlockMeta]) -> Result<(), Violation> {
    let mut ids = HashSet::with_capacity(added.len());
    if let Some(twice) = added.iter().find(|block| !ids.insert(block.id)) {
        return Err(Violation::RepeatedBlock { id: twice.id });
    }
    let retired = state.retired().iter().map(|retired| &retired.block);
    match state.live().iter().chain(retired).find(|known| ids.contains(&known.id)) {
        None => Ok(()),
        Some(known) => Err(Violation::RepeatedBlock { id: known.id }),
    }
}

/// The live blocks of these ids, at least one, each named once.
fn live_blocks<'a>(state: &'a PartitionState, ids: &[BlockId]) -> Result<Vec<&'a BlockMeta>, Violation> {
    if ids.is_empty() {
        return Err(Violation::NoBlocks);
    }
    let mut wanted = HashSet::with_capacity(ids.len());
    if let Some(twice) = ids.iter().find(|id| !wanted.insert(**id)) {
        return Err(Violation::RepeatedBlock { id: *twice });
    }
    let live: HashMap<_, _> = state
        .live()
        .iter()
        .filter(|block| wanted.contains(&block.id))
        .map(|block| (block.id, block.as_ref()))
        .collect();
    ids.iter().map(|id| live.get(id).copied().ok_or(Violation::UnknownBlock { id: *id })).collect()
}

/// A merge keeps the spans of each tenant, but for those that it says it left out: rows add up. Only what expired may
/// leave nothing of a tenant. Blocks whose records were spread differently over the partitions cannot be merged, or
/// pruning by trace id would go wrong.
pub(crate) fn check_merge(
    inputs: &[&BlockMeta],
    outputs: &[BlockMeta],
    duplicates: u64,
    expired: u64,
) -> Result<(), Violation> {
    struct Group {
        offsets: OffsetRange,
        before: u64,
        after: u64,
    }
    let mut groups = BTreeMap::<(&TenantId, Spread), Group>::new();
    for input in inputs {
        let group = groups.entry((&input.tenant, input.spread)).or_insert(Group {
            offsets: input.offsets,
            before: 0,
            after: 0,
        });
        group.offsets.start = group.offsets.start.min(input.offsets.start);
        group.offsets.end = group.offsets.end.max(input.offsets.end);
        group.before = group.before.saturating_add(input.rows);
    }
    for output in outputs {
        let Some(group) = groups.get_mut(&(&output.tenant, output.spread)) else {
            let reason = "no input is of its tenant and number of partitions";
            return Err(Violation::Block { id: output.id, reason });
        };
        if output.offsets.start < group.offsets.start || output.offsets.end > group.offsets.end {
            return Err(Violation::Block {
                id: output.id,
                reason: "its offsets are not within those of the inputs",
            });
        }
        group.after = group.after.saturating_add(output.rows);
    }
    let left_out = duplicates.saturating_add(expired);
    let sum = |rows: fn(&Group) -> u64| groups.values().map(rows).fold(0, u64::saturating_add);
    let adds_up = sum(|group| group.before) == sum(|group| group.after).saturating_add(left_out);
    let wrong = |group: &Group| !adds_up || group.after > group.before || (group.after == 0 && expired == 0);
    match groups.iter().find(|(_, group)| wrong(group)) {
        None => Ok(()),
        Some(((tenant, _), Group { before, after, .. })) => {
            Err(Violation::Rows { tenant: (*tenant).clone(), before: *before, after: *after, left_out })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rejected;
    use crate::testing::{block, compacted, entry, expired, ingested, lost, state_of};

    /// Blocks 1 `[0, 10)` and 2 `[10, 20)`, ten rows each.
    fn two_blocks() -> PartitionState {
        state_of(&[ingested(vec![block(1, 0..10)], 0..10), ingested(vec![block(2, 10..20)], 10..20)])
    }

    fn broken(body: EntryBody) -> Violation {
        check(&two_blocks(), &entry(3, body)).expect_err("the body breaks a rule")
    }

    fn broken_block(change: impl FnOnce(&mut BlockMeta)) -> &'static str {
        let mut meta = block(3, 20..30);
        change(&mut meta);
        match broken(ingested(vec![meta], 20..30)) {
            Violation::Block { reason, .. } => reason,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn what_keeps_the_rules_passes() {
        let rejected = vec![Rejected { offset: Offset(29), reason: "truncated".into(), spans: 0 }];
        let with_rejected = EntryBody::Ingested {
            offsets: OffsetRange::new(Offset(20), Offset(30)),
            blocks: vec![block(3, 20..25), block(4, 25..30)],
            rejected,
        };
        for body in [
            with_rejected,
            ingested(vec![], 20..21),
            lost(20..1000),
            expired(&[2, 1]),
            compacted(&[1, 2], vec![BlockMeta { rows: 13, ..block(3, 0..20) }]),
            compacted(&[1, 2], vec![block(3, 0..12), block(4, 5..20)]),
        ] {
            assert_eq!(check(&two_blocks(), &entry(3, body.clone())), Ok(()), "{body:?}");
        }
    }

    #[test]
    fn entries_of_elsewhere_are_refused() {
        let state = two_blocks();
        let good = entry(3, lost(20..30));
        let check = |entry: Entry| check(&state, &entry).unwrap_err();
        assert_eq!(check(Entry { sequence: 2, ..good.clone() }), Violation::Sequence { after: 2, found: 2 });
        assert_eq!(check(Entry { sequence: 4, ..good.clone() }), Violation::Sequence { after: 2, found: 4 });
        assert_eq!(check(Entry { version: 2, ..good.clone() }), Violation::Version { found: 2 });
        let elsewhere = Entry { partition: Partition(1), ..good.clone() };
        assert!(matches!(check(elsewhere), Violation::Stranger { partition: Partition(1), .. }));
        assert!(matches!(check(Entry { topic: "other".into(), ..good }), Violation::Stranger { .. }));
    }

    #[test]
    fn offsets_follow_without_gap_or_overlap() {
        let range = |start, end| OffsetRange { start: Offset(start), end: Offset(end) };
        let end = Offset(20);
        for make in [lost, |offsets| ingested(vec![], offsets)] {
            assert_eq!(broken(make(21..30)), Violation::Gap { end, offsets: range(21, 30) });
            assert_eq!(broken(make(19..30)), Violation::Overlap { end, offsets: range(19, 30) });
            assert_eq!(broken(make(20..20)), Violation::Range { offsets: range(20, 20) });
        }
        let backwards = EntryBody::Lost { offsets: range(20, 10) };
        assert_eq!(broken(backwards), Violation::Range { offsets: range(20, 10) });
    }

    #[test]
    fn rejected_records_lie_within() {
        for offset in [Offset(19), Offset(30)] {
            let offsets = OffsetRange::new(Offset(20), Offset(30));
            let rejected = vec![Rejected { offset, reason: "x".into(), spans: 1 }];
            let body = EntryBody::Ingested { offsets, blocks: vec![], rejected };
            assert_eq!(broken(body), Violation::RejectedOutside { offset, offsets });
        }
    }

    #[test]
    fn blocks_are_plausible() {
        assert!(broken_block(|block| block.partition = Partition(1)).contains("another partition"));
        assert!(
            broken_block(|block| block.spread = Spread { partition_count: 0, shard_size: 2 })
                .contains("hashed over")
        );
        assert!(broken_block(|block| block.offsets.end = Offset(31)).contains("within"));
        assert!(broken_block(|block| block.offsets.start = Offset(19)).contains("within"));
        assert!(broken_block(|block| block.offsets.end = Offset(20)).contains("empty"));
        assert!(broken_block(|block| block.offsets.end = Offset(3)).contains("backwards"));
        assert!(broken_block(|block| block.rows = 0).contains("counts"));
        assert!(broken_block(|block| block.traces = 0).contains("counts"));
        assert!(broken_block(|block| block.traces = 11).contains("counts"));
        assert!(broken_block(|block| block.start_min.0 = block.end_max.0 + 1).contains("times"));
        for date in ["", "2026-5-023", "2026/05/23", "../../../x"] {
            assert!(broken_block(|block| block.date = date.into()).contains("date"), "{date}");
        }
    }

    #[test]
    fn ids_are_never_used_twice() {
        let id = |number| block(number, 0..1).id;
        let twice = ingested(vec![block(3, 20..21), block(3, 21..22)], 20..30);
        assert_eq!(broken(twice), Violation::RepeatedBlock { id: id(3) });
        assert_eq!(broken(ingested(vec![block(2, 20..30)], 20..30)), Violation::RepeatedBlock { id: id(2) });
        assert_eq!(broken(compacted(&[1], vec![block(1, 0..10)])), Violation::RepeatedBlock { id: id(1) });
        let state = two_blocks().apply(&entry(3, expired(&[1]))).unwrap();
        let back = entry(4, ingested(vec![block(1, 20..30)], 20..30));
        assert_eq!(check(&state, &back), Err(Violation::RepeatedBlock { id: id(1) }));
    }

    #[test]
    fn only_live_blocks_are_replaced_or_expired() {
        let id = |number| block(number, 0..1).id;
        assert_eq!(broken(expired(&[1, 3])), Violation::UnknownBlock { id: id(3) });
        assert_eq!(broken(expired(&[1, 1])), Violation::RepeatedBlock { id: id(1) });
        assert_eq!(broken(expired(&[])), Violation::NoBlocks);
        assert_eq!(broken(compacted(&[], vec![])), Violation::NoBlocks);
        assert_eq!(broken(compacted(&[3], vec![block(4, 0..10)])), Violation::UnknownBlock { id: id(3) });
        assert_eq!(broken(compacted(&[1, 1], vec![block(4, 0..10)])), Violation::RepeatedBlock { id: id(1) });
        let state = two_blocks().apply(&entry(3, expired(&[1]))).unwrap();
        let again = entry(4, compacted(&[1], vec![block(4, 0..10)]));
        assert_eq!(check(&state, &again), Err(Violation::UnknownBlock { id: id(1) }));
    }

    #[test]
    fn merges_add_no_rows_and_lose_no_tenant() {
        let grown = BlockMeta { rows: 21, ..block(3, 0..20) };
        assert!(matches!(
            broken(compacted(&[1, 2], vec![grown])),
            Violation::Rows { before: 20, after: 21, .. }
        ));
        assert!(matches!(broken(compacted(&[1, 2], vec![])), Violation::Rows { before: 20, after: 0, .. }));
        let with = |rows, duplicates, expired| {
            let outputs = if rows == 0 { vec![] } else { vec![BlockMeta { rows, ..block(3, 0..20) }] };
            let inputs = vec![block(1, 0..1).id, block(2, 0..1).id];
            check(&two_blocks(), &entry(3, EntryBody::Compacted { inputs, outputs, duplicates, expired }))
        };
        assert_eq!(with(13, 3, 4), Ok(()));
        assert_eq!(with(0, 0, 20), Ok(()));
        assert_eq!(with(0, 15, 5), Ok(()));
        for (rows, duplicates, expired) in [(0, 20, 0), (13, 3, 3), (13, 4, 4), (20, 1, 0), (19, 0, 0)] {
            assert!(matches!(with(rows, duplicates, expired), Err(Violation::Rows { before: 20, .. })));
        }
        let reason = |output| match broken(compacted(&[1], vec![output])) {
            Violation::Block { reason, .. } => reason,
            other => panic!("{other}"),
        };
        assert!(reason(BlockMeta { tenant: "b".parse().unwrap(), ..block(3, 0..10) }).contains("tenant"));
        assert!(reason(BlockMeta { spread: Spread::all(8), ..block(3, 0..10) }).contains("tenant"));
        assert!(reason(block(3, 0..11)).contains("offsets"));
        assert!(reason(BlockMeta { partition: Partition(1), ..block(3, 0..10) }).contains("partition"));
    }
}
