//! What goes by its age, and files that nobody names.

use std::time::Duration;

use object_store::ObjectStoreExt;
use vivace_ledger::block_path;
use vivace_model::{BlockId, TenantId, UnixNanos};

use super::fixture::{Fixture, paused};
use crate::Retention;
use crate::testing::days;

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
        tokio::time::sleep(Duration::from_secs(14 * 60 * 60)).await;
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
