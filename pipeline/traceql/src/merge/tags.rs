//! Names and values of attributes, as sets that stop growing.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use vivace_proto::internal::{FoundTagScope, FoundTags};

use crate::collect::labels::LabelKey;
use crate::{EvalError, GroupLimit};

/// Scopes of names, in the order in which answers tell them.
pub(crate) const TAG_SCOPES: [&str; 5] = ["resource", "span", "event", "link", "instrumentation"];

/// The tags of several jobs.
#[derive(Debug)]
pub struct TagsMerger {
    sets: TagSets,
    groups: GroupLimit,
}

impl TagsMerger {
    /// Nothing yet; so many names of a scope and so many values at most.
    #[must_use]
    pub fn new(names_max: usize, values_max: usize) -> Self {
        Self { sets: TagSets::new(names_max, values_max), groups: GroupLimit::default() }
    }

    /// The same, within that much memory.
    #[must_use]
    pub const fn limited(mut self, groups: GroupLimit) -> Self {
        self.groups = groups;
        self
    }

    /// Bytes of memory held, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.sets.bytes()
    }

    /// Adds what a job found.
    ///
    /// # Errors
    /// [`EvalError::TooLarge`] if names and values take more memory than they may.
    pub fn add(&mut self, found: FoundTags) -> Result<(), EvalError> {
        self.sets.truncated |= found.truncated;
        for scope in found.scopes {
            let Some(number) = TAG_SCOPES.iter().position(|name| *name == scope.name) else { continue };
            for tag in scope.tags {
                self.sets.insert_name(number, &tag);
            }
        }
        for value in found.values {
            self.sets.insert_value(LabelKey::of_message(Some(value)));
        }
        self.groups.check(self.bytes())
    }

    /// What would be told now: names and values in their order, scopes without names left out.
    #[must_use]
    pub fn best(&self) -> FoundTags {
        self.sets.clone().into_found()
    }

    /// What is told.
    #[must_use]
    pub fn finish(self) -> FoundTags {
        self.sets.into_found()
    }
}

/// Names by scope, and values.
#[derive(Clone, Debug)]
pub(crate) struct TagSets {
    names: [LeastSet<String>; TAG_SCOPES.len()],
    values: LeastSet<LabelKey>,
    truncated: bool,
}

impl TagSets {
    pub(crate) fn new(names_max: usize, values_max: usize) -> Self {
        Self {
            names: std::array::from_fn(|_| LeastSet::new(names_max)),
            values: LeastSet::new(values_max),
            truncated: false,
        }
    }

    /// Adds a name to the scope of that number in [`TAG_SCOPES`].
    pub(crate) fn insert_name(&mut self, scope: usize, name: &str) {
        if !self.names[scope].contains(name) {
            self.names[scope].insert(name.to_owned());
        }
    }

    /// Adds a value; nil is none.
    pub(crate) fn insert_value(&mut self, value: LabelKey) {
        if value != LabelKey::Nil {
            self.values.insert(value);
        }
    }

    /// Adds a text, which is not copied if there is no place for it.
    pub(crate) fn insert_text(&mut self, text: &str) {
        match self.values.bar() {
            // Texts are the last of all types.
            Some(LabelKey::Text(last)) if text <= &**last => self.insert_value(LabelKey::text(text)),
            None => self.insert_value(LabelKey::text(text)),
            Some(_) => self.values.truncated = true,
        }
    }

    /// Bytes of memory held, about.
    pub(crate) const fn bytes(&self) -> usize {
        let (mut bytes, mut scope) = (self.values.bytes, 0);
        while scope < self.names.len() {
            bytes += self.names[scope].bytes;
            scope += 1;
        }
        bytes
    }

    pub(crate) fn into_found(self) -> FoundTags {
        let truncated =
            self.truncated || self.values.truncated || self.names.iter().any(|names| names.truncated);
        let scopes = TAG_SCOPES.iter().zip(self.names).filter(|(_, names)| !names.items.is_empty());
        FoundTags {
            scopes: scopes
                .map(|(scope, names)| FoundTagScope {
                    name: (*scope).to_owned(),
                    tags: names.items.into_iter().collect(),
                })
                .collect(),
            values: self.values.items.iter().filter_map(LabelKey::message).collect(),
            truncated,
        }
    }
}

/// A set of the least items: which of too many are left out does not depend on the order in which they come.
#[derive(Clone, Debug)]
struct LeastSet<T> {
    items: BTreeSet<T>,
    max: usize,
    /// Memory of the items.
    bytes: usize,
    truncated: bool,
}

/// An item whose text is not in itself.
trait TextBytes {
    fn text_bytes(&self) -> usize;
}

impl TextBytes for String {
    fn text_bytes(&self) -> usize {
        self.len()
    }
}

impl TextBytes for LabelKey {
    fn text_bytes(&self) -> usize {
        self.bytes()
    }
}

impl<T: Ord + TextBytes> LeastSet<T> {
    const fn new(max: usize) -> Self {
        Self { items: BTreeSet::new(), max, bytes: 0, truncated: false }
    }

    fn contains<Q: Ord + ?Sized>(&self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.items.contains(item)
    }

    /// The item that a new one must precede, if there is no place left.
    fn bar(&self) -> Option<&T> {
        if self.items.len() < self.max { None } else { self.items.last() }
    }

    fn insert(&mut self, item: T) {
        let bytes = Self::bytes_of(&item);
        if !self.items.insert(item) {
            return;
        }
        self.bytes += bytes;
        if self.items.len() > self.max
            && let Some(last) = self.items.pop_last()
        {
            self.bytes -= Self::bytes_of(&last);
            self.truncated = true;
        }
    }

    fn bytes_of(item: &T) -> usize {
        // Nodes of the tree are half full at least.
        2 * size_of::<T>() + item.text_bytes()
    }
}
