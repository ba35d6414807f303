//! Names of attributes that spans have, or values of one.

use std::hash::Hash;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, ListArray, StructArray};
use arrow::datatypes::{Int8Type, Int32Type};
use hashbrown::HashSet;
use vivace_model::schema::{AttributeScope, EVENTS, LINKS, value_type};
use vivace_proto::internal::FoundTags;

use super::labels::LabelKey;
use super::rows::{WantedRows, missing, mistyped};
use crate::ast::{Attribute, Kind, Status};
use crate::merge::{TAG_SCOPES, TagSets};
use crate::{EvalError, Lane, Spans, Value, Values};

/// Collects names or values.
#[derive(Debug)]
pub(super) struct TagsCollector {
    what: What,
    sets: TagSets,
}

#[derive(Debug)]
enum What {
    /// Of the scope of this number in [`TAG_SCOPES`], or of all.
    Names {
        scope: Option<usize>,
        nothing: bool,
    },
    Values(Attribute),
}

const RESOURCE: usize = 0;
const SPAN: usize = 1;
const EVENT: usize = 2;
const LINK: usize = 3;
const INSTRUMENTATION: usize = 4;

const fn number(scope: AttributeScope) -> usize {
    match scope {
        AttributeScope::Resource => RESOURCE,
        AttributeScope::Span => SPAN,
        AttributeScope::Instrumentation => INSTRUMENTATION,
    }
}

impl TagsCollector {
    pub(super) fn names(scope: Option<&str>, names_max: usize) -> Self {
        let number = scope.and_then(|scope| TAG_SCOPES.iter().position(|name| *name == scope));
        let nothing = scope.is_some() && number.is_none();
        Self { what: What::Names { scope: number, nothing }, sets: TagSets::new(names_max, 0) }
    }

    pub(super) fn values(attribute: &Attribute, values_max: usize) -> Self {
        Self { what: What::Values(attribute.clone()), sets: TagSets::new(0, values_max) }
    }

    pub(super) fn take(&mut self, wanted: &WantedRows<'_>) -> Result<(), EvalError> {
        if wanted.len() == 0 {
            return Ok(());
        }
        match &self.what {
            What::Names { nothing: true, .. } => Ok(()),
            What::Names { scope, .. } => take_names(&mut self.sets, *scope, &wanted.second),
            What::Values(attribute) => take_values(&mut self.sets, attribute, wanted),
        }
    }

    pub(super) const fn bytes(&self) -> usize {
        self.sets.bytes()
    }

    pub(super) fn finish(self) -> FoundTags {
        self.sets.into_found()
    }
}

fn take_names(sets: &mut TagSets, only: Option<usize>, spans: &Spans<'_>) -> Result<(), EvalError> {
    let wants = |scope| only.is_none_or(|only| only == scope);
    let batch = spans.batch();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let Some((scope, key)) = AttributeScope::parse_column(field.name()) else { continue };
        if wants(number(scope)) && column.null_count() < column.len() {
            sets.insert_name(number(scope), key);
        }
    }
    for scope in AttributeScope::ALL.into_iter().filter(|scope| wants(number(*scope))) {
        if let Some(column) = batch.column_by_name(scope.overflow()) {
            take_keys(sets, number(scope), column, scope.overflow())?;
        }
    }
    for (scope, name) in [(EVENT, EVENTS), (LINK, LINKS)] {
        let Some(column) = batch.column_by_name(name).filter(|_| wants(scope)) else { continue };
        let items = items(column, name)?;
        if let Some(attributes) = items.column_by_name("attributes") {
            take_keys(sets, scope, attributes, name)?;
        }
    }
    Ok(())
}

/// Keys of the attributes in lists of them.
fn take_keys(sets: &mut TagSets, scope: usize, lists: &ArrayRef, name: &str) -> Result<(), EvalError> {
    let items = items(lists, name)?;
    if items.is_empty() {
        return Ok(());
    }
    let keys = items.column_by_name("key").and_then(|keys| keys.as_string_opt::<i32>());
    let keys = keys.ok_or_else(|| missing(&format!("{name}.key")))?;
    let types = items.column_by_name("type").and_then(|types| types.as_primitive_opt::<Int8Type>());
    let mut last = None;
    for item in 0..items.len() {
        let empty = types.is_some_and(|types| types.value(item) == value_type::EMPTY);
        let key = keys.value(item);
        // The same key often comes many times in a row.
        if !empty && last != Some(key) {
            sets.insert_name(scope, key);
            last = Some(key);
        }
    }
    Ok(())
}

/// All items of the lists, one after the other.
fn items(lists: &ArrayRef, name: &str) -> Result<StructArray, EvalError> {
    let lists: &ListArray = lists.as_list_opt().ok_or_else(|| mistyped(name))?;
    let offsets = lists.value_offsets();
    let (begin, end) = (offsets[0] as usize, offsets[lists.len()] as usize);
    let items = lists.values().as_struct_opt().ok_or_else(|| mistyped(name))?;
    Ok(items.slice(begin, end - begin))
}

fn take_values(sets: &mut TagSets, attribute: &Attribute, wanted: &WantedRows<'_>) -> Result<(), EvalError> {
    let property = wanted.property(attribute)?;
    match property.rows {
        None => take_lanes(sets, &property.values, |_| true, 0..wanted.len()),
        Some(rows) => {
            let has = |row: u32| rows.binary_search(&row).is_ok();
            take_lanes(sets, &property.values, has, rows.iter().map(|row| *row as usize));
        }
    }
    Ok(())
}

/// Values of the rows `rows`, which are those for which `has` is true.
fn take_lanes(
    sets: &mut TagSets,
    values: &Values<'_>,
    has: impl Fn(u32) -> bool,
    rows: impl Iterator<Item = usize> + Clone,
) {
    for lane in &values.lanes {
        let rows = rows.clone();
        match lane {
            Lane::Text(array) => take_texts(sets, array, rows),
            Lane::Sparse(pairs) => {
                for (_, value) in pairs.iter().filter(|(row, _)| has(*row)) {
                    match value {
                        Value::Text(text) => sets.insert_text(text),
                        other => sets.insert_value(LabelKey::of(*other)),
                    }
                }
            }
            Lane::Int(array) => take_distinct(sets, *array, rows, |row| array.value(row), LabelKey::Int),
            Lane::Small(array) => {
                take_distinct(sets, *array, rows, |row| array.value(row).into(), LabelKey::Int);
            }
            Lane::Float(array) => {
                let float = |bits| LabelKey::float(f64::from_bits(bits));
                take_distinct(sets, *array, rows, |row| array.value(row).to_bits(), float);
            }
            Lane::Bool(array) => take_distinct(sets, *array, rows, |row| array.value(row), LabelKey::Bool),
            Lane::Duration(array) => {
                take_distinct(sets, *array, rows, |row| array.value(row), LabelKey::Duration);
            }
            Lane::Id(array) => {
                take_distinct(sets, *array, rows, |row| array.value(row), |id| LabelKey::of(Value::Id(id)));
            }
            Lane::Status(array) => {
                let status = |number: i32| LabelKey::Status(Status::from_number(number));
                take_distinct(sets, *array, rows, |row| array.value(row), status);
            }
            Lane::Kind(array) => {
                let kind = |number: i32| LabelKey::Kind(Kind::from_number(number));
                take_distinct(sets, *array, rows, |row| array.value(row), kind);
            }
        }
    }
}

/// Each value once: a set of hashes is cheaper than to look for each row's value among all that were found.
fn take_distinct<T: Hash + Eq>(
    sets: &mut TagSets,
    array: &dyn Array,
    rows: impl Iterator<Item = usize>,
    value: impl Fn(usize) -> T,
    tag: impl Fn(T) -> LabelKey,
) {
    let valid = rows.filter(|row| array.is_valid(*row));
    let distinct: HashSet<T, ahash::RandomState> = valid.map(value).collect();
    for value in distinct {
        sets.insert_value(tag(value));
    }
}

/// Marks which texts are used, then looks at each of them once.
fn take_texts(sets: &mut TagSets, array: &DictionaryArray<Int32Type>, rows: impl Iterator<Item = usize>) {
    let Some(texts) = array.values().as_string_opt::<i32>() else { return };
    let mut used = vec![false; texts.len()];
    for key in rows.filter_map(|row| array.key(row)) {
        used[key] = true;
    }
    for (key, _) in used.iter().enumerate().filter(|(_, used)| **used) {
        sets.insert_text(texts.value(key));
    }
}
