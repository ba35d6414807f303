//! The columns of what is merged: chosen anew from how many rows of the inputs have which attribute.
//! Owns: the choice, by the same rules as for a new block. Does not own: bringing inputs into this form (`conform`).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use hashbrown::HashMap;

use crate::BlockConfig;
use crate::reader::BlockScan;
use crate::schema::{AttributeScope, fixed_fields};

/// The schema of the outputs of a merge.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) schema: SchemaRef,
    /// Number in the schema of each attribute's column, by scope.
    promoted: [HashMap<Box<str>, usize>; 3],
}

impl Target {
    /// The columns for what these blocks hold. Rows that have an attribute in their overflow lists are not counted:
    /// where an input has no column for it they are few.
    pub(super) fn choose<'a>(
        scans: impl Iterator<Item = &'a BlockScan> + Clone,
        config: &BlockConfig,
    ) -> Self {
        let rows =
            |scan: &BlockScan| (0..scan.row_groups()).map(|group| scan.rows(group) as u64).sum::<u64>();
        let total: u64 = scans.clone().map(rows).sum();
        let mut counts: BTreeMap<(&str, TypeOrder), (&DataType, u64)> = BTreeMap::new();
        for (field, rows) in scans.flat_map(BlockScan::promoted) {
            let key = (field.name().as_str(), TypeOrder::of(field.data_type()));
            counts.entry(key).or_insert((field.data_type(), 0)).1 += rows;
        }
        let rows_min = (total / config.promote_one_in as u64).max(1);
        // One column a name: of several types the one with most rows; then the names with most rows.
        let mut columns: Vec<(&str, &DataType, u64)> = Vec::new();
        for ((name, _), (data_type, rows)) in counts.into_iter().filter(|(_, (_, rows))| *rows >= rows_min) {
            match columns.last_mut() {
                Some(last) if last.0 == name && last.2 >= rows => {}
                Some(last) if last.0 == name => *last = (name, data_type, rows),
                _ => columns.push((name, data_type, rows)),
            }
        }
        columns.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(b.0)));
        columns.truncate(config.columns_max);
        columns.sort_unstable_by_key(|(name, ..)| *name);
        Self::new(columns.into_iter().map(|(name, data_type, _)| Field::new(name, data_type.clone(), true)))
    }

    /// The fixed columns and these.
    fn new(promoted: impl Iterator<Item = Field>) -> Self {
        let mut fields = fixed_fields();
        let mut numbers: [HashMap<Box<str>, usize>; 3] = Default::default();
        for field in promoted {
            if let Some((scope, key)) = AttributeScope::parse_column(field.name()) {
                numbers[scope as usize].insert(key.into(), fields.len());
                fields.push(field);
            }
        }
        Self { schema: Arc::new(Schema::new(fields)), promoted: numbers }
    }

    /// Number in the schema of an attribute's column, if it has one.
    pub(super) fn column(&self, scope: AttributeScope, key: &str) -> Option<usize> {
        self.promoted[scope as usize].get(key).copied()
    }

    /// Number in the schema of a fixed column.
    pub(super) fn fixed(&self, name: &str) -> usize {
        self.schema.index_of(name).expect("every schema has the fixed columns")
    }
}

/// An order of the types of columns, so that the choice does not depend on the order of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TypeOrder {
    Text,
    Int,
    Double,
    Bool,
}

impl TypeOrder {
    const fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Int64 => Self::Int,
            DataType::Float64 => Self::Double,
            DataType::Boolean => Self::Bool,
            _ => Self::Text,
        }
    }
}
