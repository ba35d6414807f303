use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde_json::json;
use vivace_ledger::BlockMeta;
use vivace_model::{Partition, partition_of};

use super::fixture::{Fixture, Options, PARTITIONS, SPANS, TRACE_HEX, home, span, traces};
use crate::{Config, DamagedBlocks};

const HEADER: &str = "x-vivace-damaged-blocks";
const SEARCHES: [&str; 5] = [
    "/api/search?q=%7B%7D&limit=10",
    "/api/search?q=%7Bname%3D%22a%22%7D%20%3E%3E%20%7B%7D",
    "/api/metrics/query_range?q=%7B%7D%7Crate()&start=0&end=100&step=10",
    "/api/v2/search/tags",
    "/api/v2/search/tag/name/values",
];

/// A good block with span `a`, and one with span `b`.
async fn two_blocks(damaged_blocks: DamagedBlocks) -> (Fixture, BlockMeta) {
    let querier = vivace_querier::Config { owner_wait: Duration::ZERO, ..Default::default() };
    let config = Config { damaged_blocks, ..Config::default() };
    let fixture = Fixture::new(Options { config, querier, ..Options::default() }).await;
    fixture.ingest(home(), 1, &traces(vec![span("a", 1)])).await;
    let bad = fixture.ingest(home(), 2, &traces(vec![span("b", 2)])).await;
    fixture.refresh().await;
    (fixture, bad)
}

/// Overwrites the file, but for its length.
async fn damage(fixture: &Fixture, block: &BlockMeta) {
    let garbage = vec![0xA5_u8; usize::try_from(block.bytes).unwrap()];
    fixture.store.put(&block.path(), PutPayload::from(garbage)).await.unwrap();
}

async fn lose(fixture: &Fixture, block: &BlockMeta) {
    fixture.store.delete(&block.path()).await.unwrap();
}

async fn assert_partial(fixture: &Fixture, bad: &BlockMeta) {
    let path = bad.path();
    assert_eq!(fixture.names().await, ["a"]);
    let v1 = fixture.get(&format!("/api/traces/{TRACE_HEX}"), &[]).await;
    assert_eq!(v1.header(HEADER), path.as_ref());
    let v2 = fixture.get(&format!("/api/v2/traces/{TRACE_HEX}"), &[]).await;
    assert_eq!(v2.header(HEADER), path.as_ref());
    let v2 = v2.json();
    assert_eq!(v2["status"], "PARTIAL");
    let command = format!("`vivace replay --partition {} --from-offset 1 --to-offset 3`", home());
    let message = v2["message"].as_str().unwrap();
    assert!(message.contains(path.as_ref()) && message.contains(&command), "{message}");
    for search in SEARCHES {
        let answer = fixture.get(search, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header(HEADER)), (200, path.as_ref()), "{search}");
        let answer = answer.json();
        if search.contains("/metrics/") {
            assert_eq!(answer["status"], "PARTIAL", "{answer}");
            assert!(answer["message"].as_str().unwrap().contains(&command), "{answer}");
        }
        if search.contains("/tag/") {
            assert_eq!(answer["tagValues"], json!([{"type": "string", "value": "a"}]));
        }
    }
    assert_eq!(fixture.metrics.damaged_blocks.get(), 1, "once per block");
}

#[tokio::test]
async fn a_damaged_block_is_one_blocks_loss() {
    let (fixture, bad) = two_blocks(DamagedBlocks::Partial).await;
    damage(&fixture, &bad).await;
    assert_partial(&fixture, &bad).await;
}

#[tokio::test]
async fn a_block_whose_file_is_missing_is_one_blocks_loss() {
    let (fixture, bad) = two_blocks(DamagedBlocks::Partial).await;
    lose(&fixture, &bad).await;
    assert_partial(&fixture, &bad).await;
    assert_eq!(fixture.metrics.stale_views.get(), 0);
}

#[tokio::test]
async fn a_setting_makes_damage_an_error() {
    for missing in [false, true] {
        let (fixture, bad) = two_blocks(DamagedBlocks::Error).await;
        if missing {
            lose(&fixture, &bad).await
        } else {
            damage(&fixture, &bad).await
        }
        let trace = format!("/api/traces/{TRACE_HEX}");
        for path in SEARCHES.into_iter().chain([trace.as_str()]) {
            let answer = fixture.get(path, &[]).await;
            assert_eq!(answer.status, 500, "{path}: {}", answer.text());
            assert!(answer.text().contains(bad.path().as_ref()), "{path}: {}", answer.text());
        }
        assert_eq!(fixture.metrics.damaged_blocks.get(), 1);
    }
}

#[tokio::test]
async fn a_trace_that_may_be_in_a_damaged_block_is_not_said_to_be_missing() {
    let (fixture, bad) = two_blocks(DamagedBlocks::Partial).await;
    damage(&fixture, &bad).await;
    let other = [5; 16];
    assert_ne!(partition_of(&other, PARTITIONS), home());
    let pruned = fixture.get(&format!("/api/traces/{}", "05".repeat(other.len())), &[]).await;
    assert_eq!(pruned.status, 404, "it hashes to another partition: {}", pruned.text());
    let range = format!("/api/traces/{TRACE_HEX}?start=2&end=3");
    let answer = fixture.get(&range, &[]).await;
    assert_eq!(answer.status, 500, "{}", answer.text());
}

/// Writes no entry where the next one of that partition would be. Gives its path.
async fn damage_ledger(fixture: &Fixture, partition: Partition) -> Path {
    let sequence = fixture.chain(partition).load().await.unwrap().sequence() + 1;
    let path = Path::from(format!("ledger/{SPANS}/{partition}/{sequence:020}.json"));
    fixture.store.put(&path, "no entry".into()).await.unwrap();
    path
}

async fn look_again(fixture: &Fixture, refused: i64) {
    while fixture.metrics.partitions_refused.get() != refused {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_ledger_is_one_partitions_loss() {
    let querier = vivace_querier::Config { owner_wait: Duration::ZERO, ..Default::default() };
    let fixture = Fixture::new(Options { querier, ..Options::default() }).await;
    let other = Partition((home().0 + 1) % PARTITIONS);
    fixture.ingest(home(), 1, &traces(vec![span("a", 1)])).await;
    fixture.refresh().await;
    let path = damage_ledger(&fixture, other).await;
    look_again(&fixture, 1).await;
    assert_eq!(fixture.names().await, ["a"]);
    let trace = fixture.get(&format!("/api/traces/{TRACE_HEX}"), &[]).await;
    assert_eq!(trace.header(HEADER), "", "its partition is not damaged");
    let search = fixture.get(SEARCHES[0], &[]).await;
    assert_eq!((search.status.as_u16(), search.header(HEADER)), (200, path.as_ref()));
    assert_eq!(search.json()["traces"].as_array().unwrap().len(), 1);
    let series = fixture.get(SEARCHES[2], &[]).await.json();
    let message = series["message"].as_str().unwrap();
    assert!(message.contains(path.as_ref()) && message.contains("vivace audit"), "{message}");
    fixture.store.delete(&path).await.unwrap();
    look_again(&fixture, 0).await;
    assert_eq!(fixture.get(SEARCHES[0], &[]).await.header(HEADER), "");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_ledger_is_an_error_where_a_setting_says_so() {
    let config = Config { damaged_blocks: DamagedBlocks::Error, ..Config::default() };
    let fixture = Fixture::new(Options { config, ..Options::default() }).await;
    let path = damage_ledger(&fixture, home()).await;
    look_again(&fixture, 1).await;
    for question in SEARCHES.into_iter().chain([format!("/api/traces/{TRACE_HEX}").as_str()]) {
        let answer = fixture.get(question, &[]).await;
        assert_eq!(answer.status, 500, "{question}: {}", answer.text());
        assert!(answer.text().contains(path.as_ref()), "{question}: {}", answer.text());
    }
}
