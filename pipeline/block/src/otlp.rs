//! Rows of a block back to OTLP.
//! Owns: turning columns, present or left out by a projection, into messages.
//! Does not own: the columns' names and types (`schema`), which rows belong together, equal spans (`combine`).
//! Guarantee: nothing that the columns hold is dropped or changed; spans keep the order of their rows within a group.

mod column;
mod list;
mod origins;
mod spans;
#[cfg(test)]
mod tests;

use arrow::array::RecordBatch;
use vivace_proto::otlp::trace::{Span, TracesData};

use crate::BlockError;
use crate::groups::{Groups, ScopeAt};

/// The span of each row, and its place among the groups of resources and scopes, which are added as needed.
pub(crate) fn to_spans(batch: &RecordBatch, groups: &mut Groups) -> Result<Vec<(ScopeAt, Span)>, BlockError> {
    let places = origins::read(batch, groups)?;
    Ok(places.into_iter().zip(spans::read(batch)?).collect())
}

/// Makes one message of all rows, whatever block each batch is from. Spans of equal resources and scopes come under one,
/// attributes in the order of their columns and then of their overflow lists; resources, scopes and statuses are never
/// absent. A batch may lack any columns but the ids; columns that no block has are ignored.
///
/// Takes some microseconds per span: call it on a blocking thread.
///
/// # Errors
/// [`BlockError::ColumnType`] or [`BlockError::Value`] if the rows can't be a block's.
pub fn to_traces_data(batches: &[RecordBatch]) -> Result<TracesData, BlockError> {
    let mut groups = Groups::default();
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        for (place, span) in to_spans(batch, &mut groups)? {
            groups.push(place, span);
        }
    }
    Ok(groups.into_traces_data())
}
