//! `vivace replay`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use vivace_ingester::{Compute, Environment, Metrics, Random, ReplayPlan, ReplayRequest, Replayer};
use vivace_model::{BlockId, Offset, OffsetRange, Partition, UnixNanos};
use vivace_operate::Bucket;

use super::{ago, bucket, bytes, log, print, time};
use crate::memory;
use crate::process::Stages;
use crate::settings::Settings;

/// What is built anew.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// The partition, or `all`.
    #[arg(long)]
    partition: String,
    /// From this offset on; otherwise from the first.
    #[arg(long, conflicts_with_all = ["since", "start"])]
    from_offset: Option<u64>,
    /// Up to this offset; otherwise to the end of the chain.
    #[arg(long, conflicts_with = "until")]
    to_offset: Option<u64>,
    /// Records that the log took in the last so long, such as `2h`.
    #[arg(long, value_parser = humantime::parse_duration, conflicts_with = "start")]
    since: Option<Duration>,
    /// Records that the log took at this time or later: seconds since the epoch, or RFC 3339.
    #[arg(long)]
    start: Option<String>,
    /// Records that the log took before this time.
    #[arg(long)]
    until: Option<String>,
    /// Only show what would be replaced.
    #[arg(long)]
    dry_run: bool,
    /// Where the topic no longer has the records, keep blocks as they are, and give those up whose files are gone.
    #[arg(long)]
    keep_missing: bool,
    /// With --keep-missing: give this block up, too, if the topic no longer has its records. May be given several times.
    #[arg(long, requires = "keep_missing")]
    abandon: Vec<BlockId>,
    /// Go on although traces were removed from these offsets by `vivace redact`; they come back if the topic has them.
    #[arg(long)]
    with_redacted: bool,
    /// Take quarantined records in again from the topic of rejected records, each once, after what made them fail was
    /// mended. Also those whose traces were removed by `vivace redact` since.
    #[arg(long, conflicts_with_all = [
        "discard_old", "from_offset", "to_offset", "since", "start", "until", "keep_missing", "with_redacted", "new_topic",
    ])]
    rejected: bool,
    /// The topic was deleted and made anew: go on with its first record, and keep all blocks.
    #[arg(long, conflicts_with_all = ["discard_old", "from_offset", "to_offset", "since", "start", "until", "dry_run"])]
    new_topic: bool,
    /// With --new-topic: do it although nothing says that it is another topic.
    #[arg(long, requires = "new_topic")]
    force: bool,
    /// Delete the blocks that earlier replays replaced.
    #[arg(long)]
    discard_old: bool,
    /// Why, for the ledger.
    #[arg(long, default_value = "an operator's replay")]
    reason: String,
}

pub(crate) async fn run(arguments: &Arguments, settings: &Settings) -> Result<ExitCode> {
    let bucket = bucket(settings)?;
    let partitions: Vec<Partition> = match arguments.partition.as_str() {
        "all" => (0..settings.topics.partitions).map(Partition).collect(),
        number => vec![Partition(number.parse().context("--partition is a number, or `all`")?)],
    };
    let mut failed = 0;
    if arguments.discard_old {
        for partition in partitions {
            discard(&bucket, partition, arguments.dry_run).await?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let replayer = replayer(settings, &bucket)?;
    if arguments.rejected {
        let only = (arguments.partition != "all").then(|| partitions[0]);
        return readmit(&replayer, only, arguments.dry_run).await.map(|()| ExitCode::SUCCESS);
    }
    for partition in &partitions {
        let done = match arguments.new_topic {
            true => new_topic(&replayer, *partition, arguments).await,
            false => replay(&replayer, *partition, arguments).await,
        };
        match done {
            Ok(()) => {}
            Err(error) if partitions.len() > 1 => {
                crate::complain(&format!("partition {partition}: {error:#}"));
                failed += 1;
            }
            Err(error) => return Err(error),
        }
    }
    if failed > 0 {
        bail!("{failed} of {} partitions are as they were", partitions.len());
    }
    Ok(ExitCode::SUCCESS)
}

fn replayer(settings: &Settings, bucket: &Bucket) -> Result<Replayer> {
    let stages = Stages { ingester: true, ..Stages::NONE };
    let (settings, memory) = memory::share_out(settings.clone(), stages);
    let environment = Environment {
        log: log(&settings)?,
        store: Arc::clone(&bucket.store),
        clock: Arc::clone(&bucket.clock),
        random: Arc::new(Random::from_system()),
        compute: Compute::Threads,
        memory,
        metrics: Metrics::default(),
        ledger_metrics: vivace_ledger::Metrics::default(),
    };
    let Settings { ingester, block, topics, .. } = settings;
    Ok(Replayer::new(ingester, block, topics, environment)?)
}

async fn discard(bucket: &Bucket, partition: Partition, dry_run: bool) -> Result<()> {
    let (kept, what) = if dry_run {
        (bucket.chain(partition).load().await?.kept().to_vec(), "would be deleted")
    } else {
        (vivace_operate::discard(bucket, partition).await?, "deleted")
    };
    let size = bytes(kept.iter().map(|block| block.bytes).sum());
    print(&format!("partition {partition}: {} blocks of earlier generations {what}, {size}\n", kept.len()))
}

async fn readmit(replayer: &Replayer, only: Option<Partition>, dry_run: bool) -> Result<()> {
    let done = replayer.readmit(only, dry_run).await?;
    let places = |places: &[(Partition, Offset)]| {
        let places: Vec<_> =
            places.iter().map(|(partition, offset)| format!("{partition}/{offset}")).collect();
        if places.is_empty() { String::new() } else { format!(" (partition/offset {})", places.join(", ")) }
    };
    let what = if dry_run { "would be taken in again" } else { "are on their way in again" };
    let mut text = format!(
        "{} quarantined records {what}{}; {} were before\n",
        done.readmitted.len(),
        places(&done.readmitted),
        done.before
    );
    if !done.without_value.is_empty() {
        text += &format!(
            "{} were too large for the topic of rejected records{}: while the topic of spans has them, replay their offsets\n",
            done.without_value.len(),
            places(&done.without_value)
        );
    }
    print(&text)
}

async fn new_topic(replayer: &Replayer, partition: Partition, arguments: &Arguments) -> Result<()> {
    let (sequence, end) = replayer.new_topic(partition, &arguments.reason, arguments.force).await?;
    print(&format!(
        "partition {partition}: entry {sequence} goes on at offset {end} of the new topic; all blocks stay. The ingester \
         looks again within a minute\n"
    ))
}

async fn replay(replayer: &Replayer, partition: Partition, arguments: &Arguments) -> Result<()> {
    let start = match (&arguments.since, arguments.start.as_deref()) {
        (Some(since), _) => Some(ago(*since)),
        (None, start) => start.map(time).transpose()?,
    };
    let until = arguments.until.as_deref().map(time).transpose()?;
    let from = offset(replayer, partition, arguments.from_offset, start).await?.unwrap_or(Offset::ZERO);
    let to = offset(replayer, partition, arguments.to_offset, until).await?.unwrap_or(Offset(u64::MAX));
    if from >= to {
        bail!("offsets {from} to {to} are none");
    }
    let request = ReplayRequest {
        partition,
        offsets: OffsetRange::new(from, to),
        keep_missing: arguments.keep_missing,
        abandon: arguments.abandon.clone(),
        with_redacted: arguments.with_redacted,
        reason: arguments.reason.clone(),
    };
    if arguments.dry_run {
        let plan = replayer.plan(&request).await?;
        return print(&format!(
            "partition {partition}: would replace {}; nothing was changed\n",
            told(&plan)
        ));
    }
    let done = replayer.replay(&request).await?;
    let rows: u64 = done.blocks.iter().map(|block| block.rows).sum();
    print(&format!(
        "partition {partition}: replaced {} by {} blocks with {rows} spans, {} records rejected; entry {} begins generation \
         {}. The old blocks are kept until `vivace replay --partition {partition} --discard-old`\n",
        told(&done.plan),
        done.blocks.len(),
        done.rejected,
        done.sequence,
        done.plan.generation
    ))
}

async fn offset(
    replayer: &Replayer,
    partition: Partition,
    offset: Option<u64>,
    time: Option<UnixNanos>,
) -> Result<Option<Offset>> {
    match (offset, time) {
        (Some(offset), _) => Ok(Some(Offset(offset))),
        (None, Some(time)) => Ok(Some(replayer.offset_at(partition, time).await?)),
        (None, None) => Ok(None),
    }
}

fn told(plan: &ReplayPlan) -> String {
    let rows: u64 = plan.inputs.iter().map(|block| block.rows).sum();
    let given_up = match plan.abandoned.len() {
        0 => String::new(),
        count => {
            let rows: u64 = plan.abandoned.iter().map(|block| block.rows).sum();
            format!(", and {count} blocks with {rows} spans that nothing is left of,")
        }
    };
    format!("{} blocks with {rows} spans of offsets {}{given_up}", plan.inputs.len(), plan.offsets)
}
