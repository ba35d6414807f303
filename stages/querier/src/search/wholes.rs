//! Searches that look at traces as wholes, over all pieces of a partition.
//! Owns: which traces can matter, which of them lie in one piece, and putting the others together.
//! Does not own: what matches (TraceQL), how spans are put together (the block).
//! Guarantee: a trace is made up of exactly its spans in the time that is read, each once, however pieces are cut.
//! Memory: ids of all traces; rows of one piece at a time, or of as many traces as [`Limits`] allow.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use futures::{StreamExt, TryStreamExt, stream};
use vivace_block::schema::START_TIME;
use vivace_block::{ASSEMBLE_COLUMNS, assemble};
use vivace_model::scan::{Condition, Projection, TimeRange, TraceRuns};
use vivace_model::{UnixNanos, WorkBudget};
use vivace_traceql::{EvalError, Spans};

use super::condition;
use super::evaluation::{Evaluation, Task};
use super::piece::{Piece, joined};
use crate::JobError;
use crate::compute::compute;

/// Bounds of what goes on at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Rows put together at once, unless one trace has more.
    pub(super) rows_max: usize,
    /// Pieces read at once.
    pub(super) concurrent: usize,
}

/// If a piece's traces that can matter are more than one in so many, other pieces are not asked which of theirs can.
const SELECTIVE_ONE_IN: usize = 4;
/// If rows to be read of a piece are more than one in so many, all of them are.
const FEW_ONE_IN: usize = 3;

/// A piece and where its traces are.
struct Part {
    piece: Piece,
    runs: Arc<TraceRuns>,
    /// Starts of all rows, if some may not be in the time.
    starts: Option<RecordBatch>,
}

/// A trace in a part.
struct Member {
    /// Its number among the candidates.
    candidate: usize,
    /// Its number in the part.
    trace: u32,
    /// Its rows in the time.
    rows: Range<usize>,
    /// Whether these are all.
    whole: bool,
}

/// Traces that can matter, and what is to be done about them.
struct Plan {
    parts: Vec<Part>,
    range: Option<TimeRange>,
    /// Ids as numbers, ascending.
    candidates: Vec<u128>,
    /// By candidate: whether it has to be put together, because it lies in several parts or not wholly in the time.
    divided: Vec<bool>,
    /// By candidate: its rows in all parts.
    rows: Vec<usize>,
    /// Divided candidates, in runs of as many as are put together at once.
    windows: Vec<Range<usize>>,
}

/// Evaluates all traces of the pieces.
pub(super) async fn wholes(
    evaluation: &Arc<Evaluation>,
    pieces: Vec<Piece>,
    range: Option<TimeRange>,
    limits: Limits,
) -> Result<(), JobError> {
    let all = pieces.iter().filter(|piece| !piece.is_held()).count() as u64;
    let parts = parts(pieces, range.clone(), limits).await?;
    let candidates = candidates(evaluation, &parts, range.as_ref()).await?;
    let budget = evaluation.plan().budget();
    let (mut plan, tasks, used) = compute(budget, move || {
        let plan = Plan::new(parts, candidates, range)?;
        let (tasks, used) = plan.tasks()?;
        Ok((plan, tasks, used))
    })
    .await?;
    evaluation.count(|metrics| {
        metrics.row_groups_skipped += all - used;
        metrics.row_groups_inspected +=
            used - tasks.iter().filter(|task| !task.piece.is_held()).count() as u64;
    });
    evaluation.run(stream::iter(tasks).map(Ok).boxed()).await?;
    let old: Vec<bool> = plan.parts.iter().map(|part| evaluation.too_old(&part.piece)).collect();
    let plan = compute(budget, move || {
        plan.drop_old(&old)?;
        plan.cut_windows(limits.rows_max);
        Ok(Arc::new(plan))
    })
    .await?;
    let mut columns = evaluation.plan().columns();
    columns.fixed.extend(ASSEMBLE_COLUMNS);
    for window in &plan.windows {
        let permit = evaluation.permit().await?;
        let (batch, runs) = plan.assemble(budget, window.clone(), &columns, limits.concurrent).await?;
        evaluation.assembled(batch, runs, permit).await?;
    }
    Ok(())
}

/// The pieces that have spans in the time, with their traces.
async fn parts(pieces: Vec<Piece>, range: Option<TimeRange>, limits: Limits) -> Result<Vec<Part>, JobError> {
    let parts = stream::iter(pieces).map(move |piece| Part::new(piece, range.clone()));
    let parts: Vec<Option<Part>> = parts.buffered(limits.concurrent).boxed().try_collect().await?;
    Ok(parts.into_iter().flatten().collect())
}

/// Traces of which some row may meet the condition, ascending.
async fn candidates(
    evaluation: &Arc<Evaluation>,
    parts: &[Part],
    range: Option<&TimeRange>,
) -> Result<Vec<u128>, JobError> {
    let condition = evaluation.plan().condition();
    let columns = condition::columns(condition);
    let mut selective = columns.is_some();
    let mut candidates: Vec<u128> = Vec::new();
    for part in parts {
        if !part.piece.may_match(condition, range).await? {
            continue;
        }
        let Some(columns) = columns.as_ref().filter(|_| selective) else {
            candidates.extend(part.runs.ids().iter().map(|id| u128::from_be_bytes(*id)));
            continue;
        };
        let permit = evaluation.permit().await?;
        let batch = part.piece.columns(columns, None).await?;
        if !part.piece.is_held() {
            permit.has_read(&batch);
        }
        let (plan, runs) = (Arc::clone(evaluation.plan()), Arc::clone(&part.runs));
        let meeting = move || {
            let _held = permit;
            let met = condition::met(plan.condition(), &Spans::new(&batch, &runs))?;
            let traces = (0..runs.len()).filter(|trace| met[runs.rows_of(*trace)].contains(&true));
            Ok(traces.map(|trace| u128::from_be_bytes(runs.ids()[trace])).collect::<Vec<_>>())
        };
        let found = compute(evaluation.plan().budget(), meeting).await?;
        selective = found.len() * SELECTIVE_ONE_IN <= part.runs.len();
        candidates.extend(found);
    }
    let sort = move || {
        // Runs of ascending ids: merged, not sorted anew.
        candidates.sort();
        candidates.dedup();
        Ok(candidates)
    };
    compute(evaluation.plan().budget(), sort).await
}

impl Part {
    /// None if no span is in the time.
    async fn new(piece: Piece, range: Option<TimeRange>) -> Result<Option<Self>, JobError> {
        if !piece.may_match(&Condition::Always, range.as_ref()).await? {
            return Ok(None);
        }
        let runs = piece.runs().await?;
        let starts = if range.is_none_or(|range| piece.lies_in(&range)) {
            None
        } else {
            let column = Projection { fixed: [START_TIME].into(), ..Projection::default() };
            Some(piece.columns(&column, None).await?)
        };
        Ok(Some(Self { piece, runs, starts }))
    }

    /// The candidates in a range of their numbers that have rows in the time here.
    fn members<'a>(
        &'a self,
        plan: &'a Plan,
        within: Range<usize>,
    ) -> Result<impl Iterator<Item = Member> + 'a, JobError> {
        let starts = match &self.starts {
            None => None,
            Some(batch) => {
                let column = batch.column_by_name(START_TIME);
                let starts = column.and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>());
                Some(starts.ok_or_else(|| EvalError::Batch(format!("no column {START_TIME}")))?)
            }
        };
        let (ids, candidates) = (self.runs.ids(), &plan.candidates[within.clone()]);
        let mut candidate = 0;
        let mut trace = candidates.first().map_or(0, |first| ids.partition_point(|id| number(id) < *first));
        if let Some(first) = ids.get(trace) {
            candidate = candidates.partition_point(|candidate| *candidate < number(first));
        }
        let next = move || loop {
            let (wanted, id) = (*candidates.get(candidate)?, number(ids.get(trace)?));
            if wanted != id {
                if wanted < id {
                    candidate += 1
                } else {
                    trace += 1
                }
                continue;
            }
            let all = self.runs.rows_of(trace);
            let rows = match (starts, &plan.range) {
                (Some(starts), Some(range)) => {
                    // Sorted by start within a trace.
                    let starts = &starts.values()[all.clone()];
                    let before = |time: UnixNanos| starts.partition_point(|it| it.cast_unsigned() < time.0);
                    all.start + before(range.start)..all.start + before(range.end)
                }
                _ => all.clone(),
            };
            let number = within.start + candidate;
            let member = Member { candidate: number, trace: trace as u32, whole: rows == all, rows };
            candidate += 1;
            trace += 1;
            if !member.rows.is_empty() {
                return Some(member);
            }
        };
        Ok(std::iter::from_fn(next))
    }
}

impl Plan {
    fn new(parts: Vec<Part>, candidates: Vec<u128>, range: Option<TimeRange>) -> Result<Self, JobError> {
        let count = candidates.len();
        let (divided, rows, windows) = Default::default();
        let mut plan = Self { parts, range, candidates, divided, rows, windows };
        let (mut seen, mut divided, mut rows) =
            (vec![false; count], vec![false; count], vec![0_usize; count]);
        for part in &plan.parts {
            for member in part.members(&plan, 0..count)? {
                let at = member.candidate;
                divided[at] |= seen[at] || !member.whole;
                seen[at] = true;
                rows[at] += member.rows.len();
            }
        }
        (plan.divided, plan.rows) = (divided, rows);
        Ok(plan)
    }

    /// Leaves out divided traces that have a span in one of these parts: they begin no later than all of its spans.
    fn drop_old(&mut self, old: &[bool]) -> Result<(), JobError> {
        let mut divided = std::mem::take(&mut self.divided);
        for (part, _) in self.parts.iter().zip(old).filter(|(_, old)| **old) {
            for member in part.members(self, 0..self.candidates.len())? {
                divided[member.candidate] = false;
            }
        }
        self.divided = divided;
        Ok(())
    }

    fn cut_windows(&mut self, rows_max: usize) {
        let (mut window, mut held) = (0..0, 0);
        for at in (0..self.candidates.len()).filter(|at| self.divided[*at]) {
            if held > 0 && held + self.rows[at] > rows_max {
                self.windows.push(std::mem::replace(&mut window, at..at));
                held = 0;
            }
            if held == 0 {
                window.start = at;
            }
            window.end = at + 1;
            held += self.rows[at];
        }
        if held > 0 {
            self.windows.push(window);
        }
    }

    /// What is to be looked at in place, and how many row groups hold any candidate.
    fn tasks(&self) -> Result<(Vec<Task>, u64), JobError> {
        let (mut tasks, mut used) = (Vec::new(), 0);
        for part in &self.parts {
            let (mut traces, mut rows, mut any) = (Vec::new(), 0, false);
            for member in part.members(self, 0..self.candidates.len())? {
                any = true;
                if !self.divided[member.candidate] {
                    traces.push(member.trace);
                    rows += member.rows.len();
                }
            }
            used += u64::from(any && !part.piece.is_held());
            if traces.is_empty() {
                continue;
            }
            let few = rows * FEW_ONE_IN < part.piece.rows();
            let traces = (traces.len() < part.runs.len()).then_some(traces);
            // A trace that lies in the piece alone is as old as the piece.
            tasks.push(Task { traces, few, prune: true, ..Task::whole(part.piece.clone()) });
        }
        Ok((tasks, used))
    }

    /// The divided candidates of a window, put together.
    async fn assemble(
        self: &Arc<Self>,
        budget: &WorkBudget,
        window: Range<usize>,
        columns: &Projection,
        concurrent: usize,
    ) -> Result<(RecordBatch, TraceRuns), JobError> {
        let mut reads = Vec::new();
        for part in &self.parts {
            let members = part.members(self, window.clone())?;
            let members = members.filter(|member| self.divided[member.candidate]);
            let rows = joined(members.map(|member| member.rows));
            if !rows.is_empty() {
                reads.push((part.piece.clone(), rows));
            }
        }
        let columns = Arc::new(columns.clone());
        let read = move |(piece, rows)| rows_to_assemble(piece, rows, Arc::clone(&columns));
        let reads = stream::iter(reads).map(read).buffered(concurrent).boxed();
        let pieces: Vec<_> = reads.try_collect().await?;
        compute(budget, move || {
            let pieces: Vec<_> = pieces.iter().map(|(batch, rows)| (batch, rows.as_slice())).collect();
            Ok(assemble(&pieces).map_err(|error| EvalError::Batch(error.to_string()))?)
        })
        .await
    }
}

/// A batch and which of its rows are meant.
async fn rows_to_assemble(
    piece: Piece,
    rows: Vec<Range<usize>>,
    columns: Arc<Projection>,
) -> Result<(RecordBatch, Vec<Range<usize>>), JobError> {
    match piece {
        Piece::Held(batch, _) => Ok((batch, rows)),
        Piece::Stored(..) => {
            let batch = piece.columns(&columns, Some(&rows)).await?;
            let all = 0..batch.num_rows();
            Ok((batch, vec![all]))
        }
    }
}

const fn number(id: &[u8; 16]) -> u128 {
    u128::from_be_bytes(*id)
}
