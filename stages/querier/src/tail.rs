//! Reads recent data from the log itself, record by record: slow, exact, and independent of any ingester.
//! Owns: reading exactly the records of a range. Does not own: what is made of them (a [`Question`]), when the log has
//! to be read.

use std::time::Duration;

use vivace_log::{LogError, Reader, Record, SharedLog};
use vivace_model::{Offset, OffsetRange, Partition, TenantId};

use crate::JobError;
use crate::recent::Question;

/// Read about that much at once.
const FETCH_BYTES: usize = 1 << 20;
/// A fetch is tried that often, with pauses.
const FETCH_ATTEMPTS_MAX: usize = 5;
const FETCH_PAUSE: Duration = Duration::from_millis(50);
/// The log has the records that are asked for; when it gives none of them for that long, something is wrong with it.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Header of a record that names its tenant.
const TENANT_HEADER: &str = "x-scope-orgid";

/// Adds what all records in `range` hold to the answer; gives the bytes read, too.
pub(crate) async fn read<Q: Question>(
    log: &SharedLog,
    topic: &str,
    partition: Partition,
    range: OffsetRange,
    question: &Q,
    mut answer: Q::Answer,
) -> Result<(Q::Answer, u64), JobError> {
    let mut bytes = 0;
    if range.is_empty() {
        return Ok((answer, bytes));
    }
    let failed = |error| match error {
        LogError::OffsetOutOfRange { offset, .. } => JobError::Truncated { partition, offset },
        source => JobError::Log { partition, source },
    };
    let mut next = range.start;
    let mut reader = log.read(topic, partition, next).await.map_err(failed)?;
    while next < range.end {
        let records = tokio::time::timeout(SILENCE_MAX, fetch(reader.as_mut())).await;
        let mut records =
            records.map_err(|_| JobError::LogSilent { partition, offset: next })?.map_err(failed)?;
        next = records.last().map_or(next, |record| record.offset.next());
        records.retain(|record| record.offset < range.end);
        bytes += records.iter().map(|record| record.value.len() as u64).sum::<u64>();
        let more;
        (answer, more) = question.read(answer, records).await?;
        if !more {
            break;
        }
    }
    Ok((answer, bytes))
}

/// The next records; a log that does not answer is asked again.
async fn fetch(reader: &mut dyn Reader) -> Result<Vec<Record>, LogError> {
    for _ in 1..FETCH_ATTEMPTS_MAX {
        match reader.next(FETCH_BYTES).await {
            Err(LogError::Unavailable { .. }) => tokio::time::sleep(FETCH_PAUSE).await,
            result => return result,
        }
    }
    reader.next(FETCH_BYTES).await
}

/// The part of `range` that the log is asked for: nothing when the asker is ahead of it.
pub(crate) fn range(from: Offset, end: Offset) -> OffsetRange {
    OffsetRange::new(from, end.max(from))
}

/// Whether a record's spans are of that tenant.
pub(crate) fn is_of_tenant(record: &Record, tenant: &TenantId) -> bool {
    match record.header(TENANT_HEADER) {
        None => *tenant == TenantId::default(),
        Some(name) => name == tenant.as_str().as_bytes(),
    }
}
