//! Attributes of a scan: a column for each key asked for, overflow lists for what does not fit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array};
use arrow::datatypes::Field;
use hashbrown::HashMap;
use vivace_model::scan::Projection;

use super::{Source, any_value, text_column};
use crate::columns::attributes::Values;
use crate::columns::batch::{Local, origin_column, origin_lists};
use crate::columns::fold::Folded;
use crate::columns::items::ItemBuilder;
use crate::columns::nested::list;
use crate::columns::origins::Origins;
use crate::columns::promote::{Kind, Promoted, Promotion, first_attributes};
use crate::columns::sources::{NULL, nulls_of};
use crate::schema::{AttributeScope, attribute_fields};

/// Mark of an overflow item among columns.
const ITEM: u32 = u32::MAX;

impl Source<'_> {
    /// Overflow lists, then columns sorted by name; none without any value.
    pub(super) fn attributes(&self, projection: &Projection) -> Vec<(Field, ArrayRef)> {
        let block = self.block;
        let asked: Vec<AttributeScope> = AttributeScope::ALL
            .into_iter()
            .filter(|scope| {
                projection.scopes.contains(scope) || projection.attributes.iter().any(|(of, _)| of == scope)
            })
            .collect();
        let promotion = self.promotion(projection, &asked);
        let mut columns = Vec::new();
        for &scope in &asked {
            let overflow = match scope {
                AttributeScope::Resource => {
                    self.origin_overflow(scope, &block.resources, self.resources(), projection, &promotion)
                }
                AttributeScope::Instrumentation => {
                    self.origin_overflow(scope, &block.scopes, self.scopes(), projection, &promotion)
                }
                AttributeScope::Span => self.span_overflow(projection, &promotion),
            };
            columns.extend(
                overflow.map(|array| (Field::new(scope.overflow(), array.data_type().clone(), true), array)),
            );
        }
        for promoted in &promotion.list {
            let array = match promoted.scope {
                AttributeScope::Span => self.span_column(promoted),
                AttributeScope::Resource => origin_column(promoted, &block.resources, self.resources()),
                AttributeScope::Instrumentation => origin_column(promoted, &block.scopes, self.scopes()),
            };
            if any_value(&array) {
                let name = promoted.scope.column(&promoted.key);
                columns.push((Field::new(name, array.data_type().clone(), true), array));
            }
        }
        columns
    }

    /// A column for each key asked for by name, of the type that most rows of the block have; where all keys of a scope
    /// are asked for, for as many and as common ones as a block would have.
    fn promotion(&self, projection: &Projection, asked: &[AttributeScope]) -> Promotion {
        let block = self.block;
        let mut list = Vec::new();
        for &scope in asked {
            match scope {
                AttributeScope::Span => {
                    let columns = block.attributes.columns.iter().enumerate();
                    let columns = columns.filter(|(_, column)| projection.wants(scope, &column.key));
                    list.extend(columns.map(|(number, column)| Promoted {
                        scope,
                        key: column.key.clone(),
                        kind: kind_of(&column.values),
                        rows: column.rows.len(),
                        column: number,
                    }));
                }
                AttributeScope::Resource => {
                    count(scope, &block.resources, self.resources(), projection, &mut list);
                }
                AttributeScope::Instrumentation => {
                    count(scope, &block.scopes, self.scopes(), projection, &mut list);
                }
            }
        }
        list.sort_by(|a, b| (a.scope, &a.key, b.rows, a.kind).cmp(&(b.scope, &b.key, a.rows, b.kind)));
        list.dedup_by(|later, kept| later.scope == kept.scope && later.key == kept.key);
        let named = |promoted: &Promoted| {
            projection
                .attributes
                .iter()
                .any(|(scope, key)| *scope == promoted.scope && **key == *promoted.key)
        };
        let (mut list, mut others): (Vec<_>, Vec<_>) = list.into_iter().partition(named);
        let rows_min = (block.rows() / block.config.promote_one_in).max(1);
        others.retain(|promoted| promoted.rows >= rows_min);
        others.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.key.cmp(&b.key)));
        others.truncate(block.config.columns_max.saturating_sub(list.len()));
        list.extend(others);
        list.sort_by_cached_key(|promoted| promoted.scope.column(&promoted.key));
        Promotion { list }
    }

    fn span_column(&self, promoted: &Promoted) -> ArrayRef {
        let column = &self.block.attributes.columns[promoted.column];
        let count = self.selection.rows.len();
        let valid = || {
            let mut valid = vec![false; count];
            self.selection.scatter(&column.rows, |position, _| valid[position] = true);
            nulls_of(count, |row| valid[row])
        };
        match &column.values {
            Values::Strings(numbers, interner) => {
                let mut dense = vec![NULL; count];
                self.selection
                    .scatter(&column.rows, |position, index| dense[position] = numbers[index] as i32);
                text_column(interner, dense)
            }
            Values::Ints(values) => {
                let mut dense = vec![0; count];
                self.selection.scatter(&column.rows, |position, index| dense[position] = values[index]);
                Arc::new(Int64Array::new(dense.into(), valid()))
            }
            Values::Doubles(values) => {
                let mut dense = vec![0.0; count];
                self.selection.scatter(&column.rows, |position, index| dense[position] = values[index]);
                Arc::new(Float64Array::new(dense.into(), valid()))
            }
            Values::Bools(values) => {
                let mut dense = vec![false; count];
                self.selection.scatter(&column.rows, |position, index| dense[position] = values[index]);
                Arc::new(BooleanArray::new(dense.into(), valid()))
            }
        }
    }

    /// Span attributes asked for that have no column here.
    fn span_overflow(&self, projection: &Projection, promotion: &Promotion) -> Option<ArrayRef> {
        let attributes = &self.block.attributes;
        let mut listed: Vec<bool> = attributes
            .columns
            .iter()
            .map(|column| projection.wants(AttributeScope::Span, &column.key))
            .collect();
        for promoted in promotion.list.iter().filter(|p| p.scope == AttributeScope::Span) {
            listed[promoted.column] = false;
        }
        // (position, column or ITEM, index)
        let mut entries: Vec<(u32, u32, u32)> = Vec::new();
        for (number, column) in attributes.columns.iter().enumerate().filter(|(number, _)| listed[*number]) {
            self.selection.scatter(&column.rows, |position, index| {
                entries.push((position as u32, number as u32, index as u32));
            });
        }
        let keys: Vec<bool> =
            attributes.overflow.keys().map(|key| projection.wants(AttributeScope::Span, key)).collect();
        if keys.contains(&true) {
            self.selection.scatter(&attributes.overflow_rows, |position, index| {
                if keys[attributes.overflow.key_of(index)] {
                    entries.push((position as u32, ITEM, index as u32));
                }
            });
        }
        if entries.is_empty() {
            return None;
        }
        entries.sort_unstable();
        let mut items = ItemBuilder::default();
        let mut lengths = vec![0_usize; self.selection.rows.len()];
        for (position, column, index) in entries {
            lengths[position as usize] += 1;
            if column == ITEM {
                attributes.overflow.append_to(&mut items, index);
            } else {
                let column = &attributes.columns[column as usize];
                items.append(&column.key, column.values.get(index as usize), None);
            }
        }
        Some(Arc::new(list(attribute_fields(), lengths.iter().copied(), items.finish())))
    }

    /// Attributes of resources or scopes asked for that have no column here.
    fn origin_overflow(
        &self,
        scope: AttributeScope,
        origins: &Origins,
        local: &Local,
        projection: &Projection,
        promotion: &Promotion,
    ) -> Option<ArrayRef> {
        let rest = |&origin: &u32| {
            let attributes = &origins.list[origin as usize].attributes;
            Folded::asked(attributes, scope, projection, |attribute| !promotion.holds(scope, attribute))
        };
        let overflow: Vec<Folded<'_>> = local.used.iter().map(rest).collect();
        overflow.iter().any(|folded| folded.len() > 0).then(|| origin_lists(local, &overflow))
    }
}

const fn kind_of(values: &Values) -> Kind {
    match values {
        Values::Strings(..) => Kind::String,
        Values::Ints(_) => Kind::Int,
        Values::Doubles(_) => Kind::Double,
        Values::Bools(_) => Kind::Bool,
    }
}

/// Adds the attributes asked for of the origins in use, with how many rows have them.
fn count(
    scope: AttributeScope,
    origins: &Origins,
    local: &Local,
    projection: &Projection,
    list: &mut Vec<Promoted>,
) {
    let mut rows_of = vec![0_usize; local.used.len()];
    local.of_row.iter().for_each(|&used| rows_of[used as usize] += 1);
    let mut counts: HashMap<(&str, Kind), usize> = HashMap::new();
    for (&origin, rows) in local.used.iter().zip(rows_of) {
        for (key, value) in first_attributes(&origins.list[origin as usize]) {
            if let Some(kind) = Kind::of(&value).filter(|_| projection.wants(scope, key)) {
                *counts.entry((key, kind)).or_default() += rows;
            }
        }
    }
    list.extend(counts.into_iter().map(|((key, kind), rows)| Promoted {
        scope,
        key: key.into(),
        kind,
        rows,
        column: usize::MAX,
    }));
}
