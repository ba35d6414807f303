//! Whole traces that are next in the order of ids: which rows they have, in which order, and their structure.
//! Owns: putting the pieces of a trace together. Does not own: equal spans (`same`), reading, columns.
//! Guarantee: rows of a trace in one piece keep their structure; that of others is worked out over all their rows.

use std::ops::Range;
use std::sync::Arc;

use super::gather::NO_ROW;
use super::same::drop_repeated;
use super::source::Source;
use super::target::Target;
use crate::BlockError;
use crate::columns::ROW_GROUP_BYTES_MAX;
use crate::nested_set::Numbering;

/// A row: the number of its source, and the row there.
pub(super) type Place = (u32, u32);

/// Rows of a source.
pub(super) type Taken = (Arc<Source>, Range<usize>);

/// Whole traces, one after the other.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) sources: Vec<Arc<Source>>,
    /// All rows in their order.
    pub(super) rows: Vec<Place>,
    /// Rows of each trace.
    pub(super) traces: Vec<Range<usize>>,
    /// Left, right and parent of each row's nested set.
    pub(super) nested: [Vec<i32>; 3],
    /// Of each row the row, among all here, of its trace's root, or any that knows it; [`NO_ROW`] if there is none.
    pub(super) roots: Vec<u32>,
    /// Rows that were left out because an equal one is there.
    pub(super) duplicates: u64,
}

/// Starts, of which the signed numbers hold all 64 bits, and ids of the spans of a source.
type Keys<'a> = (&'a [i64], &'a [[u8; 8]]);

/// Rows of one trace in one source.
#[derive(Clone, Copy, Debug)]
struct Run {
    trace: [u8; 16],
    source: u32,
    start: u32,
    end: u32,
}

impl Window {
    /// The traces of these rows, all of them whole.
    pub(super) fn new(taken: Vec<Taken>, target: &Target) -> Result<Self, BlockError> {
        let mut runs = Vec::new();
        for (number, (source, rows)) in taken.iter().enumerate() {
            let rows = rows.clone();
            let mut start = rows.start;
            for same in source.traces()[rows].chunk_by(|a, b| a == b) {
                let end = start + same.len();
                let source = number as u32;
                runs.push(Run { trace: same[0], source, start: start as u32, end: end as u32 });
                start = end;
            }
        }
        let key = |run: &Run| (u128::from_be_bytes(run.trace), run.source);
        runs.sort_unstable_by_key(key);
        let mut window = Self::default();
        let keys: Vec<Keys<'_>> = taken.iter().map(|(source, _)| (source.starts(), source.spans())).collect();
        let mut suspects = Vec::new();
        let mut in_one_piece = Vec::new();
        for runs in runs.chunk_by(|a, b| a.trace == b.trace) {
            window.add(&keys, runs, &mut suspects);
            in_one_piece.push(runs.len() == 1);
        }
        window.sources = taken.into_iter().map(|(source, _)| source).collect();
        if !suspects.is_empty() {
            let repeated = drop_repeated(&window.sources, &window.rows, &suspects, target)?;
            window.leave_out(&repeated, &mut in_one_piece);
        }
        window.structure(&in_one_piece);
        window.cut(ROW_GROUP_BYTES_MAX);
        Ok(window)
    }

    /// Bytes that the lists of these rows take, about.
    pub(super) fn list_bytes(&self, rows: Range<usize>) -> usize {
        self.rows[rows].iter().map(|(source, _)| self.sources[*source as usize].list_bytes()).sum()
    }

    /// Cuts traces whose lists take more than `bytes_max` into parts.
    fn cut(&mut self, bytes_max: usize) {
        let mut traces = Vec::with_capacity(self.traces.len());
        for rows in &self.traces {
            let parts = self.list_bytes(rows.clone()).div_ceil(bytes_max).max(1);
            let step = rows.len().div_ceil(parts).max(1);
            traces.extend(rows.clone().step_by(step).map(|start| start..rows.end.min(start + step)));
        }
        self.traces = traces;
    }

    /// Adds a trace; rows that may be equal are added to the suspects.
    fn add(&mut self, keys: &[Keys<'_>], runs: &[Run], suspects: &mut Vec<Range<usize>>) {
        let first = self.rows.len();
        for run in runs {
            self.rows.extend((run.start..run.end).map(|row| (run.source, row)));
        }
        let start = |&(source, row): &Place| keys[source as usize].0[row as usize].cast_unsigned();
        let span = |&(source, row): &Place| keys[source as usize].1[row as usize];
        let rows = &mut self.rows[first..];
        if runs.len() > 1 {
            rows.sort_unstable_by_key(|place| (start(place), span(place), *place));
        }
        let mut at = first;
        for same in rows.chunk_by(|a, b| start(a) == start(b) && span(a) == span(b)) {
            if same.len() > 1 {
                suspects.push(at..at + same.len());
            }
            at += same.len();
        }
        self.traces.push(first..at);
    }

    /// Leaves rows out that are equal to others.
    fn leave_out(&mut self, repeated: &[bool], in_one_piece: &mut [bool]) {
        let mut kept = Vec::with_capacity(self.rows.len());
        for (rows, whole) in self.traces.iter_mut().zip(in_one_piece) {
            let first = kept.len();
            let before = rows.len();
            kept.extend(rows.clone().filter(|row| !repeated[*row]).map(|row| self.rows[row]));
            *rows = first..kept.len();
            *whole &= rows.len() == before;
        }
        self.duplicates += (self.rows.len() - kept.len()) as u64;
        self.rows = kept;
    }

    fn structure(&mut self, in_one_piece: &[bool]) {
        let mut numbering = Numbering::default();
        let nested: Vec<[&[i32]; 3]> = self.sources.iter().map(|source| source.nested()).collect();
        let [left, right, parent] = &mut self.nested;
        for (range, whole) in self.traces.iter().zip(in_one_piece) {
            let rows = &self.rows[range.clone()];
            if *whole {
                // They follow each other there, too.
                let Some(&(source, first)) = rows.first() else { continue };
                let there = first as usize..first as usize + rows.len();
                let [lefts, rights, parents] = nested[source as usize];
                left.extend_from_slice(&lefts[there.clone()]);
                right.extend_from_slice(&rights[there.clone()]);
                parent.extend_from_slice(&parents[there]);
                self.roots.extend(range.start as u32..range.end as u32);
                continue;
            }
            let sources = &self.sources;
            let nodes = rows.iter().map(|&(source, row)| {
                let source = &sources[source as usize];
                (source.spans()[row as usize], source.parent(row as usize))
            });
            let root = numbering.number(nodes, left, right, parent);
            let root = root.map_or(NO_ROW, |root| (range.start + root) as u32);
            self.roots.resize(self.roots.len() + rows.len(), root);
        }
    }
}
