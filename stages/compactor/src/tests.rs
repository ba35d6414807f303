//! Compactors at work on a log and a store in memory, in paused time.

mod fixture;
mod panics;
mod races;
mod retention;

use std::time::Duration;

use vivace_ledger::EntryBody;
use vivace_ledger::faults::Faults;
use vivace_model::Partition;

use self::fixture::{Fixture, paused};

/// Many small blocks become few, the spans stay what they are, and the files of the old ones go after the grace period.
#[test]
fn many_small_blocks_become_few() {
    paused(async {
        let mut fixture = Fixture::new(1).await;
        fixture.ingest(40).await;
        let before = fixture.spans().await;
        fixture.start("a");
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(
            fixture.files().await.len(),
            fixture.state().await.live().len() + 40 + fixture.merged_away().await
        );
        let live = fixture.state().await.live().len();
        assert!(live <= 4, "{live} blocks are left");
        assert_eq!(fixture.spans().await, before);
        tokio::time::sleep(fixture.config.grace + Duration::from_secs(120)).await;
        assert_eq!(fixture.files().await, fixture.live_files().await);
        assert_eq!(fixture.spans().await, before);
        fixture.stop().await;
        fixture.check().await;
    });
}

/// What comes while a compactor runs is merged too, told of by hints or not.
#[test]
fn new_blocks_are_merged_with_hints_and_without() {
    for hints in [true, false] {
        paused(async {
            let mut fixture = Fixture::new(2).await;
            fixture.start("a");
            tokio::time::sleep(Duration::from_secs(5)).await;
            fixture.ingest(12).await;
            let patience = if hints {
                fixture.hint().await;
                Duration::from_secs(5)
            } else {
                fixture.config.look_every * 2
            };
            tokio::time::sleep(patience).await;
            let live = fixture.state().await.live().len();
            assert!(live <= 4, "{live} blocks are left, hints: {hints}");
            assert_eq!(fixture.committed(), if hints { 1 } else { 0 });
            fixture.stop().await;
        });
    }
}

/// A span that was stored twice is there once afterwards, and the ledger says so.
#[test]
fn duplicates_are_counted_in_the_ledger() {
    paused(async {
        let mut fixture = Fixture::new(3).await;
        for _ in 0..4 {
            fixture.ingest_spans(&[(1, 5), (2, 6)]).await;
        }
        fixture.start("a");
        tokio::time::sleep(Duration::from_secs(60)).await;
        fixture.stop().await;
        let entries = fixture.entries().await;
        let duplicates: u64 = entries
            .iter()
            .map(|entry| match &entry.body {
                EntryBody::Compacted { duplicates, .. } => *duplicates,
                _ => 0,
            })
            .sum();
        assert_eq!(duplicates, 6);
        assert_eq!(fixture.spans().await.len(), 2);
        fixture.check().await;
    });
}

/// Whoever takes a partition over deletes again all that was retired before; merges do not wait until that is done.
#[test]
fn merges_go_between_deletions() {
    paused(async {
        let mut fixture = Fixture::new(6).await;
        fixture.ingest(200).await;
        fixture.start("a");
        tokio::time::sleep(Duration::from_secs(120)).await;
        fixture.stop().await;
        tokio::time::sleep(fixture.config.grace * 2).await;
        let retired = u64::try_from(fixture.state().await.retired().len()).unwrap();
        assert!(retired > 200, "{retired} blocks are retired");
        fixture.ingest(6).await;
        let before = fixture.state().await.sequence();
        fixture.store.set_faults(Faults { slow: 1.0, slow_max: Duration::from_secs(2), ..Faults::NONE });
        fixture.start("a");
        while fixture.state().await.sequence() == before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(fixture.metrics.deleted.get(), 64, "a part of the files, then the merge");
        fixture.store.set_faults(Faults::NONE);
        tokio::time::sleep(fixture.config.look_every).await;
        assert_eq!(fixture.metrics.deleted.get(), retired, "and the rest without waiting for another look");
        fixture.stop().await;
        fixture.check().await;
    });
}

/// A stop in the middle of everything leaves nothing behind but what is live.
#[test]
fn a_stop_leaves_nothing_behind() {
    paused(async {
        let mut fixture = Fixture::new(4).await;
        fixture.ingest(40).await;
        fixture.store.set_faults(Faults { slow: 1.0, slow_max: Duration::from_secs(2), ..Faults::NONE });
        fixture.start("a");
        tokio::time::sleep(Duration::from_secs(7)).await;
        fixture.stop().await;
        let known: Vec<_> = fixture.live_files().await;
        let retired = fixture.state().await.retired().len();
        assert_eq!(fixture.files().await.len(), known.len() + retired);
        fixture.check().await;
    });
}

/// A dry run says what would be done and does nothing.
#[test]
fn a_dry_run_changes_nothing() {
    paused(async {
        let fixture = Fixture::new(5).await;
        fixture.ingest(5).await;
        let (state, files) = (fixture.state().await, fixture.files().await);
        let lines = fixture.compactor("a").dry_run().await.unwrap();
        assert!(lines[0].starts_with("partition 0: merge 5 blocks of single-tenant"), "{lines:?}");
        assert_eq!((fixture.state().await, fixture.files().await), (state, files));
    });
}

/// A damaged entry stops work on its partition, is told of, and nothing else happens until it is repaired.
#[test]
fn a_damaged_ledger_is_refused_until_it_is_repaired() {
    paused(async {
        let mut fixture = Fixture::new(7).await;
        fixture.ingest(12).await;
        let (spans, good) = (fixture.spans().await, fixture.break_entry(5).await);
        fixture.start("a");
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(fixture.metrics.is_refused(Partition(0)));
        fixture.mend_entry(5, good).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(!fixture.metrics.is_refused(Partition(0)));
        assert!(fixture.state().await.live().len() < 12, "merged");
        assert_eq!(fixture.spans().await, spans);
        fixture.stop().await;
        fixture.check().await;
    });
}
