//! Reads records again and makes blocks of them.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::timeout;
use tracing::warn;
use vivace_block::DuplicateFilter;
use vivace_ledger::{BlockMeta, EntryBody, Fingerprint, PartitionState, Rejected};
use vivace_log::{LogError, Reader, Record};
use vivace_model::{ErrorKind, Offset, OffsetRange, Partition, UnixNanos};
use vivace_runtime::caught;

use super::{ReplayError, Replayer};
use crate::blocks::{self, Origin};
use crate::error::PipelineError;
use crate::holding::Piece;
use crate::quarantine::Poison;
use crate::shared::Shared;
use crate::{decode, fail_points, rejected, store};

/// Records that are in the topic come within that time.
const RECORDS_WAIT: Duration = Duration::from_secs(60);
/// A set of blocks is made when it takes this part of the memory: beside it stand the sealed one and its files.
const OPEN_SHARE: usize = 4;
/// Entries that are asked for at once.
const ENTRIES_AT_ONCE: usize = 16;
/// So many sets back a span that was sent again is known.
const DUPLICATE_SETS: u32 = 2;
/// Rejected records that the entry names.
const NAMED_MAX: usize = 1000;

/// Blocks made so far, of offsets without a gap.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) offsets: Option<OffsetRange>,
    pub(super) blocks: Vec<BlockMeta>,
    pub(super) rejected: Vec<Rejected>,
    /// Also those that are not named.
    pub(super) rejected_records: u64,
    pub(super) last: Option<Fingerprint>,
    /// An entry that names the blocks was proposed, and nobody said no.
    pub(super) proposed: bool,
}

impl Built {
    fn reject(&mut self, named: Vec<Rejected>) {
        self.rejected_records += named.len() as u64;
        let room = NAMED_MAX.saturating_sub(self.rejected.len());
        self.rejected.extend(named.into_iter().take(room));
    }
}

impl Replayer {
    /// Builds what is lacking of the offsets, before and behind what is there.
    pub(super) async fn extend(
        &self,
        built: &mut Built,
        state: &PartitionState,
        offsets: OffsetRange,
    ) -> Result<(), ReplayError> {
        let (partition, incarnation) = (state.partition(), state.incarnation());
        let lacking = match built.offsets {
            None => vec![offsets],
            Some(done) => vec![
                OffsetRange { start: offsets.start, end: done.start },
                OffsetRange { start: done.end, end: offsets.end },
            ],
        };
        for range in lacking.into_iter().filter(|range| !range.is_empty()) {
            let origin = Origin { partition, incarnation, offsets: range };
            let last = self.rebuild(built, state, origin).await?;
            if range.end == offsets.end {
                built.last = last;
            }
        }
        built.offsets = Some(offsets);
        Ok(())
    }
}

impl Replayer {
    /// Builds one range. Where that fails for want of a good record, those that the chain names as quarantined are put aside
    /// again; a record that was stored once is never given up.
    async fn rebuild(
        &self,
        built: &mut Built,
        state: &PartitionState,
        origin: Origin,
    ) -> Result<Option<Fingerprint>, ReplayError> {
        let before = built.blocks.len();
        let (named, rejected_records) = (built.rejected.len(), built.rejected_records);
        let rebuild = Rebuild::start(&self.shared, origin, state.end(), Poison::new()).await?;
        let failed = match rebuild.run(built).await {
            Err(error @ ReplayError::Build(_, ErrorKind::Corrupt)) => error,
            ended => return ended,
        };
        let poison = self.quarantined(state, origin.offsets).await?;
        if poison.is_empty() {
            return Err(failed);
        }
        warn!(partition = %origin.partition, records = poison.len(), "records that were quarantined are put aside again");
        let of_no_use = built.blocks.split_off(before);
        self.delete(&of_no_use).await;
        built.rejected.truncate(named);
        built.rejected_records = rejected_records;
        Rebuild::start(&self.shared, origin, state.end(), poison).await?.run(built).await
    }

    /// The records of a range that the chain names as quarantined.
    async fn quarantined(&self, state: &PartitionState, offsets: OffsetRange) -> Result<Poison, ReplayError> {
        let chain = self.shared.chain(state.partition());
        let reads = stream::iter(1..=state.sequence()).map(|sequence| chain.entry(sequence));
        let mut reads = pin!(reads.buffered(ENTRIES_AT_ONCE));
        let mut poison = Poison::new();
        while let Some(entry) = reads.try_next().await? {
            let rejected = match entry.map(|entry| entry.body) {
                // Offsets say something else from here on.
                Some(EntryBody::Recreated { .. }) => {
                    poison.clear();
                    continue;
                }
                Some(EntryBody::Ingested { rejected, .. } | EntryBody::Replayed { rejected, .. }) => rejected,
                _ => continue,
            };
            let quarantined = rejected
                .into_iter()
                .filter(|rejected| rejected.is_quarantined() && offsets.contains(rejected.offset));
            poison.extend(quarantined.map(|rejected| (rejected.offset, rejected.reason)));
        }
        Ok(poison)
    }
}

/// Work on one range.
struct Rebuild<'a> {
    shared: &'a Arc<Shared>,
    origin: Origin,
    /// Where the chain ends: nobody has seen the records from there on.
    chain_end: Offset,
    reader: Box<dyn Reader>,
    poison: Arc<Poison>,
    piece: Arc<Piece>,
    seen: DuplicateFilter,
    sets: u32,
}

impl<'a> Rebuild<'a> {
    async fn start(
        shared: &'a Arc<Shared>,
        origin: Origin,
        chain_end: Offset,
        poison: Poison,
    ) -> Result<Self, ReplayError> {
        let reader = shared.log().read(&shared.topics.spans, origin.partition, origin.offsets.start).await;
        let reader = reader.map_err(|source| ReplayError::Log { action: "read the topic", source })?;
        let seen = DuplicateFilter::new(u64::from_le_bytes(shared.random().bytes()));
        let piece = Piece::new(origin.offsets.start);
        Ok(Self { shared, origin, chain_end, reader, poison: Arc::new(poison), piece, seen, sets: 0 })
    }

    async fn run(mut self, built: &mut Built) -> Result<Option<Fingerprint>, ReplayError> {
        let end = self.origin.offsets.end;
        let config = &self.shared.config;
        let (rows_max, bytes_max) = (config.rows_max, config.memory_bytes_max.as_usize() / OPEN_SHARE);
        let mut last = None;
        while self.piece.offsets().end < end {
            let mut records = self.fetch().await?;
            records.retain(|record| record.offset < end);
            // Behind the last record there may be markers of transactions.
            let done = records.is_empty();
            let (shared, piece) = (Arc::clone(self.shared), Arc::clone(&self.piece));
            let (mut seen, poison) = (self.seen, Arc::clone(&self.poison));
            let take_in = move || {
                decode::take_in(&shared, &piece, records, &mut seen, &poison)?;
                Ok::<_, PipelineError>(seen)
            };
            self.seen = self.shared.environment.compute.run(take_in).await?;
            last = self.piece.content.read().last.or(last);
            if done {
                self.piece.content.write().end = end;
                // What lies before the end is no record by which the topic could be known again.
                last = None;
            }
            let full = decode::rows_of(&self.piece.content.read()) >= rows_max;
            if full || self.piece.memory_bytes() >= bytes_max {
                self.store(built).await?;
            }
        }
        self.store(built).await?;
        Ok(last)
    }

    async fn fetch(&mut self) -> Result<Vec<Record>, ReplayError> {
        let action = "read the topic";
        let bytes_max = self.shared.config.fetch_bytes_max.as_usize();
        match timeout(RECORDS_WAIT, self.reader.next(bytes_max)).await {
            Ok(records) => records.map_err(|source| ReplayError::Log { action, source }),
            Err(elapsed) => {
                let action_inner = "no records came in time".to_owned();
                let source = LogError::Unavailable { action: action_inner, source: elapsed.into() };
                Err(ReplayError::Log { action, source })
            }
        }
    }

    /// Makes blocks of what was taken in, and goes on with the next set.
    async fn store(&mut self, built: &mut Built) -> Result<(), ReplayError> {
        let offsets = self.piece.offsets();
        if offsets.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Piece::new(offsets.end));
        let rows = decode::rows_of(&piece.content.read());
        let memory = self.shared.budget.sealing(piece.memory_bytes(), rows).await;
        let sealing = Arc::clone(&piece);
        let origin = Origin { offsets, ..self.origin };
        let work = async {
            let sealed = self.shared.environment.compute.run(move || store::seal_piece(&sealing)).await;
            let (spreads, struck) = (piece.content.read().spreads.clone(), piece.content.read().struck);
            fail_points::ENCODING.strike(struck.encoding);
            blocks::store(self.shared, origin, &spreads, sealed).await
        };
        let made = caught(work).await.unwrap_or_else(|panicked| {
            let set = piece.content.read().failed(offsets.start);
            Err(PipelineError::Set { set, source: panicked.into() })
        });
        built.blocks.extend(made?);
        drop(memory);
        let records = store::take_rejected(&piece);
        // The others are on their topic since they were ingested.
        let fresh = records.partition_point(|record| record.offset < self.chain_end);
        rejected::publish(self.shared, origin.partition, &records[fresh..]).await;
        built.reject(rejected::name(&records));
        self.sets += 1;
        self.seen.next_generation();
        if self.sets > DUPLICATE_SETS {
            self.seen.forget_oldest();
        }
        Ok(())
    }
}

/// The first record of that time or later, by halving what the topic holds: the log's times ascend.
pub(super) async fn offset_at(
    shared: &Shared,
    partition: Partition,
    time: UnixNanos,
    log: OffsetRange,
) -> Result<Offset, ReplayError> {
    let failed = |source| ReplayError::Log { action: "look for a time in the topic", source };
    let (mut low, mut high) = (log.start.0, log.end.0);
    while low < high {
        let middle = low + (high - low) / 2;
        let mut reader =
            shared.log().read(&shared.topics.spans, partition, Offset(middle)).await.map_err(failed)?;
        let read = timeout(RECORDS_WAIT, reader.next(1)).await.map_err(|elapsed| {
            let action = "no record came in time".to_owned();
            failed(LogError::Unavailable { action, source: elapsed.into() })
        })?;
        let records = read.map_err(failed)?;
        match records.first() {
            Some(record) if record.timestamp < time => low = record.offset.0 + 1,
            _ => high = middle,
        }
    }
    Ok(Offset(low))
}
