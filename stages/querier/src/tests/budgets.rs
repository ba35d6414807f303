//! Jobs end when they have used up their processor time, and when nobody waits for them.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use vivace_runtime::ComputeThreads;

use super::fixture::{FakeIngester, Fixture};
use super::search::{Made, columns, job, made, traces, with_recent};
use crate::Config;

/// A querier with an ingester that holds these spans.
async fn with_spans(config: Config, spans: Vec<Made>) -> Fixture {
    let ingester = FakeIngester::of_columns(move |_| Ok(columns(&spans, 0)));
    let fixture = Fixture::new(config, &[("local", &ingester)]).await;
    fixture.announce(Some("local")).await;
    fixture
}

#[tokio::test(start_paused = true)]
async fn a_job_that_takes_too_long_ends_and_names_the_setting() {
    let config = Config { job_cpu_max: Duration::from_nanos(1), ..Config::default() };
    let fixture = with_spans(config, vec![made(1, 1, 0, 1, "a")]).await;
    let search = traces("{ name =~ `a|b` }", 10);
    let refused = fixture.search(with_recent(job(&search, &[]))).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().contains("VIVACE_QUERIER_JOB_CPU_MAX"), "{}", refused.message());
}

#[tokio::test(start_paused = true)]
async fn what_takes_an_owner_too_long_is_not_read_from_the_log() {
    let ingester = FakeIngester::of_columns(|_| Err(Status::out_of_range("it takes too long")));
    let fixture = Fixture::new(Config::default(), &[("local", &ingester)]).await;
    fixture.announce(Some("local")).await;
    fixture.append(&[&[(1, "a")]]).await;
    let refused = fixture.search(with_recent(job(&traces("{ }", 10), &[]))).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::OutOfRange, "it takes too long"));
}

/// Without an end it would work for an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_nobody_waits_for_gives_its_threads_back() {
    // Long texts of two letters, for which each byte leads a pattern to another state.
    let text = |seed: u8| -> &'static str {
        let mut state = u64::from(seed) + 1;
        let letters = (0..16 << 10).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if state >> 63 == 0 { 'u' } else { 'v' }
        });
        String::leak(letters.collect())
    };
    let spans = (1..=200).map(|id| made(1, id, 0, 1, text(id))).collect();
    let config = Config { job_cpu_max: Duration::MAX, ..Config::default() };
    let fixture = Arc::new(with_spans(config, spans).await);
    let patterns: Vec<_> = (0..60).map(|number| format!("name =~ `.*u.{{200}}{number}`")).collect();
    let search = traces(&format!("{{ {} }}", patterns.join(" || ")), 10);
    let threads = ComputeThreads::of_process();
    {
        let asked = fixture.search(with_recent(job(&search, &[])));
        let works = async {
            while threads.busy() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answered = asked => panic!("it is answered: {answered:?}"),
            () = works => {}
        }
    }
    while threads.busy() > 0 {
        tokio::task::yield_now().await;
    }
}
