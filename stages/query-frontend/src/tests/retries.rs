use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt, stream};
use prometheus_client::registry::Registry;
use tonic::{Code, Request, Response, Status};
use vivace_memory::Governor;
use vivace_proto::internal::querier_server::Querier;
use vivace_proto::internal::{JobMetrics, PartStream, TraceJob, TraceJobPart};

use crate::budget::Budget;
use crate::dispatch::{Dispatcher, JobFailure};
use crate::queriers::Queriers;
use crate::{Metrics, QueryError};

/// A querier whose first answers fail.
struct Flaky {
    asked: AtomicUsize,
    failures: usize,
    failure: Failure,
}

#[derive(Clone, Copy)]
enum Failure {
    /// With this code.
    Code(Code),
    /// After a part, the stream ends.
    CutOff,
    /// After a part, the stream fails.
    Torn,
}

impl Flaky {
    fn new(failures: usize, failure: Failure) -> Arc<Self> {
        Arc::new(Self { asked: 0.into(), failures, failure })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn part(text: &'static str, last: bool) -> TraceJobPart {
    let metrics = last.then(JobMetrics::default);
    TraceJobPart { traces_data: text.into(), through_offset: 5, metrics }
}

#[tonic::async_trait]
impl Querier for Flaky {
    type TraceStream = PartStream<TraceJobPart>;
    type SearchStream = PartStream<vivace_proto::internal::SearchJobPart>;

    async fn search(
        &self,
        _request: Request<vivace_proto::internal::SearchJob>,
    ) -> Result<Response<Self::SearchStream>, Status> {
        Err(Status::unimplemented("searching"))
    }

    async fn trace(&self, _: Request<TraceJob>) -> Result<Response<Self::TraceStream>, Status> {
        let parts = if self.asked.fetch_add(1, Ordering::Relaxed) >= self.failures {
            vec![Ok(part("one", false)), Ok(part("two", true))]
        } else {
            match self.failure {
                Failure::Code(code) => return Err(Status::new(code, "not now")),
                Failure::CutOff => vec![Ok(part("half", false))],
                Failure::Torn => vec![Ok(part("half", false)), Err(Status::unavailable("reset"))],
            }
        };
        Ok(Response::new(stream::iter(parts).boxed()))
    }
}

fn dispatcher(members: &[&Arc<Flaky>]) -> Dispatcher {
    let members = members.iter().map(|flaky| Arc::clone(flaky) as _).collect();
    let metrics = Metrics::new(&mut Registry::default());
    Dispatcher::new(Queriers::fixed(members), Budget::new(1 << 20, Governor::unlimited()), metrics, 16)
}

async fn run(dispatcher: &Dispatcher) -> Result<Vec<bytes::Bytes>, JobFailure> {
    let answer = dispatcher.run(&TraceJob::default()).await?;
    assert_eq!(answer.through_offset, 5);
    Ok(answer.parts)
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_goes_elsewhere_and_nothing_of_the_failure_stays() {
    for failure in [
        Failure::Code(Code::Unavailable),
        Failure::Code(Code::ResourceExhausted),
        Failure::Code(Code::Unknown),
        Failure::CutOff,
        Failure::Torn,
    ] {
        let (bad, good) = (Flaky::new(usize::MAX, failure), Flaky::new(0, failure));
        let dispatcher = dispatcher(&[&bad, &good]);
        for _ in 0..4 {
            assert_eq!(run(&dispatcher).await.unwrap(), ["one", "two"]);
        }
        assert_eq!(good.asked(), 4);
        assert!((1..=4).contains(&bad.asked()), "{}", bad.asked());
        assert_eq!(dispatcher.metrics.retries.get(), bad.asked() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn the_only_querier_is_tried_again_a_few_times() {
    let flaky = Flaky::new(3, Failure::Code(Code::Unavailable));
    assert!(run(&dispatcher(&[&flaky])).await.is_ok());
    assert_eq!(flaky.asked(), 4);
    let flaky = Flaky::new(4, Failure::Code(Code::Unavailable));
    let failure = run(&dispatcher(&[&flaky])).await.unwrap_err();
    assert!(matches!(failure, JobFailure::Query(QueryError::Job(status)) if status.message() == "not now"));
    assert_eq!(flaky.asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_the_same_everywhere_is_not_tried_again() {
    for (code, stale) in
        [(Code::FailedPrecondition, true), (Code::InvalidArgument, false), (Code::DataLoss, false)]
    {
        let flaky = Flaky::new(9, Failure::Code(code));
        let failure = run(&dispatcher(&[&flaky])).await.unwrap_err();
        assert_eq!(matches!(failure, JobFailure::Stale(_)), stale, "{code:?}");
        assert_eq!(flaky.asked(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_querier_a_job_fails() {
    let failure = run(&dispatcher(&[])).await.unwrap_err();
    assert!(matches!(failure, JobFailure::Query(error) if error.status() == 503));
}

#[tokio::test(start_paused = true)]
async fn bytes_over_the_budget_are_refused() {
    let flaky = Flaky::new(0, Failure::CutOff);
    let mut dispatcher = dispatcher(&[&flaky]);
    dispatcher.budget = Budget::new(1024, Governor::unlimited());
    let failure = run(&dispatcher).await.unwrap_err();
    assert!(matches!(failure, JobFailure::Query(error) if error.status() == 429));
    assert_eq!(flaky.asked(), 1);
}
