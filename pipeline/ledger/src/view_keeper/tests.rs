use object_store::memory::InMemory;
use tokio::task::JoinSet;
use vivace_model::{ErrorKind, ManualClock};

use super::*;
use crate::faults::{Faults, FaultyStore};
use crate::testing::{TOPIC, WRITTEN, grow, lost, paused, proposal};

const CALLERS: usize = 50;

fn keeper(store: &FaultyStore, partitions: u32) -> ViewKeeper {
    ViewKeeper::new(Arc::new(store.clone()), TOPIC, partitions, Arc::new(ManualClock::new(WRITTEN)))
}

/// Every call takes a moment, so that calls meet.
fn slow() -> Faults {
    Faults { slow: 1.0, slow_max: Duration::from_millis(100), ..Faults::NONE }
}

async fn refresh_by_many(keeper: &ViewKeeper) -> Vec<Result<PartitionState, LedgerError>> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let keeper = keeper.clone();
        callers.spawn(async move { keeper.refresh(Partition(0)).await });
    }
    callers.join_all().await
}

#[test]
fn a_keeper_follows_its_chains() {
    paused(async {
        let store = FaultyStore::new(1, slow());
        let keeper = keeper(&store, 3);
        assert_eq!(keeper.load_all().await.unwrap(), keeper.current());
        let chain = keeper.chain(Partition(1)).unwrap();
        let empty = keeper.current().partitions()[1].clone();
        let state = chain.append(&empty, &proposal(lost(0..5), 1)).await.unwrap();
        assert_eq!(keeper.current().end(Partition(1)).0, 0);
        assert_eq!(keeper.refresh(Partition(1)).await.unwrap(), state);
        assert_eq!(keeper.current().partitions()[1], state);
        grow(keeper.chain(Partition(0)).unwrap(), keeper.current().partitions()[0].clone(), 70).await;
        assert_eq!(self::keeper(&store, 3).load_all().await.unwrap(), keeper.refresh_all().await.unwrap());
        assert!(keeper.chain(Partition(3)).is_none());
        assert_eq!(keeper.refresh(Partition(3)).await.unwrap_err().kind(), ErrorKind::Invalid);
    });
}

#[test]
fn many_callers_cost_two_reads() {
    paused(async {
        let store = FaultyStore::new(1, slow());
        let keeper = keeper(&store, 1);
        keeper.load_all().await.unwrap();
        let calls = store.struck().calls;
        for state in refresh_by_many(&keeper).await {
            assert_eq!(state.unwrap().sequence(), 0);
        }
        // The one that the first of them began, and one begun after all the others had come.
        assert_eq!(store.struck().calls, calls + 2);
    });
}

#[test]
fn many_callers_share_failures() {
    paused(async {
        let store = FaultyStore::new(1, Faults { error_before: 1.0, ..slow() });
        let keeper = keeper(&store, 1);
        let one = keeper.refresh(Partition(0)).await.unwrap_err();
        assert_eq!(one.kind(), ErrorKind::Unavailable);
        let calls = store.struck().calls;
        for result in refresh_by_many(&keeper).await {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
        }
        assert_eq!(store.struck().calls, calls + 2 * calls);
        store.set_faults(slow());
        keeper.refresh(Partition(0)).await.unwrap();
    });
}

#[test]
fn a_refresh_sees_all_that_was_there_before_it() {
    paused(async {
        let store = FaultyStore::new(1, slow());
        let keeper = keeper(&store, 1);
        let mut state = keeper.load_all().await.unwrap().partitions()[0].clone();
        let chain = keeper.chain(Partition(0)).unwrap().clone();
        let mut others = JoinSet::new();
        for _ in 0..100 {
            // Somebody's read is under way, begun before the entry below exists.
            let keeper_of_other = keeper.clone();
            others.spawn(async move { keeper_of_other.refresh(Partition(0)).await });
            tokio::task::yield_now().await;
            state = grow(&chain, state, 1).await;
            assert_eq!(keeper.refresh(Partition(0)).await.unwrap(), state);
        }
        others.join_all().await;
    });
}

#[test]
fn a_dropped_refresh_leaves_the_rest_working() {
    paused(async {
        let store = FaultyStore::new(1, slow());
        let keeper = keeper(&store, 1);
        let state =
            grow(keeper.chain(Partition(0)).unwrap(), keeper.current().partitions()[0].clone(), 3).await;
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let keeper = keeper.clone();
            callers.spawn(async move { keeper.refresh(Partition(0)).await });
        }
        tokio::task::yield_now().await;
        callers.abort_all();
        assert_eq!(keeper.refresh(Partition(0)).await.unwrap(), state);
    });
}

#[test]
fn waiting_ends_with_the_entry() {
    paused(async {
        let store = FaultyStore::new(1, slow());
        let keeper = keeper(&store, 1);
        let empty = keeper.load_all().await.unwrap().partitions()[0].clone();
        let waiter = keeper.clone();
        let chain = keeper.chain(Partition(0)).unwrap();
        let (waited, written) = tokio::join!(waiter.wait_for(Partition(0), 3), async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            grow(chain, empty, 3).await
        });
        assert_eq!(waited.unwrap(), written);
        assert_eq!(keeper.wait_for(Partition(0), 2).await.unwrap(), written);
        let error = keeper.wait_for(Partition(0), 4).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("00000000000000000004.json"), "{error}");
    });
}

#[test]
fn offered_states_never_go_back() {
    paused(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let keeper = ViewKeeper::new(store, TOPIC, 1, Arc::new(ManualClock::new(WRITTEN)));
        let empty = keeper.current().partitions()[0].clone();
        let state =
            keeper.chain(Partition(0)).unwrap().append(&empty, &proposal(lost(0..5), 1)).await.unwrap();
        keeper.offer(state.clone());
        keeper.offer(empty);
        assert_eq!(keeper.current().partitions()[0], state);
        assert_eq!(keeper.wait_for(Partition(0), 1).await.unwrap(), state);
    });
}
