use vivace_proto::internal::search::Kind;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{FoundSeries, PartialSeries, SearchJob, SeriesKind};

use super::fixture::NOW;
use super::scripted::{Scripted, block_at, paths};
use crate::Config;

const S: u64 = 1_000_000_000;

fn config() -> Config {
    Config { job_blocks_max: 1, ..Config::default() }
}

fn kind(job: &SearchJob) -> SeriesKind {
    match job.search.as_ref().unwrap().kind {
        Some(Kind::Series(kind)) => kind,
        _ => panic!("{job:?}"),
    }
}

/// One span in the first interval of the job.
fn one(job: &SearchJob) -> Found {
    let _ = kind(job);
    let series = PartialSeries { intervals: vec![0], counts: vec![1], ..PartialSeries::default() };
    Found::Series(FoundSeries { series: vec![series], truncated: false })
}

#[tokio::test]
async fn series_are_told_as_tempo_tells_them() {
    let querier = Scripted::new(|job| {
        Ok(if paths(job).is_empty() { Found::Series(FoundSeries::default()) } else { one(job) })
    });
    let fixture = querier.fixture(config()).await;
    block_at(&fixture, 0, 1030).await;
    block_at(&fixture, 1, 1030).await;
    fixture.refresh().await;
    let path = "/api/metrics/query_range?q=%7B%7D%20%7C%20count_over_time()&start=1000&end=1060&step=60s";
    let answer = fixture.get(path, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let series = &json["series"][0];
    let label = serde_json::json!({"key": "__name__", "value": {"stringValue": "count_over_time"}});
    assert_eq!(series["labels"], serde_json::json!([label]));
    assert_eq!(series["samples"][2], serde_json::json!({"timestampMs": "1080000", "value": 2.0}), "{series}");
    assert!(json.get("status").is_none());
    let instant = "/api/metrics/query?query=%7B%7D%20%7C%20count_over_time()&start=1000&end=1060";
    let json = fixture.get(instant, &[]).await.json();
    assert_eq!(json["series"], serde_json::json!([{"labels": [label], "value": 2.0}]));
    for job in querier.finds() {
        let search = job.search.as_ref().unwrap();
        assert!(search.start <= 1000 * S && search.end > 1060 * S || (search.start, search.end) == (0, 0));
    }
}

#[tokio::test]
async fn series_of_a_block_are_kept_though_the_time_moves_on() {
    let querier = Scripted::new(|job| {
        Ok(if paths(job).is_empty() { Found::Series(FoundSeries::default()) } else { one(job) })
    });
    let fixture = querier.fixture(config()).await;
    let path = block_at(&fixture, 0, 1030).await;
    fixture.refresh().await;
    for (start, sample) in [(900, 3), (960, 2), (1020, 1)] {
        let query = format!(
            "/api/metrics/query_range?q=%7B%7D%20%7C%20count_over_time()&start={start}&end=1200&step=60"
        );
        let json = fixture.get(&query, &[]).await.json();
        let samples = json["series"][0]["samples"].as_array().unwrap();
        assert_eq!(samples[sample]["value"], 1.0, "{samples:?}");
        assert_eq!(samples[sample]["timestampMs"], "1080000");
    }
    assert_eq!(querier.finds().iter().filter(|job| paths(job).contains(&path)).count(), 1);
}

#[tokio::test]
async fn of_a_job_of_several_blocks_only_those_are_asked_that_are_not_known() {
    let querier = Scripted::new(|job| {
        Ok(if paths(job).is_empty() { Found::Series(FoundSeries::default()) } else { one(job) })
    });
    let fixture = querier.fixture(Config::default()).await;
    for second in [1030, 1090, 1150] {
        block_at(&fixture, 0, second).await;
    }
    fixture.refresh().await;
    let values = async || {
        let path = "/api/metrics/query_range?q=%7B%7D%7Ccount_over_time()&start=1000&end=1200&step=60";
        let json = fixture.get(path, &[]).await.json();
        let samples = json["series"][0]["samples"].as_array().unwrap().clone();
        let asked: Vec<_> = std::mem::take(&mut *querier.asked.lock()).iter().flat_map(paths).collect();
        (samples.iter().filter_map(|sample| sample["value"].as_f64()).sum::<f64>(), asked.len())
    };
    assert_eq!(values().await, (3.0, 3));
    assert_eq!(values().await, (3.0, 0));
    block_at(&fixture, 0, 1100).await;
    fixture.refresh().await;
    assert_eq!(values().await, (4.0, 1));
}

#[tokio::test]
async fn times_and_steps_have_defaults_and_limits() {
    let querier = Scripted::new(|_| Ok(Found::Series(FoundSeries::default())));
    let fixture = querier.fixture(config()).await;
    let answer = fixture.get("/api/metrics/query_range?q=%7B%7D%7Crate()", &[]).await;
    assert_eq!(
        answer.text(),
        r#"{"series":[],"metrics":{"inspectedBytes":"40","completedJobs":4,"totalJobs":4,"inspectedSpans":"400"}}"#
    );
    let asked = kind(&querier.finds()[0]);
    assert_eq!((asked.step, asked.exemplars_max, asked.instant), (15 * S, 100, false));
    let last = asked.grid_start + u64::from(asked.intervals) * asked.step;
    assert!((NOW.0..NOW.0 + 15 * S).contains(&last), "{last}");
    for (query, word) in [
        (
            "q=%7B%7D%7Crate()&start=0.5&end=86401.5",
            "metrics query time range exceeds the maximum allowed duration of 24h0m0s",
        ),
        ("q=%7B%7D%7Crate()&start=10&end=86400&step=1", "minimum step for this time is 8.639s"),
        ("q=%7B%7D%7Crate()&start=20&end=10", "start must be before end"),
        ("q=%7B%7D%7Crate()&step=x", "step"),
        ("q=%7B%7D", "no function"),
        ("q=%7B%7D%7Cnonsense()", "parse error"),
        ("", "q is missing"),
    ] {
        let answer = fixture.get(&format!("/api/metrics/query_range?{query}"), &[]).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        assert!(answer.text().contains(word), "{query}: {}", answer.text());
    }
    let day = fixture.get("/api/metrics/query_range?q=%7B%7D%7Crate()&start=10&end=86410", &[]).await;
    assert_eq!(day.status, 200, "a day is not too long");
    fixture.get("/api/metrics/query_range?q=%7B%7D%7Crate()%20with(exemplars=false)", &[]).await;
    assert_eq!(kind(querier.finds().last().unwrap()).exemplars_max, 0);
}
