use std::time::Duration;

use anyhow::{Context, bail, ensure};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;
use vivace_model::TraceId;
use vivace_probe::Api;

use crate::canonical::{Canonical, canonical};
use crate::canonical_json::canonical_from_json;

/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Asks for traces by id in every form, as Grafana does.
#[derive(Clone, Debug)]
pub struct TraceClient {
    api: Api,
    http: reqwest::Client,
    base: String,
}

impl TraceClient {
    /// A client of the API at `http://host:port`.
    ///
    /// # Panics
    /// When that is no address.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let api = Api::new(base, None, ANSWER_LIMIT).expect("the tests make addresses of loopback");
        Self { api, http: reqwest::Client::new(), base: base.to_owned() }
    }

    /// `/api/v2/traces/{id}` in protobuf. No such trace: a trace without spans.
    ///
    /// # Errors
    /// When the answer is no success, is partial or is not as Tempo forms it.
    pub async fn trace(&self, id: TraceId) -> anyhow::Result<TracesData> {
        Ok(self.api.trace(id).await?)
    }

    /// `/api/traces/{id}` in protobuf; none when it answers 404.
    ///
    /// # Errors
    /// When the answer is neither a trace nor 404.
    pub async fn trace_v1(&self, id: TraceId) -> anyhow::Result<Option<TracesData>> {
        let answer = self.get(&format!("/api/traces/{id}"), "application/protobuf").await?;
        match answer.status() {
            StatusCode::OK => Ok(Some(TracesData::decode(answer.bytes().await?)?)),
            StatusCode::NOT_FOUND => Ok(None),
            status => bail!("v1 answered {status}: {}", answer.text().await?),
        }
    }

    /// The trace from both versions of the API in both protobuf and JSON, each with the name of where it comes from.
    ///
    /// # Errors
    /// When one of them fails or is not as Tempo forms it.
    pub async fn every_form(&self, id: TraceId) -> anyhow::Result<Vec<(&'static str, Canonical)>> {
        let v1 = self.trace_v1(id).await?.context("v1 does not have the trace")?;
        let v1_json = self.json(&format!("/api/traces/{id}")).await?;
        let v2_json = self.json(&format!("/api/v2/traces/{id}")).await?;
        Ok(vec![
            ("v1 protobuf", canonical(&v1)),
            ("v1 JSON", canonical_from_json(&v1_json["batches"])?),
            ("v2 protobuf", canonical(&self.trace(id).await?)),
            ("v2 JSON", canonical_from_json(&v2_json["trace"]["resourceSpans"])?),
        ])
    }

    async fn json(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.get(path, "application/json").await?.error_for_status()?;
        Ok(answer.json().await?)
    }

    async fn get(&self, path: &str, accept: &'static str) -> anyhow::Result<reqwest::Response> {
        let answer = self.http.get(format!("{}{path}", self.base)).header(ACCEPT, accept).send().await?;
        if answer.status().is_success() {
            let kind = answer.headers().get(CONTENT_TYPE).context("the answer has no content type")?;
            ensure!(kind.to_str()?.starts_with(accept), "asked for {accept} and got {kind:?}");
        }
        Ok(answer)
    }
}
