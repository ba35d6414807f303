use std::time::Duration;

use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, PutPayload};
use vivace_model::{ErrorKind, Offset};

use super::*;
use crate::faults::{Faults, FaultyStore};
use crate::invariants::check_chain;
use crate::testing::{TOPIC, block, chain, compacted, expired, grow, ids, ingested, lost, paused, proposal};

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

fn empty() -> PartitionState {
    PartitionState::empty(TOPIC, Partition(0))
}

async fn entries(chain: &Chain) -> Vec<Entry> {
    let mut entries = Vec::new();
    while let Some(entry) = chain.entry(entries.len() as u64 + 1).await.unwrap() {
        entries.push(entry);
    }
    entries
}

async fn overwrite(store: &Arc<dyn ObjectStore>, path: &str, content: &'static [u8]) {
    store.put(&Path::from(path), PutPayload::from_static(content)).await.unwrap();
}

async fn names(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    let listed: Vec<_> = futures::StreamExt::collect(store.list(None)).await;
    let mut names: Vec<_> = listed.into_iter().map(|object| object.unwrap().location.to_string()).collect();
    names.sort_unstable();
    names
}

#[test]
fn what_is_appended_is_loaded() {
    paused(async {
        let store = memory();
        let chain = chain(&store);
        let first = chain.load().await.unwrap();
        assert_eq!(first, empty());
        let state = grow(&chain, first, 3).await;
        assert_eq!(state.sequence(), 3);
        assert_eq!(state.end(), Offset(30));
        assert_eq!(chain.load().await.unwrap(), state);
        assert_eq!(chain.refresh(&empty()).await.unwrap(), state);
        assert_eq!(names(&store).await[2], "ledger/vivace.spans/0/00000000000000000003.json");
        check_chain(&entries(&chain).await).unwrap();
    });
}

#[test]
fn whoever_comes_second_learns_the_newest_state() {
    paused(async {
        let chain = chain(&memory());
        let state = grow(&chain, empty(), 5).await;
        let error = chain.append(&empty(), &proposal(lost(0..7), 77)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        assert!(error.to_string().contains("00000000000000000001.json"), "{error}");
        let LedgerError::Conflict { current, .. } = error else { panic!("{error}") };
        assert_eq!(current, state);
    });
}

#[test]
fn a_loser_may_propose_the_same_on_top() {
    paused(async {
        let chain = chain(&memory());
        let old = grow(&chain, empty(), 2).await;
        let merge = proposal(compacted(&[1, 2], vec![block(50, 0..20)]), 50);
        let state = grow(&chain, old.clone(), 1).await;
        let error = chain.append(&old, &merge).await.unwrap_err();
        let LedgerError::Conflict { current, .. } = error else { panic!("{error}") };
        let merged = chain.append(&current, &merge).await.unwrap();
        assert_eq!(merged.sequence(), state.sequence() + 1);
        assert_eq!(ids(merged.live()), [50, 3]);
        // Once in, it fits nowhere else.
        assert_eq!(chain.append(&merged, &merge).await.unwrap_err().kind(), ErrorKind::Invalid);
        check_chain(&entries(&chain).await).unwrap();
    });
}

#[test]
fn what_breaks_a_rule_is_not_written() {
    paused(async {
        let store = memory();
        let chain = chain(&store);
        for body in [lost(1..2), lost(0..0), compacted(&[1], vec![])] {
            let error = chain.append(&empty(), &proposal(body, 1)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
        let elsewhere = PartitionState::empty(TOPIC, Partition(1));
        let error = chain.append(&elsewhere, &proposal(lost(0..1), 1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(chain.refresh(&elsewhere).await.unwrap_err().kind(), ErrorKind::Invalid);
        let reason = "x".repeat(usize::try_from(ENTRY_BYTES_MAX).unwrap());
        let mut body = ingested(vec![], 0..1);
        if let crate::EntryBody::Ingested { rejected, .. } = &mut body {
            rejected.push(crate::Rejected { offset: Offset(0), reason, spans: 0 });
        }
        let error = chain.append(&empty(), &proposal(body, 1)).await.unwrap_err();
        assert!(matches!(error, LedgerError::Invalid { source: Violation::TooLarge { .. }, .. }), "{error}");
        assert_eq!(names(&store).await, Vec::<String>::new());
    });
}

#[test]
fn lost_answers_do_not_double_an_entry() {
    for faults in [
        Faults { repeated: 1.0, ..Faults::NONE },
        Faults { error_after: 1.0, ..Faults::NONE },
        Faults { late: 1.0, late_max: Duration::from_secs(60), ..Faults::NONE },
    ] {
        paused(async {
            let store = FaultyStore::new(1, faults);
            let shared: Arc<dyn ObjectStore> = Arc::new(store.clone());
            let chain = chain(&shared);
            let once = proposal(ingested(vec![block(1, 0..10)], 0..10), 1);
            let first = chain.append(&empty(), &once).await;
            if faults.repeated == 1.0 {
                assert_eq!(first.as_ref().unwrap().sequence(), 1);
            } else {
                let error = first.as_ref().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(error.to_string().contains("00000000000000000001.json"), "{error}");
            }
            store.set_faults(Faults::NONE);
            tokio::time::sleep(Duration::from_secs(60)).await;
            let again = chain.append(&empty(), &once).await.unwrap();
            assert_eq!(again.sequence(), 1);
            assert_eq!(chain.load().await.unwrap(), again);
            assert_eq!(grow(&chain, again, 1).await.sequence(), 2);
            check_chain(&entries(&chain).await).unwrap();
        });
    }
}

#[test]
fn a_late_put_beats_whoever_comes_after_it() {
    paused(async {
        let late = Faults { late: 1.0, late_max: Duration::from_secs(60), ..Faults::NONE };
        let store = FaultyStore::new(1, late);
        let shared: Arc<dyn ObjectStore> = Arc::new(store.clone());
        let (zombie, successor) = (chain(&shared), chain(&shared));
        let work = proposal(ingested(vec![block(1, 0..10)], 0..10), 1);
        zombie.append(&empty(), &work).await.unwrap_err();
        store.set_faults(Faults::NONE);
        let known = successor.load().await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let same = proposal(ingested(vec![block(2, 0..10)], 0..10), 2);
        let error = successor.append(&known, &same).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        assert_eq!(ids(successor.load().await.unwrap().live()), [1]);
    });
}

#[test]
fn a_retried_entry_keeps_its_first_time() {
    paused(async {
        let store = FaultyStore::new(1, Faults::NONE);
        let shared: Arc<dyn ObjectStore> = Arc::new(store.clone());
        let clock = Arc::new(vivace_model::ManualClock::new(vivace_model::UnixNanos(5)));
        let chain = Chain::new(shared, TOPIC, Partition(0), Arc::clone(&clock) as Arc<dyn Clock>);
        let known = grow(&chain, empty(), 1).await;
        let once = proposal(expired(&[1]), 9);
        store.set_faults(Faults { error_after: 1.0, ..Faults::NONE });
        chain.append(&known, &once).await.unwrap_err();
        store.set_faults(Faults::NONE);
        clock.advance(Duration::from_secs(1));
        let state = chain.append(&known, &once).await.unwrap();
        assert_eq!(chain.entry(2).await.unwrap().unwrap().written.0, 5);
        assert_eq!(state.retired()[0].at.0, 5);
    });
}

#[test]
fn one_name_for_two_proposals_is_found_out() {
    paused(async {
        let chain = chain(&memory());
        chain.append(&empty(), &proposal(lost(0..10), 1)).await.unwrap();
        let error = chain.append(&empty(), &proposal(lost(0..11), 1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    });
}

#[test]
fn an_outage_ends_in_an_error_that_names_the_object() {
    paused(async {
        let shared: Arc<dyn ObjectStore> = Arc::new(FaultyStore::new(1, Faults::OUTAGE));
        let chain = chain(&shared);
        let loaded = chain.load().await.unwrap_err();
        let appended = chain.append(&empty(), &proposal(lost(0..1), 1)).await.unwrap_err();
        for error in [loaded, appended, chain.refresh(&empty()).await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("ledger/vivace.spans/0"), "{error}");
        }
    });
}

#[test]
fn a_store_that_never_answers_is_given_up() {
    let hours = Duration::from_secs(10 * 3600);
    let stuck = Faults { slow: 1.0, slow_max: hours, ..Faults::NONE };
    paused(async {
        let shared: Arc<dyn ObjectStore> = Arc::new(FaultyStore::new(1, stuck));
        let error = chain(&shared).append(&empty(), &proposal(lost(0..1), 1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    });
}

#[test]
fn damaged_and_misplaced_entries_stop_the_reader() {
    const PATH: &str = "ledger/vivace.spans/0/00000000000000000003.json";
    for content in [&b""[..], b"{", b"{\"version\": 9}", b"null"] {
        paused(async {
            let store = memory();
            let chain = chain(&store);
            let state = grow(&chain, empty(), 2).await;
            overwrite(&store, PATH, content).await;
            let appended = chain.append(&state, &proposal(lost(20..30), 9)).await.unwrap_err();
            for error in [chain.load().await.unwrap_err(), chain.entry(3).await.unwrap_err(), appended] {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                assert!(error.to_string().contains(PATH), "{error}");
            }
        });
    }
    paused(async {
        let store = memory();
        let chain = chain(&store);
        grow(&chain, empty(), 2).await;
        store.copy(&chain.paths.entry(2), &Path::from(PATH)).await.unwrap();
        let error = chain.load().await.unwrap_err();
        assert!(matches!(error, LedgerError::Corrupt { source: Violation::Sequence { .. }, .. }), "{error}");
    });
}

#[test]
fn a_missing_entry_is_not_taken_for_the_end() {
    paused(async {
        let store = memory();
        let chain = chain(&store);
        grow(&chain, empty(), 10).await;
        store.delete(&chain.paths.entry(6)).await.unwrap();
        let error = chain.load().await.unwrap_err();
        assert!(error.to_string().contains("00000000000000000006.json"), "{error}");
        assert!(matches!(error, LedgerError::Corrupt { source: Violation::Missing { .. }, .. }), "{error}");
    });
    // The last entry before a snapshot that cannot be read: nothing but the listing tells that it existed.
    paused(async {
        let store = memory();
        let chain = chain(&store);
        grow(&chain, empty(), 64).await;
        overwrite(&store, chain.paths.snapshot(64).as_ref(), b"broken").await;
        chain.load().await.unwrap();
        store.delete(&chain.paths.entry(64)).await.unwrap();
        let error = chain.load().await.unwrap_err();
        let source = Violation::Missing { seen: 64 };
        assert!(matches!(error, LedgerError::Corrupt { source: found, .. } if found == source));
    });
}

/// Loads anew; returns the state and how many entries were read for it.
async fn load_counting(store: &Arc<dyn ObjectStore>) -> (PartitionState, u64) {
    let metrics = Metrics::default();
    let state = chain(store).with_metrics(metrics.clone()).load().await.unwrap();
    (state, metrics.read.get())
}

#[test]
fn snapshots_only_save_time() {
    paused(async {
        let store = memory();
        let chain = chain(&store);
        let state = grow(&chain, empty(), 200).await;
        assert_eq!(load_counting(&store).await, (state.clone(), 200 - 192));
        overwrite(&store, chain.paths.snapshot(192).as_ref(), b"{\"version\": 1}").await;
        assert_eq!(load_counting(&store).await, (state.clone(), 200 - 128));
        // One of another number, and so of another state.
        let whole = store.get(&chain.paths.snapshot(64)).await.unwrap().bytes().await.unwrap();
        store.put(&chain.paths.snapshot(128), whole.into()).await.unwrap();
        assert_eq!(load_counting(&store).await, (state.clone(), 200 - 64));
        store.delete(&chain.paths.snapshot(64)).await.unwrap();
        assert_eq!(load_counting(&store).await, (state, 200));
    });
}

#[test]
fn a_stale_listing_only_costs_time() {
    paused(async {
        let stale = Faults { stale: 1.0, stale_max: Duration::from_secs(60), ..Faults::NONE };
        let store = FaultyStore::new(1, stale);
        let shared: Arc<dyn ObjectStore> = Arc::new(store.clone());
        let state = grow(&chain(&shared), empty(), 100).await;
        assert_eq!(load_counting(&shared).await, (state.clone(), 100));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(load_counting(&shared).await, (state, 100 - 64));
        assert!(store.struck().stale > 0);
    });
}

#[test]
fn old_snapshots_are_deleted() {
    paused(async {
        let store = memory();
        grow(&chain(&store), empty(), 64 * 10 + 5).await;
        let snapshots = names(&store).await.iter().filter(|name| name.contains("snapshot")).count();
        assert_eq!(snapshots, 8);
        assert_eq!(load_counting(&store).await.1, 5);
    });
}

#[test]
fn a_failed_snapshot_does_not_fail_the_append() {
    paused(async {
        let store = FaultyStore::new(1, Faults::NONE);
        let shared: Arc<dyn ObjectStore> = Arc::new(store.clone());
        let metrics = Metrics::default();
        let chain = chain(&shared).with_metrics(metrics.clone());
        let state = grow(&chain, empty(), 63).await;
        // Entry 64 is there already, so its append only reads it, and every put fails.
        let last = proposal(lost(630..640), 64);
        let expected = self::chain(store.inner()).append(&state, &last).await.unwrap();
        store.inner().delete(&chain.paths.snapshot(64)).await.unwrap();
        store.set_faults(Faults { late: 1.0, late_max: Duration::from_secs(3600), ..Faults::NONE });
        assert_eq!(chain.append(&state, &last).await.unwrap(), expected);
        assert_eq!(metrics.snapshots_failed.get(), 1);
        assert_eq!(metrics.snapshots_written.get(), 0);
    });
}

#[test]
fn large_states_survive_their_snapshot() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = memory();
        let chain = chain(&store);
        let mut state = empty();
        for sequence in 1..=64 {
            let first = sequence * 100;
            let blocks = (first..first + 20).map(|number| block(number, first..first + 100)).collect();
            let start = if sequence == 1 { 0 } else { first };
            state =
                chain.append(&state, &proposal(ingested(blocks, start..first + 100), first)).await.unwrap();
        }
        let snapshot = store.head(&chain.paths.snapshot(64)).await.unwrap();
        assert!(snapshot.size > 256 << 10, "{snapshot:?}");
        assert_eq!(load_counting(&store).await, (state, 0));
    });
}

#[test]
fn one_of_many_wins_each_number_on_a_local_disk() {
    const WRITERS: u64 = 8;
    const ROUNDS: u64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let local = object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(local);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let chain = chain(&store);
        let mut state = chain.load().await.unwrap();
        for round in 0..ROUNDS {
            let mut writers = tokio::task::JoinSet::new();
            for writer in 0..WRITERS {
                let (chain, known) = (chain.clone(), state.clone());
                let number = 1 + round * WRITERS + writer;
                let body = lost(round * 10..round * 10 + 10);
                writers.spawn(async move { chain.append(&known, &proposal(body, number)).await });
            }
            let (won, lost): (Vec<_>, Vec<_>) = writers.join_all().await.into_iter().partition(Result::is_ok);
            assert_eq!((won.len(), lost.len()), (1, 7));
            assert!(lost.iter().all(|lost| lost.as_ref().unwrap_err().kind() == ErrorKind::Fenced));
            state = won.into_iter().next().unwrap().unwrap();
        }
        assert_eq!(chain.load().await.unwrap(), state);
        check_chain(&entries(&chain).await).unwrap();
    });
}
