//! Compactors that all believe to have every partition, and that crash now and then.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use vivace_block::BlockConfig;
use vivace_compactor::{Compactor, CompactorError, Config, Environment, Random, Retention, StoreClock};
use vivace_runtime::Readiness;

use crate::chaos::CLOCK_JUMP_MAX;
use crate::plan::dice;
use crate::sabotage::Sabotage;
use crate::world::{MachineClock, World};

/// Mean time between two crashes or stops.
const CALM: Duration = Duration::from_secs(5);
/// Longest time that a compactor stays away.
const AWAY_MAX: Duration = Duration::from_secs(3);

/// All of them. Each is a group of its own, as if the others were zombies.
#[derive(Debug)]
pub(crate) struct Compactors {
    world: Arc<World>,
    dice: ChaCha8Rng,
    lives: u64,
    list: Vec<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    tasks: JoinSet<Result<(), CompactorError>>,
    shutdown: CancellationToken,
}

impl Compactors {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let list = (0..world.plan.compactors).map(|_| None).collect();
        let dice = dice(world.plan.seed, "compactors");
        Self { world: Arc::clone(world), dice, lives: 0, list }
    }

    /// Goes on until the time is over; then all of them run.
    pub(crate) async fn run(mut self, until: Instant) -> Self {
        self.start_all();
        while Instant::now() < until && !self.list.is_empty() {
            sleep(CALM.mul_f64(self.dice.random_range(0.0..=2.0))).await;
            self.check();
            let victim = self.dice.random_range(0..self.list.len());
            if self.dice.random_bool(0.5) {
                self.world.journal.note(format_args!("compactor {victim} crashes"));
                self.list[victim] = None;
            } else {
                self.stop(victim).await;
            }
            sleep(AWAY_MAX.mul_f64(self.dice.random_range(0.0..=1.0))).await;
            self.start_all();
        }
        self
    }

    fn start_all(&mut self) {
        for index in 0..self.list.len() {
            if self.list[index].is_none() {
                self.list[index] = Some(self.start(index));
            }
        }
    }

    fn start(&mut self, index: usize) -> Running {
        self.lives += 1;
        let clock = self.clock();
        let world = &self.world;
        world.journal.note(format_args!("compactor {index} starts"));
        let environment = Environment {
            log: world.shared_log(),
            store: world.shared_store(),
            store_clock: StoreClock::Ours,
            clock,
            random: Arc::new(Random::seeded(world.plan.seed ^ (self.lives << 48))),
            memory: vivace_memory::Governor::unlimited(),
            retention: Arc::new(|_| Retention::default()),
            metrics: world.compactor_metrics.clone(),
            ledger_metrics: vivace_ledger::Metrics::default(),
        };
        // Without an operator's word nothing would be deleted by a clock of tomorrow.
        let clock_trusted = world.plan.sabotage == Some(Sabotage::TomorrowIsNow);
        let config =
            Config { group: format!("compactor {index}"), clock_trusted, ..world.plan.compactor.clone() };
        let compactor = Compactor::new(config, BlockConfig::default(), world.topics.clone(), environment);
        let compactor = compactor.expect("the settings are valid");
        let check = Readiness::new(CancellationToken::new()).check("compactor");
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(compactor.run(check, shutdown.clone()));
        Running { tasks, shutdown }
    }

    /// Wrong where it does not matter how long the files of replaced blocks stay.
    fn clock(&mut self) -> Arc<MachineClock> {
        let (world, clock) = (&self.world, MachineClock::new(&self.world.clock));
        if world.plan.sabotage == Some(Sabotage::TomorrowIsNow) {
            clock.jump(24 * 60 * 60);
        } else if !world.plan.files_stay() && self.dice.random_bool(0.3) {
            let seconds = self.dice.random_range(-CLOCK_JUMP_MAX..=CLOCK_JUMP_MAX);
            world.journal.note(format_args!("its clock is {seconds} s ahead"));
            clock.jump(seconds);
        }
        clock
    }

    /// A compactor that ends by itself is a failure.
    fn check(&mut self) {
        for running in self.list.iter_mut().flatten() {
            if let Some(ended) = running.tasks.try_join_next() {
                self.world.fail(format_args!("a compactor ended by itself: {ended:?}"));
            }
        }
    }

    async fn stop(&mut self, index: usize) {
        let Some(mut running) = self.list[index].take() else { return };
        running.shutdown.cancel();
        while let Some(ended) = running.tasks.join_next().await {
            if !matches!(ended, Ok(Ok(()))) {
                self.world.fail(format_args!("compactor {index} ended badly: {ended:?}"));
            }
        }
        self.world.journal.note(format_args!("compactor {index} has stopped"));
    }

    pub(crate) async fn stop_all(&mut self) {
        self.check();
        for index in 0..self.list.len() {
            self.stop(index).await;
        }
    }
}
