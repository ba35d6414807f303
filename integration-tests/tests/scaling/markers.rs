//! Marker spans: one at a time into each partition, asked for by its trace id from the moment of its acknowledgement on.
//! Owns: what is sent and when, and how long each marker took until an answer had it.
//! Guarantee: an answer that lacks an acknowledged marker, or has it twice, is an error and not a delay.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use vivace_integration_tests::{Acknowledged, Sender};
use vivace_model::{Clock, Partition, SystemClock, TraceId, partition_of};
use vivace_probe::Api;

/// A marker without an answer for so long fails the run.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause after an answer that was an error.
const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// Between two looks at how far the markers are.
const LOOK: Duration = Duration::from_millis(20);

/// Where markers go, and where they are looked for.
pub(crate) struct Target<'a> {
    pub(crate) otlp: &'a str,
    pub(crate) api: &'a str,
    pub(crate) partitions: u32,
    /// From one marker of a partition to the next, if that one was found.
    pub(crate) every: Duration,
}

/// Markers at work. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Markers {
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    seen: Arc<Seen>,
    noted: Arc<Acknowledged>,
    partitions: u32,
}

/// What became of the markers so far.
#[derive(Debug, Default)]
struct Seen {
    found: Mutex<Vec<Found>>,
    errors: AtomicU64,
}

/// A marker that was found.
#[derive(Clone, Copy, Debug)]
struct Found {
    partition: Partition,
    acknowledged: Instant,
    delay: Duration,
}

/// What marks one partition.
struct Marker {
    partition: Partition,
    partitions: u32,
    every: Duration,
    sender: Sender,
    api: Api,
    seen: Arc<Seen>,
    stop: CancellationToken,
}

impl Markers {
    pub(crate) fn start(target: &Target<'_>) -> anyhow::Result<Self> {
        let noted = Arc::new(Acknowledged::default());
        let (seen, stop, mut tasks) = (Arc::<Seen>::default(), CancellationToken::new(), JoinSet::new());
        let (sender, api) = (Sender::new(target.otlp, &noted)?, Api::new(target.api, None, PATIENCE)?);
        for partition in (0..target.partitions).map(Partition) {
            let (sender, api) = (sender.clone(), api.clone());
            let (seen, stop) = (Arc::clone(&seen), stop.clone());
            let (partitions, every) = (target.partitions, target.every);
            tasks.spawn(Marker { partition, partitions, every, sender, api, seen, stop }.run());
        }
        Ok(Self { tasks, stop, seen, noted, partitions: target.partitions })
    }

    /// Waits until a marker of each partition was found that was acknowledged after `moment`.
    pub(crate) async fn fresh_after(&mut self, moment: Instant) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(ended) = self.tasks.try_join_next() {
                ended??;
            }
            let fresh = self.worst(moment..Instant::now());
            if fresh.len() == self.partitions as usize {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "of the partitions, only {:?} have fresh data", fresh.keys());
            sleep(LOOK).await;
        }
    }

    /// The longest that a marker of each partition took which was acknowledged in that time.
    pub(crate) fn worst(&self, time: Range<Instant>) -> BTreeMap<Partition, Duration> {
        let mut worst = BTreeMap::new();
        for found in self.seen.found.lock().iter().filter(|found| time.contains(&found.acknowledged)) {
            let longest = worst.entry(found.partition).or_default();
            *longest = found.delay.max(*longest);
        }
        worst
    }

    /// Answers so far that were errors.
    pub(crate) fn errors(&self) -> u64 {
        self.seen.errors.load(Ordering::Relaxed)
    }

    /// Markers found so far.
    pub(crate) fn found(&self) -> usize {
        self.seen.found.lock().len()
    }

    /// Waits for those on their way; gives what was sent.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Arc<Acknowledged>> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(self.noted)
    }
}

impl Marker {
    async fn run(mut self) -> anyhow::Result<()> {
        // Not all at the same moment.
        let mut next = Instant::now() + self.every * self.partition.0 / self.partitions;
        while !self.stop.is_cancelled() {
            sleep_until(next).await;
            let sent = Instant::now();
            let id = self.id();
            self.sender.send(request(id)).await?;
            let acknowledged = Instant::now();
            self.find(id).await.with_context(|| format!("a marker of partition {}", self.partition))?;
            let found = Found { partition: self.partition, acknowledged, delay: acknowledged.elapsed() };
            self.seen.found.lock().push(found);
            next = (sent + self.every).max(Instant::now());
        }
        Ok(())
    }

    /// A new trace id that hashes to the partition.
    fn id(&self) -> TraceId {
        loop {
            let id: [u8; 16] = rand::random();
            if partition_of(&id, self.partitions) == self.partition {
                return TraceId::from_bytes(id);
            }
        }
    }

    async fn find(&self, id: TraceId) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            match self.api.trace(id).await {
                Ok(trace) => {
                    let scopes = trace.resource_spans.iter().flat_map(|group| &group.scope_spans);
                    let spans: usize = scopes.map(|scoped| scoped.spans.len()).sum();
                    ensure!(spans == 1, "an answer has {spans} spans of trace {id}, which has one");
                    return Ok(());
                }
                Err(error) if started.elapsed() > PATIENCE => {
                    return Err(error).with_context(|| format!("no answer in {PATIENCE:?}"));
                }
                Err(_) => self.seen.errors.fetch_add(1, Ordering::Relaxed),
            };
            sleep(ERROR_PAUSE).await;
        }
    }
}

fn request(id: TraceId) -> ExportTraceServiceRequest {
    let now = SystemClock.now().0;
    let span = Span {
        trace_id: id.as_bytes().to_vec(),
        span_id: vec![1; 8],
        name: "marker".into(),
        start_time_unix_nano: now,
        end_time_unix_nano: now + 1,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    }
}
