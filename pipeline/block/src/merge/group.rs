//! From windows of traces to row groups of files.
//! Owns: where row groups and files are cut, what is kept, and what is counted.
//! Does not own: reading, uploading.
//! Guarantee: a trace is in one row group and one file, unless it alone is larger than a row group.

use std::error::Error;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Int32Type, Int64Type, Schema, TimestampNanosecondType};
use vivace_model::UnixNanos;
use vivace_model::scan::TraceRuns;

use super::Merge;
use super::pending::Pending;
use super::target::Target;
use super::window::Window;
use crate::columns::{BlockStats, NEEDLE_DISTINCT_MIN, NEEDLE_SHARE, Needle, ROW_GROUP_BYTES_MAX};
use crate::schema::{AttributeScope, DURATION_NANOS, START_TIME, TRACE_ID};
use crate::write::{BlockWriter, Layout};
use crate::{BlockError, trace_runs};

/// The columns that what a file says of itself comes from.
const COUNTED: [&str; 3] = [TRACE_ID, START_TIME, DURATION_NANOS];

/// Makes row groups.
#[derive(Debug)]
pub(super) struct Grouper {
    target: Arc<Target>,
    merge: Merge,
    window: Window,
    /// The next trace of the window.
    next: usize,
    /// Numbers of the window's sources among those of the pending rows.
    numbers: Vec<Option<u32>>,
    pending: Pending,
    /// The first of the pending rows, of which it was decided that they are kept.
    judged: usize,
    file: Option<File>,
    pub(super) counts: Counts,
}

/// A file that is being written.
#[derive(Debug)]
struct File {
    writer: BlockWriter,
    stats: BlockStats,
    last_trace: [u8; 16],
}

/// What became of the rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) duplicates: u64,
    pub(super) dropped: u64,
    pub(super) written: u64,
}

/// What a step made.
#[derive(Debug)]
pub(super) enum Step {
    /// All rows there are were used; more are wanted.
    Hungry,
    /// Bytes of the file at hand; the stats of the file if they are its last.
    Bytes(Vec<u8>, Option<BlockStats>),
}

impl Grouper {
    pub(super) fn new(target: Arc<Target>, merge: Merge) -> Self {
        Self {
            target,
            merge,
            window: Window::default(),
            next: 0,
            numbers: Vec::new(),
            pending: Pending::default(),
            judged: 0,
            file: None,
            counts: Counts::default(),
        }
    }

    /// Takes the next traces. The ones before must be used up.
    pub(super) fn feed(&mut self, window: Window) {
        self.counts.duplicates += window.duplicates;
        self.numbers = vec![None; window.sources.len()];
        (self.window, self.next) = (window, 0);
    }

    /// Makes a row group, if there are rows for one, or are the last. CPU-bound, for some hundred milliseconds.
    pub(super) fn step(&mut self, last: bool) -> Result<Step, BlockError> {
        loop {
            let full = self.fill();
            if !full && !last {
                return Ok(Step::Hungry);
            }
            if self.pending.rows() == 0 {
                return match self.file.take() {
                    Some(file) => self.finish(file),
                    None => Ok(Step::Hungry),
                };
            }
            if self.merge.keep.is_none()
                && self.pending.rows() <= self.merge.config.row_group_rows_max
                && let Some(file) = self.file.take()
            {
                return self.stream(file);
            }
            let batch = self.pending.batch(&self.target)?;
            match self.judge(&batch)? {
                None => return self.write(&batch),
                Some(keep) => {
                    self.counts.dropped += keep.iter().filter(|keep| !**keep).count() as u64;
                    self.pending.retain(&keep);
                    // Neither a small row group nor all sources of few rows.
                    self.pending.copy_out(&self.target)?;
                    self.numbers.fill(None);
                    self.judged = self.pending.rows();
                }
            }
        }
    }

    /// Moves whole traces from the window to the pending rows, as many as a row group takes; whether it is full.
    fn fill(&mut self) -> bool {
        let rows_max = self.merge.config.row_group_rows_max;
        while let Some(rows) = self.window.traces.get(self.next) {
            let pending = self.pending.rows();
            let bytes = self.pending.list_bytes() + self.window.list_bytes(rows.clone());
            if pending > 0 && (pending + rows.len() > rows_max || bytes > ROW_GROUP_BYTES_MAX) {
                return true;
            }
            self.pending.add(&self.window, rows.clone(), &mut self.numbers);
            self.next += 1;
        }
        // Sources that are used up must not stay in memory for the sake of the next window.
        self.window = Window::default();
        self.next = 0;
        false
    }

    /// Which of the rows are kept; none if all are.
    fn judge(&self, batch: &RecordBatch) -> Result<Option<Vec<bool>>, BlockError> {
        let Some(judge) = self.merge.keep.as_ref().filter(|_| self.judged < batch.num_rows()) else {
            return Ok(None);
        };
        let new = batch.slice(self.judged, batch.num_rows() - self.judged);
        let runs = trace_runs(&new)?;
        let verdict = judge.keep(&new, &runs).map_err(|source| BlockError::Keep { source: source.into() })?;
        if verdict.len() != runs.len() {
            let source: Box<dyn Error + Send + Sync> = "it decided about another number of traces".into();
            return Err(BlockError::Keep { source: source.into() });
        }
        if !verdict.contains(&false) {
            return Ok(None);
        }
        let mut keep = vec![true; batch.num_rows()];
        for (trace, _) in verdict.iter().enumerate().filter(|(_, kept)| !**kept) {
            runs.rows_of(trace).for_each(|row| keep[self.judged + row] = false);
        }
        Ok(Some(keep))
    }

    /// Writes the pending rows, column by column, as a row group of a file that has some.
    fn stream(&mut self, mut file: File) -> Result<Step, BlockError> {
        let (pending, target) = (std::mem::take(&mut self.pending), &self.target);
        self.numbers.fill(None);
        let mut group = file.writer.group().map_err(BlockError::encode)?;
        let mut counted = Vec::with_capacity(COUNTED.len());
        for (column, field) in pending.columns(target)?.zip(target.schema.fields()) {
            let column = column?;
            group.column(field, &column).map_err(BlockError::encode)?;
            if COUNTED.contains(&field.name().as_str()) {
                counted.push((Arc::clone(field), column.into_array().map_err(BlockError::encode)?));
            }
        }
        group.close().map_err(BlockError::encode)?;
        let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) = counted.into_iter().unzip();
        let schema = Arc::new(Schema::new(fields));
        let counted = RecordBatch::try_new(schema, columns).map_err(BlockError::encode)?;
        self.written(file, &counted)
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<Step, BlockError> {
        self.pending = Pending::default();
        self.judged = 0;
        self.numbers.fill(None);
        let rows_max = self.merge.config.row_group_rows_max;
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open(batch)?,
        };
        for start in (0..batch.num_rows()).step_by(rows_max) {
            let rows = rows_max.min(batch.num_rows() - start);
            file.writer.write(&batch.slice(start, rows)).map_err(BlockError::encode)?;
        }
        self.written(file, batch)
    }

    /// Goes on after a row group, of which at least the columns are known that are counted.
    fn written(&mut self, mut file: File, batch: &RecordBatch) -> Result<Step, BlockError> {
        file.count(batch, &trace_runs(batch)?)?;
        self.counts.written += batch.num_rows() as u64;
        if file.writer.written() as u64 >= self.merge.limits.file_bytes_max {
            return self.finish(file);
        }
        let bytes = file.writer.take();
        self.file = Some(file);
        Ok(Step::Bytes(bytes, None))
    }

    fn open(&self, batch: &RecordBatch) -> Result<File, BlockError> {
        let rows = batch.num_rows().clamp(1, self.merge.config.row_group_rows_max);
        // What follows may be more than this: a part of a group, unless nothing follows.
        let rows = if self.window.traces.is_empty() { rows } else { self.merge.config.row_group_rows_max };
        let layout = Layout {
            group_rows: self.merge.config.row_group_rows_max,
            traces: rows as u64,
            needles: needles(batch),
        };
        let schema = &self.target.schema;
        let writer = BlockWriter::new(schema, &layout, &self.merge.config, 0).map_err(BlockError::encode)?;
        let stats = BlockStats { rows: 0, traces: 0, start_min: UnixNanos(u64::MAX), end_max: UnixNanos(0) };
        Ok(File { writer, stats, last_trace: [0; 16] })
    }

    fn finish(&self, file: File) -> Result<Step, BlockError> {
        let bytes = file.writer.finish(&self.merge.description, &file.stats).map_err(BlockError::encode)?;
        Ok(Step::Bytes(bytes, Some(file.stats)))
    }
}

impl File {
    fn count(&mut self, batch: &RecordBatch, runs: &TraceRuns) -> Result<(), BlockError> {
        let lacks = |name| BlockError::value(name, "the column is not there");
        let starts = batch.column_by_name(START_TIME).ok_or_else(|| lacks(START_TIME))?;
        let durations = batch.column_by_name(DURATION_NANOS).ok_or_else(|| lacks(DURATION_NANOS))?;
        let durations = durations.as_primitive::<Int64Type>().values();
        let starts = starts.as_primitive::<TimestampNanosecondType>().values();
        for (start, duration) in starts.iter().zip(durations) {
            let (start, duration) = (start.cast_unsigned(), duration.cast_unsigned());
            let end = start.wrapping_add(duration).max(start);
            self.stats.start_min = self.stats.start_min.min(UnixNanos(start));
            self.stats.end_max = self.stats.end_max.max(UnixNanos(end));
        }
        self.stats.rows += batch.num_rows() as u64;
        // No trace has the id of zeros, so the first one of the file is always new.
        let again = runs.ids().first() == Some(&self.last_trace);
        self.stats.traces += runs.len() as u64 - u64::from(again);
        self.last_trace = runs.ids().last().copied().unwrap_or(self.last_trace);
        Ok(())
    }
}

/// The string columns of many values, as far as the file's first row group tells.
fn needles(batch: &RecordBatch) -> Vec<Needle> {
    let columns = batch.schema_ref().fields().iter().zip(batch.columns());
    let needle = columns.filter_map(|(field, array)| {
        let (scope, _) = AttributeScope::parse_column(field.name())?;
        if scope != AttributeScope::Span || !matches!(field.data_type(), DataType::Dictionary(..)) {
            return None;
        }
        let distinct = array.as_dictionary::<Int32Type>().values().len();
        let rows = array.len() - array.null_count();
        (distinct >= NEEDLE_DISTINCT_MIN && distinct * NEEDLE_SHARE >= rows).then(|| Needle {
            column: field.name().clone(),
            // Later row groups may have more of them; a filter that is too large is folded.
            distinct: batch.num_rows() as u64,
            plain: distinct * 2 > rows,
        })
    });
    needle.collect()
}
