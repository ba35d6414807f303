//! Goes over pieces in two steps: select spans by few columns, then collect more columns of those that matter.
//! Owns: what goes on at the same time, and the order in which findings are collected.
//! Does not own: which pieces are looked at.
//! Guarantee: findings are collected in the order of the pieces, so that the same job gives the same answer, however
//! fast each piece is read.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::stream::BoxStream;
use futures::{TryStreamExt, try_join};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use vivace_model::UnixNanos;
use vivace_model::scan::{Projection, TraceRuns};
use vivace_proto::internal::SearchJobMetrics;
use vivace_proto::internal::search_job_part::Found;
use vivace_traceql::{Collector, PlanKind, ScanPlan, Selected, Spans};

use super::memory::{JobMemory, PiecePermit};
use super::piece::{Piece, joined, take};
use super::read_rows::{keep_traces, of_piece, picked, told};
use crate::JobError;
use crate::compute::compute;
use crate::panics::named;

/// A piece to look at.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) piece: Piece,
    /// Only these traces, by their numbers in the piece, ascending; none: all.
    pub(super) traces: Option<Vec<u32>>,
    /// Read the rows of these traces alone. Otherwise all are read and what is found of other traces is left out: cheaper
    /// unless they are few.
    pub(super) few: bool,
    /// Leave it out if nothing in it can match: what the plan's condition says of single spans.
    pub(super) prune: bool,
}

/// A piece that was looked at, and the traces of it that are told of.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    pub(super) piece: Piece,
    /// By their numbers in the piece, ascending.
    pub(super) told: Vec<u32>,
}

/// A search over pieces.
pub(super) struct Evaluation {
    plan: Arc<ScanPlan>,
    state: Mutex<State>,
    collector: Arc<Mutex<Collector>>,
    /// Pieces in work of all jobs together.
    permits: Arc<Semaphore>,
    /// Pieces that this job reads at the same time.
    concurrent: usize,
    /// The second step needs no other columns than the first.
    first_is_enough: bool,
    memory: Arc<JobMemory>,
}

#[derive(Debug, Default)]
struct State {
    metrics: SearchJobMetrics,
    /// Spans that start before it add nothing any more.
    horizon: Option<UnixNanos>,
    looked: Vec<Looked>,
    /// Something was left out because it is too old.
    too_old: bool,
}

/// A piece after the first step.
struct Step {
    piece: Piece,
    /// Rows that were read; none: all.
    rows: Option<Vec<Range<usize>>>,
    /// Numbers in the piece of the traces that were read; none: all.
    traces: Option<Vec<u32>>,
    selected: Vec<Selected>,
    batch: RecordBatch,
    runs: Arc<TraceRuns>,
    prune: bool,
    permit: Arc<PiecePermit>,
}

/// The memory of the job, and the turn of the piece.
type StepHeld = (Arc<JobMemory>, Arc<PiecePermit>);

/// What the collector wants to know more of.
struct Wanted {
    selected: Vec<Selected>,
    rows: Vec<u32>,
    /// Whether the collector has taken them already.
    taken: bool,
}

impl Task {
    /// All of a piece.
    pub(super) const fn whole(piece: Piece) -> Self {
        Self { piece, traces: None, few: false, prune: false }
    }
}

impl Evaluation {
    pub(super) fn new(
        plan: &Arc<ScanPlan>,
        collector: Collector,
        permits: &Arc<Semaphore>,
        concurrent: usize,
        memory: &Arc<JobMemory>,
    ) -> Arc<Self> {
        Arc::new(Self {
            plan: Arc::clone(plan),
            state: Mutex::default(),
            collector: Arc::new(Mutex::new(collector)),
            permits: Arc::clone(permits),
            concurrent,
            first_is_enough: covers(plan.first(), plan.second()),
            memory: Arc::clone(memory),
        })
    }

    pub(super) const fn plan(&self) -> &Arc<ScanPlan> {
        &self.plan
    }

    pub(super) async fn permit(&self) -> Result<Arc<PiecePermit>, JobError> {
        Ok(Arc::new(self.memory.piece(&self.permits).await?))
    }

    /// Changes what is counted.
    pub(super) fn count(&self, change: impl FnOnce(&mut SearchJobMetrics)) {
        change(&mut self.state.lock().metrics);
    }

    /// All pieces, each looked at in turn; what they cost is counted by who opened them.
    pub(super) async fn run(
        self: &Arc<Self>,
        mut tasks: BoxStream<'static, Result<Task, JobError>>,
    ) -> Result<(), JobError> {
        // Most often the newest piece has enough of the newest traces, and tells that no other has to be read.
        if matches!(self.plan.kind(), PlanKind::Traces { .. })
            && let Some(task) = tasks.try_next().await?
        {
            let permit = self.permit().await?;
            if let Some(step) = Arc::clone(self).first(task, permit).await? {
                self.second(step).await?;
            }
        }
        let (sender, mut receiver) = mpsc::channel(1);
        let first = async {
            // Permits are asked for in the order of the pieces: whoever holds one never waits for a piece without.
            let permits = Arc::clone(self);
            let admitted = tasks.and_then(move |task| {
                let permits = Arc::clone(&permits);
                async move { Ok((task, permits.permit().await?)) }
            });
            let work = Arc::clone(self);
            let steps = admitted.map_ok(move |(task, permit)| Arc::clone(&work).first(task, permit));
            let sender = sender;
            let mut steps = pin!(steps.try_buffered(self.concurrent));
            while let Some(step) = steps.try_next().await? {
                if sender.send(step).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        let second = async {
            while let Some(step) = receiver.recv().await {
                if let Some(step) = step {
                    self.second(step).await?;
                }
            }
            Ok(())
        };
        try_join!(first, second).map(|((), ())| ())
    }

    /// What was found, what it took, and what was looked at, in order.
    pub(super) async fn finish(self: Arc<Self>) -> Result<(Found, SearchJobMetrics, Vec<Looked>), JobError> {
        let this = Arc::into_inner(self).expect("no step is in work any more");
        let State { metrics, looked, too_old, .. } = this.state.into_inner();
        let collector = Arc::into_inner(this.collector).expect("no step is in work any more").into_inner();
        let mut found = compute(this.plan.budget(), move || Ok(collector.finish())).await?;
        if let Found::Traces(traces) = &mut found {
            traces.more |= too_old;
        }
        Ok((found, metrics, looked))
    }

    /// Whether newest traces are collected and all of these spans are too old. They are left out then.
    pub(super) fn too_old(&self, piece: &Piece) -> bool {
        let mut state = self.state.lock();
        let too_old = state.horizon.is_some_and(|horizon| piece.starts_before(horizon));
        state.too_old |= too_old;
        too_old
    }

    async fn ruled_out(&self, task: &Task) -> Result<bool, JobError> {
        if !task.prune {
            return Ok(false);
        }
        if self.too_old(&task.piece) {
            return Ok(true);
        }
        let range = self.plan.range();
        Ok(!task.piece.may_match(self.plan.condition(), Some(range)).await?)
    }

    /// Selects spans. None: nothing was found.
    async fn first(self: Arc<Self>, task: Task, permit: Arc<PiecePermit>) -> Result<Option<Step>, JobError> {
        let piece = task.piece.clone();
        named(|| piece.name(), self.select(task, permit)).await
    }

    async fn select(self: Arc<Self>, task: Task, permit: Arc<PiecePermit>) -> Result<Option<Step>, JobError> {
        if self.ruled_out(&task).await? {
            self.looked(task.piece, Vec::new(), false);
            return Ok(None);
        }
        let Task { piece, traces, few, prune } = task;
        let all = piece.runs().await?;
        let read = traces.as_ref().filter(|_| few);
        let rows = read.map(|traces| joined(traces.iter().map(|trace| all.rows_of(*trace as usize))));
        let batch = piece.columns(self.plan.first(), rows.as_deref()).await?;
        self.count(|metrics| {
            metrics.spans_inspected += batch.num_rows() as u64;
            metrics.traces_inspected += read.map_or(all.len(), Vec::len) as u64;
        });
        // Recent data is counted where it came in.
        if !piece.is_held() {
            permit.has_read(&batch);
        }
        let plan = Arc::clone(&self.plan);
        let held = self.held(&permit);
        let select = move || {
            let _held = held;
            let runs = if few { picked(&all, traces.as_deref()) } else { Arc::clone(&all) };
            if matches!(plan.kind(), PlanKind::Summaries { .. }) {
                return Ok((batch, runs, Vec::new(), traces, true));
            }
            let mut selected = plan.select(&Spans::new(&batch, &runs))?;
            if let Some(traces) = traces.as_deref().filter(|_| !few) {
                selected.iter_mut().for_each(|selected| keep_traces(selected, traces));
            }
            let found = selected.iter().any(|selected| !selected.rows.is_empty());
            Ok((batch, runs, selected, traces, found))
        };
        let (batch, runs, selected, traces, found) = compute(self.plan.budget(), select).await?;
        if !found {
            self.looked(piece, Vec::new(), true);
            return Ok(None);
        }
        let traces = traces.filter(|_| few);
        Ok(Some(Step { piece, rows, traces, selected, batch, runs, prune, permit }))
    }

    /// Collects what was selected.
    async fn second(&self, step: Step) -> Result<(), JobError> {
        let piece = step.piece.clone();
        named(|| piece.name(), self.collect(step)).await
    }

    async fn collect(&self, step: Step) -> Result<(), JobError> {
        let Step { piece, rows, traces, selected, batch, runs, prune, permit } = step;
        // What is left out must not depend on how fast pieces are read.
        if prune && self.too_old(&piece) {
            self.looked(piece, Vec::new(), true);
            return Ok(());
        }
        let enough = self.first_is_enough || piece.is_held();
        let wanted = self.wanted(selected, &batch, &runs, enough, self.held(&permit)).await?;
        let told = match self.plan.kind() {
            PlanKind::Traces { .. } => told(&wanted.rows, &runs, traces.as_deref()),
            _ => Vec::new(),
        };
        if wanted.taken {
            // Nothing is left to do.
        } else if wanted.rows.len() == piece.rows() && self.take_names(&piece, &batch, &runs).await? {
            // All that is asked for is known of the piece as a whole.
        } else {
            let of_piece = of_piece(&wanted.rows, rows.as_deref());
            let second = piece.columns(self.plan.second(), Some(&of_piece)).await?;
            permit.has_read(&second);
            let (collector, held) = (Arc::clone(&self.collector), self.held(&permit));
            let take = move || {
                let (memory, _permit) = &held;
                let (first, second) = (Spans::new(&batch, &runs), Spans::picked(&second));
                let mut collector = collector.lock();
                collector.take(&wanted.selected, &first, &wanted.rows, &second)?;
                memory.grouped(collector.bytes())
            };
            compute(self.plan.budget(), take).await?;
        }
        self.name(&piece, rows.as_deref()).await?;
        self.looked(piece, told, true);
        let horizon = self.collector.lock().horizon();
        self.state.lock().horizon = horizon;
        Ok(())
    }

    /// Tells the collector of the single spans that it asks for by name; `read` are the rows that were read of the piece.
    async fn name(&self, piece: &Piece, read: Option<&[Range<usize>]>) -> Result<(), JobError> {
        let rows = self.collector.lock().nameless();
        if rows.is_empty() {
            return Ok(());
        }
        let of_piece = of_piece(&rows, read);
        let third = piece.columns(self.plan.third(), Some(&of_piece)).await?;
        Ok(self.collector.lock().name(&rows, &Spans::picked(&third))?)
    }

    /// If names of attributes are collected, and the piece knows its own: takes them. For all rows of the piece.
    async fn take_names(
        &self,
        piece: &Piece,
        batch: &RecordBatch,
        runs: &Arc<TraceRuns>,
    ) -> Result<bool, JobError> {
        if !matches!(self.plan.kind(), PlanKind::TagNames { .. }) || batch.num_rows() == 0 {
            return Ok(false);
        }
        let Some(names) = piece.attribute_names(self.plan.second()).await? else { return Ok(false) };
        let first = Spans::new(batch, runs);
        self.collector.lock().take(&[], &first, &[0], &Spans::picked(&names))?;
        Ok(true)
    }

    /// Evaluates traces that were put together of several pieces.
    pub(super) async fn assembled(
        &self,
        batch: RecordBatch,
        runs: TraceRuns,
        permit: Arc<PiecePermit>,
    ) -> Result<(), JobError> {
        let (plan, runs) = (Arc::clone(&self.plan), Arc::new(runs));
        permit.has_read(&batch);
        let held = self.held(&permit);
        self.count(|metrics| metrics.spans_inspected += batch.num_rows() as u64);
        let (moved, of_batch) = (batch.clone(), Arc::clone(&runs));
        let select = move || {
            let _held = held;
            Ok(plan.select(&Spans::new(&moved, &of_batch))?)
        };
        let selected = compute(self.plan.budget(), select).await?;
        if selected.iter().any(|selected| !selected.rows.is_empty()) {
            self.wanted(selected, &batch, &runs, true, self.held(&permit)).await?;
        }
        Ok(())
    }

    /// Asks the collector what it wants, and gives it that if all columns are here.
    async fn wanted(
        &self,
        selected: Vec<Selected>,
        batch: &RecordBatch,
        runs: &Arc<TraceRuns>,
        enough: bool,
        held: StepHeld,
    ) -> Result<Wanted, JobError> {
        let (batch, runs) = (batch.clone(), Arc::clone(runs));
        let collector = Arc::clone(&self.collector);
        let work = move || {
            let (memory, _permit) = &held;
            let mut collector = collector.lock();
            let first = Spans::new(&batch, &runs);
            let rows = collector.wanted(&selected, &first)?;
            let taken = enough || rows.is_empty();
            if taken {
                let second =
                    if rows.len() == batch.num_rows() { batch.clone() } else { take(&batch, rows.clone())? };
                collector.take(&selected, &first, &rows, &Spans::picked(&second))?;
                memory.grouped(collector.bytes())?;
            }
            Ok(Wanted { selected, rows, taken })
        };
        compute(self.plan.budget(), work).await
    }

    /// What a step off the async threads holds: it goes on where nobody waits for it any more.
    fn held(&self, permit: &Arc<PiecePermit>) -> StepHeld {
        (Arc::clone(&self.memory), Arc::clone(permit))
    }

    fn looked(&self, piece: Piece, told: Vec<u32>, inspected: bool) {
        let mut state = self.state.lock();
        if !piece.is_held() {
            state.metrics.row_groups_inspected += u64::from(inspected);
            state.metrics.row_groups_skipped += u64::from(!inspected);
        }
        // Only answers about traces are completed later.
        if matches!(self.plan.kind(), PlanKind::Traces { .. }) {
            state.looked.push(Looked { piece, told });
        }
    }
}

/// Whether one projection has all columns of another.
fn covers(first: &Projection, second: &Projection) -> bool {
    second.fixed.is_subset(&first.fixed)
        && second.scopes.is_subset(&first.scopes)
        && second.attributes.iter().all(|(scope, key)| first.wants(*scope, key))
}
