//! What a seed decides before a run begins: how large the installation is, how small its limits, how bad its luck.

use std::time::Duration;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vivace_model::ByteSize;

use crate::sabotage::Sabotage;

/// A run's settings.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) partitions: u32,
    pub(crate) nodes: usize,
    pub(crate) writers: usize,
    pub(crate) readers: usize,
    pub(crate) traces: usize,
    /// How long writers write and things go wrong.
    pub(crate) storm: Duration,
    pub(crate) ingester: vivace_ingester::Config,
    /// Compactors that all work on everything.
    pub(crate) compactors: usize,
    pub(crate) compactor: vivace_compactor::Config,
    pub(crate) store: vivace_ledger::faults::Faults,
    pub(crate) log: vivace_log::memory::Faults,
    /// An ingester hears of a change of its partitions up to that late.
    pub(crate) sluggish_max: Duration,
    /// Mean time between two pieces of bad luck.
    pub(crate) calm: Duration,
    /// Share of records that cannot be stored.
    pub(crate) garbage: f64,
    /// Whether the log deletes records that nobody has stored yet.
    pub(crate) loses: bool,
    /// Whether an operator has blocks built anew.
    pub(crate) replays: bool,
    /// Whether the operator gives up what was replaced, now and then.
    pub(crate) discards: bool,
    /// Whether the operator has traces removed, now and then.
    pub(crate) redacts: bool,
    /// Whether steps of ingesters panic, now and then.
    pub(crate) panics: bool,
    /// What is broken on purpose.
    pub(crate) sabotage: Option<Sabotage>,
}

/// Random numbers of one part of a run, apart from those of all others.
pub(crate) fn dice(seed: u64, part: &str) -> ChaCha8Rng {
    let salt = part.bytes().fold(0_u64, |salt, byte| salt.wrapping_mul(257).wrapping_add(u64::from(byte)));
    ChaCha8Rng::seed_from_u64(seed ^ salt.rotate_left(17))
}

impl Plan {
    /// Whether the files of replaced blocks are still there at the end.
    pub(crate) fn files_stay(&self) -> bool {
        !self.discards
            && !self.redacts
            && (self.compactors == 0 || self.compactor.grace > Duration::from_secs(600))
    }

    /// Whether a night goes by in the calm, after which only files that are of use are still there.
    pub(crate) fn night(&self) -> bool {
        self.compactors > 0 && !self.files_stay()
    }

    pub(crate) fn of(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let happens = |what, share| sabotage.is_none() && dice(seed, what).random_bool(share);
        let loses = happens("losses", 0.35) || sabotage.is_some_and(Sabotage::needs_losses);
        let replays = happens("replays", 0.4) || sabotage.is_some_and(Sabotage::needs_replays);
        let redacts = happens("redactions", 0.3) || sabotage.is_some_and(Sabotage::needs_redactions);
        let panics = happens("panics", 0.3);
        // Nothing is redacted while old blocks are kept.
        let discards = replays && (redacts || happens("discards", 0.5));
        let mut dice = dice(seed, "plan");
        let millis = |millis| Duration::from_millis(millis);
        let one_of = |dice: &mut ChaCha8Rng, choices: &[u64]| *choices.choose(dice).expect("some choices");
        Self {
            seed,
            sabotage,
            partitions: dice.random_range(1..=4),
            nodes: usize::try_from(one_of(&mut dice, &[1, 2, 2, 3, 3])).unwrap_or(1),
            writers: dice.random_range(1..=3),
            readers: 2,
            traces: dice.random_range(3..=12),
            storm: Duration::from_secs(dice.random_range(15..=40)),
            ingester: vivace_ingester::Config {
                rows_max: dice.random_range(5..=80),
                block_age_max: millis(one_of(&mut dice, &[700, 2_000, 5_000, 12_000])),
                sealing_max: dice.random_range(1..=2),
                fetch_bytes_max: ByteSize(one_of(&mut dice, &[1, 700, 4_000, 100_000])),
                record_bytes_max: ByteSize::kib(8),
                memory_bytes_max: ByteSize::kib(one_of(&mut dice, &[512, 2_000, 100_000])),
                recent_retention: millis(one_of(&mut dice, &[0, 300, 3_000, 30_000])),
                drain_max: millis(one_of(&mut dice, &[500, 10_000])),
                ..vivace_ingester::Config::default()
            },
            compactors: match sabotage {
                None => seed as usize % 4,
                Some(sabotage) => {
                    if sabotage.needs_compactors() {
                        2
                    } else {
                        0
                    }
                }
            },
            compactor: compactor(seed),
            store: store_faults(&mut dice),
            log: log_faults(&mut dice),
            sluggish_max: millis(one_of(&mut dice, &[0, 500, 4_000, 8_000, 20_000])),
            calm: millis(one_of(&mut dice, &[800, 2_500, 6_000])),
            loses,
            panics,
            replays,
            discards,
            redacts,
            garbage: one_of(&mut dice, &[0, 0, 5, 20]) as f64 / 100.0,
        }
    }
}

/// Tiny, so that everything is merged again and again; in some runs files are deleted at once, under running queries.
fn compactor(seed: u64) -> vivace_compactor::Config {
    let mut dice = dice(seed, "compactor");
    let mut one_of = |choices: &[u64]| *choices.choose(&mut dice).expect("some choices");
    vivace_compactor::Config {
        inputs_min: 2,
        inputs_max: usize::try_from(one_of(&[2, 3, 8])).unwrap_or(2),
        levels_max: u32::try_from(one_of(&[2, 5, 20])).unwrap_or(2),
        block_bytes_max: ByteSize::kib(one_of(&[8, 64, 1_000])),
        input_rows_max: usize::try_from(one_of(&[3, 50, 10_000])).unwrap_or(3),
        settle_after: Duration::from_secs(one_of(&[2, 3_600])),
        look_every: Duration::from_millis(one_of(&[700, 5_000])),
        grace: Duration::from_secs(one_of(&[1, 10, 2_400, 2_400])),
        retention: Duration::ZERO,
        orphans_every: Duration::from_secs(one_of(&[1, 10])),
        // More than twice what clocks are wrong by.
        orphan_age_min: Duration::from_secs(5 * 60 * 60),
        ..vivace_compactor::Config::default()
    }
}

fn store_faults(dice: &mut ChaCha8Rng) -> vivace_ledger::faults::Faults {
    use vivace_ledger::faults::Faults;
    let mut often = |often: f64| if dice.random_bool(0.5) { often } else { 0.0 };
    let faults = Faults {
        error_before: often(0.08),
        error_after: often(0.08),
        repeated: often(0.05),
        late: often(0.04),
        late_max: Duration::from_secs(5),
        cut: often(0.05),
        slow: often(0.5),
        slow_max: Duration::from_millis(400),
        stale: often(0.5),
        stale_max: Duration::from_secs(30),
    };
    match dice.random_range(0..6) {
        0 => Faults::NONE,
        1 => Faults::ROUGH,
        _ => faults,
    }
}

fn log_faults(dice: &mut ChaCha8Rng) -> vivace_log::memory::Faults {
    let mut often = |often: f64| if dice.random_bool(0.5) { often } else { 0.0 };
    vivace_log::memory::Faults {
        append_refused: often(0.1),
        append_unanswered: often(0.1),
        append_duplicated: often(0.1),
        read_failed: often(0.1),
        append_delay_max: Duration::from_millis(often(150.0) as u64),
        read_delay_max: Duration::from_millis(often(150.0) as u64),
        watermarks_failed: often(0.3),
    }
}
