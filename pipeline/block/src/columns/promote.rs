//! Which attributes become columns of the block: those that occur most, up to a bound. Nobody configures them.

use hashbrown::HashMap;

use super::OpenBlock;
use super::attributes::Values;
use super::origins::{Origin, Origins, OwnedAttribute};
use super::value::AnyValue;
use crate::schema::{AttributeScope, LARGE_VALUE_BYTES};

/// A promoted attribute: the key is in one column, of the type that most of its rows have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promoted {
    pub(crate) scope: AttributeScope,
    pub(crate) key: Box<str>,
    pub(crate) kind: Kind,
    /// Rows that have it.
    pub(crate) rows: usize,
    /// For a span attribute the number of its `AttributeColumn`.
    pub(crate) column: usize,
}

/// The types a column can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    String,
    Int,
    Double,
    Bool,
}

impl Kind {
    /// The column type that holds the value; none if no column does.
    pub(crate) const fn of(value: &AnyValue<'_>) -> Option<Self> {
        match value {
            AnyValue::String(text) if text.len() <= LARGE_VALUE_BYTES => Some(Self::String),
            AnyValue::Int(_) => Some(Self::Int),
            AnyValue::Double(_) => Some(Self::Double),
            AnyValue::Bool(_) => Some(Self::Bool),
            AnyValue::String(_)
            | AnyValue::Empty
            | AnyValue::Array(_)
            | AnyValue::KvList(_)
            | AnyValue::Bytes(_) => None,
        }
    }
}

/// The columns that a batch has besides the fixed ones, sorted by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promotion {
    pub(crate) list: Vec<Promoted>,
}

impl Promotion {
    /// Whether an attribute of an origin stands in a column.
    pub(crate) fn holds(&self, scope: AttributeScope, attribute: &OwnedAttribute) -> bool {
        let kind = Kind::of(&attribute.value.as_any()).filter(|_| attribute.first);
        kind.is_some_and(|kind| {
            self.list.iter().any(|p| p.scope == scope && p.kind == kind && p.key == attribute.key)
        })
    }
}

impl OpenBlock {
    /// Chooses the columns for a batch of these rows: attributes in at least `rows_min` of them.
    pub(crate) fn promote(&self, rows: &[u32], rows_min: usize) -> Promotion {
        let mut list = Vec::new();
        let all = rows.len() == self.rows();
        for (number, column) in self.attributes.columns.iter().enumerate() {
            let count = if all {
                column.rows.len()
            } else {
                rows.iter().filter(|row| column.rows.binary_search(row).is_ok()).count()
            };
            let kind = match column.values {
                Values::Strings(..) => Kind::String,
                Values::Ints(_) => Kind::Int,
                Values::Doubles(_) => Kind::Double,
                Values::Bools(_) => Kind::Bool,
            };
            let scope = AttributeScope::Span;
            list.push(Promoted { scope, key: column.key.clone(), kind, rows: count, column: number });
        }
        count_origins(AttributeScope::Resource, &self.resources, &self.spans.resource, rows, &mut list);
        count_origins(AttributeScope::Instrumentation, &self.scopes, &self.spans.scope, rows, &mut list);
        list.retain(|promoted| promoted.rows >= rows_min.max(1));

        // One column a key: of several types the one with most rows; then the keys with most rows.
        list.sort_by(|a, b| (a.scope, &a.key, b.rows, a.kind).cmp(&(b.scope, &b.key, a.rows, b.kind)));
        list.dedup_by(|later, kept| later.scope == kept.scope && later.key == kept.key);
        list.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.key.cmp(&b.key)));
        list.truncate(self.config.columns_max);
        list.sort_by_cached_key(|promoted| promoted.scope.column(&promoted.key));
        Promotion { list }
    }
}

fn count_origins(
    scope: AttributeScope,
    origins: &Origins,
    row_origins: &[u32],
    rows: &[u32],
    list: &mut Vec<Promoted>,
) {
    let mut rows_of: HashMap<u32, usize> = HashMap::new();
    for &row in rows {
        *rows_of.entry(row_origins[row as usize]).or_default() += 1;
    }
    let mut counts: HashMap<(&str, Kind), usize> = HashMap::new();
    for (&origin, &count) in &rows_of {
        for (key, value) in first_attributes(&origins.list[origin as usize]) {
            if let Some(kind) = Kind::of(&value) {
                *counts.entry((key, kind)).or_default() += count;
            }
        }
    }
    let promoted = |((key, kind), rows): ((&str, Kind), usize)| Promoted {
        scope,
        key: key.into(),
        kind,
        rows,
        column: usize::MAX,
    };
    list.extend(counts.into_iter().map(promoted));
}

/// The attributes of an origin, without those whose key came before.
pub(crate) fn first_attributes(origin: &Origin) -> impl Iterator<Item = (&str, AnyValue<'_>)> {
    let first = origin.attributes.iter().filter(|attribute| attribute.first);
    first.map(|attribute| (&*attribute.key, attribute.value.as_any()))
}
