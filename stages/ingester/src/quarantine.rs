//! Which records make work on a partition fail, and are put aside so that it goes on.
//! Owns: the search for such a record: what failed is tried once more, then in ever smaller sets until one record fails alone.
//! Does not own: catching a failure (`decode`, `store`), cutting the sets (`fetch`), the topic of rejected records (`rejected`).
//! Guarantee: a record is put aside only if it could not be taken in twice, or a set of it alone failed three times in a row; of
//! a set of `n` records it is found after at most `2 * log2(n) + 5` failures. What is known is in memory only: who takes over finds it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{error, warn};
use vivace_ledger::Rejected;
use vivace_model::{Offset, OffsetRange, Partition};

use crate::metrics::RejectReason;
use crate::rejected::shorten;
use crate::shared::Shared;

/// What fails so often in a row is put aside, or looked into if it has parts.
const FAILURES: u32 = 2;
/// The same for a set of one record: storing it depends on more than the record, and to try once more costs little.
const FAILURES_ALONE: u32 = 3;
/// Records of the first set after one was put aside.
const RECORDS_AFTER: usize = 2;

/// Records that are put aside, and why.
pub(crate) type Poison = BTreeMap<Offset, String>;

/// A set of blocks that could not be made, by the fault of one of its records, or of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FailedSet {
    pub(crate) offsets: OffsetRange,
    /// Records in it that are not put aside already.
    pub(crate) records: usize,
    /// The last of these.
    pub(crate) last: Offset,
}

/// Sets are made of few records only, up to an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetLimit {
    pub(crate) records_max: usize,
    /// Sets that start here or later are as usual.
    end: Offset,
    /// Each set may have twice as many records as the one before.
    growing: bool,
}

impl SetLimit {
    /// The limit of the set that follows one of that limit.
    pub(crate) const fn next(self) -> Self {
        match self.growing {
            true => Self { records_max: self.records_max.saturating_mul(2), ..self },
            false => self,
        }
    }

    /// Whether a set that ends there goes as far as the search does: waiting would bring no more suspects.
    pub(crate) fn is_reached(self, end: Offset) -> bool {
        end >= self.end
    }

    /// The limit of a set that starts there.
    pub(crate) fn at(self, start: Offset) -> Option<Self> {
        (start < self.end).then_some(self)
    }
}

/// What is known of records that make work on a partition fail.
#[derive(Debug)]
pub(crate) struct Suspects {
    shared: Arc<Shared>,
    partition: Partition,
    poison: Arc<Poison>,
    limit: Option<SetLimit>,
    /// The set that failed last, by its start, and how often in a row.
    set: Option<(Offset, u32)>,
    /// The record that could not be taken in last, and how often in a row.
    record: Option<(Offset, u32)>,
}

impl Suspects {
    pub(crate) fn new(shared: Arc<Shared>, partition: Partition) -> Self {
        Self { shared, partition, poison: Arc::default(), limit: None, set: None, record: None }
    }

    /// How to work from the chain's end on: what to put aside, and how large sets may be.
    pub(crate) fn plan(&mut self, start: Offset) -> (Arc<Poison>, Option<SetLimit>) {
        if self.poison.first_key_value().is_some_and(|(first, _)| *first < start) {
            Arc::make_mut(&mut self.poison).retain(|offset, _| *offset >= start);
        }
        self.limit = self.limit.and_then(|limit| limit.at(start));
        self.set = self.set.filter(|(failed, _)| *failed >= start);
        self.record = self.record.filter(|(failed, _)| *failed >= start);
        (Arc::clone(&self.poison), self.limit)
    }

    /// A record could not be taken in.
    pub(crate) fn record_failed(&mut self, offset: Offset, reason: &str) {
        let failures = match self.record.take() {
            Some((failed, failures)) if failed == offset => failures + 1,
            _ => 1,
        };
        if failures >= FAILURES {
            self.put_aside(offset, &format!("taking it in failed {failures} times: {reason}"));
        } else {
            self.record = Some((offset, failures));
        }
    }

    /// A set of blocks could not be sealed, encoded or uploaded. Says whether that leads anywhere: no record of a set that
    /// has none can be at fault.
    pub(crate) fn set_failed(&mut self, failed: FailedSet, reason: &str) -> bool {
        let FailedSet { offsets, records, last } = failed;
        if records == 0 {
            return false;
        }
        let failures = match self.set.take() {
            Some((start, failures)) if start == offsets.start => failures + 1,
            _ => 1,
        };
        let end = self.limit.map_or(offsets.end, |limit| limit.end.max(offsets.end));
        let mut records_max = records;
        if failures < if records == 1 { FAILURES_ALONE } else { FAILURES } {
            self.set = Some((offsets.start, failures));
        } else if records == 1 {
            let reason = format!("making a block of it alone failed {failures} times: {reason}");
            self.put_aside(last, &reason);
            self.limit = Some(SetLimit { records_max: RECORDS_AFTER, end, growing: true });
            return true;
        } else {
            records_max = records.div_ceil(2);
        }
        warn!(partition = %self.partition, %offsets, records, records_max, "looking for the record that makes a set fail");
        self.limit = Some(SetLimit { records_max, end, growing: false });
        true
    }

    fn put_aside(&mut self, offset: Offset, reason: &str) {
        let partition = self.partition;
        error!(
            %partition, %offset, reason,
            "record quarantined: it goes to the topic of rejected records, `vivace replay --rejected` takes it in again"
        );
        self.shared.metrics().rejected(RejectReason::Quarantined);
        self.shared.status.quarantined(partition, offset);
        let reason = shorten(format!("{}{reason}", Rejected::QUARANTINED));
        Arc::make_mut(&mut self.poison).insert(offset, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{P, Rig, config};

    /// Makes sets as the pipeline does, of records from 0 to `end`, until all are listed; gives what was put aside, and how
    /// many failures and sets it took. `fails` says whether making a set with this record fails.
    async fn work(end: u64, fails: impl Fn(u64) -> bool) -> (Vec<u64>, u32, u32) {
        let rig = Rig::prepare(config()).await;
        let mut suspects = Suspects::new(rig.shared(), P);
        let (mut put_aside, mut failures, mut sets) = (Vec::new(), 0, 0);
        let mut start = 0;
        'sessions: while start < end {
            let (poison, mut limit) = suspects.plan(Offset(start));
            while start < end {
                let most = limit.and_then(|limit| limit.at(Offset(start)));
                let records: Vec<u64> =
                    (start..end).take(most.map_or(1000, |limit| limit.records_max)).collect();
                let set_end = start + records.len() as u64;
                let good = records.iter().filter(|record| !poison.contains_key(&Offset(**record)));
                let (records, last) = (good.clone().count(), Offset(*good.clone().next_back().unwrap_or(&0)));
                if good.clone().any(|record| fails(*record)) {
                    let offsets = OffsetRange::new(Offset(start), Offset(set_end));
                    assert!(suspects.set_failed(FailedSet { offsets, records, last }, "bad"));
                    failures += 1;
                    continue 'sessions;
                }
                put_aside.extend(poison.range(Offset(start)..Offset(set_end)).map(|(offset, _)| offset.0));
                (start, sets) = (set_end, sets + 1);
                limit = limit.map(SetLimit::next);
            }
        }
        (put_aside, failures, sets)
    }

    #[tokio::test]
    async fn the_record_at_fault_is_found_in_few_steps() {
        for at in [0, 1, 498, 511, 512, 998, 999] {
            let (put_aside, failures, sets) = work(1000, |record| record == at).await;
            assert_eq!(put_aside, [at]);
            assert!(failures <= 2 * 10 + 5 && sets <= 2 * 10 + 2, "{at}: {failures} failures, {sets} sets");
        }
    }

    #[tokio::test]
    async fn several_are_found() {
        let bad = [3, 4, 700, 1500];
        assert_eq!(work(3000, |record| bad.contains(&record)).await.0, bad);
        assert_eq!(work(20, |record| record < 20).await.0, (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_set_that_fails_once_condemns_nobody() {
        let rig = Rig::prepare(config()).await;
        let mut suspects = Suspects::new(rig.shared(), P);
        for start in 0..20 {
            let offsets = OffsetRange::new(Offset(start), Offset(start + 1));
            assert!(suspects.set_failed(FailedSet { offsets, records: 1, last: Offset(start) }, "once"));
            suspects.record_failed(Offset(start), "once");
            assert!(suspects.plan(Offset(start + 1)).0.is_empty());
        }
        assert_eq!(suspects.plan(Offset(30)).1, None, "sets are as usual again");
    }

    #[tokio::test]
    async fn a_record_that_is_not_taken_in_twice_is_put_aside_until_the_chain_is_past_it() {
        let rig = Rig::prepare(config()).await;
        let mut suspects = Suspects::new(rig.shared(), P);
        suspects.record_failed(Offset(7), "bad");
        assert!(suspects.plan(Offset(0)).0.is_empty());
        suspects.record_failed(Offset(7), "bad");
        let (poison, limit) = suspects.plan(Offset(0));
        assert_eq!(poison[&Offset(7)], "quarantined: taking it in failed 2 times: bad");
        assert_eq!(limit, None);
        assert!(suspects.plan(Offset(8)).0.is_empty());
    }
}
