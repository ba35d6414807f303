//! An operator who has blocks built anew, gives up what was replaced and has traces removed, while everything else goes on
//! and goes wrong; now and then a command is killed in the middle.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep, timeout_at};
use vivace_block::BlockConfig;
use vivace_ingester::{Compute, Environment, ReplayError, ReplayRequest, Replayed, Replayer};
use vivace_log::LogError;
use vivace_memory::Governor;
use vivace_model::{ErrorKind, Offset, OffsetRange, Partition, Random, TraceId};
use vivace_operate::{OperateError, RedactLimits, Redactor, Target};

use crate::plan::dice;
use crate::sabotage::{Reads, Sabotage};
use crate::sluggish::SluggishLog;
use crate::spans::TraceKey;
use crate::world::World;

/// Mean time between two commands.
const CALM: Duration = Duration::from_secs(4);
/// A command that is killed lasts that long at most.
const KILLED_MAX: Duration = Duration::from_secs(3);
/// Queries that run have that long before the files are deleted that a redaction replaced.
const REDACTION_GRACE: Duration = Duration::from_secs(2);
/// Readers look at the ledger that often, whatever they are told.
const VIEW_MAX: Duration = Duration::from_secs(15);

/// The operator.
#[derive(Debug)]
pub(crate) struct Operator {
    world: Arc<World>,
    dice: ChaCha8Rng,
    commands: u64,
    /// The trace that is being removed.
    redacting: Option<TraceKey>,
}

impl Operator {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self {
            world: Arc::clone(world),
            dice: dice(world.plan.seed, "operator"),
            commands: 0,
            redacting: None,
        }
    }

    fn is_there(&self) -> bool {
        self.world.plan.replays || self.world.plan.redacts
    }

    /// Gives commands until the time is over. What runs then is killed.
    pub(crate) async fn run(&mut self, until: Instant) {
        while self.is_there() && Instant::now() < until {
            sleep(CALM.mul_f64(self.dice.random_range(0.0..=2.0))).await;
            let patience = KILLED_MAX.mul_f64(self.dice.random_range(0.0..=1.0));
            let killed =
                if self.dice.random_bool(0.2) { until.min(Instant::now() + patience) } else { until };
            let partition = Partition(self.dice.random_range(0..self.world.plan.partitions));
            let command = Box::pin(self.command(partition));
            if timeout_at(killed, command).await.is_err() {
                self.world.journal.note(format_args!("the operator's command is killed"));
                self.redaction_ends(None).await;
            }
        }
    }

    async fn command(&mut self, partition: Partition) {
        if self.world.plan.redacts && (!self.world.plan.replays || self.dice.random_bool(0.4)) {
            let trace = self.world.model.traces.choose(&mut self.dice).expect("there are traces").clone();
            return self.redact(&trace).await.unwrap_or_else(|error| self.judge("not redacted", &error));
        }
        if self.world.plan.discards && self.dice.random_bool(0.4) {
            return self.discard(partition).await;
        }
        let end = self.world.handle.watermarks(&self.world.topics.spans, partition).end;
        let start = if self.dice.random_bool(0.4) { 0 } else { self.dice.random_range(0..=end.0) };
        let end =
            if self.dice.random_bool(0.6) { u64::MAX } else { self.dice.random_range(start..=end.0) + 1 };
        let offsets = OffsetRange::new(Offset(start), Offset(end));
        let keep_missing = self.dice.random_bool(0.7);
        let done = self.replay(partition, offsets, keep_missing).await;
        self.note_replay(partition, offsets, &done);
    }

    /// Once nothing goes wrong any more, everything that the log still has is built anew, and the traces that were to go
    /// are gone.
    pub(crate) async fn finish(&mut self) {
        if self.world.plan.replays {
            self.replay_all().await;
        }
        for trace in self.world.model.redacted() {
            if let Err(error) = Box::pin(self.redact(&trace)).await {
                self.world.fail(format_args!("nothing is wrong, but a redaction fails: {error:?}"));
            }
        }
        if self.is_there() {
            // Until all readers have looked at the ledger by themselves.
            sleep(VIEW_MAX).await;
        }
    }

    async fn replay_all(&mut self) {
        for partition in self.world.partitions() {
            let offsets = OffsetRange::new(Offset::ZERO, Offset(u64::MAX));
            let done = Box::pin(self.replay(partition, offsets, true)).await;
            self.note_replay(partition, offsets, &done);
            if let Err(error) = &done
                && error.kind() != ErrorKind::Invalid
            {
                self.world.fail(format_args!("nothing is wrong, but a replay fails: {error:?}"));
            }
            if self.world.plan.discards {
                self.discard(partition).await;
            }
        }
    }

    async fn replay(
        &mut self,
        partition: Partition,
        offsets: OffsetRange,
        keep_missing: bool,
    ) -> Result<Replayed, ReplayError> {
        self.commands += 1;
        let world = &self.world;
        let environment = Environment {
            log: SluggishLog::prompt(world, Reads::Replay),
            store: world.shared_store(),
            clock: Arc::<crate::world::SimulatedClock>::clone(&world.clock),
            random: Arc::new(Random::seeded(world.plan.seed ^ (self.commands << 44))),
            compute: Compute::Inline,
            memory: Governor::unlimited(),
            metrics: vivace_ingester::Metrics::default(),
            ledger_metrics: vivace_ledger::Metrics::default(),
        };
        let (config, topics) = (world.plan.ingester.clone(), world.topics.clone());
        let replayer = Replayer::new(config, BlockConfig::default(), topics, environment);
        let replayer = replayer.expect("the settings are valid");
        let request = ReplayRequest {
            partition,
            offsets,
            keep_missing,
            abandon: Vec::new(),
            with_redacted: false,
            reason: "a simulation".into(),
        };
        world.journal.note(format_args!("partition {partition}: {offsets} shall be replayed"));
        replayer.replay(&request).await
    }

    fn note_replay(&self, partition: Partition, offsets: OffsetRange, done: &Result<Replayed, ReplayError>) {
        let world = &self.world;
        match done {
            Ok(done) => world.journal.note(format_args!(
                "partition {partition}: {} of {offsets} replayed, {} blocks by {}, entry {}",
                done.plan.offsets,
                done.plan.inputs.len(),
                done.blocks.len(),
                done.sequence
            )),
            // The topic may be cut under its hands.
            Err(ReplayError::Log { source: LogError::OffsetOutOfRange { .. }, .. }) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                world.fail(format_args!("partition {partition}: a replay finds damage: {error:?}"));
            }
            Err(error) => {
                world.journal.note(format_args!("partition {partition}: {offsets} not replayed: {error}"));
            }
        }
    }

    async fn discard(&mut self, partition: Partition) {
        self.commands += 1;
        let world = &self.world;
        match vivace_operate::discard(&world.bucket(self.commands), partition).await {
            Ok(kept) => {
                world
                    .journal
                    .note(format_args!("partition {partition}: {} old blocks discarded", kept.len()));
            }
            Err(error) => self.judge("not discarded", &error),
        }
    }

    async fn redact(&mut self, trace: &TraceKey) -> Result<(), OperateError> {
        self.commands += 1;
        let world = Arc::clone(&self.world);
        let limits = RedactLimits { grace: REDACTION_GRACE, ..RedactLimits::default() };
        let redactor = Redactor::new(world.bucket(self.commands), BlockConfig::default(), limits);
        let wanted = match world.plan.sabotage {
            Some(Sabotage::RedactionsMiss) => BTreeSet::from([TraceId::from_bytes([7; 16])]),
            Some(Sabotage::RedactionsGoTooFar) => {
                let mut traces = world.model.traces.iter().map(|trace| trace.id);
                BTreeSet::from([trace.id, traces.find(|id| *id != trace.id).expect("there are several")])
            }
            _ => BTreeSet::from([trace.id]),
        };
        world.journal.note(format_args!("{trace:?} shall be removed"));
        world.model.redaction_begins(trace);
        self.redacting = Some(trace.clone());
        let end = world.true_end(trace.partition(world.plan.partitions)).await;
        let found = redactor.find(&Target::Traces(wanted), Some(&trace.tenant)).await;
        let done = match found {
            Ok(found) => redactor.remove(&found, "a simulation").await,
            Err(error) => Err(error),
        };
        self.redaction_ends(done.is_ok().then_some(end)).await;
        let done = done?;
        world.journal.note(format_args!("{trace:?}: {} spans removed, {:?}", done.rows(), done.entries));
        Ok(())
    }

    async fn redaction_ends(&mut self, removed: Option<Offset>) {
        let Some(trace) = self.redacting.take() else { return };
        let end = self.world.true_end(trace.partition(self.world.plan.partitions)).await;
        self.world.model.redaction_ends(&trace, removed, end);
    }

    fn judge(&self, what: &str, error: &OperateError) {
        if error.kind() == ErrorKind::Corrupt {
            self.world.fail(format_args!("{what}: {error:?}"));
        }
        self.world.journal.note(format_args!("{what}: {error}"));
    }
}
