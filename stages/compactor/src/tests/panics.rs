//! Merges that panic: the others go on, and the process does not end.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use vivace_runtime::hook_fail_points;

use super::fixture::{Fixture, paused};
use crate::{FAIL_POINTS, Random};

#[test]
fn blocks_whose_merge_panics_are_set_aside_and_the_others_are_merged() {
    paused(async {
        let mut fixture = Fixture::new(7).await;
        fixture.ingest(40).await;
        let before = fixture.spans().await;
        let bad = fixture.state().await.live()[13].id;
        let mended = Rc::new(Cell::new(false));
        let is_mended = Rc::clone(&mended);
        let _hook = hook_fail_points(FAIL_POINTS, move |_, data| {
            !is_mended.get() && data.is_some_and(|data| data == bad.to_string().as_bytes())
        });
        let aside = fixture.start("a");
        tokio::time::sleep(Duration::from_secs(120)).await;
        let live: Vec<_> = fixture.state().await.live().iter().map(|block| block.id).collect();
        assert!(live.contains(&bad) && live.len() < 16, "{} blocks are left", live.len());
        let (_, line) = aside.partitions().remove(0);
        assert!(line.contains("blocks set aside") && line.contains("panicked"), "{line}");
        let of_one_merge = 3..=6;
        assert!(of_one_merge.contains(&fixture.metrics.blocks_set_aside.get()), "{line}");
        assert_eq!(fixture.metrics.panics.get(), 2);
        assert_eq!(fixture.spans().await, before);
        mended.set(true);
        tokio::time::sleep(Duration::from_secs(15 * 60)).await;
        let live: Vec<_> = fixture.state().await.live().iter().map(|block| block.id).collect();
        assert!(!live.contains(&bad), "it was tried again");
        assert_eq!((aside.partitions(), fixture.metrics.panics.get()), (vec![], 2));
        assert_eq!(fixture.spans().await, before);
        fixture.stop().await;
        fixture.check().await;
    });
}

/// Panics at any step leave the chain and the spans as they must be, and all is merged in the end.
#[test]
fn whatever_panics_no_span_is_lost() {
    for seed in 0..20 {
        paused(async {
            let random = Random::seeded(seed);
            let mut passes = 0;
            let _hook = hook_fail_points(FAIL_POINTS, move |_, data| {
                if data.is_some() {
                    return false;
                }
                passes += 1;
                passes < 60 && u64::from_le_bytes(random.bytes()) % 100 < 30
            });
            let mut fixture = Fixture::new(100 + seed).await;
            fixture.ingest(40).await;
            let before = fixture.spans().await;
            fixture.start("a");
            // Longer than blocks are set aside for.
            tokio::time::sleep(Duration::from_secs(3 * 60 * 60)).await;
            let live = fixture.state().await.live().len();
            assert!(live <= 12, "seed {seed}: {live} blocks are left");
            assert!(fixture.metrics.panics.get() > 0, "seed {seed}: nothing ever panicked");
            assert_eq!(fixture.spans().await, before, "seed {seed}");
            fixture.stop().await;
            fixture.check().await;
        });
    }
}
