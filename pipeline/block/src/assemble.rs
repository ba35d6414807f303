//! Rows of several projected batches as one: what a search needs to see a trace whole.
//! Owns: order and equality of spans, nested sets and roots over all of them.
//! Does not own: which rows belong together, how columns are read.
//! Guarantee: each span once, whatever pieces it is in; no value is lost.

pub(crate) mod columns;
pub(crate) mod conflicts;
mod piece;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use vivace_model::scan::TraceRuns;

use self::columns::{gather, texts};
use self::piece::Piece;
use crate::BlockError;
use crate::nested_set::Numbering;
use crate::schema::{
    DURATION_NANOS, KIND, NAME, NESTED_SET_LEFT, NESTED_SET_PARENT, NESTED_SET_RIGHT, PARENT_SPAN_ID,
    ROOT_SERVICE_NAME, ROOT_SPAN_NAME, SPAN_ID, START_TIME, TRACE_ID, fixed_fields,
};

/// Columns that batches have to have to be put together, and those that tell equal spans.
pub const ASSEMBLE_COLUMNS: [&str; 7] =
    [TRACE_ID, SPAN_ID, PARENT_SPAN_ID, START_TIME, DURATION_NANOS, KIND, NAME];

/// A row: the number of its piece, and the row there.
pub(crate) type Pick = (usize, usize);

/// Structure of the traces: nested sets, and where the root of each row's trace is.
#[derive(Debug, Default)]
struct Structure {
    left: Vec<i32>,
    right: Vec<i32>,
    parent: Vec<i32>,
    root: Vec<Option<Pick>>,
}

/// Puts rows of batches of the block's schema together, sorted by trace id, start and span id. A span that is there
/// several times is kept once: one of equal id, parent, kind, name, start and duration. Nested sets and roots, if a
/// batch has them, are those of all the spans together. Columns that a batch lacks are null in its rows; a value of an
/// attribute that has another type in most of the rows becomes an item of the overflow list.
///
/// # Errors
/// [`BlockError::ColumnType`] or [`BlockError::Value`] if the batches are not such, or lack trace id, span id, parent's
/// span id or start.
pub fn assemble(pieces: &[(&RecordBatch, &[Range<usize>])]) -> Result<(RecordBatch, TraceRuns), BlockError> {
    let batches: Vec<&RecordBatch> = pieces.iter().map(|(batch, _)| *batch).collect();
    let spans = batches.iter().map(|batch| Piece::new(batch)).collect::<Result<Vec<_>, _>>()?;
    let picks = order(&spans, pieces)?;
    let runs = TraceRuns::new(picks.iter().map(|&(piece, row)| &spans[piece].traces[row]));
    let has = |name: &str| batches.iter().any(|batch| batch.column_by_name(name).is_some());
    let structured =
        [NESTED_SET_LEFT, NESTED_SET_RIGHT, NESTED_SET_PARENT, ROOT_SERVICE_NAME, ROOT_SPAN_NAME];
    let structure =
        if structured.into_iter().any(has) { structure(&spans, &picks, &runs) } else { Structure::default() };
    let (promoted, moved) = conflicts::promoted(&batches, &picks)?;
    let mut columns: Vec<(Field, ArrayRef)> = Vec::new();
    for field in fixed_fields() {
        let name = field.name().as_str();
        let lists = moved.lists(&batches, name, &picks)?;
        if !has(name) && lists.is_none() {
            continue;
        }
        let numbers = |values: &Vec<i32>| -> ArrayRef { Arc::new(Int32Array::from(values.clone())) };
        let array = match (name, lists) {
            (NESTED_SET_LEFT, _) => numbers(&structure.left),
            (NESTED_SET_RIGHT, _) => numbers(&structure.right),
            (NESTED_SET_PARENT, _) => numbers(&structure.parent),
            (ROOT_SERVICE_NAME | ROOT_SPAN_NAME, _) => {
                let arrays = columns::of(&batches, name, field.data_type())?;
                texts(&arrays, structure.root.iter().copied())
            }
            (_, Some(lists)) => gather(name, &lists, field.data_type(), &picks)?,
            (_, None) => {
                gather(name, &columns::of(&batches, name, field.data_type())?, field.data_type(), &picks)?
            }
        };
        let nullable = field.is_nullable() || array.null_count() > 0;
        columns.push((field.with_nullable(nullable), array));
    }
    columns.extend(promoted);
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(picks.len()));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options);
    Ok((batch.map_err(BlockError::encode)?, runs))
}

/// The rows of all pieces in their order, equal spans once.
fn order(spans: &[Piece<'_>], pieces: &[(&RecordBatch, &[Range<usize>])]) -> Result<Vec<Pick>, BlockError> {
    let mut picks: Vec<Pick> = Vec::new();
    for (number, (batch, ranges)) in pieces.iter().enumerate() {
        if ranges.iter().any(|range| range.end > batch.num_rows()) {
            return Err(BlockError::value("rows", "a range lies beyond the batch"));
        }
        picks.extend(ranges.iter().cloned().flatten().map(|row| (number, row)));
    }
    let key = |&(piece, row): &Pick| {
        let piece = &spans[piece];
        (piece.traces[row], piece.starts[row] as u64, piece.spans[row])
    };
    picks.sort_unstable_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.cmp(b)));
    let mut kept: Vec<Pick> = Vec::with_capacity(picks.len());
    let mut group = 0;
    for pick in picks {
        if kept.get(group).is_none_or(|first| key(first) != key(&pick)) {
            group = kept.len();
        }
        let own = spans[pick.0].identity(pick.1);
        if kept[group..].iter().all(|&(piece, row)| spans[piece].identity(row) != own) {
            kept.push(pick);
        }
    }
    Ok(kept)
}

fn structure(spans: &[Piece<'_>], picks: &[Pick], runs: &TraceRuns) -> Structure {
    let mut structure = Structure::default();
    let mut numbering = Numbering::default();
    for trace in 0..runs.len() {
        let rows = &picks[runs.rows_of(trace)];
        let nodes = rows.iter().map(|&(piece, row)| {
            let parent = spans[piece].parent(row).filter(|id| **id != [0; 8]);
            (spans[piece].spans[row], parent.copied())
        });
        let (left, right) = (&mut structure.left, &mut structure.right);
        let root = numbering.number(nodes, left, right, &mut structure.parent);
        let root = root.map(|position| rows[position]);
        structure.root.resize(structure.root.len() + rows.len(), root);
    }
    structure
}
