//! Fetches the records of one partition and decides when what is open is sealed.
//! Owns: when to fetch, when to seal and why, and how long listed spans stay in memory.
//! Does not own: what happens to a frozen piece (`store`).
//! Guarantee: memory is bounded: with the budget used up, or with full pieces waiting to be stored, nothing is fetched.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;
use vivace_block::DuplicateFilter;
use vivace_log::{LogError, Reader, Record};
use vivace_model::{ErrorKind, Partition};

use crate::budget::{Charge, Pressure};
use crate::error::PipelineError;
use crate::holding::{Content, Holding, Memory};
use crate::metrics::SealCause;
use crate::quarantine::{Poison, SetLimit};
use crate::retry::Backoff;
use crate::shared::Shared;
use crate::store::FrozenSet;
use crate::{decode, fail_points};

/// What is open is sealed when it takes this part of the partition's share of the memory: beside it, sets wait to be
/// stored and listed ones are kept.
const OPEN_SHARE: usize = 3;
/// While memory is short, a piece is sealed from this part of the share on, and not one for each batch.
const OPEN_SHARE_SHORT: usize = 12;
/// Tenants in one set of blocks: keeps the ledger entry small.
const TENANTS_MAX: usize = 1000;

/// Why fetching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchEnd {
    /// It was asked to; everything taken in is on its way.
    Drained,
    /// The next records are not in the topic; everything before them is on its way.
    Gap,
}

/// Fetches one partition.
#[derive(Debug)]
pub(crate) struct Fetcher {
    shared: Arc<Shared>,
    partition: Partition,
    holding: Arc<Holding>,
    reader: Box<dyn Reader>,
    seen: Option<DuplicateFilter>,
    /// Records that are put aside.
    poison: Arc<Poison>,
    /// While a record that makes sets fail is looked for.
    limit: Option<SetLimit>,
    /// Records of the last fetch that the open piece has no room for.
    ahead: Vec<Record>,
    charge: Charge,
    /// One permit per set on its way.
    slots: Arc<Semaphore>,
    sets: mpsc::Sender<FrozenSet>,
    drain: CancellationToken,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

/// What the loop does next.
enum Step {
    Drain,
    Seal(SealCause, OwnedSemaphorePermit),
    Take(Result<Vec<Record>, LogError>),
    /// Something changed: look again.
    Look,
}

impl Fetcher {
    pub(crate) fn new(
        shared: Arc<Shared>,
        partition: Partition,
        holding: Arc<Holding>,
        reader: Box<dyn Reader>,
        (poison, limit): (Arc<Poison>, Option<SetLimit>),
        drain: CancellationToken,
    ) -> (Self, mpsc::Receiver<FrozenSet>) {
        let sealing_max = shared.config.sealing_max;
        let (sets, receiver) = mpsc::channel(sealing_max);
        let fetcher = Self {
            seen: Some(DuplicateFilter::new(u64::from_le_bytes(shared.random().bytes()))),
            poison,
            limit,
            ahead: Vec::new(),
            charge: shared.budget.charge(),
            slots: Arc::new(Semaphore::new(sealing_max)),
            backoff: Backoff::new(),
            retry_at: None,
            shared,
            partition,
            holding,
            reader,
            sets,
            drain,
        };
        (fetcher, receiver)
    }

    pub(crate) async fn run(mut self) -> Result<FetchEnd, PipelineError> {
        loop {
            self.make_room();
            match self.next_step().await {
                Step::Drain => {
                    self.seal_rest(SealCause::Shutdown).await;
                    return Ok(FetchEnd::Drained);
                }
                Step::Seal(cause, slot) => self.seal(cause, slot),
                Step::Take(Ok(records)) => self.take_in(records).await?,
                Step::Take(Err(LogError::OffsetOutOfRange { .. })) => {
                    self.seal_rest(SealCause::Gap).await;
                    return Ok(FetchEnd::Gap);
                }
                Step::Take(Err(error)) if error.kind() == ErrorKind::Unavailable => {
                    self.shared.trouble(self.partition, "cannot read the topic", &error);
                    self.retry_at = Some(Instant::now() + self.backoff.next(self.shared.random()));
                }
                Step::Take(Err(source)) => {
                    return Err(PipelineError::Log { action: "read the topic", source });
                }
                Step::Look => {}
            }
        }
    }

    async fn next_step(&mut self) -> Step {
        let cause = self.seal_cause();
        // A piece that is only old may grow while it waits for a slot; a full one may not.
        let fetching =
            self.charge.pressure() < Pressure::Hard && cause.is_none_or(|cause| cause == SealCause::Age);
        let deadline = self.deadline(cause);
        let slots = Arc::clone(&self.slots);
        let bytes_max = self.shared.config.fetch_bytes_max.as_usize();
        tokio::select! {
            biased; // stop first, then what frees memory, then data; each branch is safe to drop
            () = self.drain.cancelled() => Step::Drain,
            Ok(slot) = slots.acquire_owned(), if cause.is_some() => {
                cause.map_or(Step::Look, |cause| Step::Seal(cause, slot))
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => Step::Look,
            () = self.charge.changed() => Step::Look,
            () = self.holding.stored() => Step::Look,
            records = next_records(self.reader.as_mut(), &mut self.ahead, self.retry_at, bytes_max), if fetching => {
                Step::Take(records)
            }
        }
    }

    /// When there is something to do even if nothing happens.
    fn deadline(&self, cause: Option<SealCause>) -> Option<Instant> {
        let age_max = self.shared.config.block_age_max;
        let age = match cause {
            Some(_) => None,
            None => self.holding.open().content.read().opened.map(|opened| opened + age_max),
        };
        let retention = self.holding.forget_at(self.shared.config.recent_retention);
        age.into_iter().chain(retention).min()
    }

    /// Whether the open piece is due to be sealed, and why.
    fn seal_cause(&self) -> Option<SealCause> {
        let open = self.holding.open();
        let content = open.content.read();
        let opened = content.opened?;
        let (share, bytes) = (self.charge.share(), open.memory_bytes());
        let memory_max = match self.charge.pressure() {
            Pressure::None => share / OPEN_SHARE,
            Pressure::Soft => share / OPEN_SHARE_SHORT,
            Pressure::Hard => 0,
        };
        if self.room(&content) == 0 || self.limit.is_some_and(|limit| limit.is_reached(content.end)) {
            Some(SealCause::Search)
        } else if decode::rows_of(&content) >= self.shared.config.rows_max {
            Some(SealCause::Rows)
        } else if bytes >= memory_max.min(self.shared.budget.set_bytes_max()) {
            Some(SealCause::Memory)
        } else if content.tenants.len() >= TENANTS_MAX {
            Some(SealCause::Tenants)
        } else if opened.elapsed() >= self.shared.config.block_age_max {
            Some(SealCause::Age)
        } else {
            None
        }
    }

    /// Records that the open piece may still take.
    fn room(&self, content: &Content) -> usize {
        let limit = self.limit.map_or(usize::MAX, |limit| limit.records_max);
        limit.saturating_sub(content.records)
    }

    async fn take_in(&mut self, mut records: Vec<Record>) -> Result<(), PipelineError> {
        fail_points::FETCHED.pass().await?;
        self.backoff = Backoff::new();
        if self.retry_at.take().is_some() {
            self.shared.status.serving(self.partition);
        }
        self.charge.add_fetched(records.iter().map(|record| record.value.len()).sum());
        let piece = self.holding.open();
        self.limit = self.limit.and_then(|limit| limit.at(piece.offsets().start));
        let mut room = self.room(&piece.content.read());
        if let Some(limit) = self.limit {
            // Later records are none of the search. Where all are later, its last ones are gone from the log.
            let suspects = records.partition_point(|record| !limit.is_reached(record.offset));
            room = room.min(if suspects == 0 { room } else { suspects });
        }
        if room < records.len() {
            self.ahead = records.split_off(room);
        }
        let poison = Arc::clone(&self.poison);
        let shared = Arc::clone(&self.shared);
        let mut seen = self.seen.take().expect("it is put back after each use");
        let decode = move || {
            decode::take_in(&shared, &piece, records, &mut seen, &poison)?;
            Ok::<_, PipelineError>(seen)
        };
        self.seen = Some(self.shared.environment.compute.run(decode).await?);
        Ok(fail_points::DECODED.pass().await?)
    }

    fn seal(&mut self, cause: SealCause, slot: OwnedSemaphorePermit) {
        let piece = self.holding.freeze();
        self.limit = self.limit.map(SetLimit::next);
        if let Some(seen) = &mut self.seen {
            seen.next_generation();
        }
        self.shared.metrics().sealed(cause);
        let bytes = piece.memory_bytes();
        info!(partition = %self.partition, offsets = %piece.offsets(), ?cause, bytes, "set of blocks frozen");
        // As many places as permits; and if nobody stores any more, this future is about to be dropped.
        let _sent = self.sets.try_send(FrozenSet::new(piece, slot));
    }

    /// Seals what is open as soon as there is a slot.
    async fn seal_rest(&mut self, cause: SealCause) {
        if self.holding.open().offsets().is_empty() {
            return;
        }
        if let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await {
            self.seal(cause, slot);
        }
    }

    /// Lets listed pieces go that were kept long enough, and more of them while memory is short; reports what is held.
    fn make_room(&mut self) {
        self.forget(self.shared.config.recent_retention);
        let mut memory = self.report();
        while self.charge.pressure() > Pressure::None && self.forget_oldest() {
            memory = self.report();
        }
        self.shared.metrics().set_memory(self.partition, memory.total - memory.listed, memory.listed);
    }

    fn report(&mut self) -> Memory {
        let memory = self.holding.memory_bytes();
        let seen = self.seen.as_ref().map_or(0, DuplicateFilter::memory_bytes);
        self.charge.set(memory.total + seen);
        memory
    }

    fn forget(&mut self, retention: Duration) {
        while self.holding.forget(retention) {
            self.forget_generation();
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let forgotten = self.holding.forget(Duration::ZERO);
        if forgotten {
            self.forget_generation();
        }
        forgotten
    }

    fn forget_generation(&mut self) {
        if let Some(seen) = &mut self.seen {
            seen.forget_oldest();
            if seen.is_empty() {
                // A fresh one, for an empty table keeps its memory.
                *seen = DuplicateFilter::new(u64::from_le_bytes(self.shared.random().bytes()));
            }
        }
    }
}

/// The next records: those `ahead`, or what the log gives, not before `not_before`. Safe to drop at any await.
async fn next_records(
    reader: &mut dyn Reader,
    ahead: &mut Vec<Record>,
    not_before: Option<Instant>,
    bytes_max: usize,
) -> Result<Vec<Record>, LogError> {
    if !ahead.is_empty() {
        return Ok(std::mem::take(ahead));
    }
    if let Some(moment) = not_before {
        sleep_until(moment).await;
    }
    reader.next(bytes_max).await
}
