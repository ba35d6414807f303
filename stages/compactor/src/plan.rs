//! What there is to do in a partition.
//! Owns: which blocks are merged with which, which are written anew, which are gone. Pure: it looks at a state and at a time.
//! Does not own: doing it.
//!
//! Blocks of one tenant, one day and one number of partitions stand in the order of their offsets. Neighbours of one level
//! are merged once they are enough, into a block of the next level, until blocks are large: so a span is written again
//! few times, and a block holds spans of about one time. What is left of a day is merged when the day is over.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use vivace_ledger::{BlockMeta, PartitionState};
use vivace_model::{BlockId, Spread, TenantId, UnixNanos};

use crate::Config;
use crate::retention::Retention;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Blocks whose traces are all too old.
    Expire(Vec<Arc<BlockMeta>>),
    /// Blocks of one tenant, day and spread, to be written as one or as few.
    Merge(Vec<Arc<BlockMeta>>),
}

impl Job {
    pub(crate) fn blocks(&self) -> &[Arc<BlockMeta>] {
        let (Self::Expire(blocks) | Self::Merge(blocks)) = self;
        blocks
    }
}

/// Blocks that may be merged.
type Key<'a> = (&'a TenantId, &'a str, Spread);

/// All that there is to do, the most pressing first. Blocks that are in `avoid` stay as they are.
pub(crate) fn plan(
    state: &PartitionState,
    now: UnixNanos,
    config: &Config,
    retention: &dyn Fn(&TenantId) -> Retention,
    avoid: &HashSet<BlockId>,
) -> Vec<Job> {
    let mut groups: BTreeMap<Key<'_>, Vec<&Arc<BlockMeta>>> = BTreeMap::new();
    for block in state.live().iter().filter(|block| !avoid.contains(&block.id)) {
        groups.entry((&block.tenant, &block.date, block.spread)).or_default().push(block);
    }
    let mut jobs = Vec::new();
    let mut expired = Vec::new();
    let mut known: Option<(&TenantId, Retention)> = None;
    for ((tenant, ..), mut blocks) in groups {
        if known.as_ref().is_none_or(|(of, _)| *of != tenant) {
            known = Some((tenant, retention(tenant)));
        }
        let Some((_, retention)) = &known else { continue };
        let (over, stays): (Vec<_>, Vec<_>) =
            blocks.drain(..).partition(|block| retention.is_over(block, now));
        expired.extend(over.into_iter().cloned());
        let (due, mut rest): (Vec<_>, Vec<_>) =
            stays.into_iter().partition(|block| retention.is_due(block, now));
        jobs.extend(runs(due, config, 1));
        rest.retain(|block| {
            block.bytes < config.block_bytes_max.0.div_ceil(2) && block.level < config.levels_max
        });
        merges(rest, now, config, &mut jobs);
    }
    if !expired.is_empty() {
        jobs.insert(0, Job::Expire(expired));
    }
    jobs
}

/// Merges of the blocks of one group.
fn merges(blocks: Vec<&Arc<BlockMeta>>, now: UnixNanos, config: &Config, jobs: &mut Vec<Job>) {
    let newest = blocks.iter().map(|block| block.created).max();
    let settled = newest.is_some_and(|newest| now.since(newest) >= config.settle_after);
    if settled {
        jobs.extend(runs(blocks, config, 2));
        return;
    }
    let mut levels: BTreeMap<u32, Vec<&Arc<BlockMeta>>> = BTreeMap::new();
    for block in blocks {
        levels.entry(block.level).or_default().push(block);
    }
    for blocks in levels.into_values() {
        jobs.extend(runs(blocks, config, config.inputs_min));
    }
}

/// Neighbours in runs of `inputs_max` blocks, or of as many as make a large block; the last run has at least `inputs_min`.
fn runs(mut blocks: Vec<&Arc<BlockMeta>>, config: &Config, inputs_min: usize) -> Vec<Job> {
    blocks.sort_unstable_by_key(|block| (block.offsets.start, block.id));
    let (mut jobs, mut run, mut bytes): (_, Vec<Arc<BlockMeta>>, u64) = (Vec::new(), Vec::new(), 0);
    for block in blocks {
        run.push(Arc::clone(block));
        bytes = bytes.saturating_add(block.bytes);
        let large = bytes >= config.block_bytes_max.0 && run.len() >= inputs_min.min(2);
        if large || run.len() >= config.inputs_max {
            jobs.push(Job::Merge(std::mem::take(&mut run)));
            bytes = 0;
        }
    }
    if run.len() >= inputs_min {
        jobs.push(Job::Merge(run));
    }
    jobs
}

/// How much waits: blocks, and for how long the oldest of them has been there.
pub(crate) fn backlog(jobs: &[Job], now: UnixNanos) -> (usize, Duration) {
    let blocks = jobs.iter().flat_map(Job::blocks);
    let oldest = blocks.clone().map(|block| now.since(block.created)).max();
    (blocks.count(), oldest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ending, NOW, block, days, state_of};

    fn config() -> Config {
        Config { inputs_min: 3, inputs_max: 5, levels_max: 3, ..Config::default() }
    }

    /// Numbers of the blocks of each job.
    fn planned(blocks: Vec<BlockMeta>, config: &Config, retention: &Retention) -> Vec<Vec<u64>> {
        let numbers: Vec<_> = blocks.iter().map(|block| (block.id, block.offsets.start.0)).collect();
        let state = state_of(blocks);
        let jobs = plan(&state, NOW, config, &|_| retention.clone(), &HashSet::new());
        let number = |id| numbers.iter().find(|(of, _)| *of == id).unwrap().1;
        let mut jobs: Vec<Vec<u64>> =
            jobs.iter().map(|job| job.blocks().iter().map(|block| number(block.id)).collect()).collect();
        jobs.iter_mut().for_each(|job| job.sort_unstable());
        jobs
    }

    fn blocks(numbers: std::ops::Range<u64>) -> Vec<BlockMeta> {
        numbers.map(block).collect()
    }

    #[test]
    fn neighbours_are_merged_once_they_are_enough() {
        let none: Vec<Vec<u64>> = vec![];
        let forever = Retention::default();
        assert_eq!(planned(blocks(0..2), &config(), &forever), none);
        assert_eq!(planned(blocks(0..4), &config(), &forever), [[0, 1, 2, 3]]);
        assert_eq!(planned(blocks(0..7), &config(), &forever), [[0, 1, 2, 3, 4]]);
        assert_eq!(planned(blocks(0..8), &config(), &forever), [vec![0, 1, 2, 3, 4], vec![5, 6, 7]]);
    }

    #[test]
    fn tenants_days_and_spreads_stay_apart() {
        let mut mixed = blocks(0..4);
        mixed[0].tenant = "other".parse().unwrap();
        mixed[1].date = "2026-01-01".into();
        mixed[2].spread = Spread::all(7);
        mixed.extend(blocks(4..6));
        assert_eq!(planned(mixed, &config(), &Retention::default()), [[3, 4, 5]]);
    }

    #[test]
    fn large_blocks_and_high_levels_stay_as_they_are() {
        let half = config().block_bytes_max.0 / 2;
        let mut some = blocks(0..6);
        some[0].bytes = half;
        some[1].level = 3;
        some[2].level = 1;
        assert_eq!(planned(some.clone(), &config(), &Retention::default()), [[3, 4, 5]]);
        some[3].bytes = half - 1;
        some[4].bytes = half - 1;
        some[5].bytes = half - 1;
        assert_eq!(planned(some, &config(), &Retention::default()), [[3, 4, 5]]);
    }

    #[test]
    fn what_is_left_of_a_day_is_merged_when_nothing_comes_any_more() {
        let mut left = blocks(0..3);
        left[0].level = 2;
        left[1].level = 1;
        assert!(planned(left.clone(), &config(), &Retention::default()).is_empty());
        let old = UnixNanos(NOW.0 - u64::try_from(config().settle_after.as_nanos()).unwrap());
        left.iter_mut().for_each(|block| block.created = old);
        assert_eq!(planned(left.clone(), &config(), &Retention::default()), [[0, 1, 2]]);
        assert!(planned(left[..1].to_vec(), &config(), &Retention::default()).is_empty());
    }

    #[test]
    fn what_expires_goes_first_and_is_not_merged() {
        let mut some = blocks(0..6);
        let old = UnixNanos(NOW.0 - u64::try_from(days(4).as_nanos()).unwrap());
        some[1] = some[1].clone().ending(old);
        some[3] = some[3].clone().ending(old);
        let keep = Retention { keep: Some(days(3)), ..Retention::default() };
        assert_eq!(planned(some.clone(), &config(), &keep), [vec![1, 3], vec![0, 2, 4, 5]]);
        let errors = Retention { errors: Some(days(5)), ..keep };
        assert_eq!(planned(some, &config(), &errors), [vec![1, 3], vec![0, 2, 4, 5]]);
    }

    #[test]
    fn what_is_to_be_avoided_is() {
        let state = state_of(blocks(0..4));
        let avoid = state.live().iter().take(2).map(|block| block.id).collect();
        let jobs = plan(&state, NOW, &config(), &|_| Retention::default(), &avoid);
        assert!(jobs.is_empty());
    }

    #[test]
    fn the_backlog_counts_blocks_and_their_age() {
        let state = state_of(blocks(0..4));
        let jobs = plan(&state, NOW, &config(), &|_| Retention::default(), &HashSet::new());
        let later = UnixNanos(NOW.0 + 5_000_000_000);
        assert_eq!(backlog(&jobs, later), (4, Duration::from_secs(5)));
        assert_eq!(backlog(&[], later), (0, Duration::ZERO));
    }

    /// Merged again and again, blocks become few, and none is written more often than there are levels.
    #[test]
    fn merging_comes_to_an_end() {
        let config = config();
        let mut live = blocks(0..200);
        for next in 1000..2000 {
            let state = state_of(live.clone());
            let jobs = plan(&state, NOW, &config, &|_| Retention::default(), &HashSet::new());
            let Some(job) = jobs.first() else { break };
            let inputs: HashSet<_> = job.blocks().iter().map(|block| block.id).collect();
            live.retain(|block| !inputs.contains(&block.id));
            let level = job.blocks().iter().map(|block| block.level).max().unwrap() + 1;
            let offsets = job.blocks()[0].offsets;
            let bytes = job.blocks().iter().map(|block| block.bytes).sum();
            live.push(BlockMeta { level, offsets, bytes, ..block(next) });
        }
        assert!(live.len() < 12, "{} blocks are left", live.len());
        assert!(live.iter().all(|block| block.level <= config.levels_max));
    }
}
