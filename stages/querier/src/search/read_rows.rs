//! Rows of a piece by rows of what was read of it, and back.
//! Owns: these numbers. Does not own: what is read, and what is done with it.

use std::ops::Range;
use std::sync::Arc;

use vivace_model::scan::TraceRuns;
use vivace_traceql::Selected;

use super::piece::ranges;

/// The runs of the rows of some traces, read one after the other.
pub(super) fn picked(all: &TraceRuns, traces: Option<&[u32]>) -> Arc<TraceRuns> {
    let traces = traces.unwrap_or_default().iter().map(|trace| *trace as usize);
    let ids = traces.flat_map(|trace| all.rows_of(trace).map(move |_| &all.ids()[trace]));
    Arc::new(TraceRuns::new(ids))
}

/// Leaves the spansets of these traces.
pub(super) fn keep_traces(selected: &mut Selected, traces: &[u32]) {
    let (mut rows, mut begin) = (Vec::new(), 0);
    selected.spansets.retain_mut(|spanset| {
        let own = begin as usize..spanset.end as usize;
        begin = spanset.end;
        let kept = traces.binary_search(&spanset.trace).is_ok();
        if kept {
            rows.extend_from_slice(&selected.rows[own]);
            spanset.end = rows.len() as u32;
        }
        kept
    });
    selected.rows = rows;
}

/// Numbers in the piece of the traces that rows belong to; `traces` are those that were read.
pub(super) fn told(rows: &[u32], runs: &TraceRuns, traces: Option<&[u32]>) -> Vec<u32> {
    let mut told: Vec<u32> = Vec::new();
    let mut end = 0;
    for row in rows.iter().map(|row| *row as usize) {
        if row >= end {
            let trace = runs.trace_of(row);
            end = runs.rows_of(trace).end;
            told.push(traces.map_or(trace as u32, |traces| traces[trace]));
        }
    }
    told
}

/// Rows of the piece as ranges, of rows of what was read of it.
pub(super) fn of_piece(rows: &[u32], read: Option<&[Range<usize>]>) -> Vec<Range<usize>> {
    match read {
        None if rows
            .first()
            .zip(rows.last())
            .is_some_and(|(first, last)| (last - first) as usize + 1 == rows.len()) =>
        {
            let all = rows[0] as usize..rows[0] as usize + rows.len();
            vec![all]
        }
        None => ranges(rows.iter().map(|row| *row as usize)),
        Some(read) => ranges(in_piece(rows, read)),
    }
}

/// Rows of the piece, of rows of what was read of it; both ascend.
fn in_piece(rows: &[u32], read: &[Range<usize>]) -> Vec<usize> {
    let mut read = read.iter();
    let (mut range, mut before) = (0..0, 0);
    let rows = rows.iter().map(|row| *row as usize);
    rows.map(|row| {
        while row - before >= range.len() {
            before += range.len();
            range = read.next().expect("rows are of what was read").clone();
        }
        range.start + row - before
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use vivace_traceql::Spanset;

    use super::*;
    use crate::search::piece::joined;

    fn runs(traces: &[(u8, usize)]) -> TraceRuns {
        let ids: Vec<[u8; 16]> =
            traces.iter().flat_map(|(id, rows)| std::iter::repeat_n([*id; 16], *rows)).collect();
        TraceRuns::new(&ids)
    }

    fn spanset(trace: u32, end: u32) -> Spanset {
        Spanset { trace, end, attributes: Vec::new() }
    }

    #[test]
    fn rows_are_traced_back_to_the_piece() {
        assert_eq!(joined([0..2, 2..3, 5..5, 7..9]), [0..3, 7..9]);
        assert_eq!(ranges([1, 2, 3, 7]), [1..4, 7..8]);
        assert_eq!(in_piece(&[0, 2, 3, 6], &[4..6, 10..12, 20..30]), [4, 10, 11, 22]);
        let all = runs(&[(1, 2), (2, 3), (3, 1), (4, 4)]);
        let some = picked(&all, Some(&[1, 3]));
        assert_eq!(*some, runs(&[(2, 3), (4, 4)]));
        assert_eq!(told(&[0, 1, 6], &some, Some(&[1, 3])), [1, 3]);
        assert_eq!(told(&[2, 9], &all, None), [1, 3]);
    }

    #[test]
    fn spansets_of_other_traces_are_left_out() {
        let mut selected = Selected {
            rows: vec![0, 1, 4, 5, 7, 8],
            spansets: vec![spanset(0, 2), spanset(2, 3), spanset(2, 4), spanset(5, 6)],
        };
        keep_traces(&mut selected, &[2, 3]);
        assert_eq!(selected, Selected { rows: vec![4, 5], spansets: vec![spanset(2, 1), spanset(2, 2)] });
    }
}
