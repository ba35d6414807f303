//! `vivace blocks`.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use vivace_model::{Partition, UnixNanos};
use vivace_operate::{Wanted, duckdb, files, live_blocks};

use super::{ago, bucket, bytes, print, tenant, time};
use crate::settings::Settings;
use crate::storage;

/// Which blocks, and how they are shown.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Only this tenant's.
    #[arg(long)]
    tenant: Option<String>,
    /// Only this partition's.
    #[arg(long)]
    partition: Option<u32>,
    /// Only those that can hold spans of the last so long, such as `2h`.
    #[arg(long, value_parser = humantime::parse_duration, conflicts_with_all = ["start", "end"])]
    since: Option<Duration>,
    /// From this time on: seconds since the epoch, or RFC 3339.
    #[arg(long)]
    start: Option<String>,
    /// Up to this time.
    #[arg(long)]
    end: Option<String>,
    /// Print all that the ledger says of them, as JSON.
    #[arg(long, conflicts_with_all = ["files", "duckdb"])]
    json: bool,
    /// Print their files, one a line.
    #[arg(long, conflicts_with = "duckdb")]
    files: bool,
    /// Print what DuckDB reads all of them by: read_parquet([…]).
    #[arg(long)]
    duckdb: bool,
}

pub(crate) async fn run(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let start = match (&arguments.since, &arguments.start) {
        (Some(since), _) => Some(ago(*since)),
        (None, start) => start.as_deref().map(time).transpose()?,
    };
    let end = arguments.end.as_deref().map(time).transpose()?;
    let range = (start.is_some() || end.is_some())
        .then(|| start.unwrap_or(UnixNanos(0))..end.unwrap_or(UnixNanos(u64::MAX)));
    let wanted = Wanted { tenant: tenant(arguments.tenant.as_ref())?, range };
    let states = bucket(settings)?.states(arguments.partition.map(Partition)).await?;
    let blocks = live_blocks(&states, &wanted);
    let base = storage::base(&settings.process.storage_url, &settings.process.data_dir)?;
    if arguments.json {
        let blocks: Vec<_> = blocks.iter().map(AsRef::as_ref).collect();
        return print(&format!("{}\n", serde_json::to_string_pretty(&blocks)?));
    }
    if arguments.files {
        return print(&files(&base, &blocks).map(|file| format!("{file}\n")).collect::<String>());
    }
    if arguments.duckdb {
        let sql = duckdb(&base, &blocks).context("no block is live there")?;
        return print(&format!("{sql}\n"));
    }
    let mut out = String::new();
    let (mut rows, mut size) = (0, 0);
    for block in &blocks {
        rows += block.rows;
        size += block.bytes;
        // Writing to a string does not fail.
        let _written = writeln!(
            out,
            "{}  {}  partition {}  level {}  {} spans  {}  {} .. {}",
            block.id,
            block.tenant,
            block.partition,
            block.level,
            block.rows,
            bytes(block.bytes),
            shown(block.start_min),
            shown(block.end_max)
        );
    }
    let _written = writeln!(
        out,
        "{} blocks, {rows} spans, {}; what was sent in the last minutes is not in blocks yet",
        blocks.len(),
        bytes(size)
    );
    print(&out)
}

fn shown(at: UnixNanos) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}
