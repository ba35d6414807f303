//! One run of one seed: a storm, the calm after it, and the reckoning.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use vivace_log::Log;
use vivace_model::Offset;

use crate::audit::{audit, audit_as_operators};
use crate::chaos::Chaos;
use crate::compactors::Compactors;
use crate::node::Node;
use crate::operator::Operator;
use crate::orphans::{self, sleep_well};
use crate::panics::Panics;
use crate::plan::Plan;
use crate::reader::{Asked, QueryPath, read};
use crate::sabotage::Sabotage;
use crate::searcher::{Mood, Question};
use crate::world::World;
use crate::writer::{write, write_once};

/// Once nothing goes wrong any more, everything must be stored and answered within that time.
const CALM_MAX: Duration = Duration::from_secs(120);
/// At the start the query path must be ready within that time.
const START_MAX: Duration = Duration::from_secs(60);

/// What a run has seen.
#[derive(Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) journal: String,
    acknowledged: u64,
    stored_rows: u64,
    entries: u64,
    blocks: u64,
    rejected: u64,
    /// Offsets that were declared lost.
    lost: u64,
    /// How often blocks were built anew.
    replays: u64,
    /// Blocks that traces were removed from.
    redactions: u64,
    conflicts: u64,
    /// Merges in the ledger, and those that were dropped because another compactor was faster.
    merges: u64,
    merges_lost: u64,
    /// Questions that ingesters answered; queriers found the answer to others in the log.
    recent: u64,
    retries: u64,
    /// Panics that ingesters have caught.
    panics: u64,
    /// Searches in the calm.
    searched: u64,
    answered: u64,
    failed: u64,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { acknowledged, stored_rows, entries, blocks, rejected, .. } = self;
        let Self { merges, merges_lost, lost, replays, redactions, .. } = self;
        let Self { conflicts, retries, panics, recent, searched, answered, failed, .. } = self;
        write!(
            f,
            "{acknowledged} spans acknowledged, {stored_rows} rows in {blocks} blocks of {entries} entries, {rejected} \
             records rejected, {lost} lost, {conflicts} conflicts, {retries} retries, {panics} panics, {merges} merges, {merges_lost} lost, {replays} replays, {redactions} redactions, {answered} questions answered ({recent} by \
             ingesters), {failed} failed, {searched} searches in the calm"
        )
    }
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.stored_rows += other.stored_rows;
        self.entries += other.entries;
        self.blocks += other.blocks;
        self.rejected += other.rejected;
        self.lost += other.lost;
        self.replays += other.replays;
        self.redactions += other.redactions;
        self.conflicts += other.conflicts;
        self.merges += other.merges;
        self.merges_lost += other.merges_lost;
        self.recent += other.recent;
        self.retries += other.retries;
        self.panics += other.panics;
        self.searched += other.searched;
        self.answered += other.answered;
        self.failed += other.failed;
    }

    /// A simulation in which nothing happens finds nothing.
    pub(crate) fn assert_interesting(&self) {
        assert!(self.conflicts > 0, "no two ingesters ever worked on one partition: {self:?}");
        assert!(self.merges > 0, "nothing was ever merged: {self:?}");
        assert!(self.merges_lost > 0, "no two compactors ever did the same: {self:?}");
        assert!(self.retries > 0, "log and store never failed: {self:?}");
        assert!(self.panics > 0, "nothing ever panicked: {self:?}");
        assert!(self.recent > self.answered / 2, "ingesters hardly ever answered: {self:?}");
        assert!(self.redactions > 0, "no trace was ever removed: {self:?}");
        assert!(self.replays > 0, "no block was ever built anew: {self:?}");
        assert!(self.lost > 0, "nothing was ever lost: {self:?}");
        assert!(self.rejected > 0, "nothing was ever rejected: {self:?}");
        assert!(self.answered > self.failed, "most questions had no answer: {self:?}");
        assert!(self.blocks > self.entries / 2, "hardly anything was stored: {self:?}");
    }
}

/// Runs a seed on a runtime of its own, in paused time.
///
/// # Panics
/// If the invariant is broken, with what happened last.
pub(crate) fn run(seed: u64, sabotage: Option<Sabotage>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let world = World::new(Plan::of(seed, sabotage)).await;
        simulate(&world).await
    })
}

async fn simulate(world: &Arc<World>) -> Outcome {
    let plan = &world.plan;
    let panics = Panics::new(plan);
    let mut nodes: Vec<_> = (0..plan.nodes).map(|index| Node::new(world, index)).collect();
    // One for each reader: their Views differ in age.
    let paths: Vec<_> = (0..plan.readers).map(|_| QueryPath::start(world, &nodes)).collect();
    let ready = async || paths.iter().try_for_each(|path| path.readiness.state());
    until(world, START_MAX, "the query path", ready).await;
    world.store.set_faults(plan.store);
    world.handle.set_faults(plan.log);
    for node in &mut nodes {
        node.start(plan.sluggish_max);
    }
    let end = Instant::now() + plan.storm;
    let mut writers = JoinSet::new();
    for index in 0..plan.writers {
        writers.spawn(write(Arc::clone(world), index, end));
    }
    let mut readers = JoinSet::new();
    for (index, path) in paths.iter().enumerate() {
        readers.spawn(read(Arc::clone(path), index, end));
    }
    let mut compacting = JoinSet::new();
    compacting.spawn(Compactors::new(world).run(end));
    let (mut chaos, mut operator) = (Chaos::new(world), Operator::new(world));
    join(chaos.run(&mut nodes, end), Box::pin(operator.run(end))).await;
    while let Some(ended) = writers.join_next().await {
        ended.expect("writers end well");
    }
    let mut asked = Asked::default();
    while let Some(ended) = readers.join_next().await {
        let one = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        asked.answered += one.answered;
        asked.failed += one.failed;
    }
    panics.end();
    chaos.end(&mut nodes).await;
    let compactors = compacting.join_next().await.expect("it was spawned");
    let compactors = compactors.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    let mut outcome = reckon(world, &mut nodes, (compactors, operator), &paths).await;
    outcome.merges_lost = world.jobs("lost");
    outcome.conflicts = world.counted("conflicts");
    outcome.retries = world.counted("retries");
    outcome.panics = world.counted("panics");
    outcome.recent = world.counted("recent_questions") - world.counted("recent_refused");
    outcome.answered += asked.answered;
    outcome.failed += asked.failed;
    outcome.journal = world.journal.text();
    outcome
}

/// In the calm after the storm: everything is stored, everyone is ready, and every answer is exact.
async fn reckon(
    world: &World,
    nodes: &mut [Node],
    (mut compactors, mut operator): (Compactors, Operator),
    paths: &[Arc<QueryPath>],
) -> Outcome {
    stored(world, nodes).await;
    if world.plan.night() {
        sleep_well(world).await;
        write_once(world).await;
        stored(world, nodes).await;
    }
    operator.finish().await;
    world.look().await;
    let mut outcome = Outcome::default();
    for trace in &world.model.traces {
        for path in paths {
            let answer = until(world, CALM_MAX, "an answer", async || path.ask_and_check(trace).await).await;
            let (least, most) = world.model.left_in(trace, Offset(u64::MAX));
            let spans: BTreeSet<u64> = answer.spans.iter().copied().collect();
            if !least.is_subset(&spans) || !spans.is_subset(&most) {
                world.fail(format_args!("{trace:?}: spans {spans:?}, must be {least:?}, may be {most:?}"));
            }
            outcome.answered += 1;
        }
        outcome.acknowledged += world.model.acked(trace).len() as u64;
    }
    outcome.searched = search_all(world, paths).await;
    until(world, CALM_MAX, "the end of orphans", async || orphans::check(world).await).await;
    compactors.stop_all().await;
    for partition in world.partitions() {
        let stored = audit(world, partition).await;
        outcome.merges += stored.merges;
        outcome.entries += stored.entries;
        outcome.blocks += stored.blocks;
        outcome.stored_rows += stored.rows;
        outcome.rejected += stored.rejected;
        outcome.lost += stored.lost;
        outcome.replays += stored.replays;
        outcome.redactions += stored.redactions;
    }
    audit_as_operators(world).await;
    for node in nodes {
        node.stop().await;
    }
    outcome
}

/// Waits until everything is in the ledger and everyone is ready.
async fn stored(world: &World, nodes: &mut [Node]) {
    until(world, CALM_MAX, "the end of the log in the ledger", async || {
        nodes.iter_mut().for_each(Node::check);
        for partition in world.partitions() {
            let watermarks = world.log.watermarks(&world.topics.spans, partition).await;
            let log_end = watermarks.map_err(|error| error.to_string())?.end;
            let end = world.true_chain(partition).load().await.map_err(|error| error.to_string())?.end();
            if end != log_end {
                return Err(format!("partition {partition}: ledger {end}, log {log_end}"));
            }
        }
        nodes.iter().try_for_each(Node::readiness)
    })
    .await;
}

/// Every question, asked in the calm; gives the number of answers.
async fn search_all(world: &World, paths: &[Arc<QueryPath>]) -> u64 {
    let tenants: BTreeSet<_> = world.model.traces.iter().map(|trace| &trace.tenant).collect();
    let mut answered = 0;
    for tenant in tenants {
        for (path, question) in paths.iter().flat_map(|path| Question::ALL.map(|question| (path, question))) {
            until(world, CALM_MAX, "an answer", async || {
                path.search_and_check(tenant, question, Mood::Calm).await
            })
            .await;
            answered += 1;
        }
    }
    answered
}

/// Waits until something is as it should be.
async fn until<T>(
    world: &World,
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(problem) if Instant::now() > deadline => {
                world.fail(format_args!("waited in vain for {what}: {problem}"));
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}
