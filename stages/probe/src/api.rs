//! Questions to the query API, as any client of Tempo asks them.

use std::ops::Range;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use reqwest::{Client, StatusCode, Url, header};
use serde_json::Value;
use vivace_model::TraceId;

/// Longest text of a refusal that is told on.
const TEXT_MAX: usize = 500;

/// A server's query API.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    base: Url,
    tenant: Option<String>,
}

/// Why a question has no answer. It may be asked again.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The address is none.
    #[error("{0} is no URL of a server")]
    Address(String),
    /// The tenant's name cannot be sent in a header.
    #[error("the tenant is not a value that a header can have")]
    Tenant,
    /// The server cannot be reached, or its answer broke off.
    #[error("failed to ask {path}")]
    Reach {
        /// What was asked.
        path: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// The server says no.
    #[error("{path} answered {status}: {text}")]
    Refused {
        /// What was asked.
        path: String,
        /// The status.
        status: StatusCode,
        /// What it said.
        text: String,
    },
    /// The server says that there is more than it tells.
    #[error("{path} gave a partial answer: {text}")]
    Partial {
        /// What was asked.
        path: String,
        /// What it said.
        text: String,
    },
    /// The answer is not as Tempo forms it.
    #[error("{path} gave an answer that makes no sense: {text}")]
    Malformed {
        /// What was asked.
        path: String,
        /// What is wrong.
        text: String,
    },
}

/// Tempo's answer to a question for one trace, by its published field numbers.
#[derive(Clone, PartialEq, Message)]
struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
    /// 0: complete, 1: partial.
    #[prost(int32, tag = "3")]
    status: i32,
    #[prost(string, tag = "4")]
    message: String,
}

/// A trace in the answer to a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTrace {
    /// Its id in hex.
    pub id: String,
    /// Its spans that match.
    pub matched: u64,
}

impl Api {
    /// The API at `http://host:port`; no answer is waited for longer than `timeout`.
    ///
    /// # Errors
    /// [`ApiError::Address`] when that is no address.
    pub fn new(base: &str, tenant: Option<String>, timeout: Duration) -> Result<Self, ApiError> {
        let wrong = || ApiError::Address(base.to_owned());
        let url = Url::parse(base).ok().filter(|url| !url.cannot_be_a_base()).ok_or_else(wrong)?;
        let client = Client::builder().timeout(timeout).build();
        let client = client.map_err(|source| ApiError::Reach { path: base.to_owned(), source })?;
        Ok(Self { client, base: url, tenant })
    }

    /// A trace by its id, from the second version of the API. No such trace: one without spans.
    ///
    /// # Errors
    /// [`ApiError`] when there is no whole answer.
    pub async fn trace(&self, id: TraceId) -> Result<TracesData, ApiError> {
        let path = format!("/api/v2/traces/{id}");
        let body = self.get(&path, &[], "application/protobuf").await?;
        let malformed = |text: String| ApiError::Malformed { path: path.clone(), text };
        let answer =
            TraceByIdResponse::decode(body.as_slice()).map_err(|error| malformed(error.to_string()))?;
        if answer.status != 0 {
            return Err(ApiError::Partial { path, text: answer.message });
        }
        answer.trace.ok_or_else(|| malformed("no trace, which Grafana cannot stand".into()))
    }

    /// Traces with spans that match, in a range of seconds since the epoch.
    ///
    /// # Errors
    /// [`ApiError`] when there is no whole answer.
    pub async fn search(&self, query: &str, seconds: Range<u64>) -> Result<Vec<FoundTrace>, ApiError> {
        let path = "/api/search";
        let answer = self.json(path, query, seconds).await?;
        let traces = answer.get("traces").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let found = |trace: &Value| {
            let sets = trace.get("spanSets").and_then(Value::as_array)?;
            let matched = sets.iter().filter_map(|set| set.get("matched").and_then(Value::as_u64)).sum();
            Some(FoundTrace { id: trace.get("traceID")?.as_str()?.to_owned(), matched })
        };
        let traces: Option<Vec<_>> = traces.iter().map(found).collect();
        traces.ok_or_else(|| ApiError::Malformed { path: path.into(), text: shortened(&answer.to_string()) })
    }

    /// The value of a metrics query that has one series, such as a count, in a range of seconds since the epoch. No series
    /// counts as 0.
    ///
    /// # Errors
    /// [`ApiError`] when there is no whole answer.
    pub async fn count(&self, query: &str, seconds: Range<u64>) -> Result<u64, ApiError> {
        let path = "/api/metrics/query";
        let answer = self.json(path, query, seconds).await?;
        let malformed = || ApiError::Malformed { path: path.into(), text: shortened(&answer.to_string()) };
        match answer.get("series").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
            [] => Ok(0),
            [only] => Ok(only.get("value").and_then(Value::as_f64).ok_or_else(malformed)? as u64),
            _ => Err(malformed()),
        }
    }

    async fn json(&self, path: &str, query: &str, seconds: Range<u64>) -> Result<Value, ApiError> {
        let range = [("start", seconds.start.to_string()), ("end", seconds.end.to_string())];
        let [start, end] = range.each_ref().map(|(name, value)| (*name, value.as_str()));
        let body = self.get(path, &[("q", query), start, end], "application/json").await?;
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|error| ApiError::Malformed { path: path.into(), text: error.to_string() })?;
        if answer.get("status").is_some_and(|status| status != "COMPLETE") {
            return Err(ApiError::Partial { path: path.into(), text: shortened(&answer.to_string()) });
        }
        Ok(answer)
    }

    async fn get(&self, path: &str, parameters: &[(&str, &str)], accept: &str) -> Result<Vec<u8>, ApiError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let mut request = self.client.get(url).header(header::ACCEPT, accept);
        if let Some(tenant) = &self.tenant {
            request = request.header("x-scope-orgid", tenant);
        }
        let reach = |source| ApiError::Reach { path: path.to_owned(), source };
        let answer = request.send().await.map_err(reach)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(reach)?;
        if status != StatusCode::OK {
            let text = shortened(String::from_utf8_lossy(&body).trim());
            return Err(ApiError::Refused { path: path.to_owned(), status, text });
        }
        Ok(body.into())
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}
