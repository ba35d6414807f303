//! Requests to the query API.

use anyhow::{Context, Result, bail};
use reqwest::{Client, StatusCode, Url, header};
use serde_json::Value;

use super::{Options, Period};

/// How long an answer may take.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(120);

/// Names the files that an answer lacks.
const DAMAGED_BLOCKS: &str = "x-vivace-damaged-blocks";

/// A server's query API.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    endpoint: Url,
    tenant: Option<String>,
    /// Whether answers are to be printed as they are.
    pub(super) json: bool,
}

/// Query parameters.
pub(super) type Parameters = Vec<(&'static str, String)>;

impl Api {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let endpoint = Url::parse(&options.endpoint)
            .with_context(|| format!("--endpoint {} is no URL", options.endpoint))?;
        if endpoint.cannot_be_a_base() {
            bail!("--endpoint {} is no URL of a server", options.endpoint);
        }
        let client = Client::builder().timeout(TIMEOUT).build().context("failed to set up HTTP")?;
        Ok(Self { client, endpoint, tenant: options.tenant.clone(), json: options.json })
    }

    /// A JSON answer.
    pub(super) async fn json(&self, path: &[&str], parameters: &Parameters) -> Result<Value> {
        let body = self.get(path, parameters, "application/json").await?;
        serde_json::from_slice(&body).context("the server's answer is no JSON")
    }

    /// An answer of any type. The path is given by its segments, so that any of them may hold a slash.
    pub(super) async fn get(&self, path: &[&str], parameters: &Parameters, accept: &str) -> Result<Vec<u8>> {
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let mut request = self.client.get(url.clone()).header(header::ACCEPT, accept);
        if let Some(tenant) = &self.tenant {
            request = request.header("x-scope-orgid", tenant);
        }
        let answer = request.send().await.with_context(|| format!("failed to reach {}", self.endpoint))?;
        let status = answer.status();
        if let Some(files) = answer.headers().get(DAMAGED_BLOCKS) {
            let files = String::from_utf8_lossy(files.as_bytes());
            crate::complain(&format!("vivace: the answer is partial, these files are damaged: {files}"));
        }
        let body = answer.bytes().await.context("the answer was cut off")?;
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&body);
            bail!("the server answered {status}{}{}", if text.is_empty() { "" } else { ": " }, text.trim());
        }
        Ok(body.into())
    }
}

impl Period {
    /// As parameters; none when no period was given. `now` in seconds since the epoch.
    pub(super) fn parameters(&self, now: u64) -> Parameters {
        match (&self.since, &self.start, &self.end) {
            (Some(since), ..) => {
                let start = now.saturating_sub(since.as_secs());
                vec![("start", start.to_string()), ("end", (now + 1).to_string())]
            }
            (None, Some(start), Some(end)) => vec![("start", start.clone()), ("end", end.clone())],
            _ => Vec::new(),
        }
    }
}
