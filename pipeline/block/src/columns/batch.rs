//! Batches of the block's schema from selected rows of an open block.
//! Owns: the form of each column. Does not own: which rows, in which order, and which attributes have columns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampNanosecondArray, UInt32Array,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{Field, Schema};
use hashbrown::HashMap;

use super::OpenBlock;
use super::attributes::Values;
use super::fold::Folded;
use super::items::ItemBuilder;
use super::nested::list;
use super::origins::Origins;
use super::promote::{Kind, Promoted, Promotion, first_attributes};
use super::sources::{NULL, Strings, dictionary_column, nulls_of};
use super::value::AnyValue;
use crate::schema::{AttributeScope, attribute_fields, fixed_fields};

const NONE: u32 = u32::MAX;
/// Mark in [`Tree::root`]: the trace has no root here.
pub(crate) const NO_ROOT: u32 = NONE;

/// Structure of the traces of a selection: nested sets and the row of each one's root, in the order of the selection.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) left: Vec<i32>,
    pub(crate) right: Vec<i32>,
    pub(crate) parent: Vec<i32>,
    pub(crate) root: Vec<u32>,
    pub(crate) traces: u64,
}

impl Tree {
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self {
            left: Vec::with_capacity(rows),
            right: Vec::with_capacity(rows),
            parent: Vec::with_capacity(rows),
            root: Vec::with_capacity(rows),
            traces: 0,
        }
    }

    pub(crate) fn slice(&self, start: usize, len: usize) -> Self {
        Self {
            left: self.left[start..start + len].to_vec(),
            right: self.right[start..start + len].to_vec(),
            parent: self.parent[start..start + len].to_vec(),
            root: self.root[start..start + len].to_vec(),
            traces: self.traces,
        }
    }
}

/// Rows in the order wanted, and the way back from a row to its position.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    pub(crate) rows: &'a [u32],
    /// Position of each row of the block, or [`NONE`]; absent when the selection is small, see [`Self::scatter`].
    positions: Option<Vec<u32>>,
}

/// A selection of fewer than one row in this many is looked up row by row.
const SMALL_SELECTION: usize = 64;

impl<'a> Selection<'a> {
    pub(crate) fn new(rows: &'a [u32], total: usize) -> Self {
        let positions = (rows.len() * SMALL_SELECTION >= total).then(|| {
            let mut positions = vec![NONE; total];
            for (&row, position) in rows.iter().zip(0_u32..) {
                positions[row as usize] = position;
            }
            positions
        });
        Self { rows, positions }
    }

    /// Calls `put(position, index)` for each entry of a sparse column that is selected; a row may have several.
    pub(crate) fn scatter(&self, sparse_rows: &[u32], mut put: impl FnMut(usize, usize)) {
        match &self.positions {
            Some(positions) => {
                for (index, &row) in sparse_rows.iter().enumerate() {
                    let position = positions[row as usize];
                    if position != NONE {
                        put(position as usize, index);
                    }
                }
            }
            None => {
                for (position, row) in self.rows.iter().enumerate() {
                    let start = sparse_rows.partition_point(|sparse| sparse < row);
                    let count = sparse_rows[start..].iter().take_while(|sparse| *sparse == row).count();
                    (start..start + count).for_each(|index| put(position, index));
                }
            }
        }
    }

    pub(crate) fn gather<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.rows.iter().map(|&row| values[row as usize]).collect()
    }
}

/// The strings of an open block as arrays that all of its batches share: made once, when the block is sealed.
#[derive(Debug)]
pub(crate) struct SharedStrings {
    pub(crate) names: ArrayRef,
    pub(crate) texts: ArrayRef,
    /// By number of the attribute column; none for those that are not promoted strings.
    pub(crate) attributes: Vec<Option<ArrayRef>>,
}

impl OpenBlock {
    /// The selected rows as a batch. `shared` is there when the block is being sealed; else strings are copied.
    pub(crate) fn batch(
        &self,
        selection: &Selection<'_>,
        tree: &Tree,
        promotion: &Promotion,
        shared: Option<&SharedStrings>,
    ) -> RecordBatch {
        let mut fields = fixed_fields();
        let mut arrays = self.fixed_columns(selection, tree, shared);
        let resources = Local::new(&self.spans.resource, selection);
        let scopes = Local::new(&self.spans.scope, selection);
        arrays.extend(self.origin_columns(&resources, &scopes));
        arrays.push(self.origin_overflow(AttributeScope::Resource, &self.resources, &resources, promotion));
        arrays.push(self.origin_overflow(AttributeScope::Instrumentation, &self.scopes, &scopes, promotion));
        arrays.push(self.span_overflow(selection, promotion));
        arrays.push(self.events.to_array(selection.rows));
        arrays.push(self.links.to_array(selection.rows));
        for promoted in &promotion.list {
            let array = match promoted.scope {
                AttributeScope::Span => self.span_column(promoted, selection, shared),
                AttributeScope::Resource => origin_column(promoted, &self.resources, &resources),
                AttributeScope::Instrumentation => origin_column(promoted, &self.scopes, &scopes),
            };
            let name = promoted.scope.column(&promoted.key);
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .expect("arrays are made in the order and with the types of the schema")
    }

    /// The fixed columns from the first up to the root's names.
    fn fixed_columns(
        &self,
        selection: &Selection<'_>,
        tree: &Tree,
        shared: Option<&SharedStrings>,
    ) -> Vec<ArrayRef> {
        let spans = &self.spans;
        let names = shared.map_or(Strings::Growing(&self.names), |shared| Strings::Shared(&shared.names));
        let texts = shared.map_or(Strings::Growing(&self.texts), |shared| Strings::Shared(&shared.texts));
        let text_column = |numbers: &[u32]| {
            let number = |number: u32| if number == 0 { NULL } else { number as i32 };
            texts.column(selection.gather(numbers).into_iter().map(number).collect())
        };
        let parents = selection.gather(&spans.parent_span_id);
        let parent_nulls = nulls_of(parents.len(), |row| parents[row].is_some());
        let parents: Vec<_> = parents.into_iter().map(Option::unwrap_or_default).collect();
        let duration = |&row: &u32| spans.end[row as usize].wrapping_sub(spans.start[row as usize]) as i64;
        let root_names = tree.root.iter().map(|&root| match root {
            NO_ROOT => NULL,
            root => spans.name[root as usize] as i32,
        });
        let uint32 = |values: &[u32]| -> ArrayRef { Arc::new(UInt32Array::from(selection.gather(values))) };
        let starts = selection.rows.iter().map(|&row| spans.start[row as usize] as i64);
        vec![
            fixed_binary(&selection.gather(&spans.trace_id), None),
            fixed_binary(&selection.gather(&spans.span_id), None),
            fixed_binary(&parents, parent_nulls),
            Arc::new(TimestampNanosecondArray::from_iter_values(starts)),
            Arc::new(Int64Array::from_iter_values(selection.rows.iter().map(duration))),
            names.column(selection.rows.iter().map(|&row| spans.name[row as usize] as i32).collect()),
            Arc::new(Int32Array::from(selection.gather(&spans.kind))),
            Arc::new(Int32Array::from(selection.gather(&spans.status_code))),
            text_column(&spans.status_message),
            text_column(&spans.trace_state),
            uint32(&spans.flags),
            uint32(&spans.dropped_attributes),
            uint32(&spans.dropped_events),
            uint32(&spans.dropped_links),
            Arc::new(Int32Array::from(tree.left.clone())),
            Arc::new(Int32Array::from(tree.right.clone())),
            Arc::new(Int32Array::from(tree.parent.clone())),
            self.root_services(tree),
            names.column(root_names.collect()),
        ]
    }

    /// `service.name` of each row's root.
    pub(crate) fn root_services(&self, tree: &Tree) -> ArrayRef {
        let mut names = Distinct::default();
        let mut known: HashMap<u32, i32> = HashMap::new();
        let numbers = tree.root.iter().map(|&root| {
            if root == NO_ROOT {
                return NULL;
            }
            let resource = self.spans.resource[root as usize];
            *known.entry(resource).or_insert_with(|| {
                let origin = &self.resources.list[resource as usize];
                let service = first_attributes(origin).find(|(key, _)| *key == "service.name");
                let Some((_, AnyValue::String(service))) = service else {
                    return NULL;
                };
                names.number(std::str::from_utf8(service).expect("checked when it was decoded"))
            })
        });
        let numbers = numbers.collect();
        dictionary_column(numbers, names.into_array())
    }

    /// The fixed columns of scopes and resources.
    fn origin_columns<'a>(&'a self, resources: &Local, scopes: &Local) -> Vec<ArrayRef> {
        let (resource_list, scope_list) = (&self.resources.list, &self.scopes.list);
        let text = |local: &Local, text: &dyn Fn(usize) -> &'a str| {
            let mut texts = Distinct::default();
            let number = |&origin: &u32| match text(origin as usize) {
                "" => NULL,
                found => texts.number(found),
            };
            let numbers: Vec<i32> = local.used.iter().map(number).collect();
            dictionary_column(local.spread(&numbers), texts.into_array())
        };
        let dropped = |local: &Local, origins: &Origins| -> ArrayRef {
            let counts = local.used.iter().map(|&o| origins.list[o as usize].dropped_attributes_count);
            Arc::new(UInt32Array::from(local.spread(&counts.collect::<Vec<_>>())))
        };
        vec![
            text(scopes, &|o| &*scope_list[o].name),
            text(scopes, &|o| &*scope_list[o].version),
            text(scopes, &|o| &*scope_list[o].schema_url),
            dropped(scopes, &self.scopes),
            text(resources, &|o| &*resource_list[o].schema_url),
            dropped(resources, &self.resources),
        ]
    }

    /// The column of a promoted span attribute.
    fn span_column(
        &self,
        promoted: &Promoted,
        selection: &Selection<'_>,
        shared: Option<&SharedStrings>,
    ) -> ArrayRef {
        let column = &self.attributes.columns[promoted.column];
        let count = selection.rows.len();
        let valid = || {
            let mut valid = vec![false; count];
            selection.scatter(&column.rows, |position, _| valid[position] = true);
            nulls_of(count, |row| valid[row])
        };
        match &column.values {
            Values::Strings(numbers, interner) => {
                let mut dense = vec![NULL; count];
                selection.scatter(&column.rows, |position, index| dense[position] = numbers[index] as i32);
                let taken = shared.and_then(|shared| shared.attributes[promoted.column].as_ref());
                taken.map_or(Strings::Growing(interner), Strings::Shared).column(dense)
            }
            Values::Ints(values) => {
                let mut dense = vec![0; count];
                selection.scatter(&column.rows, |position, index| dense[position] = values[index]);
                Arc::new(Int64Array::new(dense.into(), valid()))
            }
            Values::Doubles(values) => {
                let mut dense = vec![0.0; count];
                selection.scatter(&column.rows, |position, index| dense[position] = values[index]);
                Arc::new(Float64Array::new(dense.into(), valid()))
            }
            Values::Bools(values) => {
                let mut dense = vec![false; count];
                selection.scatter(&column.rows, |position, index| dense[position] = values[index]);
                Arc::new(BooleanArray::new(dense.into(), valid()))
            }
        }
    }

    /// Span attributes that have no column: overflow items, and columns that were not promoted.
    fn span_overflow(&self, selection: &Selection<'_>, promotion: &Promotion) -> ArrayRef {
        let mut promoted = vec![false; self.attributes.columns.len()];
        for p in promotion.list.iter().filter(|p| p.scope == AttributeScope::Span) {
            promoted[p.column] = true;
        }
        // (position, column or NONE for an overflow item, index)
        let mut entries: Vec<(u32, u32, u32)> = Vec::new();
        for (number, column) in self.attributes.columns.iter().enumerate().filter(|(n, _)| !promoted[*n]) {
            selection.scatter(&column.rows, |position, index| {
                entries.push((position as u32, number as u32, index as u32));
            });
        }
        selection.scatter(&self.attributes.overflow_rows, |position, index| {
            entries.push((position as u32, NONE, index as u32));
        });
        entries.sort_unstable();
        let mut items = ItemBuilder::default();
        let mut lengths = vec![0_usize; selection.rows.len()];
        for (position, column, index) in entries {
            lengths[position as usize] += 1;
            if column == NONE {
                self.attributes.overflow.append_to(&mut items, index);
            } else {
                let column = &self.attributes.columns[column as usize];
                items.append(&column.key, column.values.get(index as usize), None);
            }
        }
        Arc::new(list(attribute_fields(), lengths.iter().copied(), items.finish()))
    }

    /// Attributes of resources or scopes that have no column.
    fn origin_overflow(
        &self,
        scope: AttributeScope,
        origins: &Origins,
        local: &Local,
        promotion: &Promotion,
    ) -> ArrayRef {
        let rest = |&origin: &u32| {
            let attributes = origins.list[origin as usize].attributes.iter();
            Folded::new(attributes.filter(|attribute| !promotion.holds(scope, attribute)))
        };
        origin_lists(local, &local.used.iter().map(rest).collect::<Vec<_>>())
    }
}

/// The lists of attributes of each row, from those of each origin in use.
pub(crate) fn origin_lists(local: &Local, overflow: &[Folded<'_>]) -> ArrayRef {
    let mut items = ItemBuilder::default();
    for &used in &local.of_row {
        overflow[used as usize].append_to(&mut items);
    }
    let lengths = local.of_row.iter().map(|&used| overflow[used as usize].len());
    Arc::new(list(attribute_fields(), lengths, items.finish()))
}

/// The origins in use by a selection, and which of them each row has.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) used: Vec<u32>,
    pub(crate) of_row: Vec<u32>,
}

impl Local {
    fn new(row_origins: &[u32], selection: &Selection<'_>) -> Self {
        let mut used = Vec::new();
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let of_row = selection.rows.iter().map(|&row| {
            let origin = row_origins[row as usize];
            *numbers.entry(origin).or_insert_with(|| {
                used.push(origin);
                used.len() as u32 - 1
            })
        });
        let of_row = of_row.collect();
        Self { used, of_row }
    }

    /// From one value per origin in use to one per row.
    pub(crate) fn spread<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.of_row.iter().map(|&used| values[used as usize]).collect()
    }
}

/// The column of a promoted resource or scope attribute.
pub(crate) fn origin_column(promoted: &Promoted, origins: &Origins, local: &Local) -> ArrayRef {
    let value_of = |&origin: &u32| {
        let mut attributes = first_attributes(&origins.list[origin as usize]);
        let found = attributes.find(|(key, _)| **key == *promoted.key).map(|(_, value)| value);
        found.filter(|value| Kind::of(value) == Some(promoted.kind))
    };
    let values: Vec<Option<AnyValue<'_>>> = local.used.iter().map(value_of).collect();
    let valid = nulls_of(local.of_row.len(), |row| values[local.of_row[row] as usize].is_some());
    match promoted.kind {
        Kind::String => {
            let mut texts = Distinct::default();
            let numbers = values.iter().map(|value| {
                let Some(AnyValue::String(text)) = value else {
                    return NULL;
                };
                texts.number(std::str::from_utf8(text).expect("checked when it was decoded"))
            });
            let numbers: Vec<i32> = numbers.collect();
            dictionary_column(local.spread(&numbers), texts.into_array())
        }
        Kind::Int => {
            let int = |v: &Option<AnyValue<'_>>| if let Some(AnyValue::Int(v)) = v { *v } else { 0 };
            let dense = local.spread(&values.iter().map(int).collect::<Vec<_>>());
            Arc::new(Int64Array::new(dense.into(), valid))
        }
        Kind::Double => {
            let double = |v: &Option<AnyValue<'_>>| {
                if let Some(AnyValue::Double(v)) = v { *v } else { 0.0 }
            };
            let dense = local.spread(&values.iter().map(double).collect::<Vec<_>>());
            Arc::new(Float64Array::new(dense.into(), valid))
        }
        Kind::Bool => {
            let bool = |v: &Option<AnyValue<'_>>| matches!(v, Some(AnyValue::Bool(true)));
            let dense = local.spread(&values.iter().map(bool).collect::<Vec<_>>());
            Arc::new(BooleanArray::new(dense.into(), valid))
        }
    }
}

/// Distinct strings, numbered in the order of their first appearance.
#[derive(Debug, Default)]
pub(crate) struct Distinct<'a> {
    texts: Vec<&'a str>,
    known: HashMap<&'a str, i32>,
}

impl<'a> Distinct<'a> {
    pub(crate) fn number(&mut self, text: &'a str) -> i32 {
        *self.known.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() as i32 - 1
        })
    }

    pub(crate) fn into_array(self) -> ArrayRef {
        Arc::new(StringArray::from(self.texts))
    }
}

pub(crate) fn fixed_binary<const N: usize>(values: &[[u8; N]], nulls: Option<NullBuffer>) -> ArrayRef {
    let buffer = Buffer::from(values.as_flattened());
    let array = FixedSizeBinaryArray::try_new(N as i32, buffer, nulls);
    Arc::new(array.expect("as many bytes as rows times the size"))
}
