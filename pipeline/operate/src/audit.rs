//! Proves that a bucket keeps the rules of the ledger.
//! Owns: what is looked at, and what of it is a broken rule, a warning or a note.
//! Does not own: the rules of a chain (`vivace_ledger::invariants`).
//! Guarantee: nothing is written; a partition is called clean only if all of it was looked at. A block that was replaced
//! while it was looked at is no violation.

mod block;
mod orphans;
mod report;

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{Error, ObjectStoreExt};
use vivace_block::{BlockReader, Metrics, ReaderConfig};
use vivace_ledger::invariants::ChainCheck;
use vivace_ledger::{BlockMeta, Chain, Entry, LedgerError, PartitionState};
use vivace_model::{BlockId, ErrorKind, OffsetRange, Partition};

pub use self::orphans::Orphans;
pub use self::report::{Findings, PartitionReport, Quarantined, Verdict};
use crate::error::causes;
use crate::{Bucket, OperateError};

/// Entries that are asked for at once.
const ENTRIES_AT_ONCE: usize = 16;
/// Blocks that are looked at at once; wholly read, one at a time of each two.
const BLOCKS_AT_ONCE: usize = 8;
const BLOCKS_AT_ONCE_DEEP: usize = 2;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct AuditOptions {
    /// Read every row of every live block.
    pub deep: bool,
    /// For how long after an entry the files of the blocks that it replaced must still be there.
    pub grace: Duration,
}

/// Looks at one bucket.
#[derive(Debug)]
pub struct Auditor {
    bucket: Bucket,
    reader: BlockReader,
    options: AuditOptions,
}

impl Auditor {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(bucket: Bucket, options: AuditOptions) -> Self {
        let reader = BlockReader::new(Arc::clone(&bucket.store), ReaderConfig::default(), Metrics::default());
        Self { bucket, reader, options }
    }

    /// Looks at the chain of a partition and at all that it names. `log` asks what the topic holds, or says that there is
    /// no topic to ask, or why it cannot be known; it is awaited once the chain has been read, for both of them grow.
    pub async fn partition(
        &self,
        partition: Partition,
        log: impl Future<Output = Result<Option<OffsetRange>, String>>,
    ) -> PartitionReport {
        let mut report = PartitionReport::new(partition);
        if let Err(error) = self.look(&mut report, log).await {
            match error.kind() {
                ErrorKind::Corrupt | ErrorKind::Invalid => report.violations.add(causes(&error)),
                ErrorKind::Unavailable | ErrorKind::Fenced => report.unknown.add(causes(&error)),
            }
        }
        report
    }

    /// Files of blocks that no chain of any topic names.
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Ledger`].
    pub async fn orphans(&self) -> Result<Orphans, OperateError> {
        orphans::find(&self.bucket).await
    }

    async fn look(
        &self,
        report: &mut PartitionReport,
        log: impl Future<Output = Result<Option<OffsetRange>, String>>,
    ) -> Result<(), OperateError> {
        let chain = self.bucket.chain(report.partition);
        let (entries, snapshots) = chain.listed().await?;
        let mut check = ChainCheck::default();
        walk(&chain, &mut check, u64::MAX, &snapshots, report).await?;
        if let Some(last) = entries.last().filter(|last| **last > check.sequence()) {
            let missing = check.sequence() + 1;
            report.violations.add(format!("entry {missing} is missing, although entry {last} exists"));
        }
        if !report.violations.is_empty() {
            return Ok(());
        }
        let state = chain.load().await?;
        // What was appended meanwhile.
        walk(&chain, &mut check, state.sequence(), &[], report).await?;
        if let Err(violation) = check.check_state(&state) {
            report.violations.add(violation.to_string());
        }
        report.tell(&state);
        report.compare_log(&state, log.await);
        self.blocks(&chain, &state, report).await?;
        self.replaced(&state, report).await
    }

    /// Every live block.
    async fn blocks(
        &self,
        chain: &Chain,
        state: &PartitionState,
        report: &mut PartitionReport,
    ) -> Result<(), OperateError> {
        let at_once = if self.options.deep { BLOCKS_AT_ONCE_DEEP } else { BLOCKS_AT_ONCE };
        let looks = stream::iter(state.live()).map(|block| async move {
            let looked = block::look(&self.bucket, &self.reader, block, self.options.deep).await;
            (block.id, looked)
        });
        let wrong: Vec<(BlockId, Result<Vec<String>, OperateError>)> = looks
            .buffer_unordered(at_once)
            .filter(|(_, looked)| {
                let wrong = !matches!(looked, Ok(problems) if problems.is_empty());
                async move { wrong }
            })
            .collect()
            .await;
        if wrong.is_empty() {
            return Ok(());
        }
        let now = chain.refresh(state).await?;
        for (id, looked) in wrong {
            if !now.live().iter().any(|block| block.id == id) {
                continue;
            }
            match looked {
                Ok(problems) => {
                    problems
                        .iter()
                        .for_each(|problem| report.violations.add(format!("block {id}: {problem}")));
                }
                Err(error) => report.unknown.add(format!("block {id}: {}", causes(&error))),
            }
        }
        Ok(())
    }

    /// Blocks that are not live any more but whose files must still be there.
    async fn replaced(
        &self,
        state: &PartitionState,
        report: &mut PartitionReport,
    ) -> Result<(), OperateError> {
        let now = self.bucket.clock.now();
        let retired = state.retired().iter().filter(|retired| now.since(retired.at) < self.options.grace);
        let retired = retired.map(|retired| (&retired.block, "which was replaced within the grace period,"));
        let kept = state.kept().iter().map(|block| (block, "which is kept of an earlier generation,"));
        let looks = stream::iter(retired.chain(kept)).map(|(block, which)| async move {
            let gone = !self.is_there(block).await?;
            Ok::<_, OperateError>(gone.then(|| format!("the file of block {}, {which} is gone", block.id)))
        });
        let gone: Vec<Option<String>> = looks.buffer_unordered(BLOCKS_AT_ONCE).try_collect().await?;
        gone.into_iter().flatten().for_each(|gone| report.warnings.add(gone));
        Ok(())
    }

    async fn is_there(&self, block: &BlockMeta) -> Result<bool, OperateError> {
        match self.bucket.store.head(&block.path()).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(OperateError::Store { action: "look at a block's file", source }),
        }
    }
}

/// Checks the entries that follow what was checked, up to `last` or the first that does not exist, and the snapshots of
/// these numbers.
async fn walk(
    chain: &Chain,
    check: &mut ChainCheck,
    last: u64,
    snapshots: &[u64],
    report: &mut PartitionReport,
) -> Result<(), OperateError> {
    let numbers = check.sequence() + 1..=last;
    let reads = stream::iter(numbers).map(|sequence| chain.entry(sequence)).buffered(ENTRIES_AT_ONCE);
    let mut reads = std::pin::pin!(reads);
    while let Some(entry) = reads.try_next().await? {
        let Some(entry) = entry else { return Ok(()) };
        let Entry { sequence, .. } = entry;
        report.quarantined.note(&entry.body);
        if let Err(violation) = check.push(&entry) {
            report.violations.add(format!("entry {sequence}: {violation}"));
            return Ok(());
        }
        if snapshots.binary_search(&sequence).is_ok() {
            check_snapshot(chain, check, sequence, report).await?;
        }
    }
    Ok(())
}

async fn check_snapshot(
    chain: &Chain,
    check: &ChainCheck,
    sequence: u64,
    report: &mut PartitionReport,
) -> Result<(), OperateError> {
    match chain.snapshot(sequence).await {
        Ok(Some(state)) => {
            if let Err(violation) = check.check_state(&state) {
                report.violations.add(format!("snapshot {sequence}: {violation}"));
            }
        }
        // Old ones are deleted.
        Ok(None) => {}
        // Readers go by another one.
        Err(error @ LedgerError::Corrupt { .. }) => {
            report.warnings.add(format!("snapshot {sequence}: {}", causes(&error)));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
