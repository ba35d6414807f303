//! `vivace redact`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use vivace_model::{Partition, TraceId};
use vivace_operate::{RedactLimits, Redaction, Redactor, Target};

use super::{bucket, bytes, hint, print, tenant};
use crate::settings::Settings;

/// Which traces are to go.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Id of a trace, in hex; may be given several times.
    #[arg(long, required_unless_present = "query", conflicts_with = "query")]
    trace_id: Vec<String>,
    /// All traces that have spans in a block which this TraceQL filter selects, such as `{ span.user.id = "17" }`.
    #[arg(long)]
    query: Option<String>,
    /// Only this tenant's; otherwise all tenants'.
    #[arg(long)]
    tenant: Option<String>,
    /// Remove them. Without it, this is a dry run.
    #[arg(long)]
    yes: bool,
    /// Only show what would go; the default.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Why, for the ledger. Do not write down there what is to be forgotten.
    #[arg(long, default_value = "a privacy request")]
    reason: String,
    /// How long running queries have before the old files are deleted.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "1min")]
    grace: Duration,
    /// Refuse to remove more traces than that.
    #[arg(long, default_value_t = 100_000)]
    traces_max: usize,
}

pub(crate) async fn run(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let target = match &arguments.query {
        Some(query) => Target::Query(query.clone()),
        None => Target::Traces(ids(&arguments.trace_id)?),
    };
    let limits =
        RedactLimits { traces_max: arguments.traces_max, grace: arguments.grace, ..RedactLimits::default() };
    let redactor = Redactor::new(bucket(settings)?, settings.block.clone(), limits);
    let found = redactor.find(&target, tenant(arguments.tenant.as_ref())?.as_ref()).await?;
    if !arguments.yes {
        print(&told(&found, "would be removed"))?;
        if !found.affected.is_empty() {
            print("nothing was changed; --yes removes them\n")?;
        }
        return print(&outside(settings));
    }
    let done = redactor.remove(&found, &arguments.reason).await?;
    print(&told(&done, "removed"))?;
    let entries: Vec<(Partition, u64)> = done.entries.iter().map(|(at, entry)| (*at, *entry)).collect();
    hint(settings, entries).await;
    print(&outside(settings))
}

fn ids(given: &[String]) -> Result<BTreeSet<TraceId>> {
    given.iter().map(|id| id.parse().with_context(|| format!("--trace-id {id}"))).collect()
}

fn told(redaction: &Redaction, what: &str) -> String {
    let mut out = String::new();
    for affected in &redaction.affected {
        let block = &affected.block;
        // Writing to a string does not fail.
        let _written = writeln!(
            out,
            "block {} of tenant {}, partition {}, {}: {} of {} traces, {} of {} spans",
            block.id,
            block.tenant,
            block.partition,
            bytes(block.bytes),
            affected.traces,
            block.traces,
            affected.rows,
            block.rows
        );
    }
    let (blocks, rows) = (redaction.affected.len(), redaction.rows());
    let _written = writeln!(out, "{rows} spans in {blocks} blocks {what}");
    out
}

/// What a redaction cannot reach.
fn outside(settings: &Settings) -> String {
    let kept = humantime::format_duration(settings.topics.retention);
    let rejected = humantime::format_duration(settings.topics.rejected_retention);
    format!(
        "not reached: spans of the last minutes, which are not in blocks yet (run it again later); the records in the \
         topic {}, which the log keeps for {kept} by VIVACE_TOPICS_RETENTION; rejected records in {}, for {rejected}; blocks \
         replaced by compaction until their files are deleted\n",
        settings.topics.spans, settings.topics.rejected
    )
}
