//! One live block: is it there, is it what the ledger says.

use std::ops::Range;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use object_store::{Error, ObjectStoreExt};
use vivace_block::schema::{DURATION_NANOS, START_TIME};
use vivace_block::{BlockError, BlockReader, BlockScan};
use vivace_ledger::BlockMeta;
use vivace_model::scan::TraceRuns;

use crate::error::causes;
use crate::{Bucket, OperateError};

/// What is wrong with a block.
///
/// # Errors
/// When it could not be looked at.
pub(super) async fn look(
    bucket: &Bucket,
    reader: &BlockReader,
    block: &BlockMeta,
    deep: bool,
) -> Result<Vec<String>, OperateError> {
    match bucket.store.head(&block.path()).await {
        Ok(found) if found.size == block.bytes => {}
        Ok(found) => {
            return Ok(vec![format!("its file has {} bytes instead of {}", found.size, block.bytes)]);
        }
        Err(Error::NotFound { .. }) => return Ok(vec!["its file is missing".into()]),
        Err(source) => return Err(OperateError::Store { action: "look at a block's file", source }),
    }
    match read(reader, block, deep).await {
        Ok(problems) => Ok(problems),
        Err(error @ (BlockError::Read { .. } | BlockError::Write { .. })) => Err(error.into()),
        Err(error) => Ok(vec![causes(&error)]),
    }
}

async fn read(reader: &BlockReader, block: &BlockMeta, deep: bool) -> Result<Vec<String>, BlockError> {
    let scan = reader.open(&block.path(), block.bytes).await?;
    let mut problems = describe(&scan, block)?;
    let rows: u64 = (0..scan.row_groups()).map(|group| scan.rows(group) as u64).sum();
    if rows != block.rows {
        problems.push(format!("its file has {rows} rows instead of {}", block.rows));
    }
    let bounds: Option<Vec<_>> = (0..scan.row_groups()).map(|group| scan.start_bounds(group)).collect();
    if let Some(first) = bounds.and_then(|bounds| bounds.into_iter().map(|(first, _)| first).min())
        && first != block.start_min
    {
        problems.push(format!("its earliest span starts at {} ns instead of {}", first.0, block.start_min.0));
    }
    if deep && problems.is_empty() {
        problems = read_rows(&scan, block).await?;
    }
    Ok(problems)
}

/// What the file says of itself against what the ledger says.
fn describe(scan: &BlockScan, block: &BlockMeta) -> Result<Vec<String>, BlockError> {
    let (said, stats) = scan.describe()?;
    let differ = [
        ("tenant", said.tenant != block.tenant),
        ("partition", said.partition != block.partition),
        ("spread over partitions", said.spread != block.spread),
        ("offsets", said.offsets != block.offsets),
        ("level", said.level != block.level),
        ("time of making", said.created != block.created),
        ("number of rows", stats.rows != block.rows),
        ("number of traces", stats.traces != block.traces),
        ("time of its spans", (stats.start_min, stats.end_max) != (block.start_min, block.end_max)),
    ];
    let differ = differ.into_iter().filter(|(_, differs)| *differs);
    Ok(differ.map(|(what, _)| format!("its file says another {what} than the ledger")).collect())
}

/// What was seen of the rows so far.
#[derive(Default)]
struct Seen {
    traces: u64,
    last: Option<([u8; 16], i64)>,
}

async fn read_rows(scan: &BlockScan, block: &BlockMeta) -> Result<Vec<String>, BlockError> {
    let mut problems = Vec::new();
    let mut seen = Seen::default();
    for group in 0..scan.row_groups() {
        let runs = scan.runs(group).await?;
        let batch = scan.all_columns(group, 0..scan.rows(group)).await?;
        scan.check_unread(group).await?;
        if runs.rows() != batch.num_rows() {
            problems.push(format!(
                "row group {group} has {} rows and {} trace ids",
                batch.num_rows(),
                runs.rows()
            ));
            continue;
        }
        problems.extend(rows(&mut seen, block, group, &runs, &batch));
    }
    if seen.traces != block.traces {
        problems.push(format!("it holds {} traces instead of {}", seen.traces, block.traces));
    }
    Ok(problems)
}

/// Order and time of the rows of a row group; the first of each that is wrong.
fn rows(
    seen: &mut Seen,
    block: &BlockMeta,
    group: usize,
    runs: &TraceRuns,
    batch: &RecordBatch,
) -> Vec<String> {
    let column = |name: &str| batch.column_by_name(name);
    let starts = column(START_TIME).and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>());
    let durations = column(DURATION_NANOS).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let (Some(starts), Some(durations)) = (starts, durations) else {
        return vec![format!("row group {group} has no times")];
    };
    let (mut unordered, mut outside) = (None, None);
    for (number, id) in runs.ids().iter().enumerate() {
        let continues = seen.last.is_some_and(|(last, _)| last == *id);
        if seen.last.is_some_and(|(last, _)| last > *id) {
            unordered.get_or_insert(runs.rows_of(number).start);
        }
        seen.traces += u64::from(!continues);
        let rows: Range<usize> = runs.rows_of(number);
        for row in rows {
            let (start, duration) = (starts.value(row), durations.value(row));
            if seen
                .last
                .is_some_and(|(last, before)| last == *id && before.cast_unsigned() > start.cast_unsigned())
            {
                unordered.get_or_insert(row);
            }
            seen.last = Some((*id, start));
            let start = start.cast_unsigned();
            let end = start.saturating_add_signed(duration);
            if start < block.start_min.0 || end > block.end_max.0 {
                outside.get_or_insert(row);
            }
        }
    }
    let unordered = unordered.map(|row| format!("row {row} of row group {group} is out of order"));
    let outside = outside.map(|row| format!("row {row} of row group {group} is not within the block's time"));
    unordered.into_iter().chain(outside).collect()
}
