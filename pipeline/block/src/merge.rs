//! Several blocks of one tenant and partition as one, or as few.
//! Owns: reading them side by side in the order of trace ids, joining the pieces of traces, dropping spans that are there
//! twice, and writing the files.
//! Does not own: which blocks, names of files, the ledger; what is not to be kept.
//! Guarantee: each row of the inputs is in the outputs, is equal to one that is, or was in a trace that was not to be
//! kept; and these add up. In memory are, at most, a row group of each input as it is stored (two while rows of both are
//! wanted), the ids and times of about `input_rows_max` rows and of those that the row group at hand takes, this row group
//! as it will be stored (and decoded, where traces are judged and for the first one of a file), 24 MiB of a file and its
//! filters. A trace of more than `trace_rows_max` rows is written in parts with a structure of their own.

mod conform;
mod gather;
mod group;
mod input;
mod output;
mod pending;
mod retry;
mod same;
mod source;
mod target;
mod window;

use std::error::Error;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::runtime::{Handle, RuntimeFlavor};
use vivace_model::scan::TraceRuns;

use self::group::{Grouper, Step};
use self::input::Inputs;
use self::output::Output;
use self::retry::retry;
use self::target::Target;
use self::window::Window;
use crate::columns::BlockStats;
use crate::reader::BlockScan;
use crate::{BlockConfig, BlockError, BlockReader, Description};

/// Inputs that are opened at once.
const OPENED_AT_ONCE: usize = 8;

/// A block to merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeInput {
    /// Where it lies.
    pub path: Path,
    /// Size of its file.
    pub file_bytes: u64,
}

/// How much a merge may take and give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeLimits {
    /// Rows of all inputs together of which ids and times are read ahead: 60 bytes each.
    pub input_rows_max: usize,
    /// A trace of more rows than this is not put together whole.
    pub trace_rows_max: usize,
    /// A file of this many bytes takes no further row group.
    pub file_bytes_max: u64,
}

/// Decides about whole traces.
pub trait KeepTraces: fmt::Debug + Send + Sync {
    /// Whether each of the traces of the batch, which has all columns of a block, is kept.
    ///
    /// # Errors
    /// Whatever keeps it from deciding; the merge ends with it.
    fn keep(
        &self,
        batch: &RecordBatch,
        traces: &TraceRuns,
    ) -> Result<Vec<bool>, Box<dyn Error + Send + Sync>>;
}

/// A merge to be done.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The blocks, all of one tenant, partition and spread over partitions.
    pub inputs: Vec<MergeInput>,
    /// What the outputs say of themselves.
    pub description: Description,
    /// How blocks are built.
    pub config: BlockConfig,
    /// How much it may take.
    pub limits: MergeLimits,
    /// What is kept; everything if none.
    pub keep: Option<Arc<dyn KeepTraces>>,
}

/// A file that a merge wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedBlock {
    /// Where it lies.
    pub path: Path,
    /// Size of the file.
    pub bytes: u64,
    /// What it holds.
    pub stats: BlockStats,
}

/// What a merge did. `rows_in` is the sum of the rows of `outputs`, `duplicates` and `dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergeOutcome {
    /// The files, in the order of their trace ids; none if nothing was kept.
    pub outputs: Vec<MergedBlock>,
    /// Rows of the inputs.
    pub rows_in: u64,
    /// Rows that say the same as one that was kept.
    pub duplicates: u64,
    /// Rows of traces that were not to be kept.
    pub dropped: u64,
}

/// Merges blocks; each file goes to a path that `name` gives. On an error, and when it is dropped, files that were given
/// a name may be there or not: delete them.
///
/// # Errors
/// As [`BlockReader::trace`] for the inputs, [`BlockError::Write`] for the outputs, [`BlockError::Keep`].
pub async fn merge(
    reader: &BlockReader,
    store: &Arc<dyn ObjectStore>,
    merge: Merge,
    mut name: impl FnMut() -> Path,
) -> Result<MergeOutcome, BlockError> {
    let opened: Vec<_> =
        merge.inputs.iter().map(|input| retry(|| reader.open(&input.path, input.file_bytes))).collect();
    let scans: Vec<BlockScan> = stream::iter(opened).buffered(OPENED_AT_ONCE).try_collect().await?;
    let mut output = None;
    let mut next = || Output::new(store, name());
    let outcome = run(scans, merge, &mut output, &mut next).await;
    if outcome.is_err()
        && let Some(mut output) = output
    {
        // What is left of the file costs money only; the first error counts.
        drop(output.abort().await);
    }
    outcome
}

async fn run(
    scans: Vec<BlockScan>,
    merge: Merge,
    output: &mut Option<Output>,
    next: &mut impl FnMut() -> Output,
) -> Result<MergeOutcome, BlockError> {
    let rows = |scan: &BlockScan| (0..scan.row_groups()).map(|group| scan.rows(group) as u64).sum::<u64>();
    let mut outcome = MergeOutcome { rows_in: scans.iter().map(rows).sum(), ..MergeOutcome::default() };
    let target = Arc::new(Target::choose(scans.iter(), &merge.config));
    let mut inputs = Inputs::new(scans, &merge.limits);
    let mut grouper = Grouper::new(Arc::clone(&target), merge);
    let mut last = false;
    while !last {
        let taken = inputs.next().await?;
        last = taken.is_none();
        if let Some(taken) = taken {
            let target = Arc::clone(&target);
            let feed = move || {
                grouper.feed(Window::new(taken, &target)?);
                Ok(grouper)
            };
            grouper = compute(feed).await?;
        }
        loop {
            let step;
            (grouper, step) = compute(move || grouper.step(last).map(|step| (grouper, step))).await?;
            let Step::Bytes(bytes, stats) = step else { break };
            write(output.get_or_insert_with(&mut *next), bytes, stats, &mut outcome).await?;
            if stats.is_some() {
                *output = None;
            }
        }
    }
    let counts = grouper.counts;
    (outcome.duplicates, outcome.dropped) = (counts.duplicates, counts.dropped);
    let accounted = counts.written + counts.duplicates + counts.dropped;
    assert_eq!(accounted, outcome.rows_in, "a merge accounts for every row");
    Ok(outcome)
}

async fn write(
    output: &mut Output,
    bytes: Vec<u8>,
    stats: Option<BlockStats>,
    outcome: &mut MergeOutcome,
) -> Result<(), BlockError> {
    output.write(bytes.into()).await?;
    if let Some(stats) = stats {
        let bytes = output.finish().await?;
        outcome.outputs.push(MergedBlock { path: output.path.clone(), bytes, stats });
    }
    Ok(())
}

/// Runs work that takes longer than an async thread should; in place on a runtime of a single thread, so that
/// simulations repeat.
async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlockError> + Send + 'static,
) -> Result<T, BlockError> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime shuts down: whoever waits here is about to be dropped too.
            Err(_) => std::future::pending().await,
        },
    }
}
