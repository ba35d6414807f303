//! Asks for traces by id, and how soon a trace is found after it was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
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

/// Milliseconds from the acknowledgement of a request to the moment its trace is found by id.
///
/// # Errors
/// When sending or asking fails, or a trace is not found within ten seconds.
pub async fn freshness(
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
        let id = payload.trace_ids.first().copied().context("the first request holds a root")?;
        let url = format!("{api}/api/traces/{}", hex::encode(id));
        let options = LoadOptions { connections: 1, in_flight: 1, rate: None, ..options.clone() };
        send(&Arc::new(payload), &options).await?;
        let acked = Instant::now();
        while client.get(&url).send().await?.status() != reqwest::StatusCode::OK {
            ensure!(acked.elapsed() < Duration::from_secs(10), "{url} was not found within ten seconds");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        latencies.push(acked.elapsed().as_secs_f64() * 1e3);
    }
    Ok(LookupReport::new(latencies))
}
