//! Several compactors that all believe to have the partition, on a store that fails.

use std::time::Duration;

use vivace_ledger::EntryBody;
use vivace_ledger::faults::Faults;

use super::fixture::{Fixture, paused};
use crate::metrics::Outcome;

/// One wins, the others drop what they made; nothing is lost and nothing is there twice, whatever the store does.
#[test]
fn of_several_compactors_one_wins() {
    let (mut lost, mut merges) = (0, 0);
    for seed in 0..12 {
        paused(async {
            let mut fixture = Fixture::new(seed).await;
            fixture.config.grace = Duration::from_secs(20);
            fixture.store.set_faults(Faults::ROUGH);
            fixture.start("a");
            fixture.start("b");
            fixture.start("c");
            for _ in 0..8 {
                fixture.ingest(5).await;
                fixture.hint().await;
                tokio::time::sleep(Duration::from_secs(7)).await;
            }
            let before = fixture.spans().await;
            tokio::time::sleep(Duration::from_secs(120)).await;
            fixture.store.heal().await;
            tokio::time::sleep(Duration::from_secs(120)).await;
            fixture.stop().await;
            fixture.check().await;
            assert_eq!(fixture.spans().await, before, "seed {seed}");
            let live = fixture.state().await.live().len();
            assert!(live <= 6, "{live} blocks are left, seed {seed}");
            lost += fixture.metrics.count(Outcome::Lost);
            let merged = |body: &EntryBody| matches!(body, EntryBody::Compacted { .. });
            merges += fixture.entries().await.iter().filter(|entry| merged(&entry.body)).count() as u64;
        });
    }
    assert!(lost > 0, "no two compactors ever did the same work");
    assert!(merges > 20, "only {merges} merges");
}

/// Where it is not known whether an entry was written, no block that it names is deleted.
#[test]
fn what_may_be_listed_is_not_deleted() {
    for seed in 0..8 {
        paused(async {
            let mut fixture = Fixture::new(seed).await;
            fixture.ingest(12).await;
            let before = fixture.spans().await;
            fixture.store.set_faults(Faults { error_after: 0.4, late: 0.3, ..Faults::ROUGH });
            for _ in 0..6 {
                fixture.start("a");
                tokio::time::sleep(Duration::from_millis(900 + 700 * seed)).await;
                fixture.stop().await;
            }
            fixture.store.heal().await;
            fixture.check().await;
            assert_eq!(fixture.spans().await, before, "seed {seed}");
        });
    }
}
