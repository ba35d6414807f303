//! Spansets between stages.

use std::rc::Rc;
use std::sync::Arc;

use arrow::array::Array;
use hashbrown::HashMap;
use vivace_model::scan::TraceRuns;

use super::{Selected, Spanset};
use crate::ast::Literal;
use crate::eval::{Bound, Mask};
use crate::{EvalError, Lane, Value};

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
    /// What stages said of them.
    pub(super) told: Vec<Told>,
}

/// What a stage said of sets. There may be many sets, of which few are kept.
#[derive(Debug)]
pub(super) struct Told {
    key: Arc<str>,
    values: Rc<[Literal]>,
    /// The number of each set's value.
    of_set: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Set {
    pub(super) unit: u32,
    pub(super) end: u32,
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

    /// Makes the rows pushed since the last call a set, if there are any. Says whether it did.
    fn close(&mut self, unit: usize) -> bool {
        let any = self.rows.len() > self.start();
        if any {
            self.sets.push(Set { unit: unit as u32, end: self.rows.len() as u32 });
        }
        any
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

    /// What is told of these sets, for sets that are parts of them.
    fn told_of(&self, parts: &[usize]) -> Vec<Told> {
        let told = self.told.iter().map(|told| Told {
            key: Arc::clone(&told.key),
            values: Rc::clone(&told.values),
            of_set: parts.iter().map(|set| told.of_set[*set]).collect(),
        });
        told.collect()
    }

    /// Of each set the rows that are in the mask.
    pub(super) fn only(&self, mask: &Mask) -> Self {
        let (mut kept, mut parts) = (Self::default(), Vec::new());
        for (index, set) in self.sets.iter().enumerate() {
            kept.rows.extend(self.rows_of(index).iter().copied().filter(|row| mask.get(*row as usize)));
            if kept.close(set.unit as usize) {
                parts.push(index);
            }
        }
        kept.told = self.told_of(&parts);
        kept
    }

    /// Sets of these sets as sets of their units.
    pub(super) fn of_units(self, outer: &Self) -> Self {
        let parts: Vec<usize> = self.sets.iter().map(|set| set.unit as usize).collect();
        let mut told = outer.told_of(&parts);
        told.extend(self.told);
        let sets = self.sets.iter().map(|set| Set { unit: outer.sets[set.unit as usize].unit, end: set.end });
        Self { sets: sets.collect(), rows: self.rows, told }
    }

    /// Sets for which `decide` says so, and what it tells of each by these names.
    pub(super) fn decided(
        &self,
        keys: &[&Arc<str>],
        mut decide: impl FnMut(u32, &[u32], &mut Vec<Literal>) -> Result<bool, EvalError>,
    ) -> Result<Self, EvalError> {
        let (mut kept, mut parts) = (Self::default(), Vec::new());
        let mut columns: Vec<Vec<Literal>> = vec![Vec::new(); keys.len()];
        let mut told = Vec::new();
        for (index, set) in self.sets.iter().enumerate() {
            told.clear();
            let rows = self.rows_of(index);
            if decide(set.unit, rows, &mut told)? {
                kept.rows.extend_from_slice(rows);
                kept.close(set.unit as usize);
                parts.push(index);
                columns.iter_mut().zip(told.drain(..)).for_each(|(column, value)| column.push(value));
            }
        }
        kept.told = self.told_of(&parts);
        for (key, column) in keys.iter().zip(columns) {
            if kept.told.iter().all(|other| other.key != **key) {
                let of_set = (0..column.len() as u32).collect();
                kept.told.push(Told { key: Arc::clone(key), values: column.into(), of_set });
            }
        }
        Ok(kept)
    }

    /// Each set by the value of its rows; rows without a value are a set too.
    pub(super) fn split(&self, key: &Arc<str>, value: &Bound<'_>) -> Result<Self, EvalError> {
        let Groups { of_row, values } = groups(&self.rows, value)?;
        let (mut split, mut parts, mut column) = (Self::default(), Vec::new(), Vec::new());
        // By group: the set that had it last, and its number among the groups of that set.
        let mut seen = vec![(usize::MAX, 0_usize); values.len()];
        let (mut numbers, mut here, mut ends) = (Vec::<u32>::new(), Vec::<u32>::new(), Vec::<u32>::new());
        let mut start = 0;
        for (index, set) in self.sets.iter().enumerate() {
            let rows = start..set.end as usize;
            start = rows.end;
            for buffer in [&mut numbers, &mut here, &mut ends] {
                buffer.clear();
            }
            for group in &of_row[rows.clone()] {
                let seen = &mut seen[*group as usize];
                if seen.0 != index {
                    *seen = (index, here.len());
                    here.push(*group);
                    ends.push(0);
                }
                ends[seen.1] += 1;
                numbers.push(seen.1 as u32);
            }
            // From how many each group has to where it begins; that moves to where it ends as rows are put there.
            let mut next = split.rows.len() as u32;
            for end in &mut ends {
                next += std::mem::replace(end, next);
            }
            split.rows.resize(next as usize, 0);
            for (row, number) in self.rows[rows].iter().zip(&numbers) {
                let end = &mut ends[*number as usize];
                split.rows[*end as usize] = *row;
                *end += 1;
            }
            split.sets.extend(ends.iter().map(|end| Set { unit: set.unit, end: *end }));
            parts.extend(ends.iter().map(|_| index));
            column.extend_from_slice(&here);
        }
        split.told = self.told_of(&parts);
        split.told.push(Told { key: Arc::clone(key), values: values.into(), of_set: column });
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
        let spansets = self.sets.iter().enumerate().map(|(index, set)| {
            let told = self.told.iter();
            let told =
                told.map(|told| (Arc::clone(&told.key), told.values[told.of_set[index] as usize].clone()));
            Spanset { trace: set.unit, end: set.end, attributes: told.collect() }
        });
        let spansets = spansets.collect();
        Selected { spansets, rows: self.rows }
    }
}

/// Rows by a value.
#[derive(Debug)]
struct Groups {
    /// The group of each row.
    of_row: Vec<u32>,
    /// The value of each group.
    values: Vec<Literal>,
}

const NONE: u32 = u32::MAX;

fn groups(rows: &[u32], value: &Bound<'_>) -> Result<Groups, EvalError> {
    let mut known: HashMap<Group<'_>, u32> = HashMap::new();
    let mut values: Vec<Literal> = Vec::new();
    let mut number = |value: Option<Value<'_>>, group| {
        *known.entry(group).or_insert_with(|| {
            values.push(value.map_or(Literal::Nil, |value| value.literal()));
            values.len() as u32 - 1
        })
    };
    let mut of_row = Vec::with_capacity(rows.len());
    if let Some(texts) = value.texts().filter(|texts| texts.values().len() <= rows.len()) {
        // Each text is looked up one time. It may stand in the dictionary twice.
        let lane = Lane::Text(texts);
        let mut by_key = vec![NONE; texts.values().len() + 1];
        for row in rows {
            let key = texts.key(*row as usize).unwrap_or(texts.values().len());
            if by_key[key] == NONE {
                let value = lane.first(*row as usize);
                by_key[key] = number(value, group(value));
            }
            of_row.push(by_key[key]);
        }
    } else {
        for row in rows {
            let value = value.first(*row as usize)?;
            of_row.push(number(value, group(value)));
        }
    }
    Ok(Groups { of_row, values })
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
