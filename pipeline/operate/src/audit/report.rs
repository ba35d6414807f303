use std::collections::BTreeMap;

use serde::Serialize;
use vivace_ledger::{EntryBody, PartitionState};
use vivace_model::{Offset, OffsetRange, Partition};

/// So many findings of a kind are told; of the others, how many there are.
const TOLD_MAX: usize = 50;

/// So many quarantined records are named; of the others, how many there are.
const QUARANTINED_MAX: usize = 1000;

/// What an audit of a partition comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All rules are kept.
    Clean,
    /// Not all of it could be looked at.
    Unknown,
    /// A rule is broken.
    Violated,
}

/// Findings of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// The first of them.
    pub told: Vec<String>,
    /// How many there are besides.
    pub more: u64,
}

impl Findings {
    pub(crate) fn add(&mut self, finding: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// Whether nothing was found.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.told.is_empty()
    }
}

/// Records that were put aside because work on them failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// The first of them, and why.
    pub records: BTreeMap<Offset, String>,
    /// How many there are besides.
    pub more: u64,
}

impl Quarantined {
    /// Notes what an entry says of them.
    pub(crate) fn note(&mut self, body: &EntryBody) {
        let rejected = match body {
            EntryBody::Ingested { rejected, .. } => rejected,
            EntryBody::Replayed { offsets, rejected, .. } => {
                // The records were read again; those that failed again are named again.
                self.records.retain(|offset, _| !offsets.contains(*offset));
                rejected
            }
            // Offsets say something else from here on.
            EntryBody::Recreated { .. } => return *self = Self::default(),
            EntryBody::Compacted { .. }
            | EntryBody::Expired { .. }
            | EntryBody::Lost { .. }
            | EntryBody::Discarded { .. }
            | EntryBody::Redacted { .. } => return,
        };
        for rejected in rejected.iter().filter(|rejected| rejected.is_quarantined()) {
            if self.records.len() < QUARANTINED_MAX {
                self.records.insert(rejected.offset, rejected.reason.clone());
            } else {
                self.more += 1;
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.records.len() as u64 + self.more
    }
}

/// What was found in a partition.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionReport {
    /// Which.
    pub partition: Partition,
    /// Entries of its chain.
    pub entries: u64,
    /// Its generation.
    pub generation: u32,
    /// The first offset that no entry accounts for.
    pub end: Offset,
    /// Live blocks.
    pub blocks: u64,
    /// Spans in them.
    pub rows: u64,
    /// Size of their files in bytes.
    pub bytes: u64,
    /// Offsets that were deleted from the topic before they were ingested, since the chain began.
    pub lost_offsets: u64,
    /// Records that were put aside because work on them failed, and that no replay has taken in since.
    pub quarantined: Quarantined,
    /// Blocks kept of earlier generations.
    pub kept: u64,
    /// Broken rules.
    pub violations: Findings,
    /// What could not be looked at.
    pub unknown: Findings,
    /// What breaks no rule but should not be.
    pub warnings: Findings,
}

impl PartitionReport {
    pub(crate) fn new(partition: Partition) -> Self {
        Self {
            partition,
            entries: 0,
            generation: 0,
            end: Offset::ZERO,
            blocks: 0,
            rows: 0,
            bytes: 0,
            lost_offsets: 0,
            quarantined: Quarantined::default(),
            kept: 0,
            violations: Findings::default(),
            unknown: Findings::default(),
            warnings: Findings::default(),
        }
    }

    /// What it comes to.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match (self.violations.is_empty(), self.unknown.is_empty()) {
            (false, _) => Verdict::Violated,
            (true, false) => Verdict::Unknown,
            (true, true) => Verdict::Clean,
        }
    }

    pub(crate) fn tell(&mut self, state: &PartitionState) {
        self.entries = state.sequence();
        self.generation = state.generation();
        self.end = state.end();
        self.blocks = state.live().len() as u64;
        self.rows = state.live().iter().map(|block| block.rows).sum();
        self.bytes = state.live().iter().map(|block| block.bytes).sum();
        self.lost_offsets = state.totals().lost_offsets;
        self.kept = state.kept().len() as u64;
    }

    /// The chain cannot be ahead of the topic; and what the topic lost before the chain came that far is lost.
    /// The log has to be asked after the chain was read.
    pub(crate) fn compare_log(&mut self, state: &PartitionState, log: Result<Option<OffsetRange>, String>) {
        let end = state.end();
        let log = match log {
            Ok(Some(log)) => log,
            Ok(None) => return,
            Err(reason) => return self.unknown.add(reason),
        };
        if end > log.end {
            self.violations
                .add(format!("it ends at offset {end}, but the topic holds only {log}: another topic?"));
        } else if end < log.start {
            let lost = OffsetRange::new(end, log.start);
            self.warnings
                .add(format!("offsets {lost} were deleted from the topic before they were ingested"));
        }
    }
}

#[cfg(test)]
mod tests {
    use vivace_ledger::Rejected;

    use super::*;

    fn ingested(offsets: std::ops::Range<u64>, reasons: &[(u64, &str)]) -> EntryBody {
        let rejected = |(offset, reason): &(u64, &str)| Rejected {
            offset: Offset(*offset),
            reason: (*reason).into(),
            spans: 0,
        };
        EntryBody::Ingested {
            offsets: OffsetRange::new(Offset(offsets.start), Offset(offsets.end)),
            blocks: vec![],
            rejected: reasons.iter().map(rejected).collect(),
            last: None,
        }
    }

    #[test]
    fn quarantined_records_are_noted_until_a_replay_takes_them_in() {
        let mut quarantined = Quarantined::default();
        quarantined.note(&ingested(0..10, &[(3, "quarantined: it panicked"), (4, "no OTLP")]));
        quarantined.note(&ingested(10..20, &[(12, "quarantined: it panicked")]));
        let offsets = |quarantined: &Quarantined| quarantined.records.keys().map(|offset| offset.0).collect();
        let noted: Vec<u64> = offsets(&quarantined);
        assert_eq!((noted, quarantined.count()), (vec![3, 12], 2));
        quarantined.note(&EntryBody::Replayed {
            generation: 1,
            offsets: OffsetRange::new(Offset(0), Offset(10)),
            inputs: vec![],
            outputs: vec![],
            abandoned: vec![],
            rejected: vec![],
            last: None,
            reason: "mended".into(),
        });
        let noted: Vec<u64> = offsets(&quarantined);
        assert_eq!(noted, [12]);
    }
}
