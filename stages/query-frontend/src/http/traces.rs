//! `/api/traces/{id}` and `/api/v2/traces/{id}`.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use prost::Message;
use vivace_model::{TraceId, WorkBudget};
use vivace_proto::tempopb::{PartialStatus, Trace, TraceByIdMetrics, TraceByIdResponse};

use super::accept::Format;
use super::body::{self, ChunkWriter};
use super::not_found;
use super::params::Params;
use crate::budget::Held;
use crate::compute::compute;
use crate::damage::{self, DAMAGED_BLOCKS};
use crate::frontend::Inner;
use crate::plan::Question;
use crate::trace_by_id::Found;
use crate::trace_filter::{Hierarchy, TraceFilter};
use crate::{QueryError, json};

/// Up to which offset of each partition asked the answer is complete.
const COMPLETE_THROUGH: HeaderName = HeaderName::from_static("x-vivace-complete-through");
const BLOCKS_INSPECTED: HeaderName = HeaderName::from_static("x-vivace-blocks-inspected");
const BLOCKS_SKIPPED: HeaderName = HeaderName::from_static("x-vivace-blocks-skipped");
const BYTES_READ: HeaderName = HeaderName::from_static("x-vivace-bytes-read");
/// A longer header is left out: proxies and clients refuse answers for it.
const HEADER_BYTES_MAX: usize = 4 << 10;
/// Spans that are written within a millisecond, so on the async thread.
const SPANS_INLINE_MAX: usize = 256;

/// A trace as such; 404 if there is none, 422 if it is too large.
pub(super) async fn v1(
    State(inner): State<Arc<Inner>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    let found = find(&inner, &id, &uri, &headers).await?;
    if let Some(message) = found.truncated {
        return Err(QueryError::TooLarge(message));
    }
    if found.spans == 0
        && let Some(message) = damage::message(&found.damaged)
    {
        // It may be in there: "not found" would be wrong.
        return Err(QueryError::Damaged(message));
    }
    let described = description(&inner, &found);
    let mut response = if found.spans == 0 {
        not_found()
    } else {
        let (format, spans, held) = (Format::of(&headers), found.spans, found.held);
        let trace = Trace { resource_spans: found.trace.resource_spans };
        match format {
            Format::Protobuf => protobuf(trace, spans, held).await?,
            Format::Json => written(spans, held, move |out| json::trace_v1(out, &trace.resource_spans))?,
        }
    };
    response.headers_mut().extend(described);
    Ok(response)
}

/// A trace in an envelope; an empty one if there is none, what fits if it is too large, what matches if there is a filter.
pub(super) async fn v2(
    State(inner): State<Arc<Inner>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    // What we do ourselves may take as much of the processors as a query may take of time.
    let budget = WorkBudget::new(inner.config.query_timeout);
    let _waits = budget.cancel_on_drop();
    let filter = filter(&Params::of(&uri)?, &budget).await?;
    let mut found = find(&inner, &id, &uri, &headers).await?;
    let described = description(&inner, &found);
    if let Some(filter) = filter {
        let id: TraceId = id.parse().map_err(|error| QueryError::Invalid(format!("{error}")))?;
        found = filtered(found, filter, id, budget).await?;
    }
    let reasons: Vec<_> = found.truncated.into_iter().chain(damage::message(&found.damaged)).collect();
    let status = if reasons.is_empty() { PartialStatus::Complete } else { PartialStatus::Partial };
    let answer = TraceByIdResponse {
        trace: Some(Trace { resource_spans: found.trace.resource_spans }),
        metrics: Some(TraceByIdMetrics { inspected_bytes: found.metrics.bytes_read }),
        status: status.into(),
        message: reasons.join("; "),
    };
    let mut response = match Format::of(&headers) {
        Format::Protobuf => protobuf(answer, found.spans, found.held).await?,
        Format::Json => {
            written(found.spans, found.held, move |out| json::trace_by_id_response(out, &answer))?
        }
    };
    response.headers_mut().extend(described);
    Ok(response)
}

/// The filter that is asked for: `q`, and how many generations around the spans that match stay.
async fn filter(params: &Params, budget: &WorkBudget) -> Result<Option<TraceFilter>, QueryError> {
    let Some(query) = params.get("q") else {
        return Ok(None);
    };
    let keep = matches!(params.get("keep_hierarchy"), Some("true" | "1"));
    // -1 stands for all.
    let generations = |name: &str, default| match params.get(name) {
        Some("-1") => Ok(usize::MAX),
        _ => params.number(name).map(|number| number.map_or(default, |number| number as usize)),
    };
    let ancestors = generations("ancestor_depth", usize::MAX)?;
    let descendants = generations("match_depth", 0)?;
    let hierarchy = Hierarchy { ancestors: if keep { ancestors } else { 0 }, descendants };
    let (query, budget) = (query.to_owned(), budget.clone());
    compute(move || TraceFilter::new(&query, hierarchy, &budget).map(Some)).await
}

async fn filtered(
    mut found: Found,
    filter: TraceFilter,
    id: TraceId,
    budget: WorkBudget,
) -> Result<Found, QueryError> {
    let spans = found.spans;
    let work = move || {
        let _meter = budget.meter();
        (found.trace, found.spans) = filter.apply(&found.trace, &id)?;
        Ok(found)
    };
    let mut found = compute(work).await?;
    if found.spans < spans && found.truncated.is_none() {
        let left_out = spans - found.spans;
        found.truncated = Some(format!("{left_out} spans that the filter does not match are left out"));
    }
    Ok(found)
}

async fn find(inner: &Inner, id: &str, uri: &Uri, headers: &HeaderMap) -> Result<Found, QueryError> {
    let tenants = inner.tenancy.tenants(headers)?;
    let trace_id: TraceId = id.parse().map_err(|error| QueryError::Invalid(format!("{error}")))?;
    let range = Params::of(uri)?.range()?;
    let question = |tenant| Question { tenant, trace_id, range: range.clone() };
    inner.limited(inner.finder.find(tenants.into_iter().map(question).collect())).await
}

/// What is said about an answer beside it.
fn description(inner: &Inner, found: &Found) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let topic = inner.finder.views.topic();
    let through = found.through.iter().map(|(partition, offset)| format!("{topic}/{partition}@{offset}"));
    let through = through.collect::<Vec<_>>().join(",");
    if through.len() <= HEADER_BYTES_MAX
        && let Ok(value) = HeaderValue::from_str(&through)
    {
        headers.insert(COMPLETE_THROUGH, value);
    }
    headers.insert(BLOCKS_INSPECTED, found.metrics.blocks_inspected.into());
    headers.insert(BLOCKS_SKIPPED, found.metrics.blocks_skipped.into());
    headers.insert(BYTES_READ, found.metrics.bytes_read.into());
    headers.extend(damage::header(&found.damaged).map(|damaged| (DAMAGED_BLOCKS, damaged)));
    headers
}

fn response(format: Format, body: Body) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, format.content_type())], body).into_response()
}

/// `held` is given back when the answer has been encoded: from then on hyper holds it.
async fn protobuf(message: impl Message + 'static, spans: usize, held: Held) -> Result<Response, QueryError> {
    let encode = move || {
        let _held = held;
        Ok(message.encode_to_vec())
    };
    let bytes = if spans <= SPANS_INLINE_MAX { encode()? } else { compute(encode).await? };
    Ok(response(Format::Protobuf, bytes.into()))
}

/// JSON: a small answer at once, a large one while it is sent.
fn written(
    spans: usize,
    held: Held,
    write: impl FnOnce(&mut Out<'_>) -> io::Result<()> + Send + 'static,
) -> Result<Response, QueryError> {
    if spans <= SPANS_INLINE_MAX {
        let mut bytes = Vec::new();
        if let Err(error) = write(&mut Out::Memory(&mut bytes)) {
            // Memory takes everything.
            return Ok((StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response());
        }
        return Ok(response(Format::Json, bytes.into()));
    }
    let body = body::streamed(move |chunks| {
        let _held = held;
        write(&mut Out::Chunks(chunks))
    })?;
    Ok(response(Format::Json, body))
}

/// Where JSON goes.
enum Out<'a> {
    Memory(&'a mut Vec<u8>),
    Chunks(&'a mut ChunkWriter),
}

impl io::Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Memory(out) => out.write(bytes),
            Self::Chunks(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
