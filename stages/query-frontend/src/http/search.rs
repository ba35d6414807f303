//! `/api/search`, `/api/metrics/…` and lookups of tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::response::Response;
use prost::Message;

use super::accept::Format;
use super::answer::answer;
use super::logfmt;
use super::params::Params;
use crate::QueryError;
use crate::answers::{
    instant_response, names_v1, names_v2, range_response, search_response, values_v1, values_v2,
};
use crate::damage::{self, DAMAGED_BLOCKS};
use crate::frontend::Inner;
use crate::json::WriteJson;
use crate::request::{
    LIMIT_DEFAULT, SeriesRequest, TagNamesRequest, TagValuesRequest, TracesRequest, query_of_tags,
};
use crate::search::{FoundTagsSet, Reports};

/// Says that tags are missing in an answer, whose body has no place for it.
const TRUNCATED: HeaderName = HeaderName::from_static("x-vivace-truncated");
/// What a search understands besides attributes, which were parameters of their own once.
const SEARCH_PARAMETERS: [&str; 11] = [
    "q",
    "tags",
    "minDuration",
    "maxDuration",
    "limit",
    "start",
    "end",
    "since",
    "spss",
    "mode",
    "skip_ast_transformations",
];

/// `/api/search`.
pub(super) async fn traces(
    State(inner): State<Arc<Inner>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    let tenants = inner.tenancy.tenants(&headers)?;
    let params = Params::of(&uri)?;
    let request = TracesRequest {
        query: search_query(&params)?,
        limit: params.number("limit")?.unwrap_or(LIMIT_DEFAULT),
        spans_max: params.number("spss")?.unwrap_or(0),
        range: params.range_or_since(inner.searcher.clock.now())?,
    };
    let found = inner.search(tenants, &request, Reports::none()).await?;
    let damaged = damage::header(&found.damaged);
    let answer = answer(Format::of(&headers), 0, move || search_response(found), &inner).await?;
    Ok(without(answer, damaged))
}

fn search_query(params: &Params) -> Result<String, QueryError> {
    let (query, tags) = (params.get("q"), params.get("tags"));
    if query.is_some() && tags.is_some() {
        return Err(QueryError::Invalid("q and tags exclude each other".into()));
    }
    if let Some(query) = query {
        return Ok(query.to_owned());
    }
    let mut attributes = BTreeMap::new();
    if let Some(tags) = tags {
        attributes = logfmt::parse(tags).map_err(|error| QueryError::Invalid(format!("tags: {error}")))?;
    } else if params.get("start").is_none() && params.get("end").is_none() {
        let others = params.others(&SEARCH_PARAMETERS);
        attributes.extend(others.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    query_of_tags(&attributes, params.duration("minDuration")?, params.duration("maxDuration")?)
}

/// `/api/metrics/query_range`.
pub(super) async fn range(
    State(inner): State<Arc<Inner>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    let tenants = inner.tenancy.tenants(&headers)?;
    let request = series_request(&inner, &Params::of(&uri)?, false)?;
    let found = inner.series(tenants, &request, Reports::none()).await?;
    let damaged = damage::header(&found.damaged);
    let answer = answer(Format::of(&headers), found.bytes(), move || range_response(found), &inner).await?;
    Ok(without(answer, damaged))
}

/// `/api/metrics/query`.
pub(super) async fn instant(
    State(inner): State<Arc<Inner>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    let tenants = inner.tenancy.tenants(&headers)?;
    let request = series_request(&inner, &Params::of(&uri)?, true)?;
    let found = inner.series(tenants, &request, Reports::none()).await?;
    let damaged = damage::header(&found.damaged);
    let answer = answer(Format::Json, found.bytes(), move || instant_response(found), &inner).await?;
    Ok(without(answer, damaged))
}

fn series_request(inner: &Inner, params: &Params, instant: bool) -> Result<SeriesRequest, QueryError> {
    let query = params.get("q").or_else(|| params.get("query"));
    Ok(SeriesRequest {
        query: query.ok_or_else(|| QueryError::Invalid("q is missing".into()))?.to_owned(),
        range: params.range_or_lately(inner.searcher.clock.now())?,
        step: if instant { 0 } else { params.step()? },
        exemplars: params.number("exemplars")?.unwrap_or(0),
        series_max: params.number("maxSeries")?.unwrap_or(0),
        instant,
    })
}

/// `/api/search/tags`.
pub(super) async fn tag_names_v1(
    State(inner): State<Arc<Inner>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    tag_names(&inner, &uri, &headers, names_v1).await
}

/// `/api/v2/search/tags`.
pub(super) async fn tag_names_v2(
    State(inner): State<Arc<Inner>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    tag_names(&inner, &uri, &headers, names_v2).await
}

/// Names of tags in the form that `told` gives them.
async fn tag_names<M: Message + WriteJson + 'static>(
    inner: &Inner,
    uri: &Uri,
    headers: &HeaderMap,
    told: impl FnOnce(&TagNamesRequest, FoundTagsSet) -> M + Send + 'static,
) -> Result<Response, QueryError> {
    let tenants = inner.tenancy.tenants(headers)?;
    let params = Params::of(uri)?;
    let request = TagNamesRequest {
        scope: params.get("scope").unwrap_or_default().to_owned(),
        filter: params.get("q").unwrap_or_default().to_owned(),
        range: params.range_or_since(inner.searcher.clock.now())?,
        limit: params.number("limit")?.unwrap_or(0),
    };
    let found = inner.tag_names(tenants, &request, Reports::none()).await?;
    let (truncated, damaged) = (found.tags.truncated, damage::header(&found.damaged));
    let answer = answer(Format::of(headers), 0, move || told(&request, found), inner).await?;
    Ok(without(marked(answer, truncated), damaged))
}

/// `/api/search/tag/{tag}/values`.
pub(super) async fn tag_values_v1(
    State(inner): State<Arc<Inner>>,
    Path(path): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    let Some(tag) = tag_of(&path) else {
        return Ok(super::not_found());
    };
    tag_values(&inner, TagValuesRequest::unscoped(&tag), &uri, &headers, values_v1).await
}

/// `/api/v2/search/tag/{tag}/values`.
pub(super) async fn tag_values_v2(
    State(inner): State<Arc<Inner>>,
    Path(path): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    let Some(tag) = tag_of(&path) else {
        return Ok(super::not_found());
    };
    tag_values(&inner, tag, &uri, &headers, values_v2).await
}

/// Values of a tag in the form that `told` gives them.
async fn tag_values<M: Message + WriteJson + 'static>(
    inner: &Inner,
    tag: String,
    uri: &Uri,
    headers: &HeaderMap,
    told: impl FnOnce(FoundTagsSet) -> M + Send + 'static,
) -> Result<Response, QueryError> {
    let tenants = inner.tenancy.tenants(headers)?;
    let params = Params::of(uri)?;
    let request = TagValuesRequest {
        tag,
        filter: params.get("q").unwrap_or_default().to_owned(),
        range: params.range_or_since(inner.searcher.clock.now())?,
        limit: params.number("limit")?.unwrap_or(0),
    };
    let found = inner.tag_values(tenants, &request, Reports::none()).await?;
    let (truncated, damaged) = (found.tags.truncated, damage::header(&found.damaged));
    let answer = answer(Format::of(headers), 0, move || told(found), inner).await?;
    Ok(without(marked(answer, truncated), damaged))
}

/// The tag in the rest of a path, decoded once: some clients encode it twice.
fn tag_of(rest: &str) -> Option<String> {
    let tag = rest.strip_suffix("/values").filter(|tag| !tag.is_empty())?;
    let again = percent_encoding::percent_decode_str(tag).decode_utf8();
    Some(again.map_or_else(|_| tag.to_owned(), |decoded| decoded.into_owned()))
}

fn marked(mut response: Response, truncated: bool) -> Response {
    if truncated {
        response.headers_mut().insert(TRUNCATED, HeaderValue::from_static("true"));
    }
    response
}

/// Names the files that the answer lacks.
fn without(mut response: Response, damaged: Option<HeaderValue>) -> Response {
    response.headers_mut().extend(damaged.map(|damaged| (DAMAGED_BLOCKS, damaged)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_in_paths_are_decoded_once_more() {
        for (rest, tag) in [
            ("name/values", Some("name")),
            ("span.a/b/values", Some("span.a/b")),
            ("span.a%20b/values", Some("span.a b")),
            ("span.100%/values", Some("span.100%")),
            (".\"a b\"/values", Some(".\"a b\"")),
            ("/values", None),
            ("name", None),
        ] {
            assert_eq!(tag_of(rest).as_deref(), tag, "{rest}");
        }
    }
}
