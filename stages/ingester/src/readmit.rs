//! Takes quarantined records in again after a mend, for `vivace replay --rejected`.
//! Owns: which records of the topic of rejected records are taken in again, and the marks that say which were.
//! Does not own: why they were put aside (`quarantine`); what becomes of them now, which is up to the ingesters.
//! Guarantee: a record is marked only once it is durable on the topic of spans. Who is stopped between the two appends it
//! again next time: its spans are equal then, and a merge keeps one of each.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use tracing::info;
use vivace_ledger::Rejected;
use vivace_log::{LogError, NewRecord, Reader, Record};
use vivace_model::{Offset, OffsetRange, Partition};

use crate::rejected::{REJECTED_PARTITION, TENANT_HEADER};
use crate::shared::Shared;
use crate::{ReplayError, Replayer};

/// Header of a mark: by what the record is known that was taken in again.
const MARK_HEADER: &str = "readmitted";
/// Records that are in the topic come within that time.
const RECORDS_WAIT: Duration = Duration::from_secs(60);

/// What became of the quarantined records of the topic of rejected records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readmitted {
    /// Partition and offset of those that are on the topic of spans again, or would be.
    pub readmitted: Vec<(Partition, Offset)>,
    /// Taken in again earlier.
    pub before: u64,
    /// Too large for the topic of rejected records, so that only the topic of spans may still have them.
    pub without_value: Vec<(Partition, Offset)>,
}

impl Replayer {
    /// Appends the quarantined records of a partition, or of all, to the topic of spans again, each once.
    ///
    /// # Errors
    /// [`ReplayError::Log`]; what was appended until then is marked.
    pub async fn readmit(
        &self,
        partition: Option<Partition>,
        dry_run: bool,
    ) -> Result<Readmitted, ReplayError> {
        let shared = self.shared();
        let mut marks = HashSet::new();
        let mut records = Rejections::open(shared).await?;
        while let Some(record) = records.next().await? {
            marks.extend(record.header(MARK_HEADER).map(<[u8]>::to_vec));
        }
        let mut done = Readmitted::default();
        let mut seen = HashSet::new();
        let mut records = Rejections::open(shared).await?;
        while let Some(record) = records.next().await? {
            let Some(origin) = origin(shared, &record) else { continue };
            if partition.is_some_and(|only| only != origin.partition) || !seen.insert(origin.mark.clone()) {
                continue;
            }
            let place = (origin.partition, origin.offset);
            if marks.contains(origin.mark.as_bytes()) {
                done.before += 1;
            } else if record.value.is_empty() {
                done.without_value.push(place);
            } else {
                if !dry_run {
                    append(shared, &origin, &record).await?;
                }
                done.readmitted.push(place);
            }
        }
        Ok(done)
    }
}

/// Where a quarantined record was.
struct Origin {
    partition: Partition,
    offset: Offset,
    mark: String,
}

/// Where a record was, if it was quarantined. Offsets may come again if the topic was made anew, hence the checksum.
fn origin(shared: &Shared, record: &Record) -> Option<Origin> {
    let text = |name| record.header(name).and_then(|value| std::str::from_utf8(value).ok());
    let quarantined = text("reason")?.starts_with(Rejected::QUARANTINED);
    if !quarantined || text("topic")? != shared.topics.spans {
        return None;
    }
    let partition = Partition(text("partition")?.parse().ok()?);
    let offset = Offset(text("offset")?.parse().ok()?);
    let mark = format!("{partition}/{offset}/{:08x}", crc32c::crc32c(&record.value));
    Some(Origin { partition, offset, mark })
}

async fn append(shared: &Shared, origin: &Origin, record: &Record) -> Result<(), ReplayError> {
    let failed = |action| move |source| ReplayError::Log { action, source };
    let tenant = record.header(TENANT_HEADER).filter(|tenant| !tenant.is_empty());
    let tenant = tenant.map(|tenant| (TENANT_HEADER.to_owned(), Bytes::copy_from_slice(tenant)));
    // How it was spread is not known any more, so its traces are looked for everywhere.
    let again = NewRecord {
        partition: origin.partition,
        key: None,
        headers: tenant.into_iter().collect(),
        value: record.value.clone(),
    };
    let offsets = shared.log().append(&shared.topics.spans, vec![again]).await;
    let offsets = offsets.map_err(failed("append a quarantined record to the topic of spans"))?;
    let mark = NewRecord {
        partition: REJECTED_PARTITION,
        key: None,
        headers: vec![(MARK_HEADER.to_owned(), Bytes::from(origin.mark.clone().into_bytes()))],
        value: Bytes::new(),
    };
    let marked = shared.log().append(&shared.topics.rejected, vec![mark]).await;
    marked.map_err(failed("mark a quarantined record as taken in again"))?;
    let Origin { partition, offset, .. } = origin;
    info!(%partition, %offset, now = ?offsets, "quarantined record taken in again");
    Ok(())
}

/// Reads what the topic of rejected records holds now.
struct Rejections {
    reader: Option<Box<dyn Reader>>,
    end: Offset,
    bytes_max: usize,
    records: std::vec::IntoIter<Record>,
}

impl Rejections {
    async fn open(shared: &Shared) -> Result<Self, ReplayError> {
        let failed = |action| move |source| ReplayError::Log { action, source };
        let topic = &shared.topics.rejected;
        let held = shared.log().watermarks(topic, REJECTED_PARTITION).await;
        let OffsetRange { start, end } = held.map_err(failed("ask for the rejected records"))?;
        let reader = match start < end {
            true => Some(
                shared
                    .log()
                    .read(topic, REJECTED_PARTITION, start)
                    .await
                    .map_err(failed("read the rejected records"))?,
            ),
            false => None,
        };
        let bytes_max = shared.config.fetch_bytes_max.as_usize();
        Ok(Self { reader, end, bytes_max, records: Vec::new().into_iter() })
    }

    /// The next record, in order, of those that were there at first.
    async fn next(&mut self) -> Result<Option<Record>, ReplayError> {
        let failed = |source| ReplayError::Log { action: "read the rejected records", source };
        loop {
            if let Some(record) = self.records.next() {
                if record.offset >= self.end {
                    self.reader = None;
                    return Ok(None);
                }
                if record.offset.next() >= self.end {
                    self.reader = None;
                }
                return Ok(Some(record));
            }
            let Some(reader) = &mut self.reader else { return Ok(None) };
            let read = timeout(RECORDS_WAIT, reader.next(self.bytes_max)).await.map_err(|elapsed| {
                failed(LogError::Unavailable {
                    action: "no records came in time".into(),
                    source: elapsed.into(),
                })
            })?;
            self.records = read.map_err(failed)?.into_iter();
        }
    }
}
