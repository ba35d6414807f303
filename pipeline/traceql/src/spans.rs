//! A batch of spans, and any property of each of them.
//! Owns: where a property is found in a batch: its column, its items in an overflow list, events, links.
//! Does not own: what is done with the values.

mod attributes;
mod columns;
mod elements;
mod resolve;
mod tree;
mod value;

use arrow::array::{
    BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, RecordBatch,
};
use arrow::datatypes::Int32Type;
use vivace_model::WorkMeter;
use vivace_model::scan::TraceRuns;

use crate::EvalError;
use crate::ast::Attribute;

pub use self::value::Value;

/// Spans of the block's schema, of some columns.
#[derive(Clone, Copy, Debug)]
pub struct Spans<'a> {
    batch: &'a RecordBatch,
    runs: Option<&'a TraceRuns>,
    meter: Option<&'a WorkMeter>,
}

/// A property of all rows: what each lane has; a row has values in at most one lane, unless it has several.
#[derive(Debug)]
pub struct Values<'a> {
    /// Where values are.
    pub lanes: Vec<Lane<'a>>,
}

/// Values of some rows.
#[derive(Debug)]
pub enum Lane<'a> {
    /// Text that repeats.
    Text(&'a DictionaryArray<Int32Type>),
    /// Integers.
    Int(&'a Int64Array),
    /// Numbers with a fraction.
    Float(&'a Float64Array),
    /// Truth values.
    Bool(&'a BooleanArray),
    /// Nanoseconds.
    Duration(&'a Int64Array),
    /// OTLP's numbers of the status.
    Status(&'a Int32Array),
    /// OTLP's numbers of the kind.
    Kind(&'a Int32Array),
    /// Numbers of 32 bits: nested sets.
    Small(&'a Int32Array),
    /// Ids.
    Id(&'a FixedSizeBinaryArray),
    /// Few values: (row, value), by row ascending, several for a row that has several.
    Sparse(Vec<(u32, Value<'a>)>),
}

impl<'a> Spans<'a> {
    /// Spans of which the traces are known; `runs` are those of the batch.
    #[must_use]
    pub const fn new(batch: &'a RecordBatch, runs: &'a TraceRuns) -> Self {
        Self { batch, runs: Some(runs), meter: None }
    }

    /// Single spans: rows picked out of a batch.
    #[must_use]
    pub const fn picked(batch: &'a RecordBatch) -> Self {
        Self { batch, runs: None, meter: None }
    }

    /// The same; work on them ends when the meter says so.
    pub(crate) const fn metered(self, meter: &'a WorkMeter) -> Self {
        Self { meter: Some(meter), ..self }
    }

    /// Whether work may go on.
    pub(crate) fn check(&self) -> Result<(), EvalError> {
        Ok(self.meter.map_or(Ok(()), WorkMeter::check)?)
    }

    /// Counts some units of work, each about as much as comparing a number, and checks now and then.
    pub(crate) fn tick(&self, units: usize) -> Result<(), EvalError> {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        Ok(self.meter.map_or(Ok(()), |meter| meter.tick(units))?)
    }

    /// The batch.
    #[must_use]
    pub const fn batch(&self) -> &'a RecordBatch {
        self.batch
    }

    /// The traces of the batch.
    ///
    /// # Panics
    /// If the spans were picked.
    #[must_use]
    pub const fn runs(&self) -> &'a TraceRuns {
        self.runs.expect("asked only of whole batches")
    }

    pub(crate) const fn known_runs(&self) -> Option<&'a TraceRuns> {
        self.runs
    }

    /// Number of spans.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// A property of each span. Of the parent (`attribute.parent`), only where the traces are known.
    ///
    /// # Errors
    /// [`EvalError::Batch`] if a column has another type than the schema says.
    pub fn values(&self, attribute: &Attribute) -> Result<Values<'a>, EvalError> {
        if attribute.parent {
            return self.values_of_parents(attribute);
        }
        Ok(resolve::flat(self.sources(&attribute.target)?, self.rows()))
    }
}

impl<'a> Values<'a> {
    /// The first value of a row.
    #[must_use]
    pub fn first(&self, row: usize) -> Option<Value<'a>> {
        self.lanes.iter().find_map(|lane| lane.first(row))
    }

    /// All values of a row: several for arrays, events and links.
    pub fn each(&self, row: usize, mut take: impl FnMut(Value<'a>)) {
        for lane in &self.lanes {
            lane.each(row, &mut take);
        }
    }
}
