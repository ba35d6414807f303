//! Asks for traces by id, and how soon a trace is found after it was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Url;
use tokio::time::Instant;

use crate::{LoadOptions, Payload, quantile, send};

/// Traces to ask for, one after the other.
#[derive(Debug)]
pub struct Lookups<'a> {
    /// `http://host:port` of the query API.
    pub api: &'a str,
    /// Ids of traces that are there.
    pub trace_ids: &'a [[u8; 16]],
    /// How many times to ask, going round.
    pub count: usize,
}

/// Latencies of lookups or of freshness, in milliseconds.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LookupReport {
    /// How many were measured.
    pub count: usize,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

impl LookupReport {
    fn new(mut latencies: Vec<f64>) -> Self {
        latencies.sort_by(f64::total_cmp);
        let (p50_ms, p99_ms) = (quantile(&latencies, 0.5), quantile(&latencies, 0.99));
        Self { count: latencies.len(), p50_ms, p99_ms }
    }
}

impl Lookups<'_> {
    /// Asks one after the other over one connection.
    ///
    /// # Errors
    /// When an answer is not 200 or empty: every trace asked for is there.
    pub async fn run(&self) -> Result<LookupReport> {
        let client = reqwest::Client::new();
        let mut latencies = Vec::with_capacity(self.count);
        for id in self.trace_ids.iter().cycle().take(self.count) {
            let url = format!("{}/api/traces/{}", self.api, hex::encode(id));
            let sent = Instant::now();
            let answer = client.get(&url).header("accept", "application/protobuf").send().await?;
            let status = answer.status();
            let body = answer.bytes().await?;
            latencies.push(sent.elapsed().as_secs_f64() * 1e3);
            ensure!(status.is_success() && !body.is_empty(), "{url} gave {status}, {} bytes", body.len());
        }
        Ok(LookupReport::new(latencies))
    }
}

/// How a trace is looked for.
#[derive(Clone, Copy, Debug)]
pub enum LookFor {
    /// By its id.
    Id,
    /// By an attribute that only its spans have, with TraceQL.
    Search,
}

impl LookFor {
    /// Where it is asked for, and what that answers; none if nothing tells the trace from others.
    fn url(self, api: &str, payload: &Payload, now_unix_nano: u64) -> Option<Url> {
        match self {
            Self::Id => {
                let id = payload.trace_ids.first()?;
                Url::parse(&format!("{api}/api/traces/{}", hex::encode(id))).ok()
            }
            Self::Search => {
                let query = format!(r#"{{ span.request.id = "{}" }}"#, payload.request_id.as_ref()?);
                let now = now_unix_nano / 1_000_000_000;
                let range = [("start", (now - 3600).to_string()), ("end", (now + 3600).to_string())];
                Url::parse_with_params(
                    &format!("{api}/api/search?limit=1"),
                    [("q", query)].iter().chain(&range),
                )
                .ok()
            }
        }
    }

    /// Whether it is there.
    async fn found(self, client: &reqwest::Client, url: &Url) -> Result<bool> {
        let answer = client.get(url.clone()).send().await?;
        match self {
            Self::Id => Ok(answer.status() == reqwest::StatusCode::OK),
            Self::Search => {
                ensure!(answer.status().is_success(), "{url} gave {}", answer.status());
                let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await?)?;
                Ok(answer["traces"].as_array().is_some_and(|traces| !traces.is_empty()))
            }
        }
    }
}

/// Milliseconds from the acknowledgement of a request to the moment its trace is found.
///
/// # Errors
/// When sending or asking fails, or a trace is not found within ten seconds.
pub async fn freshness(
    look_for: LookFor,
    options: &LoadOptions,
    api: &str,
    seed: u64,
    now_unix_nano: u64,
    count: usize,
) -> Result<LookupReport> {
    let client = reqwest::Client::new();
    let mut latencies = Vec::with_capacity(count);
    for round in 0..count as u64 {
        let payload = Payload::build(seed.wrapping_add(round), now_unix_nano, 1);
        let Some(url) = look_for.url(api, &payload, now_unix_nano) else { continue };
        let options = LoadOptions { connections: 1, in_flight: 1, rate: None, ..options.clone() };
        send(&Arc::new(payload), &options).await?;
        let acked = Instant::now();
        while !look_for.found(&client, &url).await? {
            ensure!(acked.elapsed() < Duration::from_secs(10), "{url} was not found within ten seconds");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        latencies.push(acked.elapsed().as_secs_f64() * 1e3);
    }
    ensure!(!latencies.is_empty(), "no request held a trace that can be told from others");
    Ok(LookupReport::new(latencies))
}
