//! Values of a label as small numbers.
//! Owns: the number of each value over all batches, and how a batch's column becomes numbers: once per value of a
//! dictionary, not once per row.

use std::sync::Arc;

use ahash::RandomState;
use arrow::array::{Array, AsArray, DictionaryArray, Int32Array, StringArray};
use arrow::datatypes::Int32Type;
use hashbrown::HashMap;

use super::picked::{PickedRows, Property, Side};
use crate::ast::{Kind, Status};
use crate::collect::labels::LabelKey;
use crate::{EvalError, Lane, Value};

/// Number of having no value.
pub(crate) const NIL: u32 = 0;
/// Number of all that found no place any more.
pub(crate) const DROPPED: u32 = u32::MAX;
/// In tables: not asked for yet.
const UNKNOWN: u32 = u32::MAX - 1;

/// Numbers of values, from 0 on.
#[derive(Debug)]
pub(crate) struct ValueCodes {
    texts: HashMap<Arc<str>, u32, RandomState>,
    others: HashMap<LabelKey, u32, RandomState>,
    keys: Vec<LabelKey>,
    values_max: usize,
    bytes: usize,
    bytes_max: usize,
}

impl ValueCodes {
    /// Room for so many values besides [`NIL`], with so many bytes of text.
    pub(crate) fn new(values_max: usize, bytes_max: usize) -> Self {
        let (texts, others) = Default::default();
        Self { texts, others, keys: vec![LabelKey::Nil], values_max, bytes: 0, bytes_max }
    }

    /// Number of a value; [`DROPPED`] for a new one when there is no room.
    pub(crate) fn code(&mut self, value: Value<'_>) -> u32 {
        match value {
            Value::Text(text) => self.text(text),
            value => self.key_code(LabelKey::of(value)),
        }
    }

    /// Number of a value.
    pub(crate) fn key_code(&mut self, key: LabelKey) -> u32 {
        match key {
            LabelKey::Nil => NIL,
            LabelKey::Text(text) => self.text(&text),
            key => {
                if let Some(code) = self.others.get(&key) {
                    return *code;
                }
                let Some(code) = self.next(0) else { return DROPPED };
                self.keys.push(key.clone());
                self.others.insert(key, code);
                code
            }
        }
    }

    fn text(&mut self, text: &str) -> u32 {
        if let Some(code) = self.texts.get(text) {
            return *code;
        }
        let Some(code) = self.next(text.len()) else { return DROPPED };
        let text: Arc<str> = text.into();
        self.keys.push(LabelKey::Text(Arc::clone(&text)));
        self.texts.insert(text, code);
        code
    }

    fn next(&mut self, bytes: usize) -> Option<u32> {
        if self.keys.len() > self.values_max || self.bytes + bytes > self.bytes_max {
            return None;
        }
        self.bytes += bytes;
        u32::try_from(self.keys.len()).ok().filter(|code| *code < UNKNOWN)
    }

    /// Bytes of memory held, about.
    pub(crate) fn bytes(&self) -> usize {
        // Texts come once, with the counters of their owners; maps and the list share them.
        let texts = self.bytes + self.texts.len() * 2 * size_of::<usize>();
        texts
            + self.keys.capacity() * size_of::<LabelKey>()
            + self.texts.capacity() * (size_of::<(Arc<str>, u32)>() + 1)
            + self.others.capacity() * (size_of::<(LabelKey, u32)>() + 1)
    }

    /// The value of a number.
    pub(crate) fn key(&self, code: u32) -> &LabelKey {
        &self.keys[code as usize]
    }

    /// How many numbers there are, [`NIL`] included.
    pub(crate) const fn len(&self) -> usize {
        self.keys.len()
    }
}

/// A batch's values of a property, ready to become numbers.
#[derive(Debug)]
pub(crate) struct Lookup<'a> {
    lanes: Vec<(Side, Lane<'a>, Vec<u32>)>,
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(property: Property<'a>) -> Result<Self, EvalError> {
        let table = |lane: &Lane<'_>| match lane {
            Lane::Text(array) => Ok(vec![UNKNOWN; texts_of(array)?.len()]),
            Lane::Status(_) | Lane::Kind(_) => Ok(vec![UNKNOWN; SMALL]),
            _ => Ok(Vec::new()),
        };
        let lanes =
            property.lanes.into_iter().map(|(side, lane)| table(&lane).map(|table| (side, lane, table)));
        Ok(Self { lanes: lanes.collect::<Result<_, EvalError>>()? })
    }

    /// Numbers of the rows' first values.
    pub(crate) fn fill(&mut self, codes: &mut ValueCodes, rows: PickedRows<'_>, out: &mut Vec<u32>) {
        out.clear();
        out.resize(rows.len(), NIL);
        // The first lane that has a value counts: it writes last.
        for (side, lane, table) in self.lanes.iter_mut().rev() {
            fill_lane(lane, table, codes, rows.of(*side), out);
        }
    }
}

/// Numbers of status and kind are smaller.
const SMALL: usize = 8;

fn texts_of(array: &DictionaryArray<Int32Type>) -> Result<&StringArray, EvalError> {
    array
        .values()
        .as_string_opt()
        .ok_or_else(|| EvalError::Batch("a dictionary of other values than text".into()))
}

fn fill_lane(lane: &Lane<'_>, table: &mut [u32], codes: &mut ValueCodes, rows: &[u32], out: &mut [u32]) {
    match lane {
        Lane::Text(array) => fill_text(array, table, codes, rows, out),
        Lane::Status(array) => fill_small(array, table, rows, out, |number| {
            codes.key_code(LabelKey::Status(Status::from_number(number)))
        }),
        Lane::Kind(array) => fill_small(array, table, rows, out, |number| {
            codes.key_code(LabelKey::Kind(Kind::from_number(number)))
        }),
        Lane::Sparse(items) => {
            for_each_first(items, rows, |at, value| out[at] = codes.code(value));
        }
        _ => fill_with(codes, rows, out, |row| lane.first(row)),
    }
}

fn fill_text(
    array: &DictionaryArray<Int32Type>,
    table: &mut [u32],
    codes: &mut ValueCodes,
    rows: &[u32],
    out: &mut [u32],
) {
    let texts = array.values().as_string::<i32>();
    let keys = array.keys().values();
    let mut put = |out: &mut u32, row: u32| {
        let key = keys[row as usize] as usize;
        let code = table[key];
        if code != UNKNOWN {
            *out = code;
        } else if texts.is_valid(key) {
            table[key] = codes.text(texts.value(key));
            *out = table[key];
        }
    };
    match array.keys().nulls().filter(|nulls| nulls.null_count() > 0) {
        None => out.iter_mut().zip(rows).for_each(|(out, row)| put(out, *row)),
        Some(nulls) => {
            for (out, row) in out.iter_mut().zip(rows) {
                if nulls.is_valid(*row as usize) {
                    put(out, *row);
                }
            }
        }
    }
}

fn fill_with<'v>(
    codes: &mut ValueCodes,
    rows: &[u32],
    out: &mut [u32],
    value_of: impl Fn(usize) -> Option<Value<'v>>,
) {
    let mut last: Option<(Value<'_>, u32)> = None;
    for (out, row) in out.iter_mut().zip(rows) {
        let Some(value) = value_of(*row as usize) else { continue };
        *out = match last {
            Some((seen, code)) if seen == value => code,
            _ => {
                let code = codes.code(value);
                last = Some((value, code));
                code
            }
        };
    }
}

fn fill_small(
    array: &Int32Array,
    table: &mut [u32],
    rows: &[u32],
    out: &mut [u32],
    mut code_of: impl FnMut(i32) -> u32,
) {
    for (out, row) in out.iter_mut().zip(rows) {
        let row = *row as usize;
        if array.is_null(row) {
            continue;
        }
        // Numbers that nobody knows are all as the largest.
        let number = usize::try_from(array.value(row)).unwrap_or_default().min(SMALL - 1);
        let code = &mut table[number];
        if *code == UNKNOWN {
            *code = code_of(number as i32);
        }
        *out = *code;
    }
}

/// Gives the first value of each of the rows that have any, with the row's place in `rows`; both ascend.
pub(crate) fn for_each_first<'v>(
    items: &[(u32, Value<'v>)],
    rows: &[u32],
    mut take: impl FnMut(usize, Value<'v>),
) {
    let Some(start) = rows.first() else { return };
    let mut next = items.partition_point(|(row, _)| row < start);
    for (at, row) in rows.iter().enumerate() {
        while items.get(next).is_some_and(|(other, _)| other < row) {
            next += 1;
        }
        match items.get(next) {
            Some((other, value)) if other == row => take(at, *value),
            Some(_) => {}
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(lanes: Vec<Lane<'_>>, rows: &[u32]) -> Vec<LabelKey> {
        let mut codes = ValueCodes::new(100, 1000);
        let mut out = Vec::new();
        Lookup::new(Property::of(lanes)).unwrap().fill(&mut codes, PickedRows::same(rows), &mut out);
        out.into_iter().map(|code| codes.key(code).clone()).collect()
    }

    #[test]
    fn the_first_lane_with_a_value_counts() {
        let text: DictionaryArray<Int32Type> = [Some("a"), None, None, Some("a")].into_iter().collect();
        let sparse = vec![(0, Value::Int(1)), (1, Value::Int(2)), (1, Value::Int(3)), (3, Value::Bool(true))];
        let found = keys(vec![Lane::Text(&text), Lane::Sparse(sparse)], &[0, 1, 2, 3]);
        assert_eq!(found, [LabelKey::text("a"), LabelKey::Int(2), LabelKey::Nil, LabelKey::text("a")]);
    }

    #[test]
    fn rows_are_picked() {
        let numbers = Int32Array::from(vec![0, 1, 2, 5]);
        let found = keys(vec![Lane::Status(&numbers)], &[1, 2]);
        assert_eq!(found, [LabelKey::Status(Status::Ok), LabelKey::Status(Status::Error)]);
        let found = keys(vec![Lane::Kind(&numbers)], &[0, 3]);
        assert_eq!(found, [LabelKey::Kind(Kind::Unspecified), LabelKey::Kind(Kind::Consumer)]);
        let found = keys(vec![Lane::Sparse(vec![(1, Value::Int(7)), (3, Value::Int(8))])], &[2, 3]);
        assert_eq!(found, [LabelKey::Nil, LabelKey::Int(8)]);
    }

    #[test]
    fn room_is_bounded_by_number_and_by_bytes() {
        let mut codes = ValueCodes::new(2, 10);
        assert_eq!([codes.text("a"), codes.text("b"), codes.text("c"), codes.text("b")], [1, 2, DROPPED, 2]);
        let mut codes = ValueCodes::new(20, 10);
        assert_eq!([codes.text("0123456789"), codes.text("b"), codes.code(Value::Int(1))], [1, DROPPED, 2]);
    }
}
