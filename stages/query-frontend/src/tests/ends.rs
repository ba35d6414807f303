//! A query that ends takes its jobs with it, wherever they run.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use vivace_proto::internal::querier_server::{Querier, QuerierServer};
use vivace_proto::internal::{PartStream, SearchJob, SearchJobPart, TraceJob, TraceJobPart};

use super::fixture::{Fixture, Options};
use crate::Config;

/// What happens to a job.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Begun,
    Dropped,
}

/// A querier that never answers, and tells what happens to its jobs.
struct Endless(mpsc::Sender<Event>);

struct Running(mpsc::Sender<Event>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.try_send(Event::Dropped).expect("there is room for all events");
    }
}

#[tonic::async_trait]
impl Querier for Endless {
    type TraceStream = PartStream<TraceJobPart>;
    type SearchStream = PartStream<SearchJobPart>;

    async fn search(&self, _: Request<SearchJob>) -> Result<Response<Self::SearchStream>, Status> {
        let _running = Running(self.0.clone());
        self.0.try_send(Event::Begun).expect("there is room for all events");
        std::future::pending().await
    }

    async fn trace(&self, _: Request<TraceJob>) -> Result<Response<Self::TraceStream>, Status> {
        Err(Status::unimplemented("one trace"))
    }
}

/// A query-frontend with such a querier behind the network.
async fn fixture(config: Config) -> (Fixture, mpsc::Receiver<Event>) {
    let (events, happened) = mpsc::channel(1000);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let queriers = vec![listener.local_addr().unwrap().to_string()];
    let config = Config { queriers, ..config };
    let mut server = Server::builder();
    let server = server.add_service(QuerierServer::new(Endless(events)));
    let serve = server.serve_with_incoming(TcpIncoming::from(listener));
    // It has to be there before the query-frontend is ready.
    let mut early = tokio::task::JoinSet::new();
    early.spawn(async move { serve.await.unwrap() });
    let mut fixture = Fixture::new(Options { config, ..Options::default() }).await;
    fixture.tasks.spawn(async move { early.join_all().await.into_iter().collect() });
    (fixture, happened)
}

/// Waits until all jobs that began have been dropped; `running` are those of which it is known already.
async fn all_dropped(happened: &mut mpsc::Receiver<Event>, mut running: usize) {
    loop {
        match happened.recv().await.expect("the querier runs") {
            Event::Begun => running += 1,
            Event::Dropped => running -= 1,
        }
        if running == 0 {
            return;
        }
    }
}

#[tokio::test]
async fn jobs_elsewhere_end_with_a_query_that_takes_too_long() {
    let config = Config { query_timeout: Duration::from_millis(300), ..Config::default() };
    let (fixture, mut happened) = fixture(config).await;
    assert_eq!(fixture.get("/api/search?q=%7B%7D", &[]).await.status, 504);
    all_dropped(&mut happened, 0).await;
}

#[tokio::test]
async fn jobs_elsewhere_end_with_a_client_that_goes_away() {
    let (fixture, mut happened) = fixture(Config::default()).await;
    {
        let asked = fixture.get("/api/search?q=%7B%7D", &[]);
        tokio::select! {
            answer = asked => panic!("{}", answer.text()),
            event = happened.recv() => assert_eq!(event, Some(Event::Begun)),
        }
    }
    all_dropped(&mut happened, 1).await;
    assert_eq!(fixture.metrics.queries_running.get(), 0);
}
