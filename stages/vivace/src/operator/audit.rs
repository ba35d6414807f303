//! `vivace audit`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, stream};
use serde_json::json;
use vivace_log::SharedLog;
use vivace_model::{OffsetRange, Partition};
use vivace_operate::{AuditOptions, Auditor, Findings, Orphans, PartitionReport, Quarantined, Verdict};

use super::{bucket, bytes, log, print};
use crate::settings::Settings;

const CODE_VIOLATED: u8 = 1;
pub(crate) const CODE_UNKNOWN: u8 = 2;
/// Partitions that are looked at at once.
const PARTITIONS_AT_ONCE: usize = 4;
/// Quarantined records whose reason is told.
const REASONS_MAX: usize = 10;
/// A log that does not answer by then is left out.
const LOG_WAIT: Duration = Duration::from_secs(20);

/// What is looked at.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Only this partition; otherwise all that have a chain or are set.
    #[arg(long)]
    partition: Option<u32>,
    /// The spans topic; otherwise VIVACE_TOPICS_SPANS.
    #[arg(long)]
    topic: Option<String>,
    /// Read every row of every live block, not only the files' descriptions.
    #[arg(long)]
    deep: bool,
    /// For how long after an entry the files of the blocks that it replaced must still be there.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10min")]
    grace: Duration,
    /// Compare chains with the topic, too: with Kafka by default, with the embedded log only while Vivace does not run.
    #[arg(long)]
    log: Option<bool>,
    /// Print the verdicts as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: &Arguments, settings: &Settings) -> ExitCode {
    match look(arguments, settings).await {
        Ok(Verdict::Clean) => ExitCode::SUCCESS,
        Ok(Verdict::Violated) => ExitCode::from(CODE_VIOLATED),
        Ok(Verdict::Unknown) => ExitCode::from(CODE_UNKNOWN),
        Err(error) => {
            crate::complain(&format!("vivace: {error:#}"));
            ExitCode::from(CODE_UNKNOWN)
        }
    }
}

async fn look(arguments: &Arguments, settings: &Settings) -> Result<Verdict> {
    let mut bucket = bucket(settings)?;
    if let Some(topic) = &arguments.topic {
        bucket.topic.clone_from(topic);
    }
    let partitions = match arguments.partition {
        Some(partition) => vec![Partition(partition)],
        None => bucket.partitions().await?,
    };
    let log = match arguments.log.unwrap_or_else(|| settings.log().is_kafka()) {
        true => Some(log(settings)?),
        false => None,
    };
    let topic = bucket.topic.clone();
    let auditor = Auditor::new(bucket, AuditOptions { deep: arguments.deep, grace: arguments.grace });
    let looks = stream::iter(partitions).map(|partition| {
        let (auditor, log, topic) = (&auditor, log.as_ref(), topic.as_str());
        let held = async move {
            let held = watermarks(log, topic, partition).await;
            held.map_err(|error| format!("the log does not answer: {error:#}"))
        };
        auditor.partition(partition, held)
    });
    let reports: Vec<PartitionReport> = looks.buffered(PARTITIONS_AT_ONCE).collect().await;
    let orphans = match arguments.partition {
        Some(_) => None,
        None => Some(auditor.orphans().await?),
    };
    let verdict = reports.iter().map(PartitionReport::verdict).max().unwrap_or(Verdict::Clean);
    if arguments.json {
        let partitions: Vec<_> =
            reports.iter().map(|report| json!({"verdict": report.verdict(), "report": report})).collect();
        let told = json!({"verdict": verdict, "topic": topic, "partitions": partitions, "orphans": orphans});
        print(&format!("{told:#}\n"))?;
    } else {
        print(&text(&topic, &reports, orphans.as_ref()))?;
    }
    Ok(verdict)
}

async fn watermarks(
    log: Option<&SharedLog>,
    topic: &str,
    partition: Partition,
) -> Result<Option<OffsetRange>> {
    let Some(log) = log else { return Ok(None) };
    Ok(Some(tokio::time::timeout(LOG_WAIT, log.watermarks(topic, partition)).await??))
}

fn text(topic: &str, reports: &[PartitionReport], orphans: Option<&Orphans>) -> String {
    let mut out = String::new();
    if reports.is_empty() {
        out = format!("no chain of topic {topic} in the bucket\n");
    }
    for report in reports {
        let verdict = match report.verdict() {
            Verdict::Clean => "clean",
            Verdict::Unknown => "NOT KNOWN",
            Verdict::Violated => "VIOLATED",
        };
        let size = bytes(report.bytes);
        // Writing to a string does not fail.
        let _written = writeln!(
            out,
            "partition {}: {verdict}, {} entries to offset {}, generation {}, {} blocks, {} spans, {size}",
            report.partition, report.entries, report.end, report.generation, report.blocks, report.rows
        );
        if report.lost_offsets > 0 {
            let _written =
                writeln!(out, "  note: {} offsets were lost before they were ingested", report.lost_offsets);
        }
        quarantined(&mut out, &report.quarantined);
        if report.kept > 0 {
            let _written = writeln!(out, "  note: {} blocks of earlier generations are kept", report.kept);
        }
        findings(&mut out, "violation", &report.violations);
        findings(&mut out, "not known", &report.unknown);
        findings(&mut out, "warning", &report.warnings);
    }
    if let Some(Orphans { files, bytes: size, young, told }) = orphans {
        let size = bytes(*size);
        let _written =
            writeln!(out, "orphans: {files} files, {size}; {young} of the last hour may be listed yet");
        told.iter().for_each(|file| {
            let _written = writeln!(out, "  {file}");
        });
    }
    out
}

/// The reasons of the first of them are told, and the offsets of all that are known.
fn quarantined(out: &mut String, quarantined: &Quarantined) {
    if quarantined.count() == 0 {
        return;
    }
    let offsets: Vec<_> = quarantined.records.keys().map(|offset| offset.0.to_string()).collect();
    let more = if quarantined.more > 0 { ", …" } else { "" };
    let (count, offsets) = (quarantined.count(), offsets.join(", "));
    let _written = writeln!(
        out,
        "  note: {count} records were quarantined, at offsets {offsets}{more}; `vivace replay --rejected` takes them in again"
    );
    for (offset, reason) in quarantined.records.iter().take(REASONS_MAX) {
        let _written = writeln!(out, "    {offset}: {reason}");
    }
}

fn findings(out: &mut String, kind: &str, findings: &Findings) {
    for finding in &findings.told {
        let _written = writeln!(out, "  {kind}: {finding}");
    }
    if findings.more > 0 {
        let _written = writeln!(out, "  {kind}: and {} more", findings.more);
    }
}
