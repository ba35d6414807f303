//! The governor as a whole: bounds, order, time, caches.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, poll};
use parking_lot::Mutex;
use proptest::prelude::*;

use crate::{AllocatorStats, CacheAccount, Governor, MemoryCollector, Part, Permit, Shares};

const WAIT: Duration = Duration::from_secs(10);

/// 100 bytes: 40 of them are ingest's, and groups may take 50.
fn governor() -> Arc<Governor> {
    Governor::new(Shares::exact(
        100,
        &[(Part::Recent, 40, 40), (Part::Groups, 50, 0), (Part::Answers, 100, 0), (Part::Caches, 100, 0)],
    ))
}

#[test]
fn permits_grow_shrink_and_come_back() {
    let governor = governor();
    let mut permit = governor.reserve(Part::Groups, 30).unwrap();
    permit.grow(20).unwrap();
    assert_eq!((permit.bytes(), governor.used(Part::Groups), governor.free(Part::Groups)), (50, 50, 0));
    permit.resize(10).unwrap();
    permit.resize(12).unwrap();
    let other = permit.split(5);
    assert_eq!((permit.bytes(), other.bytes(), governor.total()), (7, 5, 12));
    permit.merge(other);
    assert_eq!(permit.bytes(), 12);
    drop(permit);
    assert_eq!((governor.total(), governor.peak(Part::Groups)), (0, 50));
}

#[test]
fn neither_ceiling_nor_budget_is_passed() {
    let governor = governor();
    let short = governor.reserve(Part::Groups, 51).unwrap_err();
    assert!(short.never && short.limit == 50, "{short}");
    let _answers = governor.reserve(Part::Answers, 60).unwrap();
    let short = governor.reserve(Part::Groups, 1).unwrap_err();
    assert!(!short.never, "ingest's 40 bytes are taken although it has none of them");
    assert!(short.to_string().contains("VIVACE_MEMORY_LIMIT"), "{short}");
    let mut recent = governor.reserve(Part::Recent, 40).unwrap();
    assert!(recent.grow(1).is_err());
    assert_eq!((governor.refused(Part::Groups), governor.refused(Part::Recent)), (2, 1));
    assert!(governor.reserve(Part::Decode, 1).unwrap_err().never, "it has no share");
    assert!(governor.reserve(Part::Decode, 0).is_ok());
}

#[test]
fn a_corrected_estimate_counts_in_full_and_stops_all_but_guarantees() {
    let governor = governor();
    let mut answers = governor.reserve(Part::Answers, 50).unwrap();
    answers.settle(90);
    assert_eq!(governor.total(), 90);
    assert!(governor.reserve(Part::Groups, 1).is_err());
    let recent = governor.reserve(Part::Recent, 40).unwrap();
    answers.settle(20);
    assert!(governor.reserve(Part::Groups, 40).is_ok());
    drop((answers, recent));
    assert_eq!(governor.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_order_as_soon_as_there_is_room() {
    let governor = governor();
    let mut first = governor.reserve(Part::Groups, 50).unwrap();
    let mut large = Box::pin(governor.reserve_waiting(Part::Groups, 30, WAIT));
    let mut small = Box::pin(governor.reserve_waiting(Part::Groups, 5, WAIT));
    assert!(poll!(&mut large).is_pending() && poll!(&mut small).is_pending());
    first.shrink_to(30);
    assert!(poll!(&mut small).is_pending(), "it fits, but came later");
    assert!(governor.reserve(Part::Groups, 1).is_err(), "who does not wait does not overtake, either");
    assert!(governor.reserve(Part::Answers, 10).is_ok(), "another part is not held up by a ceiling");
    first.grow(1).expect("who holds memory goes on");
    first.shrink_to(20);
    let large = large.await.unwrap();
    assert!(poll!(&mut small).is_pending(), "50 are taken");
    drop(large);
    assert_eq!(small.await.unwrap().bytes(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_large_request_for_the_budget_is_not_starved_by_small_ones() {
    let governor = governor();
    let first = governor.reserve(Part::Answers, 40).unwrap();
    let mut large = Box::pin(governor.reserve_waiting(Part::Groups, 50, WAIT));
    assert!(poll!(&mut large).is_pending());
    assert!(governor.reserve(Part::Answers, 1).is_err(), "it would be taken from who waits");
    assert!(governor.reserve(Part::Recent, 40).is_ok(), "a guarantee is not");
    drop(first);
    assert_eq!(large.await.unwrap().bytes(), 50);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_in_time_and_leaves_nothing_behind() {
    let governor = governor();
    let first = governor.reserve(Part::Groups, 50).unwrap();
    let started = tokio::time::Instant::now();
    let short = governor.reserve_waiting(Part::Groups, 10, WAIT).await.unwrap_err();
    assert_eq!((started.elapsed(), short.never), (WAIT, false));
    let short = governor.reserve_waiting(Part::Groups, 51, WAIT).await.unwrap_err();
    assert_eq!((started.elapsed(), short.never), (WAIT, true), "nobody waits for what cannot be");
    let mut given_up = Box::pin(governor.reserve_waiting(Part::Groups, 50, WAIT));
    let mut next = Box::pin(governor.reserve_waiting(Part::Groups, 50, WAIT));
    assert!(poll!(&mut given_up).is_pending() && poll!(&mut next).is_pending());
    drop(given_up);
    drop(first);
    drop(next.await.unwrap());
    let mut granted = Box::pin(governor.reserve_waiting(Part::Groups, 50, WAIT));
    assert!(poll!(&mut granted).is_ready());
    drop(granted);
    let held = governor.reserve(Part::Groups, 50).unwrap();
    let mut unread = Box::pin(governor.reserve_waiting(Part::Groups, 50, WAIT));
    assert!(poll!(&mut unread).is_pending());
    drop(held);
    assert_eq!(governor.used(Part::Groups), 50, "granted, but not looked at yet");
    drop(unread);
    assert_eq!(governor.total(), 0, "what was granted to nobody comes back");
}

#[tokio::test(start_paused = true)]
async fn a_permit_may_wait_for_more() {
    let governor = governor();
    let first = governor.reserve(Part::Groups, 40).unwrap();
    let mut second = governor.reserve(Part::Groups, 10).unwrap();
    {
        let mut growing = Box::pin(second.grow_waiting(30, WAIT));
        assert!(poll!(&mut growing).is_pending());
        drop(first);
        growing.await.unwrap();
    }
    assert_eq!(second.bytes(), 40);
}

/// A cache of entries of ten bytes.
fn cache(governor: &Arc<Governor>) -> (CacheAccount, crate::Registration, Arc<Mutex<Vec<[u8; 10]>>>) {
    let account = governor.cache_account();
    let entries: Arc<Mutex<Vec<[u8; 10]>>> = Arc::default();
    let (held, own) = (Arc::clone(&entries), account.clone());
    let registration = governor.register_cache(&account, move || {
        own.remove(10 * std::mem::take(&mut *held.lock()).len());
    });
    (account, registration, entries)
}

#[tokio::test(start_paused = true)]
async fn caches_give_way_first() {
    let governor = governor();
    let (account, registration, entries) = cache(&governor);
    let (other, _other_registration, other_entries) = cache(&governor);
    for _ in 0..4 {
        assert!(account.try_add(10));
        entries.lock().push([0; 10]);
    }
    assert!(other.try_add(10));
    other_entries.lock().push([0; 10]);
    let answers = governor.reserve(Part::Answers, 15).expect("the fuller cache lets go");
    assert_eq!((account.bytes(), other.bytes(), entries.lock().len()), (0, 10, 0));
    let groups = governor.reserve_waiting(Part::Groups, 45, WAIT).now_or_never().unwrap().unwrap();
    assert_eq!((other.bytes(), governor.total()), (0, 60));
    assert!(!account.try_add(10), "a cache takes nothing from the others");
    drop((answers, groups));
    assert!(account.try_add(10));
    drop(registration);
    assert!(governor.reserve(Part::Answers, 60).is_err(), "nobody is asked any more");
    drop(account);
    assert!(governor.reserve(Part::Answers, 60).is_ok(), "the account is closed");
}

#[tokio::test(start_paused = true)]
async fn caches_do_not_grow_while_somebody_waits() {
    let governor = governor();
    let answers = governor.reserve(Part::Answers, 30).unwrap();
    let mut waiting = Box::pin(governor.reserve_waiting(Part::Groups, 40, WAIT));
    assert!(poll!(&mut waiting).is_pending());
    let account = governor.cache_account();
    assert!(!account.try_add(1));
    drop(answers);
    waiting.await.unwrap();
    assert!(account.try_add(1));
}

#[test]
fn metrics_name_all_parts() {
    let governor = governor();
    let _permit = governor.reserve(Part::Groups, 7).unwrap();
    let mut registry = prometheus_client::registry::Registry::default();
    let allocator = || Some(AllocatorStats { allocated: 3, resident: 4 });
    registry.register_collector(Box::new(MemoryCollector::new(Arc::clone(&governor), allocator)));
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
    let value = |line: &str| {
        let found = page.lines().find_map(|text| text.strip_prefix(line)?.trim().parse::<f64>().ok());
        found.unwrap_or_else(|| panic!("{line} in {page}"))
    };
    assert_eq!(value(r#"vivace_memory_reserved_bytes{part="groups"}"#), 7.0);
    assert_eq!(value(r#"vivace_memory_peak_bytes{part="recent"}"#), 0.0);
    assert_eq!(value(r#"vivace_memory_refused_total{part="groups"}"#), 0.0);
    assert_eq!(value("vivace_memory_allocated_bytes"), 3.0);
    assert_eq!(value("vivace_memory_budget_bytes"), 100.0);
}

#[derive(Clone, Debug)]
enum Step {
    Reserve(usize, usize),
    Grow(usize, usize),
    Shrink(usize, usize),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..Part::COUNT, 0..60_usize).prop_map(|(part, bytes)| Step::Reserve(part, bytes)),
        (0..8_usize, 0..60_usize).prop_map(|(permit, bytes)| Step::Grow(permit, bytes)),
        (0..8_usize, 0..60_usize).prop_map(|(permit, bytes)| Step::Shrink(permit, bytes)),
        (0..8_usize).prop_map(Step::Drop),
    ]
}

proptest! {
    #[test]
    fn the_sum_stays_in_the_budget_and_guarantees_are_kept(steps in prop::collection::vec(step(), 0..200)) {
        let governor = governor();
        let mut permits: Vec<Permit> = Vec::new();
        for step in steps {
            match step {
                Step::Reserve(part, bytes) => permits.extend(governor.reserve(Part::ALL[part], bytes)),
                Step::Grow(permit, bytes) => {
                    if let Some(permit) = permits.get_mut(permit) {
                        let before = permit.bytes();
                        let grown = permit.grow(bytes).is_ok();
                        prop_assert_eq!(permit.bytes(), if grown { before + bytes } else { before });
                    }
                }
                Step::Shrink(permit, bytes) => {
                    if let Some(permit) = permits.get_mut(permit) {
                        permit.shrink_to(bytes);
                    }
                }
                Step::Drop(permit) if permit < permits.len() => drop(permits.swap_remove(permit)),
                Step::Drop(_) => {}
            }
            for part in Part::ALL {
                let held: usize = permits.iter().filter(|held| held.part() == part).map(Permit::bytes).sum();
                prop_assert_eq!(governor.used(part), held);
                prop_assert!(held <= governor.shares().of(part).ceiling);
            }
            prop_assert!(governor.total() <= 100);
            let missing = 40 - governor.used(Part::Recent);
            prop_assert!(governor.reserve(Part::Recent, missing).is_ok(), "ingest has its share, always");
        }
        drop(permits);
        prop_assert_eq!(governor.total(), 0);
    }
}
