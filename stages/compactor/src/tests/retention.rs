//! What goes by its age, and files that nobody names.

use std::time::Duration;

use object_store::ObjectStoreExt;
use vivace_ledger::block_path;
use vivace_ledger::faults::Faults;
use vivace_model::{BlockId, TenantId, UnixNanos};

use super::fixture::{Fixture, paused};
use crate::testing::days;
use crate::{Retention, StoreClock};

/// Blocks that are too old are gone from the ledger, and later from the store.
#[test]
fn old_blocks_expire() {
    paused(async {
        let mut fixture = Fixture::new(1).await;
        fixture.retention = Retention { keep: Some(days(3)), ..Retention::default() };
        fixture.ingest(2).await;
        fixture.pass_days(2).await;
        fixture.ingest(1).await;
        fixture.start("a");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(fixture.spans().await.len(), 6);
        fixture.pass_days(2).await;
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert_eq!(fixture.spans().await.len(), 2);
        assert_eq!(fixture.files().await, fixture.live_files().await);
        fixture.stop().await;
        fixture.check().await;
    });
}

/// Of a block of which only some traces are kept longer, these are there afterwards; and it is written only once for that.
#[test]
fn blocks_are_rewritten_for_the_classes_that_stay() {
    paused(async {
        let mut fixture = Fixture::new(2).await;
        let slow = Some((Duration::from_secs(10), days(9)));
        fixture.retention = Retention { keep: Some(days(3)), slow, ..Retention::default() };
        let now = fixture.now().0;
        // Two spans of trace 1, so far apart that it is slow.
        fixture.ingest_spans(&[(1, now), (2, now)]).await;
        fixture.ingest_spans(&[(1, now + 20_000_000_000), (3, now)]).await;
        fixture.start("a");
        fixture.pass_days(5).await;
        let traces = |spans: Vec<(u8, u64)>| spans.into_iter().map(|(trace, _)| trace).collect::<Vec<_>>();
        assert_eq!(traces(fixture.spans().await), [1, 1]);
        let sequence = fixture.state().await.sequence();
        fixture.pass_days(2).await;
        assert_eq!(fixture.state().await.sequence(), sequence, "nothing more is to be done");
        fixture.pass_days(5).await;
        assert_eq!(fixture.spans().await, []);
        assert_eq!(fixture.files().await, []);
        fixture.stop().await;
        fixture.check().await;
    });
}

/// Files that no chain names are deleted when they are old, others never.
#[test]
fn orphans_are_deleted_when_they_are_old() {
    paused(async {
        let mut fixture = Fixture::new(3).await;
        fixture.retention = Retention::default();
        fixture.ingest(2).await;
        let store = std::sync::Arc::clone(fixture.store.inner());
        let tenant = TenantId::default();
        let named =
            |made: UnixNanos, random| block_path(&tenant, &made.date(), BlockId::new(made, [random; 10]));
        let old = named(fixture.now(), 1);
        store.put(&old, "an upload that crashed".into()).await.unwrap();
        let foreign = object_store::path::Path::from("blocks/notes.txt");
        store.put(&foreign, "not ours".into()).await.unwrap();
        fixture.start("a");
        tokio::time::sleep(Duration::from_secs(20 * 60 * 60)).await;
        let young = named(fixture.now(), 2);
        store.put(&young, "an upload that goes on".into()).await.unwrap();
        assert!(fixture.files().await.contains(&old));
        tokio::time::sleep(Duration::from_secs(10 * 60 * 60)).await;
        assert!(fixture.files().await.contains(&old), "by the newest file it is not old yet");
        store.put(&named(fixture.now(), 3), "another upload".into()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(8 * 60 * 60)).await;
        let files = fixture.files().await;
        assert!(!files.contains(&old) && files.contains(&young) && files.contains(&foreign));
        fixture.stop().await;
        fixture.check().await;
    });
}

/// What is not understood below the ledger's folder stops the deletion of orphans: it may name them.
#[test]
fn unknown_chains_protect_everything() {
    paused(async {
        let mut fixture = Fixture::new(4).await;
        let old = block_path(&TenantId::default(), "2026-01-01", BlockId::new(fixture.now(), [1; 10]));
        fixture.store.inner().put(&old, "of whom?".into()).await.unwrap();
        let chain = object_store::path::Path::from("ledger/topic/later-version/1.json");
        fixture.store.inner().put(&chain, "{}".into()).await.unwrap();
        fixture.start("a");
        fixture.pass_days(4).await;
        assert!(fixture.files().await.contains(&old));
        fixture.stop().await;
    });
}

/// A clock that jumps ahead deletes nothing: not while the compactor runs, nor when it starts so. When the clock is right
/// again, work goes on.
#[test]
fn a_clock_that_jumps_ahead_stops_all_deletion() {
    paused(async {
        let mut fixture = Fixture::new(5).await;
        fixture.retention = Retention { keep: Some(days(3)), ..Retention::default() };
        fixture.ingest(5).await;
        fixture.start("a");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let (spans, files) = (fixture.spans().await, fixture.files().await);
        assert_eq!((spans.len(), fixture.metrics.clock_suspect.get()), (10, 0));
        fixture.jump(400);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(fixture.metrics.clock_suspect.get(), 1);
        assert_eq!((fixture.spans().await, fixture.files().await), (spans.clone(), files.clone()));
        fixture.stop().await;
        fixture.start("b");
        fixture.pass_days(1).await;
        assert_eq!((fixture.spans().await, fixture.files().await), (spans.clone(), files));
        assert_eq!(fixture.metrics.clock_suspect.get(), 1);
        fixture.jump(0);
        tokio::time::sleep(Duration::from_secs(1800)).await;
        assert_eq!(fixture.metrics.clock_suspect.get(), 0);
        assert_eq!(fixture.spans().await, spans);
        assert_eq!(fixture.files().await, fixture.live_files().await, "replaced files are deleted again");
        fixture.pass_days(3).await;
        assert_eq!(fixture.spans().await, [], "and old traces expire");
        fixture.stop().await;
        fixture.check().await;
    });
}

/// A store elsewhere tells the time; an operator decides.
#[test]
fn a_clock_ahead_of_the_stores_waits_for_an_operator() {
    paused(async {
        let mut fixture = Fixture::new(6).await;
        fixture.retention = Retention { keep: Some(days(3)), ..Retention::default() };
        // The machine's time, which is long before that of the compactor.
        fixture.store_clock = StoreClock::Own;
        fixture.ingest(2).await;
        fixture.start("a");
        fixture.pass_days(5).await;
        assert_eq!((fixture.spans().await.len(), fixture.metrics.clock_suspect.get()), (4, 1));
        fixture.stop().await;
        fixture.config.clock_trusted = true;
        fixture.start("b");
        tokio::time::sleep(Duration::from_secs(1800)).await;
        assert_eq!((fixture.spans().await.len(), fixture.metrics.clock_suspect.get()), (0, 0));
        assert_eq!(fixture.files().await, []);
        fixture.stop().await;
        fixture.check().await;
    });
}

/// Without the store nobody knows whether the clock is right.
#[test]
fn nothing_is_deleted_while_the_store_does_not_tell_the_time() {
    paused(async {
        let mut fixture = Fixture::new(7).await;
        fixture.retention = Retention { keep: Some(days(3)), ..Retention::default() };
        fixture.ingest(2).await;
        fixture.pass_days(5).await;
        fixture.store.set_faults(Faults { error_before: 1.0, ..Faults::NONE });
        fixture.start("a");
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(fixture.spans().await.len(), 4);
        fixture.store.set_faults(Faults::NONE);
        tokio::time::sleep(Duration::from_secs(1800)).await;
        assert_eq!(fixture.spans().await, []);
        fixture.stop().await;
    });
}
