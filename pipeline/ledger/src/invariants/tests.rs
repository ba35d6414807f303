use super::*;
use crate::Rejected;
use crate::testing::{TOPIC, block, block_id, compacted, entries, entry, expired, ingested, lost, state_of};

fn check(bodies: &[EntryBody]) -> Result<(), Violation> {
    check_chain(&entries(bodies))
}

fn whole() -> Vec<EntryBody> {
    vec![
        ingested(vec![block(1, 0..10)], 0..10),
        ingested(vec![block(2, 10..20)], 10..20),
        lost(20..30),
        compacted(&[1, 2], vec![block(3, 0..20)]),
        expired(&[3]),
        ingested(vec![block(4, 30..40)], 30..40),
    ]
}

#[test]
fn a_whole_chain_passes_and_gives_the_folded_state() {
    let mut check = ChainCheck::default();
    for (index, entry) in entries(&whole()).iter().enumerate() {
        check.push(entry).unwrap();
        check.check_state(&state_of(&whole()[..=index])).unwrap();
    }
    assert_eq!(check.live().map(|block| block.id).collect::<Vec<_>>(), [block_id(4)]);
    assert_eq!(check.end(), Offset(40));
    assert_eq!(check_chain([]), Ok(()));
}

/// Each way to break a chain of two blocks by its third entry, and the word by which it is named.
#[test]
fn broken_chains_are_found() {
    let with = |body: EntryBody| {
        let start = [ingested(vec![block(1, 0..10)], 0..10), ingested(vec![block(2, 10..20)], 10..20)];
        let chain = [&start[..], &[body]].concat();
        // What the whole chain's check refuses, folding refuses for the same reason.
        let folded = state_of(&start).fold(&entry(3, chain[2].clone()));
        let checked = check(&chain);
        assert_eq!(checked, folded);
        checked.unwrap_err().to_string()
    };
    let rejected = vec![Rejected { offset: Offset(30), reason: "x".into(), spans: 1 }];
    let offsets = OffsetRange::new(Offset(20), Offset(30));
    for (body, word) in [
        (lost(21..30), "gap"),
        (lost(19..30), "overlap"),
        (lost(0..20), "overlap"),
        (lost(20..20), "empty"),
        (EntryBody::Ingested { offsets, blocks: vec![], rejected, last: None }, "rejects"),
        (ingested(vec![block(3, 0..10)], 20..30), "within"),
        (ingested(vec![block(2, 20..30)], 20..30), "twice"),
        (expired(&[7]), "not live"),
        (expired(&[]), "no blocks"),
        (expired(&[1, 1]), "twice"),
        (compacted(&[1], vec![BlockMeta { rows: 11, ..block(3, 0..10) }]), "merges 10 rows"),
        (compacted(&[1], vec![]), "merges 10 rows"),
    ] {
        let found = with(body);
        assert!(found.contains(word), "{found}, not {word}");
    }
}

#[test]
fn what_only_the_whole_chain_shows_is_found() {
    let chain = entries(&whole());
    let mut gap = chain.clone();
    gap.remove(3);
    assert_eq!(check_chain(&gap), Err(Violation::Sequence { after: 3, found: 5 }));
    assert_eq!(check_chain(&chain[1..]), Err(Violation::Sequence { after: 0, found: 2 }));
    let mut twice = chain.clone();
    twice[4].writer.clone_from(&chain[0].writer);
    assert_eq!(check_chain(&twice), Err(Violation::Twice { first: 1, second: 5 }));
    let mut stranger = chain.clone();
    stranger[2].partition = Partition(1);
    let topic = TOPIC.to_owned();
    assert_eq!(check_chain(&stranger), Err(Violation::Stranger { topic, partition: Partition(1) }));
    // A block that was gone for long: no state remembers it.
    let mut back = chain;
    back.push(Entry { written: UnixNanos(u64::MAX), ..entry(7, lost(40..41)) });
    back.push(entry(8, ingested(vec![block(3, 41..50)], 41..50)));
    assert_eq!(check_chain(&back), Err(Violation::RepeatedBlock { id: block_id(3) }));
}

#[test]
fn wrong_states_are_found() {
    let mut check = ChainCheck::default();
    let bodies = &whole()[..3];
    for entry in entries(bodies) {
        check.push(&entry).unwrap();
    }
    let differs = |bodies: &[EntryBody]| check.check_state(&state_of(bodies)).unwrap_err().to_string();
    assert!(differs(&whole()[..2]).contains("its number"));
    let with = |index: usize, body: EntryBody| {
        let mut bodies = bodies.to_vec();
        bodies[index] = body;
        bodies
    };
    assert!(differs(&with(2, lost(20..31))).contains("its end"));
    assert!(differs(&with(2, ingested(vec![], 20..30))).contains("its totals"));
    assert!(differs(&with(1, ingested(vec![block(9, 10..20)], 10..20))).contains("its live blocks"));
}
