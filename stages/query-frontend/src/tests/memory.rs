//! Limits of memory and of number, and what is given back when nobody waits any more.

use std::sync::Arc;
use std::time::Duration;

use vivace_memory::{Governor, Part, Shares};
use vivace_model::ByteSize;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{FoundSeries, Label, LabelValue, PartialSeries, SearchJob, label_value};
use vivace_proto::otlp::trace::Span;

use super::fixture::{Fixture, Options, TRACE_HEX, home, part, span, traces};
use super::scripted::{Scripted, block_at, paths};
use crate::Config;

const RATE: &str =
    "/api/metrics/query_range?q=%7B%7D%20%7C%20count_over_time()%20by(span.user)&start=1000&end=1060&step=1s";

/// A span of each of so many users.
fn users(job: &SearchJob, count: usize) -> Found {
    let user = |number: usize| {
        let value = label_value::Value::Text(format!("user {number:08}"));
        let label = Label { name: "span.user".into(), value: Some(LabelValue { value: Some(value) }) };
        PartialSeries { labels: vec![label], intervals: vec![0], counts: vec![1], ..PartialSeries::default() }
    };
    let users = if paths(job).is_empty() { 0 } else { count };
    Found::Series(FoundSeries { series: (0..users).map(user).collect(), truncated: false })
}

async fn of_users(config: Config, count: usize) -> Fixture {
    let querier = Scripted::new(move |job| Ok(users(job, count)));
    let fixture = querier.fixture(config).await;
    block_at(&fixture, 0, 1030).await;
    fixture.refresh().await;
    fixture
}

#[tokio::test]
async fn json_that_is_larger_than_an_answer_may_be_is_refused_though_its_protobuf_is_not() {
    let most = ByteSize(120_000);
    let fixture = of_users(Config { answer_bytes_max: most, ..Config::default() }, 100).await;
    let protobuf = fixture.get(RATE, &[("accept", "application/protobuf")]).await;
    assert_eq!(protobuf.status, 200, "{}", protobuf.text());
    assert!(protobuf.body.len() > most.as_usize() / 4, "{}", protobuf.body.len());
    let json = fixture.get(RATE, &[]).await;
    assert_eq!(json.status, 422, "{}", json.text());
    assert!(json.text().contains("VIVACE_QUERY_FRONTEND_ANSWER_BYTES_MAX"), "{}", json.text());
    let enough = of_users(Config { answer_bytes_max: ByteSize::mib(1), ..Config::default() }, 100).await;
    let json = enough.get(RATE, &[]).await;
    assert!(json.status == 200 && json.body.len() > most.as_usize(), "{}", json.body.len());
}

#[tokio::test]
async fn too_many_groups_are_refused_with_the_limit() {
    let config = Config { group_bytes_max: ByteSize::mib(1), ..Config::default() };
    let fixture = of_users(config, 20_000).await;
    let answer = fixture.get(RATE, &[]).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("VIVACE_QUERY_FRONTEND_GROUP_BYTES_MAX"), "{}", answer.text());
    assert!(answer.text().contains("group by fewer values"), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn queries_wait_for_their_turn_and_then_are_refused() {
    let querier = vivace_querier::Config { owner_timeout: Duration::from_secs(3600), ..Default::default() };
    let config = Config { queries_running_max: 1, queries_max: 3, ..Config::default() };
    let fixture = Fixture::new(Options { config, querier, ..Options::default() }).await;
    fixture.own(home()).await;
    let path = format!("/api/traces/{TRACE_HEX}");
    let get = || fixture.get(&path, &[]);
    let (mut first, mut second, mut third) = (Box::pin(get()), Box::pin(get()), Box::pin(get()));
    for query in [&mut first, &mut second, &mut third] {
        assert!(futures::poll!(query).is_pending());
    }
    assert_eq!(fixture.metrics.queries_running.get(), 1);
    let fourth = get().await;
    assert_eq!((fourth.status.as_u16(), fourth.header("retry-after")), (429, "5"));
    assert!(fourth.text().contains("VIVACE_QUERY_FRONTEND_QUERIES_MAX"), "{}", fourth.text());
    // The second has waited for long enough before the first is done.
    let second = second.await;
    assert_eq!((second.status.as_u16(), second.header("retry-after")), (429, "5"));
    assert!(second.text().contains("QUERIES_RUNNING_MAX"), "{}", second.text());
    drop(third);
    fixture.ingester.answer(|_| Ok(part(vec![], 0)));
    let mut fifth = Box::pin(get());
    assert!(futures::poll!(&mut fifth).is_pending());
    drop(first);
    assert_eq!(fifth.await.status, 404, "its turn came when the first client went away");
}

#[tokio::test]
async fn memory_is_given_back_with_the_answer() {
    let memory = Governor::unlimited();
    let querier = vivace_querier::Config { owner_wait: Duration::ZERO, ..Default::default() };
    let options = Options { querier, memory: Some(Arc::clone(&memory)), ..Options::default() };
    let fixture = Fixture::new(options).await;
    let spans: Vec<Span> = (0..50).map(|number| span(&format!("s{number}"), number)).collect();
    fixture.append(home(), &[traces(spans)]).await;
    assert_eq!(fixture.names().await.len(), 50);
    for path in ["/api/search?q=%7B%7D", "/api/v2/search/tags", RATE] {
        assert_eq!(fixture.get(path, &[]).await.status, 200, "{path}");
    }
    let peaks = [Part::Answers, Part::Groups, Part::Tail].map(|part| memory.peak(part) > 0);
    assert_eq!(peaks, [true; 3]);
    for part in [Part::Answers, Part::Groups] {
        assert_eq!(memory.used(part), 0, "{part}");
    }
}

#[tokio::test]
async fn where_memory_is_short_the_answer_says_which() {
    let ceiling = 4096;
    let shares = [(Part::Answers, ceiling, 0), (Part::Groups, 1 << 20, 0), (Part::Tail, 16 << 20, 0)];
    let memory = Governor::new(Shares::exact(32 << 20, &shares));
    let querier = vivace_querier::Config { owner_wait: Duration::ZERO, ..Default::default() };
    let options = Options { querier, memory: Some(Arc::clone(&memory)), ..Options::default() };
    let fixture = Fixture::new(options).await;
    let spans: Vec<Span> = (0..50).map(|number| span(&format!("s{number}"), number)).collect();
    fixture.append(home(), &[traces(spans)]).await;
    let answer = fixture.get(&format!("/api/traces/{TRACE_HEX}"), &[]).await;
    assert!(matches!(answer.status.as_u16(), 422 | 429), "{} {}", answer.status, answer.text());
    assert!(
        answer.text().contains("answers") && answer.text().contains("VIVACE_MEMORY_LIMIT"),
        "{}",
        answer.text()
    );
    assert_eq!(memory.used(Part::Answers), 0);
}
