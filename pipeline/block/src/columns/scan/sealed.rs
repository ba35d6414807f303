//! Projections of a sealed block's batches.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{FieldRef, Schema, TimestampNanosecondType};
use vivace_model::scan::{Projection, TimeRange};

use super::any_value;
use crate::columns::{SealedBlock, unfold};
use crate::schema::{AttributeScope, FOLDED_KEY, START_TIME};

impl SealedBlock {
    /// The columns asked for of the spans that start in the time, in the block's order. The batches share their strings
    /// with the block.
    ///
    /// # Panics
    /// If columns of the block were changed.
    #[must_use]
    pub fn scan(&self, projection: &Projection, range: Option<&TimeRange>) -> Vec<RecordBatch> {
        self.batches.iter().filter_map(|batch| scan(batch, projection, range)).collect()
    }
}

fn scan(batch: &RecordBatch, projection: &Projection, range: Option<&TimeRange>) -> Option<RecordBatch> {
    let within = range.and_then(|range| {
        let starts = batch.column_by_name(START_TIME)?.as_primitive_opt::<TimestampNanosecondType>()?;
        let within = |start: &i64| (range.start.0..range.end.0).contains(&(*start as u64));
        Some(BooleanArray::from_iter(starts.values().iter().map(|start| Some(within(start)))))
    });
    if batch.num_rows() == 0 || within.as_ref().is_some_and(|within| within.true_count() == 0) {
        return None;
    }
    let schema = batch.schema_ref();
    let wanted = schema.fields().iter().zip(batch.columns()).filter(|(field, array)| {
        let name = field.name().as_str();
        if let Some((scope, key)) = AttributeScope::parse_column(name) {
            return projection.wants(scope, key) && any_value(array);
        }
        let scope = AttributeScope::ALL.into_iter().find(|scope| scope.overflow() == name);
        projection.fixed.contains(name)
            || scope.is_some_and(|scope| overflow_wanted(array, scope, projection))
    });
    let unfolded = |(field, array): (&FieldRef, &ArrayRef)| {
        let scope = AttributeScope::ALL.into_iter().find(|scope| scope.overflow() == field.name());
        let array = match scope {
            Some(scope) => unfold(array, scope, projection).expect("it was folded by the block itself"),
            None => Arc::clone(array),
        };
        (Arc::clone(field), array)
    };
    let (fields, arrays): (Vec<_>, Vec<_>) = wanted.map(unfolded).unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .expect("columns of a batch make a batch");
    match within {
        Some(within) if within.true_count() < batch.num_rows() => {
            Some(filter_record_batch(&batch, &within).expect("the filter has a value for each row"))
        }
        _ => Some(batch),
    }
}

/// Whether any key of the list is asked for.
fn overflow_wanted(lists: &dyn Array, scope: AttributeScope, projection: &Projection) -> bool {
    let items = lists.as_list::<i32>().values().as_struct();
    let keys = items.column_by_name("key").and_then(|keys| keys.as_string_opt::<i32>());
    let asked =
        projection.scopes.contains(&scope) || projection.attributes.iter().any(|(of, _)| *of == scope);
    let wanted = |key: &str| key == FOLDED_KEY || projection.wants(scope, key);
    asked && keys.is_some_and(|keys| keys.iter().flatten().any(wanted))
}
