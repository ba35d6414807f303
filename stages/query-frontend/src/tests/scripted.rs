use std::sync::Arc;

use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tonic::{Request, Response, Status};
use vivace_model::{Partition, UnixNanos};
use vivace_proto::internal::querier_server::Querier;
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{
    FoundRoot, FoundSpan, FoundSpanset, FoundTrace, FoundTraces, PartStream, SearchJob, SearchJobMetrics,
    SearchJobPart, ServiceStats, TraceJob, TraceJobPart, TraceSummary,
};

use super::fixture::{Fixture, Options, span, traces};
use crate::Config;

type Script = Box<dyn Fn(&SearchJob) -> Result<Found, Status> + Send + Sync>;

/// A querier that answers searches as its script says, one after the other, and notes what it was asked.
pub(super) struct Scripted {
    script: Mutex<Script>,
    pub(super) asked: Mutex<Vec<SearchJob>>,
    /// How long each job takes.
    pub(super) pause: std::time::Duration,
}

impl Scripted {
    pub(super) fn new(
        script: impl Fn(&SearchJob) -> Result<Found, Status> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::slow(std::time::Duration::ZERO, script)
    }

    pub(super) fn slow(
        pause: std::time::Duration,
        script: impl Fn(&SearchJob) -> Result<Found, Status> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(Box::new(script)), asked: Mutex::default(), pause })
    }

    /// Jobs that look for something.
    pub(super) fn finds(&self) -> Vec<SearchJob> {
        let asked = self.asked.lock();
        asked.iter().filter(|job| !is_summaries(job)).cloned().collect()
    }

    /// A query-frontend that asks it.
    pub(super) async fn fixture(self: &Arc<Self>, config: Config) -> Fixture {
        let fake = Some(Arc::clone(self) as _);
        Fixture::new(Options { config, fake, ..Options::default() }).await
    }
}

#[tonic::async_trait]
impl Querier for Scripted {
    type TraceStream = PartStream<TraceJobPart>;
    type SearchStream = PartStream<SearchJobPart>;

    async fn search(&self, request: Request<SearchJob>) -> Result<Response<Self::SearchStream>, Status> {
        let job = request.into_inner();
        self.asked.lock().push(job.clone());
        tokio::time::sleep(self.pause).await;
        let found = (self.script.lock())(&job)?;
        let metrics =
            SearchJobMetrics { bytes_read: 10, spans_inspected: 100, ..SearchJobMetrics::default() };
        let part = SearchJobPart { found: Some(found), metrics: Some(metrics), through_offset: 0 };
        Ok(Response::new(stream::iter([Ok(part)]).boxed()))
    }

    async fn trace(&self, _: Request<TraceJob>) -> Result<Response<Self::TraceStream>, Status> {
        Err(Status::unimplemented("one trace"))
    }
}

pub(super) fn is_summaries(job: &SearchJob) -> bool {
    matches!(job.search.as_ref().and_then(|search| search.kind.as_ref()), Some(Kind::Summaries(_)))
}

/// Paths of the blocks that a job is about.
pub(super) fn paths(job: &SearchJob) -> Vec<String> {
    job.blocks.iter().filter_map(|block| block.block.as_ref()).map(|block| block.path.clone()).collect()
}

pub(super) fn partition(job: &SearchJob) -> Option<u32> {
    job.recent.as_ref().map(|recent| recent.partition)
}

pub(super) fn nothing() -> Found {
    Found::Traces(FoundTraces::default())
}

/// What a job says of a trace with one span that matches; times in seconds.
pub(super) fn found(id: u8, start: u64) -> FoundTrace {
    let start = start * 1_000_000_000;
    FoundTrace {
        trace_id: vec![id; 16],
        spansets: vec![FoundSpanset {
            matched: 1,
            spans: vec![FoundSpan {
                span_id: vec![id; 8],
                name: format!("span {id}"),
                start,
                duration: 1_000_000,
                ..FoundSpan::default()
            }],
            attributes: vec![],
        }],
        summary: Some(summary(id, start, start + 5_000_000)),
    }
}

pub(super) fn summary(id: u8, start: u64, end: u64) -> TraceSummary {
    TraceSummary {
        start,
        end,
        root: Some(FoundRoot {
            service: "shop".into(),
            name: format!("root {id}"),
            start,
            span_id: vec![id; 8],
        }),
        services: vec![ServiceStats { service: "shop".into(), spans: 2, errors: 1 }],
    }
}

pub(super) fn traces_of(traces: Vec<FoundTrace>) -> Found {
    Found::Traces(FoundTraces { traces, more: false })
}

/// A block whose only span is at that second. Gives its path.
pub(super) async fn block_at(fixture: &Fixture, partition: u32, second: u64) -> String {
    let block = fixture.ingest(Partition(partition), 1, &traces(vec![span("x", second)])).await;
    assert_eq!(block.start_min, UnixNanos::from_secs(second));
    block.path().to_string()
}
