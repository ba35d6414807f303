//! Blocks that the ledger names and that cannot be read: their file is damaged, or the store has none. And partitions
//! whose ledger is damaged.
//! Owns: that a query goes on without them and says so, or fails; counting and logging each block once.
//! Does not own: finding out (queriers, `views`), when a View is too old (`replan`).
//! Guarantee: a store that does not answer is never taken for damage.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use tracing::error;
use vivace_ledger::{LedgerError, PartitionState};
use vivace_model::{OffsetRange, Partition};

use crate::config::DamagedBlocks;
use crate::dispatch::UnreadableBlock;
use crate::{Metrics, QueryError};

/// Names the files that an answer lacks.
pub(crate) const DAMAGED_BLOCKS: HeaderName = HeaderName::from_static("x-vivace-damaged-blocks");

/// A query that meets more of them in one partition fails: then it is no longer some blocks that are damaged.
const DAMAGED_MAX: usize = 64;
/// Paths that are remembered as logged.
const LOGGED_MAX: usize = 10_000;
/// A message names so many blocks.
const NAMED_MAX: usize = 3;
/// Proxies and clients refuse answers for longer headers.
const HEADER_BYTES_MAX: usize = 4 << 10;

/// What helps when the chain of a partition is damaged.
pub(crate) const LEDGER_ADVICE: &str =
    "`vivace audit` names the entry; restore its file from the bucket's versions or from a backup";

/// What an answer lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damaged {
    /// The file that cannot be read.
    pub(crate) path: String,
    /// What helps.
    advice: String,
}

impl Damaged {
    fn block(path: &str, partition: Partition, offsets: OffsetRange) -> Self {
        let OffsetRange { start, end } = offsets;
        let replay = format!("vivace replay --partition {partition} --from-offset {start} --to-offset {end}");
        Self { path: path.to_owned(), advice: format!("`{replay}` builds it again") }
    }

    /// A partition whose blocks nobody knows.
    fn ledger(partition: Partition, error: &LedgerError) -> Self {
        let path = match error {
            LedgerError::Corrupt { path, .. } => path.clone(),
            other => other.to_string(),
        };
        Self { path, advice: format!("all of partition {partition} is left out; {LEDGER_ADVICE}") }
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path, self.advice)
    }
}

/// What is done about damaged blocks.
#[derive(Debug)]
pub(crate) struct Damage {
    answer: DamagedBlocks,
    metrics: Metrics,
    logged: Mutex<HashSet<String>>,
}

impl Damage {
    pub(crate) fn new(answer: DamagedBlocks, metrics: Metrics) -> Self {
        Self { answer, metrics, logged: Mutex::default() }
    }

    /// Adds the block to those that a query goes on without, or fails the query.
    pub(crate) fn exclude(
        &self,
        unreadable: &UnreadableBlock,
        state: &PartitionState,
        damaged: &mut Vec<Arc<Damaged>>,
    ) -> Result<(), QueryError> {
        let UnreadableBlock { path, message, .. } = unreadable;
        let named = state.live().iter().find(|block| block.path().as_ref() == path);
        let Some(named) = named else {
            let text = format!("querier cannot read a block that it was not asked to read: {path}");
            return Err(QueryError::Job(tonic::Status::data_loss(text)));
        };
        let block = Damaged::block(path, state.partition(), named.offsets);
        self.log(&block, message);
        if self.answer == DamagedBlocks::Error {
            return Err(QueryError::Damaged(format!(
                "{message}: {block}; VIVACE_QUERY_FRONTEND_DAMAGED_BLOCKS=partial answers without it"
            )));
        }
        if damaged.iter().any(|known| known.path == block.path) {
            return Ok(()); // another job met it, too
        }
        if damaged.len() == DAMAGED_MAX {
            let partition = state.partition();
            return Err(QueryError::Damaged(format!(
                "partition {partition} has more than {DAMAGED_MAX} damaged blocks, one of them: {block}"
            )));
        }
        damaged.push(Arc::new(block));
        Ok(())
    }

    /// A query goes on without a partition whose chain is damaged, or fails.
    pub(crate) fn exclude_partition(
        &self,
        partition: Partition,
        source: LedgerError,
    ) -> Result<Arc<Damaged>, QueryError> {
        match self.answer {
            DamagedBlocks::Error => Err(QueryError::Ledger { partition, source }),
            DamagedBlocks::Partial => Ok(Arc::new(Damaged::ledger(partition, &source))),
        }
    }

    fn log(&self, block: &Damaged, message: &str) {
        let mut logged = self.logged.lock();
        if logged.len() >= LOGGED_MAX {
            logged.clear();
        }
        if logged.insert(block.path.clone()) {
            self.metrics.damaged_blocks.inc();
            error!(error = message, "block is damaged: {block}");
        }
    }
}

/// Says which blocks an answer lacks; none if it lacks none.
pub(crate) fn message(damaged: &[Arc<Damaged>]) -> Option<String> {
    if damaged.is_empty() {
        return None;
    }
    let named: Vec<_> = damaged.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = match damaged.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("spans are missing because these files are damaged: {}{more}", named.join(", ")))
}

/// The same as the value of a header: paths with commas between, as many as fit.
pub(crate) fn header(damaged: &[Arc<Damaged>]) -> Option<HeaderValue> {
    let mut value = String::new();
    for block in damaged {
        if value.len() + block.path.len() >= HEADER_BYTES_MAX {
            break;
        }
        if !value.is_empty() {
            value.push(',');
        }
        value.push_str(&block.path);
    }
    (!value.is_empty()).then(|| HeaderValue::from_str(&value).ok())?
}
