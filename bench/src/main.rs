//! `vivace-bench`: sends load, or runs the whole against a server of its own and prints what it cost.
#![allow(clippy::print_stdout, reason = "printing results is what this program is for")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use vivace_bench::{
    LoadOptions, LookFor, Lookups, Needles, Payload, SearchReport, Server, Stored, blocks_to_merge, cases,
    freshness, merging, send, stored,
};
use vivace_model::{Clock, SystemClock};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(about = "Load generator and whole-system benchmark of Vivace")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sends traces of the sample shop to an OTLP gRPC endpoint and prints what came of it.
    Load {
        /// Where to send.
        #[arg(long, default_value = "http://127.0.0.1:4317")]
        endpoint: String,
        #[command(flatten)]
        load: Load,
    },
    /// Starts a server, loads it at full speed, asks for traces, kills and restarts it; prints a table.
    Whole {
        /// The binary to measure.
        #[arg(long, default_value = "target/dist/vivace")]
        binary: PathBuf,
        /// Folder for the server's data; emptied first.
        #[arg(long, default_value = "target/bench-data")]
        data: PathBuf,
        #[command(flatten)]
        load: Load,
    },
    /// Merges blocks in a local folder, as a compactor does, in a process of its own; prints what it cost.
    Merge {
        /// Folder for the blocks; emptied first, unless it is to be kept.
        #[arg(long, default_value = "target/bench-merge")]
        data: PathBuf,
        /// Merge what is in the folder.
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        blocks: Blocks,
    },
    /// Fills a server with blocks, starts it anew and runs a list of TraceQL queries; prints a table.
    Search {
        /// The binary to measure.
        #[arg(long, default_value = "target/dist/vivace")]
        binary: PathBuf,
        /// Folder for the server's data; emptied first, unless it is to be kept.
        #[arg(long, default_value = "target/bench-search")]
        data: PathBuf,
        /// Use what is in the folder.
        #[arg(long)]
        keep: bool,
        /// Times that each query is asked when all is warm.
        #[arg(long, default_value_t = 20)]
        rounds: usize,
        #[command(flatten)]
        load: Load,
    },
}

#[derive(Args, Clone)]
struct Blocks {
    /// Blocks to merge.
    #[arg(long, default_value_t = 16)]
    blocks: usize,
    /// Spans of each.
    #[arg(long, default_value_t = 120_000)]
    spans: usize,
    /// Times that they are merged.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[derive(Args, Clone)]
struct Load {
    /// Spans to send.
    #[arg(long, default_value_t = 3_000_000)]
    spans: usize,
    /// Seed of the traces.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// Spans per second; as fast as accepted when absent.
    #[arg(long)]
    rate: Option<f64>,
}

impl Load {
    fn options(&self, endpoint: String) -> LoadOptions {
        LoadOptions { endpoint, connections: self.connections, in_flight: self.in_flight, rate: self.rate }
    }

    fn payload(&self) -> Arc<Payload> {
        Arc::new(Payload::build(self.seed, SystemClock.now().0, self.spans))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Load { endpoint, load } => {
            let report = send(&load.payload(), &load.options(endpoint)).await?;
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        Command::Merge { data, keep: true, blocks } => {
            let report = merging(&data, blocks.rounds).await?;
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        Command::Merge { data, keep: false, blocks } => {
            fresh(&data)?;
            blocks_to_merge(&data, blocks.blocks, blocks.spans)?;
            // Making the blocks takes more memory than merging them.
            let mut again = std::process::Command::new(std::env::current_exe()?);
            again.args(["merge", "--keep", "--rounds", &blocks.rounds.to_string(), "--data"]).arg(&data);
            let status = again.status()?;
            ensure!(status.success(), "merging ended with {status}");
        }
        Command::Whole { binary, data, load } => whole(&binary, &data, &load).await?,
        Command::Search { binary, data, keep, rounds, load } => {
            if !keep {
                fill(&binary, &data, &load).await?;
            }
            search(&binary, &data, rounds).await?;
        }
    }
    Ok(())
}

async fn whole(binary: &Path, data: &Path, load: &Load) -> Result<()> {
    let payload = load.payload();
    println!(
        "payload: {} spans, {:.0} bytes a span, {} requests",
        payload.spans,
        payload.bytes as f64 / payload.spans as f64,
        payload.requests.len()
    );
    full_speed(binary, data, load, &payload).await?;
    moderate(binary, data, load).await?;
    replay(binary, data, load, &payload).await
}

/// Nothing is cut by age while recent data is measured, and nothing merged beside what is measured; the rest is as a
/// user would run it.
fn settings(block_age_max: &str) -> Vec<(String, String)> {
    let set = [
        ("VIVACE_INGESTER_BLOCK_AGE_MAX", block_age_max),
        ("VIVACE_COMPACTOR_INPUTS_MIN", "1000"),
        ("VIVACE_COMPACTOR_INPUTS_MAX", "1000"),
    ];
    set.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn fresh(data: &Path) -> Result<()> {
    if data.exists() {
        std::fs::remove_dir_all(data).context("failed to empty the data folder")?;
    }
    Ok(std::fs::create_dir_all(data)?)
}

async fn full_speed(binary: &Path, data: &Path, load: &Load, payload: &Arc<Payload>) -> Result<()> {
    fresh(data)?;
    let server = Server::start(binary, data, &settings("5s")).await?;
    let before = server.cpu()?;
    let report = send(payload, &load.options(server.otlp())).await?;
    println!("sent: {}", serde_json::to_string(&report)?);
    let stored = wait_stored(data, payload.spans as u64).await?;
    let after = server.cpu()?;
    let million = payload.spans as f64 / 1e6;
    let cpu = after.total() - before.total();
    row("server CPU-seconds per million spans", cpu / million);
    row("  of which in the kernel", (after.system - before.system) / million);
    row("peak memory, MiB", server.peak_bytes()? as f64 / 1024.0 / 1024.0);
    row("bytes stored per span", stored.bytes as f64 / stored.rows as f64);
    row("blocks", stored.blocks as f64);
    let lookups = Lookups { api: &server.api(), trace_ids: &payload.trace_ids, count: 1000 };
    lookups.run().await?; // warms footers and filters
    let found = lookups.run().await?;
    row("trace by id from blocks, p50 ms", found.p50_ms);
    row("trace by id from blocks, p99 ms", found.p99_ms);
    Ok(())
}

/// Blocks of that many spans.
async fn fill(binary: &Path, data: &Path, load: &Load) -> Result<()> {
    fresh(data)?;
    let payload = load.payload();
    let server = Server::start(binary, data, &settings("5s")).await?;
    send(&payload, &load.options(server.otlp())).await?;
    wait_stored(data, payload.spans as u64).await?;
    Ok(())
}

async fn search(binary: &Path, data: &Path, rounds: usize) -> Result<()> {
    let held = stored(data)?;
    println!("{} spans in {} blocks, {} MiB", held.rows, held.blocks, held.bytes >> 20);
    // Each answer is worked out, none remembered.
    let mut forgetful = settings("1h");
    forgetful.push(("VIVACE_QUERY_FRONTEND_RESULT_CACHE_BYTES".into(), "0".into()));
    let worked_out = ask_all(binary, data, &forgetful, held.rows, rounds).await?;
    let remembered = ask_all(binary, data, &settings("1h"), held.rows, rounds).await?;
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>12} {:>9} {:>6} {:>9}",
        "query", "cold ms", "p50 ms", "p95 ms", "Mrows/s/core", "read MiB", "found", "again ms"
    );
    for ((name, report), (_, again)) in worked_out.iter().zip(remembered) {
        println!(
            "{:<44} {:>9.1} {:>9.1} {:>9.1} {:>12.0} {:>9.2} {:>6} {:>9.1}",
            name,
            report.cold_ms,
            report.p50_ms,
            report.p95_ms,
            report.million_rows_per_core,
            report.read_mib,
            report.found,
            again.p50_ms
        );
    }
    Ok(())
}

/// Runs the list of queries against a server of its own.
async fn ask_all(
    binary: &Path,
    data: &Path,
    settings: &[(String, String)],
    rows: u64,
    rounds: usize,
) -> Result<Vec<(&'static str, SearchReport)>> {
    let server = Server::start(binary, data, settings).await?;
    let now = SystemClock.now().0 / 1_000_000_000;
    let range = (now - 6 * 3600, now + 3600);
    let needles = Needles { request_id: some_value(&server.api(), "span.request.id", range).await? };
    let mut reports = Vec::new();
    for case in cases(&needles) {
        reports.push((case.name, case.run(&server, data, range, rows, rounds).await?));
    }
    Ok(reports)
}

/// A value that some span has.
async fn some_value(api: &str, tag: &str, range: (u64, u64)) -> Result<String> {
    let (start, end) = range;
    let url = format!("{api}/api/v2/search/tag/{tag}/values?limit=1000&start={start}&end={end}");
    let answer: serde_json::Value = serde_json::from_slice(&reqwest::get(&url).await?.bytes().await?)?;
    let values = answer["tagValues"].as_array().context("no list of values")?;
    let value = values.get(values.len() / 2).and_then(|value| value["value"].as_str());
    Ok(value.with_context(|| format!("nothing has {tag}"))?.to_owned())
}

/// A modest steady load, beside which single traces are looked for as soon as they are acknowledged.
async fn moderate(binary: &Path, data: &Path, load: &Load) -> Result<()> {
    const RATE: f64 = 10_000.0;
    const SECONDS: f64 = 30.0;
    const PROBES: usize = 200;
    fresh(data)?;
    let server = Server::start(binary, data, &settings("2min")).await?;
    let payload = Arc::new(Payload::build(load.seed, SystemClock.now().0, (RATE * SECONDS) as usize));
    let options = LoadOptions { rate: Some(RATE), ..load.options(server.otlp()) };
    let probes = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (api, now) = (server.api(), SystemClock.now().0);
        let by_id = freshness(LookFor::Id, &options, &api, 1_000_000, now, PROBES).await?;
        let by_search = freshness(LookFor::Search, &options, &api, 2_000_000, now, PROBES).await?;
        anyhow::Ok((by_id, by_search))
    };
    let (sent, fresh) = tokio::join!(send(&payload, &options), probes);
    let (sent, (fresh, searched)) = (sent?, fresh?);
    row("acknowledgement at a moderate load, p50 ms", sent.ack_p50_ms);
    row("acknowledgement at a moderate load, p99 ms", sent.ack_p99_ms);
    row("acknowledgement to found by id, p50 ms", fresh.p50_ms);
    row("acknowledgement to found by id, p99 ms", fresh.p99_ms);
    row("acknowledgement to found by search, p50 ms", searched.p50_ms);
    row("acknowledgement to found by search, p99 ms", searched.p99_ms);
    let lookups = Lookups { api: &server.api(), trace_ids: &payload.trace_ids, count: 1000 };
    let found = lookups.run().await?;
    row("trace by id from recent data, p50 ms", found.p50_ms);
    row("trace by id from recent data, p99 ms", found.p99_ms);
    Ok(())
}

/// Everything is in the log and nothing in blocks when the server is killed; the next one has to make up for it.
async fn replay(binary: &Path, data: &Path, load: &Load, payload: &Arc<Payload>) -> Result<()> {
    fresh(data)?;
    let mut never = settings("1h");
    never.push(("VIVACE_INGESTER_ROWS_MAX".into(), "100000000".into()));
    never.push(("VIVACE_INGESTER_MEMORY_BYTES_MAX".into(), "8GiB".into()));
    let server = Server::start(binary, data, &never).await?;
    send(payload, &load.options(server.otlp())).await?;
    server.kill()?;
    let listed = stored(data)?.rows;
    ensure!(listed == 0, "{listed} spans were stored before the kill, nothing is left to replay");
    let server = Server::start(binary, data, &settings("1s")).await?;
    wait_stored(data, payload.spans as u64).await?;
    row("replayed and stored, spans per CPU-second", payload.spans as f64 / server.cpu()?.total());
    Ok(())
}

async fn wait_stored(data: &Path, spans: u64) -> Result<Stored> {
    for _ in 0..600 {
        let found = stored(data)?;
        ensure!(found.rows <= spans, "{} spans are stored, but only {spans} were sent", found.rows);
        if found.rows == spans {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    anyhow::bail!("not everything was stored within two minutes")
}

fn row(what: &str, value: f64) {
    println!("{what:<50} {value:>12.2}");
}
