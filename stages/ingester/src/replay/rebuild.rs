//! Reads records again and makes blocks of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use vivace_block::DuplicateFilter;
use vivace_ledger::{BlockMeta, Fingerprint, PartitionState, Rejected};
use vivace_log::{LogError, Reader, Record};
use vivace_model::{Offset, OffsetRange, Partition, UnixNanos};

use super::{ReplayError, Replayer};
use crate::blocks::{self, Origin};
use crate::error::PipelineError;
use crate::holding::Piece;
use crate::quarantine::Poison;
use crate::shared::Shared;
use crate::{decode, rejected, store};

/// Records that are in the topic come within that time.
const RECORDS_WAIT: Duration = Duration::from_secs(60);
/// A set of blocks is made when it takes this part of the memory: beside it stand the sealed one and its files.
const OPEN_SHARE: usize = 4;
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
            let last = Rebuild::start(&self.shared, origin, state.end()).await?.run(built).await?;
            if range.end == offsets.end {
                built.last = last;
            }
        }
        built.offsets = Some(offsets);
        Ok(())
    }
}

/// Work on one range.
struct Rebuild<'a> {
    shared: &'a Arc<Shared>,
    origin: Origin,
    /// Where the chain ends: nobody has seen the records from there on.
    chain_end: Offset,
    reader: Box<dyn Reader>,
    piece: Arc<Piece>,
    seen: DuplicateFilter,
    sets: u32,
}

impl<'a> Rebuild<'a> {
    async fn start(shared: &'a Arc<Shared>, origin: Origin, chain_end: Offset) -> Result<Self, ReplayError> {
        let reader = shared.log().read(&shared.topics.spans, origin.partition, origin.offsets.start).await;
        let reader = reader.map_err(|source| ReplayError::Log { action: "read the topic", source })?;
        let seen = DuplicateFilter::new(u64::from_le_bytes(shared.random().bytes()));
        let piece = Piece::new(origin.offsets.start);
        Ok(Self { shared, origin, chain_end, reader, piece, seen, sets: 0 })
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
            let mut seen = self.seen;
            let take_in = move || {
                decode::take_in(&shared, &piece, records, &mut seen, &Poison::new())?;
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
        let sealing = Arc::clone(&piece);
        let sealed = self.shared.environment.compute.run(move || store::seal_piece(&sealing)).await;
        let origin = Origin { offsets, ..self.origin };
        let spreads = piece.content.read().spreads.clone();
        built.blocks.extend(blocks::store(self.shared, origin, &spreads, sealed).await?);
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
