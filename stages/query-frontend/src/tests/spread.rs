use std::time::Duration;

use vivace_model::{Partition, TenantId, partition_of};
use vivace_proto::otlp::trace::{Span, TracesData};

use super::fixture::{Fixture, Options, PARTITIONS, span, traces};
use crate::Config;

async fn fixture(config: Config) -> Fixture {
    let querier = vivace_querier::Config { owner_wait: Duration::ZERO, ..Default::default() };
    Fixture::new(Options { config, querier, ..Options::default() }).await
}

fn spans(trace_id: [u8; 16], name: &str, start: u64) -> TracesData {
    traces(vec![Span { trace_id: trace_id.to_vec(), ..span(name, start) }])
}

/// One trace, that begins at 1 s: spans that match, spans of it, and its root's name.
async fn found(fixture: &Fixture, query: &str) -> (u64, u64, String) {
    let answer = fixture.get(&format!("/api/search?limit=5&q={query}"), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let traces = answer["traces"].as_array().unwrap();
    assert_eq!(traces.len(), 1, "{answer}");
    assert_eq!(traces[0]["startTimeUnixNano"], "1000000000", "{answer}");
    let matched = traces[0]["spanSets"][0]["matched"].as_u64().unwrap();
    let all = traces[0]["serviceStats"]["shop"]["spanCount"].as_u64().unwrap();
    (matched, all, traces[0]["rootTraceName"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_trace_from_before_and_after_partitions_were_added_is_one_result() {
    let fixture = fixture(Config::default()).await;
    let ids = (1..=255).map(|byte| [byte; 16]);
    let moved = |id: &[u8; 16]| partition_of(id, 2) != partition_of(id, PARTITIONS);
    let id = ids.clone().find(moved).unwrap();
    let (before, after) = (partition_of(&id, 2), partition_of(&id, PARTITIONS));
    fixture.ingest_as(before, 2, &TenantId::default(), 1, &spans(id, "a", 1)).await;
    fixture.ingest(after, 1, &spans(id, "b", 5)).await;
    fixture.refresh().await;
    assert_eq!(found(&fixture, "%7B%7D").await, (2, 2, "a".into()));
    assert_eq!(found(&fixture, "%7Bname%3D%22b%22%7D").await, (1, 2, "a".into()), "the rest is asked for");
    assert_eq!(found(&fixture, "%7Bname%3D%22a%22%7D").await, (1, 2, "a".into()));
    let rate = fixture.get("/api/metrics/query?q=%7B%7D%7Ccount_over_time()&start=0&end=10", &[]).await;
    assert_eq!(rate.json()["series"][0]["value"], 2.0);
}

#[tokio::test]
async fn a_trace_that_others_spread_over_partitions_is_one_result() {
    let fixture = fixture(Config { partition_pruning: false, ..Config::default() }).await;
    for partition in 0..PARTITIONS {
        let start = u64::from(PARTITIONS - partition);
        fixture.ingest(Partition(partition), 1, &spans([7; 16], &format!("{partition}"), start)).await;
    }
    fixture.refresh().await;
    assert_eq!(found(&fixture, "%7B%7D").await, (4, 4, "3".into()));
    assert_eq!(found(&fixture, "%7Bname%3D%220%22%7D").await, (1, 4, "3".into()));
    assert_eq!(found(&fixture, "%7Bname%3D%220%22%7D%26%26%7B%7D").await.1, 4, "a query of whole traces");
    let first = fixture.get("/api/search?limit=1&q=%7B%7D", &[]).await.json();
    assert_eq!(first["traces"][0]["spanSets"][0]["matched"], 4);
}
