//! Tempo's `StreamingQuerier`: the same questions as over HTTP, answered bit by bit.
//! Owns: when what is told, and how it is cut into messages. Does not own: searching (`search`).
//! Guarantee: each message has metrics, the last one holds the whole answer, and there is at least one.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use prost::Message;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::error;
use vivace_model::{TenantId, UnixNanos};
use vivace_proto::internal::PartStream;
use vivace_proto::tempopb::streaming_querier_server::StreamingQuerier;
use vivace_proto::tempopb::{
    QueryInstantRequest, QueryInstantResponse, QueryRangeRequest, QueryRangeResponse, SearchRequest,
    SearchResponse, SearchTagValuesRequest, SearchTagValuesResponse, SearchTagValuesV2Response,
    SearchTagsRequest, SearchTagsResponse, SearchTagsV2Response,
};
use vivace_runtime::caught;

use crate::QueryError;
use crate::answers::{
    instant_response, names_v1, names_v2, range_response, search_response, split_range, split_traces,
    values_v1, values_v2,
};
use crate::compute::compute;
use crate::frontend::Inner;
use crate::http::{Counted, RouteCounter, check_size};
use crate::request::{
    LIMIT_DEFAULT, SeriesRequest, TagNamesRequest, TagValuesRequest, TracesRequest, query_of_tags,
};
use crate::search::Reports;

/// Reports that wait for a slow client; the search waits with them.
const REPORTS_WAITING: usize = 1;
/// What a metrics query without a time is about.
const LATELY_SECONDS: u64 = 3600;

/// The streams of the API.
#[derive(Clone)]
pub struct StreamingApi(Arc<Inner>);

impl fmt::Debug for StreamingApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingApi").finish_non_exhaustive()
    }
}

impl StreamingApi {
    pub(crate) const fn new(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    fn tenants(&self, metadata: &MetadataMap) -> Result<Vec<TenantId>, Status> {
        self.0.tenancy.tenants(&metadata.clone().into_headers()).map_err(|error| error.grpc())
    }

    /// The time of a metrics query; the last hour if none is given.
    fn time(&self, start: u64, end: u64) -> Range<UnixNanos> {
        if (start, end) != (0, 0) {
            return UnixNanos(start)..UnixNanos(end);
        }
        let now = self.0.searcher.clock.now();
        UnixNanos(now.0.saturating_sub(UnixNanos::from_secs(LATELY_SECONDS).0))..now
    }

    /// Streams what `work` reports, then what it gives; both as messages.
    fn stream<T, M, F>(
        &self,
        route: &'static str,
        work: impl FnOnce(Arc<Inner>, Reports<T>) -> F,
        messages: impl Fn(T) -> Vec<M> + Send + Sync + 'static,
    ) -> Response<PartStream<M>>
    where
        T: Send + 'static,
        M: Message + 'static,
        F: Future<Output = Result<T, QueryError>> + Send + 'static,
    {
        let (to, reports) = mpsc::channel(REPORTS_WAITING);
        let work = work(Arc::clone(&self.0), Reports::to(to));
        let answer = async move {
            caught(work).await.unwrap_or_else(|panicked| {
                error!(route, error = %panicked, "a query panicked");
                Err(QueryError::Panicked(panicked))
            })
        };
        let answer = answer.boxed();
        let counted = Counted::new(RouteCounter { metrics: self.0.metrics.clone(), route });
        let state = Streamed { reports, answer: Some(answer), counted };
        let inner = Arc::clone(&self.0);
        let messages = Arc::new(messages);
        let cut = move |found| {
            let (messages, inner) = (Arc::clone(&messages), Arc::clone(&inner));
            compute(move || {
                let messages = messages(found);
                check_size(messages.iter().map(Message::encoded_len).sum(), inner.config.answer_bytes_max)?;
                Ok(messages)
            })
        };
        let stream = stream::unfold(state, Streamed::next).and_then(cut).flat_map(|cut| match cut {
            Ok(messages) => stream::iter(messages).map(Ok).left_stream(),
            Err(error) => stream::iter([Err(error.grpc())]).right_stream(),
        });
        Response::new(stream.boxed())
    }
}

/// An answer on its way. Dropping it stops the search.
struct Streamed<T> {
    reports: mpsc::Receiver<T>,
    /// None when it was given.
    answer: Option<BoxFuture<'static, Result<T, QueryError>>>,
    counted: Counted,
}

impl<T> Streamed<T> {
    async fn next(mut self) -> Option<(Result<T, QueryError>, Self)> {
        let answer = self.answer.as_mut()?;
        let item = tokio::select! {
            biased;
            Some(report) = self.reports.recv() => Ok(report),
            found = answer => {
                self.answer = None;
                self.counted.status_code = match &found {
                    Ok(_) => 200,
                    Err(error) => error.status().as_u16(),
                };
                found
            }
        };
        Some((item, self))
    }
}

#[tonic::async_trait]
impl StreamingQuerier for StreamingApi {
    type SearchStream = PartStream<SearchResponse>;
    type SearchTagsStream = PartStream<SearchTagsResponse>;
    type SearchTagsV2Stream = PartStream<SearchTagsV2Response>;
    type SearchTagValuesStream = PartStream<SearchTagValuesResponse>;
    type SearchTagValuesV2Stream = PartStream<SearchTagValuesV2Response>;
    type MetricsQueryRangeStream = PartStream<QueryRangeResponse>;
    type MetricsQueryInstantStream = PartStream<QueryInstantResponse>;

    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<Self::SearchStream>, Status> {
        let tenants = self.tenants(request.metadata())?;
        let request = traces_request(request.into_inner()).map_err(|error| error.grpc())?;
        Ok(self.stream(
            "/tempopb.StreamingQuerier/Search",
            |inner, reports| async move { inner.search(tenants, &request, reports).await },
            |found| split_traces(search_response(found)),
        ))
    }

    async fn search_tags(
        &self,
        request: Request<SearchTagsRequest>,
    ) -> Result<Response<Self::SearchTagsStream>, Status> {
        let tenants = self.tenants(request.metadata())?;
        let request = names_request(request.into_inner()).map_err(|error| error.grpc())?;
        let asked = request.clone();
        Ok(self.stream(
            "/tempopb.StreamingQuerier/SearchTags",
            |inner, reports| async move { inner.tag_names(tenants, &request, reports).await },
            move |found| vec![names_v1(&asked, found)],
        ))
    }

    async fn search_tags_v2(
        &self,
        request: Request<SearchTagsRequest>,
    ) -> Result<Response<Self::SearchTagsV2Stream>, Status> {
        let tenants = self.tenants(request.metadata())?;
        let request = names_request(request.into_inner()).map_err(|error| error.grpc())?;
        let asked = request.clone();
        Ok(self.stream(
            "/tempopb.StreamingQuerier/SearchTagsV2",
            |inner, reports| async move { inner.tag_names(tenants, &request, reports).await },
            move |found| vec![names_v2(&asked, found)],
        ))
    }

    async fn search_tag_values(
        &self,
        request: Request<SearchTagValuesRequest>,
    ) -> Result<Response<Self::SearchTagValuesStream>, Status> {
        let tenants = self.tenants(request.metadata())?;
        let request = values_request(request.into_inner()).map_err(|error| error.grpc())?;
        let request = TagValuesRequest { tag: TagValuesRequest::unscoped(&request.tag), ..request };
        Ok(self.stream(
            "/tempopb.StreamingQuerier/SearchTagValues",
            |inner, reports| async move { inner.tag_values(tenants, &request, reports).await },
            |found| vec![values_v1(found)],
        ))
    }

    async fn search_tag_values_v2(
        &self,
        request: Request<SearchTagValuesRequest>,
    ) -> Result<Response<Self::SearchTagValuesV2Stream>, Status> {
        let tenants = self.tenants(request.metadata())?;
        let request = values_request(request.into_inner()).map_err(|error| error.grpc())?;
        Ok(self.stream(
            "/tempopb.StreamingQuerier/SearchTagValuesV2",
            |inner, reports| async move { inner.tag_values(tenants, &request, reports).await },
            |found| vec![values_v2(found)],
        ))
    }

    async fn metrics_query_range(
        &self,
        request: Request<QueryRangeRequest>,
    ) -> Result<Response<Self::MetricsQueryRangeStream>, Status> {
        let tenants = self.tenants(request.metadata())?;
        let QueryRangeRequest { query, start, end, step, exemplars, max_series } = request.into_inner();
        let range = self.time(start, end);
        let request = SeriesRequest { query, range, step, exemplars, series_max: max_series, instant: false };
        Ok(self.stream(
            "/tempopb.StreamingQuerier/MetricsQueryRange",
            |inner, reports| async move { inner.series(tenants, &request, reports).await },
            |found| split_range(range_response(found)),
        ))
    }

    async fn metrics_query_instant(
        &self,
        request: Request<QueryInstantRequest>,
    ) -> Result<Response<Self::MetricsQueryInstantStream>, Status> {
        let tenants = self.tenants(request.metadata())?;
        let QueryInstantRequest { query, start, end } = request.into_inner();
        let range = self.time(start, end);
        let request = SeriesRequest { query, range, step: 0, exemplars: 0, series_max: 0, instant: true };
        Ok(self.stream(
            "/tempopb.StreamingQuerier/MetricsQueryInstant",
            |inner, reports| async move { inner.series(tenants, &request, reports).await },
            |found| vec![instant_response(found)],
        ))
    }
}

fn traces_request(request: SearchRequest) -> Result<TracesRequest, QueryError> {
    let SearchRequest {
        tags,
        min_duration_ms,
        max_duration_ms,
        limit,
        start,
        end,
        query,
        spans_per_span_set,
    } = request;
    let duration = |millis: u32| (millis > 0).then(|| Duration::from_millis(u64::from(millis)));
    let query = if query.is_empty() {
        query_of_tags(&tags, duration(min_duration_ms), duration(max_duration_ms))?
    } else if tags.is_empty() {
        query
    } else {
        return Err(QueryError::Invalid("Query and Tags exclude each other".into()));
    };
    let limit = if limit == 0 { LIMIT_DEFAULT } else { limit };
    Ok(TracesRequest { query, limit, spans_max: spans_per_span_set, range: seconds(start, end)? })
}

fn names_request(request: SearchTagsRequest) -> Result<TagNamesRequest, QueryError> {
    let SearchTagsRequest { scope, query, start, end, max_tags_per_scope, stale_values_threshold: _ } =
        request;
    Ok(TagNamesRequest { scope, filter: query, range: seconds(start, end)?, limit: max_tags_per_scope })
}

fn values_request(request: SearchTagValuesRequest) -> Result<TagValuesRequest, QueryError> {
    let SearchTagValuesRequest { tag_name, query, start, end, max_tag_values, stale_value_threshold: _ } =
        request;
    Ok(TagValuesRequest { tag: tag_name, filter: query, range: seconds(start, end)?, limit: max_tag_values })
}

/// Both 0: any time.
fn seconds(start: u32, end: u32) -> Result<Option<Range<UnixNanos>>, QueryError> {
    let time = |seconds: u32| UnixNanos::from_secs(u64::from(seconds));
    match (start, end) {
        (0, 0) => Ok(None),
        (_, 0) => Err(QueryError::Invalid("start and end must be given together".into())),
        _ if start >= end => Err(QueryError::Invalid("start must be before end".into())),
        _ => Ok(Some(time(start)..time(end))),
    }
}
