//! `compare({ … })`: how often each value of each attribute comes in the selection and in all other spans.
//! Owns: which attributes and values are counted, and how many of them: where a job sees more values of an attribute than
//! are kept, the most frequent are, and the attribute is marked.

mod counts;

use std::sync::Arc;

use ahash::RandomState;
use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::{DataType, Int32Type};
use hashbrown::HashMap;
use vivace_model::schema::AttributeScope;
use vivace_proto::internal::FoundSeries;

use self::counts::AttributeCounts;
use super::codes::{Lookup, NIL};
use super::picked::{Batches, PickedRows, Property, Side, expr_needs_trace};
use super::{CHUNK_ROWS, overflow};
use crate::ast::{Attribute, FieldExpr, Intrinsic, Target};
use crate::eval::Filter;
use crate::grid::Intervals;
use crate::{EvalError, Grid, Lane};

/// Label that says what a series counts.
pub(crate) const META_TYPE: &str = "__meta_type";
/// Label of an attribute of which not all values were counted.
pub(crate) const META_ERROR: &str = "__meta_error";
/// Its value.
pub(crate) const TOO_MANY_VALUES: &str = "__too_many_values__";

/// What series count of a value, by [`BASELINE`] and [`SELECTION`].
pub(crate) const TYPES: [&str; 2] = ["baseline", "selection"];
/// What series count of an attribute, whatever its value.
pub(crate) const TOTAL_TYPES: [&str; 2] = ["baseline_total", "selection_total"];
pub(crate) const BASELINE: u32 = 0;
pub(crate) const SELECTION: u32 = 1;

/// Attributes that are told of, by the names of their labels.
const INTRINSICS: [(&str, Intrinsic); 6] = [
    ("name", Intrinsic::Name),
    ("kind", Intrinsic::Kind),
    ("status", Intrinsic::Status),
    ("statusMessage", Intrinsic::StatusMessage),
    ("rootName", Intrinsic::RootName),
    ("rootServiceName", Intrinsic::RootServiceName),
];

/// Attributes of a job at most.
const ATTRIBUTES_MAX: usize = 500;

/// Counts values of all attributes.
#[derive(Debug)]
pub(crate) struct CompareCollector {
    selection: FieldExpr,
    /// Of the selection, once it is needed.
    filter: Option<Filter>,
    window: Option<(i64, i64)>,
    intervals: Intervals,
    intervals_count: u32,
    numbers: HashMap<Arc<str>, usize, RandomState>,
    attributes: Vec<AttributeCounts>,
    truncated: bool,
}

/// The rows of a batch that have an interval: all lists are of one length.
#[derive(Debug, Default)]
struct Compared {
    first: Vec<u32>,
    second: Vec<u32>,
    intervals: Vec<u32>,
    /// [`BASELINE`] or [`SELECTION`].
    parts: Vec<u32>,
}

impl Compared {
    fn rows(&self) -> PickedRows<'_> {
        PickedRows { first: &self.first, second: &self.second }
    }
}

/// A key of an overflow list.
struct OverflowKey<'a> {
    /// None if there are too many attributes.
    number: Option<usize>,
    /// The key's own column, if it has one.
    column: Option<(Side, &'a ArrayRef)>,
    /// Place of the last row that had it.
    last: Option<usize>,
}

impl OverflowKey<'_> {
    /// Whether the row had no value of the key before: of a key that comes twice, only the first counts.
    fn is_first(&mut self, rows: PickedRows<'_>, at: usize) -> bool {
        let in_column = self.column.is_some_and(|(side, column)| column.is_valid(rows.of(side)[at] as usize));
        self.last.replace(at) != Some(at) && !in_column
    }
}

impl CompareCollector {
    pub(crate) fn new(selection: FieldExpr, window: Option<(i64, i64)>, grid: Grid) -> Self {
        let (numbers, attributes) = Default::default();
        let intervals = Intervals::new(&grid);
        let intervals_count = grid.intervals;
        let filter = None;
        Self { selection, filter, window, intervals, intervals_count, numbers, attributes, truncated: false }
    }

    pub(crate) fn take(&mut self, batches: &Batches<'_>, rows: PickedRows<'_>) -> Result<(), EvalError> {
        let compared = self.compared(batches, rows)?;
        for (name, intrinsic) in INTRINSICS {
            let target = Target::Intrinsic(intrinsic);
            let property = batches.property(&Attribute { parent: false, target, written: name.into() })?;
            self.count_property(name, property, &compared)?;
        }
        let promoted = promoted(batches);
        for (side, (scope, key), column) in promoted.iter().copied() {
            batches.first.check()?;
            let name = written(scope, key);
            let lane =
                lane(column).ok_or_else(|| EvalError::Batch(format!("column {name} has another type")))?;
            self.count_property(&name, Property { lanes: vec![(side, lane)] }, &compared)?;
        }
        for scope in AttributeScope::ALL {
            batches.first.check()?;
            if let Some((side, list)) = overflow_list(batches, scope)? {
                self.count_overflow(scope, (side, list), &promoted, &compared)?;
            }
        }
        self.attributes.iter_mut().for_each(AttributeCounts::prune);
        Ok(())
    }

    /// Bytes of memory held, about.
    pub(crate) fn bytes(&self) -> usize {
        self.attributes.iter().map(AttributeCounts::bytes).sum()
    }

    /// Which rows count, and for what.
    fn compared(&mut self, batches: &Batches<'_>, rows: PickedRows<'_>) -> Result<Compared, EvalError> {
        let (start_side, starts) = batches.starts()?;
        let side = if expr_needs_trace(&self.selection) { Side::First } else { Side::Second };
        if self.filter.is_none() {
            self.filter = Some(Filter::new(&self.selection)?);
        }
        let spans = if side == Side::First { &batches.first } else { &batches.second };
        let matches = self.filter.as_ref().expect("made above").matches(spans)?;
        let mut compared = Compared::default();
        for at in 0..rows.len() {
            let start = starts[rows.of(start_side)[at] as usize];
            let interval = self.intervals.of(start);
            if interval == Intervals::NONE {
                continue;
            }
            let row = rows.of(side)[at] as usize;
            let selected =
                matches.value(row) && self.window.is_none_or(|(from, to)| (from..to).contains(&start));
            compared.first.push(rows.first[at]);
            compared.second.push(rows.second[at]);
            compared.intervals.push(interval);
            compared.parts.push(if selected { SELECTION } else { BASELINE });
        }
        Ok(compared)
    }

    /// Number of an attribute's counts; none if there are too many attributes.
    fn number(&mut self, name: &str) -> Option<usize> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.attributes.len() >= ATTRIBUTES_MAX {
            self.truncated = true;
            return None;
        }
        let name: Arc<str> = name.into();
        self.attributes.push(AttributeCounts::new(Arc::clone(&name), self.intervals_count));
        self.numbers.insert(name, self.attributes.len() - 1);
        Some(self.attributes.len() - 1)
    }

    fn count_property(
        &mut self,
        name: &str,
        property: Property<'_>,
        compared: &Compared,
    ) -> Result<(), EvalError> {
        if property.lanes.is_empty() {
            return Ok(());
        }
        let mut lookup = Lookup::new(property)?;
        let Some(number) = self.number(name) else { return Ok(()) };
        let attribute = &mut self.attributes[number];
        let mut codes = Vec::new();
        for start in (0..compared.first.len()).step_by(CHUNK_ROWS) {
            let rows = compared.rows().part(start, CHUNK_ROWS);
            lookup.fill(&mut attribute.codes, rows, &mut codes);
            let (intervals, parts) = (&compared.intervals[start..], &compared.parts[start..]);
            for ((code, interval), part) in codes.iter().zip(intervals).zip(parts) {
                if *code != NIL {
                    attribute.count(*code, *part, *interval, 1);
                }
            }
        }
        Ok(())
    }

    fn count_overflow(
        &mut self,
        scope: AttributeScope,
        (side, list): (Side, &ListArray),
        promoted: &[Promoted<'_>],
        compared: &Compared,
    ) -> Result<(), EvalError> {
        let mut keys: HashMap<&str, OverflowKey<'_>, RandomState> = HashMap::default();
        overflow::each(list, compared.rows().of(side), |at, key, value| {
            let key = keys.entry(key).or_insert_with(|| {
                let column = promoted.iter().find(|(_, attribute, _)| *attribute == (scope, key));
                let column = column.map(|(side, _, column)| (*side, *column));
                OverflowKey { number: self.number(&written(scope, key)), column, last: None }
            });
            if let Some(number) = key.number
                && key.is_first(compared.rows(), at)
            {
                let attribute = &mut self.attributes[number];
                let code = attribute.codes.code(value);
                attribute.count(code, compared.parts[at], compared.intervals[at], 1);
            }
        })
    }

    /// Adds all that was counted.
    pub(crate) fn finish(self, pipeline: u32, found: &mut FoundSeries) {
        found.truncated |= self.truncated;
        for attribute in self.attributes {
            attribute.finish(pipeline, &mut found.series);
        }
    }
}

/// What an attribute is called in a query, and so in labels.
fn written(scope: AttributeScope, key: &str) -> Arc<str> {
    Attribute::new(Target::Scoped(scope, key.into())).written
}

/// A column of an attribute.
type Promoted<'a> = (Side, (AttributeScope, &'a str), &'a ArrayRef);

/// Columns of attributes, of both batches.
fn promoted<'a>(batches: &Batches<'a>) -> Vec<Promoted<'a>> {
    let mut columns: Vec<Promoted<'a>> = Vec::new();
    for (side, spans) in [(Side::Second, batches.second), (Side::First, batches.first)] {
        let batch = spans.batch();
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let Some(attribute) = AttributeScope::parse_column(field.name()) else { continue };
            if columns.iter().all(|(_, other, _)| *other != attribute) {
                columns.push((side, attribute, column));
            }
        }
    }
    columns
}

fn lane(column: &ArrayRef) -> Option<Lane<'_>> {
    match column.data_type() {
        DataType::Dictionary(..) => column.as_dictionary_opt::<Int32Type>().map(Lane::Text),
        DataType::Int64 => column.as_primitive_opt().map(Lane::Int),
        DataType::Float64 => column.as_primitive_opt().map(Lane::Float),
        DataType::Boolean => column.as_boolean_opt().map(Lane::Bool),
        _ => None,
    }
}

fn overflow_list<'a>(
    batches: &Batches<'a>,
    scope: AttributeScope,
) -> Result<Option<(Side, &'a ListArray)>, EvalError> {
    let name = scope.overflow();
    for (side, spans) in [(Side::Second, batches.second), (Side::First, batches.first)] {
        if let Some(column) = spans.batch().column_by_name(name) {
            let list = column.as_list_opt::<i32>();
            let list = list.ok_or_else(|| EvalError::Batch(format!("column {name} has another type")))?;
            return Ok(Some((side, list)));
        }
    }
    Ok(None)
}
