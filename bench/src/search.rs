//! Runs TraceQL queries against a server and measures them: the list of queries, latency, CPU time, bytes read.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use reqwest::Url;
use serde_json::Value;
use tokio::time::Instant;

use crate::{Server, quantile};

/// Values with many others beside them, to look for.
#[derive(Clone, Debug)]
pub struct Needles {
    /// A `span.request.id` that a trace has.
    pub request_id: String,
}

/// A query of the list: its name, and where and how it is asked.
#[derive(Clone, Debug)]
pub struct SearchCase {
    /// What it stands for.
    pub name: &'static str,
    path: &'static str,
    parameters: Vec<(&'static str, String)>,
}

/// What a query took.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SearchReport {
    /// Milliseconds of the first time after a start of the server with nothing in the page cache.
    pub cold_ms: f64,
    /// Median of the others, milliseconds.
    pub p50_ms: f64,
    /// 95th percentile of the others, milliseconds.
    pub p95_ms: f64,
    /// Spans in blocks per CPU-second of the server, millions.
    pub million_rows_per_core: f64,
    /// Mebibytes read from storage by one query.
    pub read_mib: f64,
    /// Traces, series, names or values in the answer.
    pub found: usize,
}

/// The queries that a search engine for traces is asked.
#[must_use]
pub fn cases(needles: &Needles) -> Vec<SearchCase> {
    let search = |name, query: &str| SearchCase {
        name,
        path: "/api/search",
        parameters: vec![("q", query.to_owned())],
    };
    let series = |name, query: &str, step: &str| SearchCase {
        name,
        path: "/api/metrics/query_range",
        parameters: vec![("q", query.to_owned()), ("step", step.to_owned())],
    };
    let tags = |name, path| SearchCase { name, path, parameters: Vec::new() };
    let id = &needles.request_id;
    vec![
        search("service equality", r#"{ resource.service.name = "checkout" }"#),
        search("high-cardinality equality, found", &format!(r#"{{ span.request.id = "{id}" }}"#)),
        search("high-cardinality equality, not there", r#"{ span.request.id = "not-there" }"#),
        search("status = error", "{ status = error }"),
        search("duration", "{ duration > 900ms }"),
        search("regex on a route", r#"{ span.http.route =~ "/.*product.*" }"#),
        search(
            "two attributes, a rare double and a string",
            r#"{ span.shop.order.total > 399 && span.shop.order.country = "JP" }"#,
        ),
        search(
            "descendant",
            r#"{ resource.service.name = "frontend" } >> { resource.service.name = "payment" && status = error }"#,
        ),
        search("count() > n", r#"{ kind = server } | count() > 8"#),
        search("by + avg", "{ kind = server } | by(resource.service.name) | avg(duration) > 500ms"),
        search("select", "{ status = error } | select(resource.service.name, span.http.route)"),
        search("event attribute", r#"{ event.exception.type =~ ".*Timeout.*" }"#),
        tags("tags", "/api/v2/search/tags"),
        tags("tag values", "/api/v2/search/tag/resource.service.name/values"),
        series("rate by service", "{ } | rate() by (resource.service.name)", "10s"),
        series(
            "quantile by service",
            "{ } | quantile_over_time(duration, 0.5, 0.9) by (resource.service.name)",
            "10s",
        ),
        series("compare", "{ nestedSetParent < 0 } | compare({ status = error }, 10)", "7h"),
    ]
}

impl SearchCase {
    fn url(&self, api: &str, range: (u64, u64)) -> Result<Url> {
        let mut url = Url::parse(&format!("{api}{}", self.path))?;
        url.query_pairs_mut()
            .extend_pairs(&self.parameters)
            .append_pair("start", &range.0.to_string())
            .append_pair("end", &range.1.to_string());
        Ok(url)
    }

    /// Asks `rounds` times, one after the other, for spans of `range` (seconds since the epoch) of a server that holds
    /// `rows` spans in blocks. `data`'s files are put out of the page cache before the first time.
    ///
    /// # Errors
    /// When an answer is not 200.
    pub async fn run(
        &self,
        server: &Server,
        data: &Path,
        range: (u64, u64),
        rows: u64,
        rounds: usize,
    ) -> Result<SearchReport> {
        let client = reqwest::Client::new();
        let url = self.url(&server.api(), range)?;
        forget(data)?;
        let (cold_ms, _) = ask(&client, &url).await?;
        let mut latencies = Vec::with_capacity(rounds);
        let mut answer = Value::Null;
        let before = server.cpu()?.total();
        for _ in 0..rounds {
            let (took, found) = ask(&client, &url).await?;
            latencies.push(took);
            answer = found;
        }
        let cpu = (server.cpu()?.total() - before).max(0.01);
        latencies.sort_by(f64::total_cmp);
        Ok(SearchReport {
            cold_ms,
            p50_ms: quantile(&latencies, 0.5),
            p95_ms: quantile(&latencies, 0.95),
            million_rows_per_core: rows as f64 * rounds as f64 / cpu / 1e6,
            read_mib: bytes(&answer) / 1024.0 / 1024.0,
            found: found(&answer),
        })
    }
}

async fn ask(client: &reqwest::Client, url: &Url) -> Result<(f64, Value)> {
    let sent = Instant::now();
    let answer = client.get(url.clone()).send().await?;
    let status = answer.status();
    let body = answer.bytes().await?;
    let took = sent.elapsed().as_secs_f64() * 1e3;
    ensure!(status.is_success(), "{url} gave {status}: {}", String::from_utf8_lossy(&body));
    Ok((took, serde_json::from_slice(&body).with_context(|| format!("{url} gave no JSON"))?))
}

/// Bytes that the answer says were read.
fn bytes(answer: &Value) -> f64 {
    let read = &answer["metrics"]["inspectedBytes"];
    read.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn found(answer: &Value) -> usize {
    let length = |name: &str| answer.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    length("traces") + length("series") + length("scopes") + length("tagValues")
}

/// Drops the files below a folder from the page cache, as far as the system allows.
fn forget(data: &Path) -> Result<()> {
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        if path.is_dir() {
            forget(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            let file = std::fs::File::open(&path)?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}
