use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::json;
use tonic::{Code, Status};
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{FoundTags, FoundTraces, SearchJob};

use super::scripted::{
    Scripted, block_at, found, is_summaries, nothing, partition, paths, summary, traces_of,
};
use crate::Config;

/// One block for each job.
fn config() -> Config {
    Config { job_blocks_max: 1, ..Config::default() }
}

#[tokio::test]
async fn a_trace_is_told_as_tempo_tells_it() {
    let querier = Scripted::new(|job| match partition(job) {
        Some(0) if is_summaries(job) => {
            let mut trace = found(7, 100);
            trace.spansets.clear();
            trace.summary = Some(summary(7, 99_000_000_000, 101_500_000_000));
            Ok(traces_of(vec![trace]))
        }
        Some(0) => Ok(traces_of(vec![found(7, 100)])),
        _ => Ok(nothing()),
    });
    let fixture = querier.fixture(config()).await;
    let answer = fixture.get("/api/search?q=%7B%7D", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    let set = r#"{"spans":[{"spanID":"0707070707070707","name":"span 7","startTimeUnixNano":"100000000000","durationNanos":"1000000"}],"matched":1}"#;
    let expected = format!(
        r#"{{"traces":[{{"traceID":"7070707070707070707070707070707","rootServiceName":"shop","rootTraceName":"root 7","startTimeUnixNano":"99000000000","durationMs":2500,"spanSet":{set},"spanSets":[{set}],"serviceStats":{{"shop":{{"spanCount":2,"errorCount":1}}}}}}],"metrics":{{"inspectedBytes":"50","completedJobs":4,"totalJobs":4,"inspectedSpans":"500"}}}}"#
    );
    assert_eq!(answer.text(), expected);
    let searches = querier.finds();
    assert_eq!(searches.len(), 4, "one for the recent data of each partition");
    let search = searches[0].search.as_ref().unwrap();
    assert_eq!((search.tenant.as_str(), search.query.as_str()), ("single-tenant", "{}"));
    assert_eq!((search.start, search.end), (0, 0));
}

#[tokio::test]
async fn nothing_found_is_an_empty_list() {
    let fixture = Scripted::new(|_| Ok(nothing())).fixture(config()).await;
    let answer = fixture.get("/api/search?q=%7B%7D", &[]).await;
    let expected = r#"{"traces":[],"metrics":{"inspectedBytes":"40","completedJobs":4,"totalJobs":4,"inspectedSpans":"400"}}"#;
    assert_eq!(answer.text(), expected);
}

/// What is in each block, by its path; a block's trace begins where the block does.
type Blocks = Mutex<HashMap<String, (u8, u64)>>;

fn answer(blocks: &Blocks, job: &SearchJob) -> Found {
    let blocks = blocks.lock();
    let paths = paths(job);
    let traces = paths.iter().filter_map(|path| blocks.get(path)).map(|(id, start)| found(*id, *start));
    let mut traces: Vec<_> = traces.collect();
    traces.sort_by_key(|trace| std::cmp::Reverse(trace.trace_id.clone()));
    traces_of(traces)
}

fn ids(answer: &super::fixture::Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let traces = json["traces"].as_array().unwrap();
    traces.iter().map(|trace| trace["traceID"].as_str().unwrap()[..2].to_owned()).collect()
}

#[tokio::test]
async fn old_blocks_are_not_read_once_the_newest_traces_are_certain() {
    let blocks: std::sync::Arc<Blocks> = std::sync::Arc::default();
    let known = std::sync::Arc::clone(&blocks);
    let querier = Scripted::new(move |job| Ok(answer(&known, job)));
    let fixture = querier.fixture(config()).await;
    for number in 0..60_u64 {
        let path = block_at(&fixture, (number % 4) as u32, 1000 + number * 10_000).await;
        blocks.lock().insert(path, (100 + number as u8, 1000 + number * 10_000));
    }
    fixture.refresh().await;
    let found = fixture.get("/api/search?q=%7B%7D&limit=3", &[]).await;
    assert_eq!(ids(&found), ["9f", "9e", "9d"]);
    let asked = querier.finds().len();
    assert!(asked < 30, "{asked} jobs");
    // Summaries only look where a trace can be.
    for job in querier.asked.lock().iter().filter(|job| is_summaries(job)) {
        assert!(job.blocks.len() <= 1 && job.recent.is_some(), "{job:?}");
    }
    let all = fixture.get("/api/search?q=%7B%7D&limit=100", &[]).await;
    assert_eq!(ids(&all).len(), 60);
    let range = "/api/search?q=%7B%7D&limit=100&start=11000&end=31001";
    assert_eq!(ids(&fixture.get(range, &[]).await), ["67", "66", "65"]);
}

#[tokio::test]
async fn a_trace_that_turns_out_older_gives_its_place_to_another() {
    // Both blocks tell of a trace, but the newer one began long ago.
    let blocks: std::sync::Arc<Blocks> = std::sync::Arc::default();
    let known = std::sync::Arc::clone(&blocks);
    let querier = Scripted::new(move |job| {
        if !is_summaries(job) {
            return Ok(answer(&known, job));
        }
        let mut old = found(2, 0);
        old.summary = Some(summary(2, 1_000_000_000, 30_000_000_000));
        let mut new = found(1, 0);
        new.summary = Some(summary(1, 10_000_000_000, 11_000_000_000));
        Ok(traces_of(vec![old, new]))
    });
    let fixture = querier.fixture(config()).await;
    for (id, second) in [(1, 10), (2, 20)] {
        let path = block_at(&fixture, 0, second).await;
        blocks.lock().insert(path, (id, second));
    }
    fixture.refresh().await;
    assert_eq!(ids(&fixture.get("/api/search?q=%7B%7D&limit=1", &[]).await), ["10"]);
    assert_eq!(ids(&fixture.get("/api/search?q=%7B%7D&limit=2", &[]).await), ["10", "20"]);
}

#[tokio::test]
async fn a_job_that_told_too_little_is_asked_for_more() {
    // The querier tells the newest traces by where their pieces begin, but those began long ago.
    let querier = Scripted::new(|job| {
        let search = job.search.as_ref().unwrap();
        let start = |id: u8| if id > 50 { 1 } else { u64::from(id) };
        match &search.kind {
            Some(Kind::Summaries(kind)) if partition(job) == Some(0) => {
                let trace = |id: &Vec<u8>| {
                    let start = start(id[0]) * 1_000_000_000;
                    let mut trace = found(id[0], 0);
                    trace.summary = Some(summary(id[0], start, start + 1));
                    trace
                };
                Ok(traces_of(kind.trace_ids.iter().map(trace).collect()))
            }
            Some(Kind::Traces(kind)) if partition(job) == Some(0) => {
                let limit = kind.limit as usize;
                let all = (40..60_u8).rev().map(|id| found(id, u64::from(id)));
                let traces: Vec<_> = all.take(limit).collect();
                Ok(Found::Traces(FoundTraces { more: traces.len() < 20, traces }))
            }
            _ => Ok(nothing()),
        }
    });
    let fixture = querier.fixture(config()).await;
    assert_eq!(ids(&fixture.get("/api/search?q=%7B%7D&limit=2", &[]).await), ["32", "31"]);
}

#[tokio::test(start_paused = true)]
async fn a_partition_whose_view_is_too_old_is_asked_anew_and_alone() {
    let stale = AtomicUsize::new(0);
    let querier = Scripted::new(move |job| {
        if partition(job) == Some(1) && !is_summaries(job) && stale.fetch_add(1, Ordering::Relaxed) < 3 {
            return Err(Status::failed_precondition("gone"));
        }
        Ok(if job.recent.is_some() { nothing() } else { traces_of(vec![found(9, 50)]) })
    });
    let fixture = querier.fixture(config()).await;
    block_at(&fixture, 1, 50).await;
    fixture.refresh().await;
    let answer = fixture.get("/api/search?q=%7B%7D", &[]).await;
    let json = answer.json();
    assert_eq!(json["traces"].as_array().unwrap().len(), 1);
    assert_eq!(json["traces"][0]["spanSets"][0]["matched"], 1, "what was found before was dropped");
    assert_eq!(fixture.metrics.stale_views.get(), 3);
    let asked = querier.finds();
    assert_eq!(asked.iter().filter(|job| partition(job) == Some(0)).count(), 1);
    let log_only: Vec<_> = asked.iter().filter(|job| partition(job) == Some(1)).collect();
    assert!(log_only.last().unwrap().recent.as_ref().unwrap().log_only, "the owner is left aside at last");
}

#[tokio::test]
async fn answers_of_single_blocks_are_kept() {
    let blocks: std::sync::Arc<Blocks> = std::sync::Arc::default();
    let known = std::sync::Arc::clone(&blocks);
    let querier = Scripted::new(move |job| Ok(answer(&known, job)));
    let fixture = querier.fixture(config()).await;
    let path = block_at(&fixture, 2, 500).await;
    blocks.lock().insert(path.clone(), (5, 500));
    fixture.refresh().await;
    let asked = async |query: &str| {
        let before = querier.finds().iter().filter(|job| paths(job).contains(&path)).count();
        assert_eq!(ids(&fixture.get(&format!("/api/search?{query}"), &[]).await), ["50"]);
        querier.finds().iter().filter(|job| paths(job).contains(&path)).count() - before
    };
    assert_eq!(asked("q=%7B%7D").await, 1);
    assert_eq!(asked("q=%7B%7D").await, 0);
    assert_eq!(asked("q=%7B%7D&start=100&end=600").await, 0, "the block lies within");
    assert_eq!(asked("q=%7B%7D&start=200&end=700").await, 0);
    assert_eq!(asked("q=%7B%7D&limit=5").await, 1, "another question");
    assert_eq!(asked("q=%7B%20name=%22x%22%7D").await, 1);
    assert!(fixture.metrics.cache_hits.get() == 3 && fixture.metrics.cache_misses.get() == 3);
}

#[tokio::test]
async fn wrong_questions_are_refused_in_plain_text() {
    let fixture = Scripted::new(|_| Ok(nothing())).fixture(config()).await;
    for (query, word) in [
        ("q=%7B", "parse error"),
        ("q=%7B%20duration%20%3E%20%7D", "parse error"),
        ("q=%7B%7D&limit=0", "limit"),
        ("q=%7B%7D&limit=262145", "262144"),
        ("q=%7B%7D&limit=x", "limit"),
        ("q=%7B%7D&spss=101", "100"),
        ("q=%7B%7D&start=10", "together"),
        ("q=%7B%7D&start=20&end=10", "before"),
        ("q=%7B%7D&start=1&end=604802", "range specified by start and end (168h0m1s) exceeds 168h0m0s"),
        ("q=%7B%7D&tags=a%3Db", "exclude"),
        ("tags=a%3D1%20a%3D2", "twice"),
        ("minDuration=2s&maxDuration=1s", "maxDuration"),
        ("minDuration=x", "duration"),
        ("q=%7B%7D%20%7C%20rate()", "query_range"),
    ] {
        let answer = fixture.get(&format!("/api/search?{query}"), &[]).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        assert!(answer.header("content-type").starts_with("text/plain"), "{query}");
        assert!(answer.text().contains(word), "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn tags_and_unknown_parameters_are_a_query() {
    let querier = Scripted::new(|_| Ok(nothing()));
    let fixture = querier.fixture(config()).await;
    for (query, expected) in [
        ("tags=service.name%3Dshop%20error%3Dtrue", r#"{ status = error && .service.name = "shop" }"#),
        ("service.name=shop&limit=7", r#"{ .service.name = "shop" }"#),
        ("minDuration=100ms", "{ traceDuration >= 100ms }"),
        ("service.name=shop&start=1&end=2", "{  }"),
        ("", "{  }"),
    ] {
        querier.asked.lock().clear();
        let answer = fixture.get(&format!("/api/search?{query}"), &[]).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        assert_eq!(querier.finds()[0].search.as_ref().unwrap().query, expected, "{query}");
    }
}

#[tokio::test]
async fn a_search_over_a_limit_names_it() {
    let blocks = Config { search_bytes_max: vivace_model::ByteSize(10), ..config() };
    let jobs = Config { search_jobs_max: 4, ..config() };
    for (config, name) in [(blocks, "SEARCH_BYTES_MAX"), (jobs, "SEARCH_JOBS_MAX")] {
        let fixture = Scripted::new(|_| Ok(nothing())).fixture(config).await;
        block_at(&fixture, 0, 50).await;
        fixture.refresh().await;
        let answer = fixture.get("/api/search?q=%7B%7D", &[]).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(answer.text().contains(name), "{}", answer.text());
    }
    let small = Config { answer_bytes_max: vivace_model::ByteSize(10), ..config() };
    let fixture = Scripted::new(|_| Ok(traces_of(vec![found(1, 1)]))).fixture(small).await;
    let answer = fixture.get("/api/search?q=%7B%7D", &[]).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
}

#[tokio::test]
async fn patterns_that_take_too_much_are_refused_before_any_job() {
    let querier = Scripted::new(|job: &SearchJob| match job.search.as_ref().unwrap().kind {
        Some(Kind::TagNames(_)) => Ok(Found::Tags(FoundTags::default())),
        _ => Ok(nothing()),
    });
    let fixture = querier.fixture(config()).await;
    // `(u|.){0,800}7`, as cases/15 has it.
    let patterns: Vec<_> =
        (0..100).map(|number| format!("span.user.id=~%60(u%7C.)%7B0,800%7D{number}%60")).collect();
    let query = format!("%7B{}%7D", patterns.join("%26%26"));
    for path in ["/api/search", "/api/metrics/query_range"] {
        let rate = if path == "/api/search" { "" } else { "%7Crate()&start=1&end=100" };
        let answer = fixture.get(&format!("{path}?q={query}{rate}"), &[]).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(answer.text().contains("more than 32 MiB once compiled: use fewer"), "{}", answer.text());
    }
    assert!(querier.finds().is_empty());
    // One that is still being typed is understood as far as it is within the limits.
    let answer = fixture.get(&format!("/api/v2/search/tags?q={query}"), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!querier.finds().is_empty());
    assert!(querier.finds().iter().all(|job| job.search.as_ref().unwrap().query.len() < query.len() / 2));
}

#[tokio::test(start_paused = true)]
async fn what_queriers_say_is_passed_on() {
    for (code, status) in [
        (Code::InvalidArgument, 400),
        (Code::OutOfRange, 422),
        (Code::DataLoss, 500),
        (Code::ResourceExhausted, 429),
    ] {
        let fixture = Scripted::new(move |_| Err(Status::new(code, "no"))).fixture(config()).await;
        let answer = fixture.get("/api/search?q=%7B%7D", &[]).await;
        assert_eq!(answer.status, status);
        assert_eq!(json!(answer.text()).as_str().map(|text| text.ends_with("no")), Some(true));
    }
}
