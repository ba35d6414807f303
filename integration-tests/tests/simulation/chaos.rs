//! Bad luck: what happens to ingesters, log and store while a run lasts.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep};
use vivace_ledger::faults::Faults;
use vivace_model::Offset;

use crate::node::Node;
use crate::plan::dice;
use crate::world::World;

/// Longest time that a crashed ingester stays away.
const AWAY_MAX: Duration = Duration::from_secs(6);
/// A machine's clock is wrong by that many seconds at most.
pub(crate) const CLOCK_JUMP_MAX: i64 = 2 * 60 * 60;
/// Longest outage of the store.
const OUTAGE_MAX: Duration = Duration::from_secs(12);
/// Invariants are looked at that often, at least.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// Commands bad luck.
pub(crate) struct Chaos {
    world: Arc<World>,
    dice: ChaCha8Rng,
    /// When machines that are down start again.
    restarts: Vec<(Instant, usize)>,
    outage_ends: Option<Instant>,
}

impl Chaos {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let dice = dice(world.plan.seed, "chaos");
        Self { world: Arc::clone(world), dice, restarts: Vec::new(), outage_ends: None }
    }

    /// Lets things go wrong until the time is over.
    pub(crate) async fn run(&mut self, nodes: &mut [Node], until: Instant) {
        let mut next = Instant::now() + self.pause();
        while Instant::now() < until {
            sleep(WATCH_EVERY).await;
            self.watch(nodes).await;
            self.restart_due(nodes);
            if self.outage_ends.is_some_and(|end| end <= Instant::now()) {
                self.end_outage().await;
            }
            if Instant::now() >= next {
                self.strike(nodes).await;
                next = Instant::now() + self.pause();
            }
        }
    }

    /// Ends all bad luck and brings everything back.
    pub(crate) async fn end(&mut self, nodes: &mut [Node]) {
        self.world.journal.note(format_args!("the storm is over"));
        self.world.store.heal().await;
        self.world.handle.set_faults(vivace_log::memory::Faults::default());
        for node in nodes {
            node.calm_network();
            node.start(Duration::ZERO);
        }
    }

    fn pause(&mut self) -> Duration {
        self.world.plan.calm.mul_f64(self.dice.random_range(0.0..=2.0))
    }

    fn later(&mut self, max: Duration) -> Instant {
        Instant::now() + max.mul_f64(self.dice.random_range(0.0..=1.0))
    }

    async fn strike(&mut self, nodes: &mut [Node]) {
        let victim = self.dice.random_range(0..nodes.len());
        let (topic, group) = (&self.world.topics.spans, &self.world.plan.ingester.group);
        let kinds = if self.world.plan.loses { 14 } else { 11 };
        match self.dice.random_range(0..kinds) {
            0..=2 => {
                nodes[victim].crash();
                let back = self.later(AWAY_MAX);
                self.restarts.push((back, victim));
            }
            3 => {
                nodes[victim].stop().await;
                let back = self.later(AWAY_MAX);
                self.restarts.push((back, victim));
            }
            4 | 5 => {
                self.world.journal.note(format_args!("partitions are dealt out anew"));
                self.world.handle.rebalance(topic, group);
            }
            6 | 7 => {
                if self.world.handle.drop_member(topic, group, victim) {
                    self.world.journal.note(format_args!("member {victim} is taken for dead"));
                }
            }
            8 => self.begin_outage(),
            9 => {
                let seconds = self.dice.random_range(-CLOCK_JUMP_MAX..=CLOCK_JUMP_MAX);
                self.world.journal.note(format_args!("the clock of node {victim} jumps to {seconds} s"));
                nodes[victim].clock.jump(seconds);
            }
            _ => self.truncate().await,
        }
    }

    fn begin_outage(&mut self) {
        self.world.journal.note(format_args!("the store is gone"));
        self.world.store.set_faults(Faults::OUTAGE);
        self.outage_ends = Some(self.later(OUTAGE_MAX));
    }

    async fn end_outage(&mut self) {
        // Ingesters are behind now, and retention goes on.
        if self.world.plan.loses {
            self.truncate().await;
        }
        self.world.journal.note(format_args!("the store is back"));
        self.world.store.set_faults(self.world.plan.store);
        self.outage_ends = None;
    }

    /// Deletes from the log what the ledger has; or more than that, as a topic does whose retention is too short.
    async fn truncate(&mut self) {
        let world = Arc::clone(&self.world);
        for partition in world.partitions() {
            let end = world.true_end(partition).await;
            let log = world.handle.watermarks(&world.topics.spans, partition);
            let loses = world.plan.loses && self.dice.random_bool(0.7);
            let below = match loses {
                true if self.dice.random_bool(0.5) => log.end,
                true => Offset(self.dice.random_range(end.0..=log.end.0)),
                false => end,
            };
            let below = below.max(log.start);
            world.look_at_log();
            world.handle.truncate(&world.topics.spans, partition, below);
            world.model.truncated(partition, below);
            world
                .journal
                .note(format_args!("partition {partition} is deleted below {below}, stored to {end}"));
        }
    }

    fn restart_due(&mut self, nodes: &mut [Node]) {
        let now = Instant::now();
        for (_, index) in self.restarts.extract_if(.., |(due, _)| *due <= now) {
            nodes[index].start(self.world.plan.sluggish_max);
        }
    }

    /// What must hold at every moment.
    async fn watch(&self, nodes: &mut [Node]) {
        for node in nodes.iter_mut() {
            node.check();
        }
        let world = &self.world;
        for partition in world.partitions() {
            let committed =
                world.handle.committed(&world.topics.spans, &world.plan.ingester.group, partition);
            let end = world.true_end(partition).await;
            if committed.is_some_and(|committed| committed > end) {
                world.fail(format_args!(
                    "partition {partition}: {committed:?} committed, the ledger ends at {end}"
                ));
            }
        }
    }
}
