//! Which resource and scope each row is of.
//! Rows are numbered by comparing one column after the other, dictionary keys instead of strings where possible, and a
//! resource is built only once for each number.

use std::hash::Hash;

use ahash::AHashMap;
use arrow::array::RecordBatch;
use arrow::datatypes::UInt32Type;
use vivace_proto::otlp::common::{InstrumentationScope, KeyValue};
use vivace_proto::otlp::resource::Resource;

use super::column::{Column, attribute, numbers, promoted, text};
use super::list::AttributeLists;
use crate::BlockError;
use crate::groups::{Groups, ScopeAt};
use crate::schema::{self, AttributeScope};

/// The place of each row's scope among the groups, which are added as needed.
pub(super) fn read(batch: &RecordBatch, groups: &mut Groups) -> Result<Vec<ScopeAt>, BlockError> {
    let resources = Origins::of(batch, AttributeScope::Resource)?;
    let scopes = Origins::of(batch, AttributeScope::Instrumentation)?;
    let mut numbers = RowNumbers::new(batch.num_rows());
    resources.number(&mut numbers);
    let of_resource = numbers.rows.clone();
    let mut resource_groups = Vec::new();
    for row in numbers.first_rows() {
        let (attributes, dropped_attributes_count) = resources.attributes(row)?;
        let resource = Resource { attributes, dropped_attributes_count, entity_refs: Vec::new() };
        resource_groups.push(groups.resource(resource, resources.text(schema::RESOURCE_SCHEMA_URL, row)));
    }
    scopes.number(&mut numbers);
    let mut places = Vec::new();
    for row in numbers.first_rows() {
        let (attributes, dropped_attributes_count) = scopes.attributes(row)?;
        let scope = InstrumentationScope {
            name: scopes.text(schema::SCOPE_NAME, row),
            version: scopes.text(schema::SCOPE_VERSION, row),
            attributes,
            dropped_attributes_count,
        };
        let resource = resource_groups[of_resource[row] as usize];
        places.push(groups.scope(resource, scope, scopes.text(schema::SCOPE_SCHEMA_URL, row)));
    }
    Ok(numbers.rows.into_iter().map(|number| places[number as usize]).collect())
}

/// All columns of resources, or all of scopes.
#[derive(Debug)]
struct Origins<'a> {
    promoted: Vec<(&'a str, Column<'a>)>,
    overflow: Option<AttributeLists<'a>>,
    texts: Vec<(&'static str, Column<'a>)>,
    dropped: Option<&'a arrow::array::UInt32Array>,
}

impl<'a> Origins<'a> {
    fn of(batch: &'a RecordBatch, scope: AttributeScope) -> Result<Self, BlockError> {
        let (names, dropped): (&[&'static str], _) = match scope {
            AttributeScope::Resource => {
                (&[schema::RESOURCE_SCHEMA_URL], schema::RESOURCE_DROPPED_ATTRIBUTES_COUNT)
            }
            AttributeScope::Instrumentation | AttributeScope::Span => (
                &[schema::SCOPE_NAME, schema::SCOPE_VERSION, schema::SCOPE_SCHEMA_URL],
                schema::SCOPE_DROPPED_ATTRIBUTES_COUNT,
            ),
        };
        let mut texts = Vec::new();
        for name in names {
            if let Some(column) = text(batch, name)? {
                texts.push((*name, column));
            }
        }
        Ok(Self {
            promoted: promoted(batch, scope)?,
            overflow: AttributeLists::of(batch, scope.overflow())?,
            texts,
            dropped: numbers::<UInt32Type>(batch, dropped)?,
        })
    }

    /// Gives rows that differ in any of the columns different numbers.
    fn number(&self, numbers: &mut RowNumbers) {
        let promoted = self.promoted.iter().map(|(_, column)| column);
        for column in promoted.chain(self.texts.iter().map(|(_, column)| column)) {
            match *column {
                Column::Dictionary { keys, .. } => numbers.refine(keys.iter()),
                Column::Text(array) => numbers.refine(array.iter()),
                Column::Int(array) => numbers.refine(array.iter()),
                Column::Double(array) => numbers.refine(array.iter().map(|v| v.map(f64::to_bits))),
                Column::Bool(array) => numbers.refine(array.iter()),
            }
        }
        if let Some(dropped) = self.dropped {
            numbers.refine(dropped.values().iter());
        }
        if let Some(overflow) = &self.overflow {
            let mut identity = Vec::new();
            let mut known: AHashMap<Vec<u8>, usize> = AHashMap::new();
            let identities = (0..numbers.rows.len()).map(|row| {
                identity.clear();
                overflow.identity(row, &mut identity);
                if let Some(&number) = known.get(&identity) {
                    return number;
                }
                known.insert(identity.clone(), known.len());
                known.len() - 1
            });
            numbers.refine(identities.collect::<Vec<_>>().into_iter());
        }
    }

    fn attributes(&self, row: usize) -> Result<(Vec<KeyValue>, u32), BlockError> {
        let promoted = self.promoted.iter();
        let mut attributes: Vec<_> = promoted
            .filter_map(|(key, column)| column.value(row).map(|value| attribute(key, Some(value))))
            .collect();
        if let Some(overflow) = &self.overflow {
            overflow.read(row, &mut attributes)?;
        }
        Ok((attributes, self.dropped.map_or(0, |dropped| dropped.value(row))))
    }

    fn text(&self, name: &str, row: usize) -> String {
        let column = self.texts.iter().find(|(found, _)| *found == name);
        column.and_then(|(_, column)| column.text(row)).unwrap_or_default().to_owned()
    }
}

/// A number per row; rows share one as long as no column told them apart.
#[derive(Debug)]
struct RowNumbers {
    rows: Vec<u32>,
}

impl RowNumbers {
    fn new(rows: usize) -> Self {
        Self { rows: vec![0; rows] }
    }

    fn refine<K: Copy + Eq + Hash>(&mut self, column: impl Iterator<Item = K>) {
        let mut known: AHashMap<(u32, K), u32> = AHashMap::new();
        let mut last: Option<((u32, K), u32)> = None;
        for (number, key) in self.rows.iter_mut().zip(column) {
            let pair = (*number, key);
            *number = match last {
                Some((known, number)) if known == pair => number,
                _ => {
                    let next = known.len() as u32;
                    *known.entry(pair).or_insert(next)
                }
            };
            last = Some((pair, *number));
        }
    }

    /// The first row of each number, by number: numbers are given in the order of rows.
    fn first_rows(&self) -> Vec<usize> {
        let mut first = Vec::new();
        for (row, &number) in self.rows.iter().enumerate() {
            if number as usize == first.len() {
                first.push(row);
            }
        }
        first
    }
}
