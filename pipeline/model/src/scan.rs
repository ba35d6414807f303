//! What a search reads of spans: which columns, and what can be known without reading rows.
//! Owns: the vocabulary between who plans a search (TraceQL) and who reads columns (blocks and recent data).
//! Does not own: what a query means, how columns are stored.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::UnixNanos;
use crate::schema::AttributeScope;

/// Columns to read. The answer is a batch of the block's schema (see [`crate::schema`]) with these columns alone. An
/// attribute comes as its promoted column, as items of its scope's overflow list, as both or, where no row has it, not at
/// all. More columns than asked for may come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    /// Fixed columns, by their names in [`crate::schema`]; `events` and `links` are whole lists.
    pub fixed: BTreeSet<&'static str>,
    /// Attributes, by scope and key.
    pub attributes: BTreeSet<(AttributeScope, String)>,
    /// Scopes of which all attributes are wanted.
    pub scopes: BTreeSet<AttributeScope>,
}

impl Projection {
    /// Adds all that another one asks for.
    pub fn merge(&mut self, other: &Self) {
        self.fixed.extend(&other.fixed);
        self.attributes.extend(other.attributes.iter().cloned());
        self.scopes.extend(&other.scopes);
    }

    /// Whether an attribute is asked for.
    #[must_use]
    pub fn wants(&self, scope: AttributeScope, key: &str) -> bool {
        self.scopes.contains(&scope) || self.names(scope, key)
    }

    /// Whether an attribute is asked for by its name.
    #[must_use]
    pub fn names(&self, scope: AttributeScope, key: &str) -> bool {
        self.attributes.iter().any(|(other, named)| *other == scope && named == key)
    }
}

/// A column that a [`Test`] looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ScanColumn {
    /// A fixed column, by its name.
    Fixed(&'static str),
    /// An attribute, promoted or in an overflow list.
    Attribute(AttributeScope, String),
}

/// A test of one value of one column. It holds only for values that are there.
#[derive(Clone)]
pub enum Test {
    /// Any value.
    Exists,
    /// This string.
    Text(String),
    /// A string for which the function says yes. The same string always gets the same answer.
    TextMatches(Arc<dyn Fn(&str) -> bool + Send + Sync>),
    /// A number within these bounds, both inclusive; integers, times and durations count as they are.
    Between(f64, f64),
    /// This truth value.
    Bool(bool),
}

/// What rows must meet to matter to a search: necessary, not sufficient. Rows, pages, row groups or blocks for which
/// it is known to be false without reading them need not be read.
#[derive(Clone, Debug)]
pub enum Condition {
    /// Nothing is known: every row may matter.
    Always,
    /// All of them.
    All(Vec<Self>),
    /// One of them.
    Any(Vec<Self>),
    /// The value of a column meets the test.
    Leaf(ScanColumn, Test),
}

/// The traces of a batch that is sorted by trace id, and their rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceRuns {
    ids: Vec<[u8; 16]>,
    /// First row of each trace, and the number of all rows.
    starts: Vec<u32>,
}

impl TraceRuns {
    /// The runs of equal ids.
    pub fn new<'a>(ids: impl IntoIterator<Item = &'a [u8; 16]>) -> Self {
        let mut runs = Self { ids: Vec::new(), starts: Vec::new() };
        let mut rows = 0;
        for id in ids {
            if runs.ids.last() != Some(id) {
                runs.ids.push(*id);
                runs.starts.push(rows);
            }
            rows += 1;
        }
        runs.starts.push(rows);
        runs
    }

    /// Number of traces.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no trace.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Number of rows of all traces.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.starts.last().map_or(0, |rows| *rows as usize)
    }

    /// The ids, ascending where the batch is sorted.
    #[must_use]
    pub fn ids(&self) -> &[[u8; 16]] {
        &self.ids
    }

    /// Rows of a trace, by its number here.
    #[must_use]
    pub fn rows_of(&self, trace: usize) -> Range<usize> {
        self.starts[trace] as usize..self.starts[trace + 1] as usize
    }

    /// Number here of a trace, if it is here.
    #[must_use]
    pub fn find(&self, id: &[u8; 16]) -> Option<usize> {
        self.ids.binary_search(id).ok()
    }

    /// Number here of the trace that a row belongs to.
    #[must_use]
    pub fn trace_of(&self, row: usize) -> usize {
        self.starts.partition_point(|start| *start as usize <= row) - 1
    }

    /// Bytes of memory held.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        16 * self.ids.capacity() + 4 * self.starts.capacity()
    }
}

/// The spans that a search is about: those that start in `[start, end)`.
pub type TimeRange = Range<UnixNanos>;

impl fmt::Debug for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("Exists"),
            Self::Text(text) => f.debug_tuple("Text").field(text).finish(),
            Self::TextMatches(_) => f.write_str("TextMatches"),
            Self::Between(least, most) => f.debug_tuple("Between").field(least).field(most).finish(),
            Self::Bool(value) => f.debug_tuple("Bool").field(value).finish(),
        }
    }
}
