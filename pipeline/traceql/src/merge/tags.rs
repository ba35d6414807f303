//! Names and values of attributes, as sets that stop growing.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use vivace_proto::internal::{FoundTagScope, FoundTags};

use crate::collect::labels::LabelKey;

/// Scopes of names, in the order in which answers tell them.
pub(crate) const TAG_SCOPES: [&str; 5] = ["resource", "span", "event", "link", "instrumentation"];

/// The tags of several jobs.
#[derive(Debug)]
pub struct TagsMerger {
    sets: TagSets,
}

impl TagsMerger {
    /// Nothing yet; so many names of a scope and so many values at most.
    #[must_use]
    pub fn new(names_max: usize, values_max: usize) -> Self {
        Self { sets: TagSets::new(names_max, values_max) }
    }

    /// Adds what a job found.
    pub fn add(&mut self, found: FoundTags) {
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
    truncated: bool,
}

impl<T: Ord> LeastSet<T> {
    const fn new(max: usize) -> Self {
        Self { items: BTreeSet::new(), max, truncated: false }
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
        if self.items.insert(item) && self.items.len() > self.max {
            self.items.pop_last();
            self.truncated = true;
        }
    }
}
