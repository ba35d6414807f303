use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{FoundSeries, FoundTags, SearchJob};
use vivace_proto::tempopb::streaming_querier_server::StreamingQuerier;
use vivace_proto::tempopb::{
    QueryInstantRequest, QueryRangeRequest, SearchRequest, SearchTagValuesRequest, SearchTagsRequest,
};

use super::fixture::Fixture;
use super::scripted::{Scripted, block_at, found, is_summaries, nothing, paths, traces_of};
use crate::{Config, StreamingApi};

fn config() -> Config {
    Config { job_blocks_max: 1, query_jobs_max: 1, ..Config::default() }
}

fn api(fixture: &Fixture) -> StreamingApi {
    fixture.streaming.clone()
}

fn search(query: &str) -> Request<SearchRequest> {
    Request::new(SearchRequest { query: query.into(), ..SearchRequest::default() })
}

#[tokio::test]
async fn an_empty_search_is_one_message_with_metrics() {
    let querier = Scripted::new(|_| Ok(nothing()));
    let fixture = querier.fixture(config()).await;
    let stream = api(&fixture).search(search("{}")).await.unwrap().into_inner();
    let messages: Vec<_> = stream.try_collect().await.unwrap();
    assert_eq!(messages.len(), 1);
    let metrics = messages[0].metrics.unwrap();
    assert_eq!((metrics.total_jobs, metrics.completed_jobs), (4, 4));
    let Some(Kind::Traces(kind)) = querier.finds()[0].search.as_ref().unwrap().kind else { panic!() };
    assert_eq!((kind.limit, kind.spans_max), (20, 3), "the defaults");
}

#[tokio::test(start_paused = true)]
async fn traces_are_told_when_they_are_certain_and_all_of_them_at_the_end() {
    let blocks: std::sync::Arc<parking_lot::Mutex<Vec<String>>> = std::sync::Arc::default();
    let known = std::sync::Arc::clone(&blocks);
    let querier = Scripted::slow(Duration::from_millis(200), move |job: &SearchJob| {
        if is_summaries(job) || job.recent.is_some() {
            return Ok(nothing());
        }
        let number = known.lock().iter().position(|path| paths(job).contains(path)).unwrap();
        Ok(traces_of(vec![found(number as u8 + 1, 10_000 * number as u64 + 10_000)]))
    });
    let fixture = querier.fixture(config()).await;
    for number in 0..8 {
        let path = block_at(&fixture, 0, 10_000 * number + 10_000).await;
        blocks.lock().push(path);
    }
    fixture.refresh().await;
    let began = Instant::now();
    let mut stream = api(&fixture).search(search("{}")).await.unwrap().into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.next().await {
        messages.push((began.elapsed(), message.unwrap()));
    }
    let (last, partial) = messages.split_last().unwrap();
    assert!(partial.len() >= 3, "{} messages", messages.len());
    assert!(messages.iter().all(|(_, message)| message.metrics.is_some()));
    assert_eq!(last.1.traces.len(), 8);
    let mut told: Vec<_> = partial.iter().flat_map(|(_, message)| &message.traces).collect();
    assert!(!told.is_empty());
    for trace in &told {
        assert!(last.1.traces.contains(trace), "what was told does not change");
    }
    let count = told.len();
    told.dedup_by_key(|trace| trace.trace_id.clone());
    assert_eq!(told.len(), count, "nothing is told twice");
    let mut before = Duration::ZERO;
    for (at, _) in &messages {
        assert!(*at - before <= Duration::from_millis(700), "{at:?} after {before:?}");
        before = *at;
    }
}

#[tokio::test(start_paused = true)]
async fn a_search_ends_when_the_client_goes() {
    let querier = Scripted::slow(Duration::from_millis(300), |_| Ok(nothing()));
    let fixture = querier.fixture(config()).await;
    let mut stream = api(&fixture).search(search("{}")).await.unwrap().into_inner();
    drop(stream.next().await);
    drop(stream);
    let asked = querier.asked.lock().len();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(asked < 4 && querier.asked.lock().len() == asked, "{asked}");
    assert_eq!(fixture.metrics.queries_running.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn errors_are_statuses() {
    let failing = async |status: Status| {
        let querier = Scripted::new(move |_| Err(status.clone()));
        querier.fixture(config()).await
    };
    let code = async |fixture: &Fixture, request| {
        let stream = api(fixture).search(request).await;
        match stream {
            Err(status) => status.code(),
            Ok(stream) => stream.into_inner().try_collect::<Vec<_>>().await.unwrap_err().code(),
        }
    };
    let fixture = failing(Status::unavailable("gone")).await;
    assert_eq!(code(&fixture, search("{")).await, Code::InvalidArgument);
    let no_time = SearchRequest { start: 5, end: 5, ..SearchRequest::default() };
    assert_eq!(code(&fixture, Request::new(no_time)).await, Code::InvalidArgument);
    assert_eq!(code(&fixture, search("{}")).await, Code::Unavailable);
    // A job that panics is not to be asked for again.
    let fixture = failing(Status::internal("panicked")).await;
    assert_eq!(code(&fixture, search("{}")).await, Code::Internal);
}

#[tokio::test]
async fn tags_and_series_are_told_too() {
    let querier = Scripted::new(|job: &SearchJob| match job.search.as_ref().unwrap().kind {
        Some(Kind::Series(_)) => Ok(Found::Series(FoundSeries::default())),
        _ => Ok(Found::Tags(FoundTags::default())),
    });
    let fixture = querier.fixture(config()).await;
    let api = api(&fixture);
    let names = api.search_tags_v2(Request::new(SearchTagsRequest::default())).await.unwrap().into_inner();
    let names: Vec<_> = names.try_collect().await.unwrap();
    assert_eq!(names[0].scopes[0].name, "intrinsic");
    let request = SearchTagValuesRequest { tag_name: "status".into(), ..SearchTagValuesRequest::default() };
    let values = api.search_tag_values_v2(Request::new(request)).await.unwrap().into_inner();
    let values: Vec<_> = values.try_collect().await.unwrap();
    assert_eq!(values[0].tag_values[0].value, "error");
    const S: u64 = 1_000_000_000;
    let range = QueryRangeRequest {
        query: "{} | rate()".into(),
        start: 1_000 * S,
        end: 2_800 * S,
        ..QueryRangeRequest::default()
    };
    let range = api.metrics_query_range(Request::new(range)).await.unwrap().into_inner();
    let range: Vec<_> = range.try_collect().await.unwrap();
    assert_eq!(range.last().unwrap().metrics.unwrap().completed_jobs, 4);
    let Some(Kind::Series(kind)) = querier.finds().last().unwrap().search.as_ref().unwrap().kind else {
        panic!()
    };
    assert_eq!(kind.step, 5 * S, "the default step");
    let instant = QueryInstantRequest { query: "{} | rate()".into(), start: S, end: 2 * S };
    let instant = api.metrics_query_instant(Request::new(instant)).await.unwrap().into_inner();
    assert!(instant.try_collect::<Vec<_>>().await.unwrap()[0].metrics.is_some());
}
