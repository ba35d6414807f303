//! Records, or spans of them, that cannot be stored: they go to the topic of rejected records with their reason.
//! Guarantee: they are durable there before the ledger entry that skips them is written. After a crash between the two they
//! are there twice.

use bytes::Bytes;
use vivace_ledger::Rejected;
use vivace_log::{LogError, NewRecord};
use vivace_model::{Offset, Partition};

use crate::metrics::RejectReason;
use crate::retry::Backoff;
use crate::shared::Shared;

/// Rejections named in one ledger entry at most; the last one then stands for all further ones.
const NAMED_MAX: usize = 100;
/// Rejected records appended at once.
const BATCH_MAX: usize = 64;
/// Longest text of a reason that is kept.
const REASON_BYTES_MAX: usize = 300;

/// The one partition of the topic of rejected records.
pub(crate) const REJECTED_PARTITION: Partition = Partition(0);

/// A record, or spans of it, that could not be taken in.
#[derive(Clone, Debug)]
pub(crate) struct RejectedRecord {
    /// The record.
    pub(crate) offset: Offset,
    /// What is wrong, by class.
    pub(crate) class: RejectReason,
    /// What is wrong, in words.
    pub(crate) reason: String,
    /// Spans that it concerns; 0 if nobody can tell.
    pub(crate) spans: usize,
    /// The tenant as the record named it.
    pub(crate) tenant: Bytes,
    /// OTLP's `TracesData` as far as it is one.
    pub(crate) value: Bytes,
}

impl RejectedRecord {
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.reason.len() + self.tenant.len() + self.value.len()
    }

    fn to_record(&self, topic: &str, partition: Partition) -> NewRecord {
        let text = |text: String| Bytes::from(text.into_bytes());
        NewRecord {
            partition: REJECTED_PARTITION,
            key: None,
            headers: vec![
                ("reason".into(), text(self.reason.clone())),
                ("topic".into(), text(topic.into())),
                ("partition".into(), text(partition.to_string())),
                ("offset".into(), text(self.offset.to_string())),
                (TENANT_HEADER.into(), self.tenant.clone()),
            ],
            value: self.value.clone(),
        }
    }
}

/// Header that names a record's tenant.
pub(crate) const TENANT_HEADER: &str = "x-scope-orgid";

/// Cuts a reason to a length that an entry may hold.
pub(crate) fn shorten(mut reason: String) -> String {
    if reason.len() > REASON_BYTES_MAX {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    }
    reason
}

/// Names rejected records for the ledger entry.
pub(crate) fn name(rejected: &[RejectedRecord]) -> Vec<Rejected> {
    let name = |record: &RejectedRecord| Rejected {
        offset: record.offset,
        reason: record.reason.clone(),
        spans: record.spans as u64,
    };
    if rejected.len() <= NAMED_MAX {
        return rejected.iter().map(name).collect();
    }
    // Those that a mend can take in are worth a name more than others.
    let (quarantined, others): (Vec<_>, Vec<_>) =
        rejected.iter().partition(|record| record.class == RejectReason::Quarantined);
    let all: Vec<&RejectedRecord> = quarantined.into_iter().chain(others).collect();
    let (named, rest) = all.split_at(NAMED_MAX - 1);
    let spans = rest.iter().map(|record| record.spans as u64).sum();
    let reason = format!("and {} more, see the topic of rejected records", rest.len());
    let others = rest.first().map(|first| Rejected { offset: first.offset, reason, spans });
    named.iter().copied().map(name).chain(others).collect()
}

/// Puts rejected records on their topic, in order, however long it takes.
pub(crate) async fn publish(shared: &Shared, partition: Partition, rejected: &[RejectedRecord]) {
    let topics = &shared.topics;
    for batch in rejected.chunks(BATCH_MAX) {
        let mut backoff = Backoff::new();
        let mut records: Vec<_> =
            batch.iter().map(|record| record.to_record(&topics.spans, partition)).collect();
        while let Err(error) = shared.log().append(&topics.rejected, records.clone()).await {
            // The reason is worth more than the bytes, and these are still on the spans topic.
            let largest = records.iter_mut().max_by_key(|record| record.value.len());
            match (&error, largest) {
                (LogError::TooLarge { bytes }, Some(record)) if !record.value.is_empty() => {
                    tracing::warn!(%partition, bytes, "rejected record is put on its topic without its value");
                    record.value = Bytes::new();
                }
                _ => {
                    shared.trouble(partition, "cannot append to the topic of rejected records", &error);
                    backoff.wait(shared.random()).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(offset: u64) -> RejectedRecord {
        RejectedRecord {
            offset: Offset(offset),
            class: RejectReason::Spans,
            reason: "bad".into(),
            spans: 2,
            tenant: Bytes::new(),
            value: Bytes::from_static(b"x"),
        }
    }

    #[test]
    fn few_are_all_named() {
        let named = name(&[rejected(1), rejected(5)]);
        assert_eq!(named.iter().map(|rejected| rejected.offset.0).collect::<Vec<_>>(), [1, 5]);
    }

    #[test]
    fn many_are_counted_in_the_last() {
        let all: Vec<_> = (0..250).map(rejected).collect();
        let named = name(&all);
        assert_eq!(named.len(), NAMED_MAX);
        assert_eq!(named.iter().map(|rejected| rejected.spans).sum::<u64>(), 500);
        let last = named.last().unwrap();
        assert_eq!(last.offset, Offset(99));
        assert!(last.reason.starts_with("and 151 more"), "{}", last.reason);
    }

    #[test]
    fn of_many_the_quarantined_are_named() {
        let mut all: Vec<_> = (0..250).map(rejected).collect();
        all[200].class = RejectReason::Quarantined;
        assert_eq!(name(&all)[0].offset, Offset(200));
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        assert_eq!(shorten("ä".repeat(200)).len(), REASON_BYTES_MAX);
        assert_eq!(shorten("short".into()), "short");
    }
}
