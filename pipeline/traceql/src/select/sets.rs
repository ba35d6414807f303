//! Spansets between stages.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;
use vivace_model::scan::TraceRuns;

use super::{Selected, Spanset};
use crate::ast::Literal;
use crate::eval::{Bound, Mask};
use crate::{EvalError, Value};

/// What spansets are parts of: traces, or, behind a stage that split them, the spansets so far.
#[derive(Debug)]
pub(super) enum Units<'a> {
    Traces(&'a TraceRuns),
    Sets(&'a Sets),
}

/// What a stage found.
#[derive(Debug)]
pub(super) enum Found {
    /// One spanset of each unit: its rows that are in the mask.
    One(Mask),
    /// Spansets of which something is known, or several of a unit.
    Several(Sets),
}

/// Spansets, by unit ascending. None is empty.
#[derive(Debug, Default)]
pub(super) struct Sets {
    pub(super) rows: Vec<u32>,
    pub(super) sets: Vec<Set>,
}

#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) unit: u32,
    pub(super) end: u32,
    pub(super) attributes: Vec<(Arc<str>, Literal)>,
}

impl Units<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Traces(runs) => runs.len(),
            Self::Sets(sets) => sets.sets.len(),
        }
    }

    pub(super) fn any(&self, unit: usize, mask: &Mask) -> bool {
        match self {
            Self::Traces(runs) => mask.any_in(runs.rows_of(unit)),
            Self::Sets(sets) => sets.rows_of(unit).iter().any(|row| mask.get(*row as usize)),
        }
    }

    /// Rows of a unit that are in the mask.
    pub(super) fn rows(&self, unit: usize, mask: &Mask, rows: &mut Vec<u32>) {
        rows.clear();
        match self {
            Self::Traces(runs) => rows.extend(mask.rows_in(runs.rows_of(unit))),
            Self::Sets(sets) => {
                rows.extend(sets.rows_of(unit).iter().copied().filter(|row| mask.get(*row as usize)));
            }
        }
    }
}

impl Found {
    /// As a mask, without what is known of the spansets.
    pub(super) fn into_mask(self, rows: usize) -> Mask {
        match self {
            Self::One(mask) => mask,
            Self::Several(sets) => sets.mask(rows),
        }
    }

    /// Only these rows.
    pub(super) fn only(self, mask: &Mask) -> Self {
        match self {
            Self::One(mut found) => {
                found.and(mask);
                Self::One(found)
            }
            Self::Several(sets) => Self::Several(sets.only(mask)),
        }
    }

    pub(super) fn into_sets(self, units: &Units<'_>) -> Sets {
        let mask = match self {
            Self::One(mask) => mask,
            Self::Several(sets) => return sets,
        };
        let mut sets = Sets::default();
        match units {
            Units::Traces(runs) => {
                // Most masks hold few rows, so that it pays not to look at every trace.
                let (mut trace, mut end) = (0, 0);
                for row in mask.rows() {
                    if row as usize >= end {
                        sets.close(trace);
                        trace = behind(runs, trace, row as usize);
                        end = runs.rows_of(trace).end;
                    }
                    sets.rows.push(row);
                }
                sets.close(trace);
            }
            Units::Sets(outer) => {
                for unit in 0..outer.sets.len() {
                    let rows = outer.rows_of(unit).iter().copied();
                    sets.rows.extend(rows.filter(|row| mask.get(*row as usize)));
                    sets.close(unit);
                }
            }
        }
        sets
    }
}

/// The trace of a row that lies behind those of `trace`: often the next one.
fn behind(runs: &TraceRuns, trace: usize, row: usize) -> usize {
    let next = trace + 1;
    if next < runs.len() && runs.rows_of(next).contains(&row) { next } else { runs.trace_of(row) }
}

impl Sets {
    fn start(&self) -> usize {
        self.sets.last().map_or(0, |set| set.end as usize)
    }

    /// Makes the rows pushed since the last call a set, if there are any.
    fn close(&mut self, unit: usize) {
        if self.rows.len() > self.start() {
            self.push(unit as u32, Vec::new());
        }
    }

    fn push(&mut self, unit: u32, attributes: Vec<(Arc<str>, Literal)>) {
        self.sets.push(Set { unit, end: self.rows.len() as u32, attributes });
    }

    pub(super) fn rows_of(&self, set: usize) -> &[u32] {
        let start = set.checked_sub(1).map_or(0, |before| self.sets[before].end);
        &self.rows[start as usize..self.sets[set].end as usize]
    }

    pub(super) fn mask(&self, rows: usize) -> Mask {
        let mut mask = Mask::none(rows);
        self.rows.iter().for_each(|row| mask.set(*row as usize));
        mask
    }

    /// Of each set the rows that are in the mask.
    pub(super) fn only(&self, mask: &Mask) -> Self {
        let mut kept = Self::default();
        for (index, set) in self.sets.iter().enumerate() {
            kept.rows.extend(self.rows_of(index).iter().copied().filter(|row| mask.get(*row as usize)));
            if kept.rows.len() > kept.start() {
                kept.push(set.unit, set.attributes.clone());
            }
        }
        kept
    }

    /// Sets of these sets as sets of their units.
    pub(super) fn of_units(self, outer: &Self) -> Self {
        let sets = self.sets.into_iter().map(|set| {
            let around = &outer.sets[set.unit as usize];
            let mut attributes = around.attributes.clone();
            attributes.extend(set.attributes);
            Set { unit: around.unit, end: set.end, attributes }
        });
        Self { sets: sets.collect(), rows: self.rows }
    }

    /// Sets for which `decide` gives attributes, with these.
    pub(super) fn decided(
        &self,
        mut decide: impl FnMut(&Set, &[u32]) -> Result<Option<Vec<(Arc<str>, Literal)>>, EvalError>,
    ) -> Result<Self, EvalError> {
        let mut kept = Self::default();
        for (index, set) in self.sets.iter().enumerate() {
            let rows = self.rows_of(index);
            if let Some(attributes) = decide(set, rows)? {
                kept.rows.extend_from_slice(rows);
                kept.push(set.unit, attributes);
            }
        }
        Ok(kept)
    }

    /// Each set by the value of its rows; rows without a value are a set too.
    pub(super) fn split(&self, key: &Arc<str>, value: &Bound<'_>) -> Result<Self, EvalError> {
        let mut split = Self::default();
        for (index, set) in self.sets.iter().enumerate() {
            let mut numbers: HashMap<Group<'_>, usize> = HashMap::new();
            let mut groups: Vec<(Option<Value<'_>>, Vec<u32>)> = Vec::new();
            for row in self.rows_of(index) {
                let value = value.first(*row as usize)?;
                let number = *numbers.entry(group(value)).or_insert(groups.len());
                if number == groups.len() {
                    groups.push((value, Vec::new()));
                }
                groups[number].1.push(*row);
            }
            for (value, rows) in groups {
                split.rows.extend(rows);
                let mut attributes = set.attributes.clone();
                attributes.push((Arc::clone(key), value.map_or(Literal::Nil, |value| value.literal())));
                split.push(set.unit, attributes);
            }
        }
        Ok(split)
    }

    /// The sets of a unit.
    pub(super) fn of_unit(&self, unit: u32) -> std::ops::Range<usize> {
        let start = self.sets.partition_point(|set| set.unit < unit);
        start..start + self.sets[start..].iter().take_while(|set| set.unit == unit).count()
    }

    /// Whether a unit has more than one.
    pub(super) fn several(&self) -> bool {
        self.sets.windows(2).any(|pair| pair[0].unit == pair[1].unit)
    }

    pub(super) fn into_selected(self) -> Selected {
        let spansets = self.sets.into_iter();
        let spansets =
            spansets.map(|set| Spanset { trace: set.unit, end: set.end, attributes: set.attributes });
        Selected { spansets: spansets.collect(), rows: self.rows }
    }
}

/// What makes values one group.
#[derive(PartialEq, Eq, Hash)]
enum Group<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Float(u64),
    Text(&'a str),
    Id(&'a [u8]),
    Duration(i64),
    Status(u8),
    Kind(u8),
}

const fn group(value: Option<Value<'_>>) -> Group<'_> {
    match value {
        None => Group::Nil,
        Some(Value::Bool(flag)) => Group::Bool(flag),
        Some(Value::Int(number)) => Group::Int(number),
        Some(Value::Float(number)) => Group::Float(number.to_bits()),
        Some(Value::Text(text)) => Group::Text(text),
        Some(Value::Id(id)) => Group::Id(id),
        Some(Value::Duration(nanos)) => Group::Duration(nanos),
        Some(Value::Status(status)) => Group::Status(status as u8),
        Some(Value::Kind(kind)) => Group::Kind(kind as u8),
    }
}
