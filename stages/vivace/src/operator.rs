//! What operators ask of the binary: `audit`, `blocks`, `replay`, `redact`. They use the settings of the process, open
//! log and bucket themselves and run beside whatever else runs.
//! Owns: arguments, what is printed, exit codes.
//! Does not own: what they do (`vivace_operate`, `vivace_ingester::Replayer`).

mod audit;
mod blocks;
mod redact;
mod replay;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use vivace_log::{NewRecord, SharedLog};
use vivace_model::{Clock, Partition, Random, SystemClock, TenantId, UnixNanos};
use vivace_operate::Bucket;

pub(crate) use self::audit::CODE_UNKNOWN;
use crate::settings::Settings;
use crate::storage;

/// What an operator asks for.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Task {
    /// Proves that chains and blocks keep the rules. Exit code 0: clean, 1: a rule is broken, 2: could not look.
    Audit(audit::Arguments),
    /// Lists the live blocks, also as files for other readers of Parquet. Spans of the last minutes are not in blocks yet.
    Blocks(blocks::Arguments),
    /// Builds blocks anew from the topic and switches readers to them at once; the old ones are kept until told.
    Replay(replay::Arguments),
    /// Removes traces from blocks, for privacy requests. Without --yes it only shows what would go.
    Redact(redact::Arguments),
}

/// Does it, and gives the exit code.
pub(crate) async fn run(task: Task, settings: &Settings) -> Result<ExitCode> {
    match task {
        Task::Audit(arguments) => Ok(audit::run(&arguments, settings).await),
        Task::Blocks(arguments) => blocks::run(&arguments, settings).await.map(|()| ExitCode::SUCCESS),
        Task::Replay(arguments) => replay::run(&arguments, settings).await,
        Task::Redact(arguments) => redact::run(&arguments, settings).await.map(|()| ExitCode::SUCCESS),
    }
}

/// The bucket that the settings name.
fn bucket(settings: &Settings) -> Result<Bucket> {
    let process = &settings.process;
    let store = storage::open_existing(&process.storage_url, &process.data_dir)?;
    let random = Arc::new(Random::from_system());
    Ok(Bucket { store, topic: settings.topics.spans.clone(), clock: Arc::new(SystemClock), random })
}

/// The log that the settings name. The embedded one belongs to one process, so Vivace must not run on it.
fn log(settings: &Settings) -> Result<SharedLog> {
    let dir = settings.process.data_dir.join("log");
    let config = settings.log();
    if !config.is_kafka() && !dir.exists() {
        bail!("there is no embedded log in {}, and VIVACE_KAFKA_BROKERS is not set", dir.display());
    }
    config.open(&dir).with_context(|| match config.is_kafka() {
        true => "failed to reach Kafka".to_owned(),
        false => format!("failed to open the embedded log in {}; stop Vivace first", dir.display()),
    })
}

/// Tells readers of new entries; they would find them by themselves a little later.
async fn hint(settings: &Settings, entries: impl IntoIterator<Item = (Partition, u64)>) {
    let records: Vec<_> = entries
        .into_iter()
        .map(|(partition, sequence)| NewRecord {
            partition,
            key: None,
            headers: Vec::new(),
            value: format!(r#"{{"partition":{partition},"sequence":{sequence}}}"#).into(),
        })
        .collect();
    if records.is_empty() || !settings.log().is_kafka() {
        return;
    }
    let told =
        async { Ok::<_, anyhow::Error>(log(settings)?.append(&settings.topics.ledger, records).await?) };
    if let Err(error) = told.await {
        tracing::warn!(error = format!("{error:#}"), "readers were not told, they look by themselves soon");
    }
}

fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// A time as people give it: seconds since the epoch, or RFC 3339.
fn time(text: &str) -> Result<UnixNanos> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(UnixNanos(seconds.saturating_mul(1_000_000_000)));
    }
    let at: jiff::Timestamp =
        text.parse().with_context(|| format!("{text} is neither seconds since the epoch nor RFC 3339"))?;
    Ok(UnixNanos(u64::try_from(at.as_nanosecond()).context("times begin in 1970")?))
}

fn ago(since: std::time::Duration) -> UnixNanos {
    let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    UnixNanos(SystemClock.now().0.saturating_sub(nanos))
}

fn tenant(text: Option<&String>) -> Result<Option<TenantId>> {
    text.map(|text| text.parse().with_context(|| format!("{text} is no name of a tenant"))).transpose()
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_as_people_give_them() {
        assert_eq!(time("1780000000").unwrap(), UnixNanos::from_secs(1_780_000_000));
        assert_eq!(time("2026-05-28T20:26:40Z").unwrap(), UnixNanos::from_secs(1_780_000_000));
        assert!(time("yesterday").unwrap_err().to_string().contains("yesterday"));
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!([1, 2048, 3 << 20, 5 << 30].map(bytes), ["1 B", "2.0 KiB", "3.0 MiB", "5.0 GiB"]);
    }
}
