//! Events and links of an open block.
//! Owns: their storage, and their form in Arrow (see `schema::event_fields` and `schema::link_fields`).

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, ListArray, StringBuilder, StructArray, TimestampNanosecondArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use vivace_model::wire::Fields;

use super::interner::Interner;
use super::items::Items;
use super::value::{DecodeError, key_value};
use crate::schema::{attribute_fields, event_fields, item, link_fields};

/// Elements of all rows, one after the other: which row each belongs to (ascending), and where its attributes end.
#[derive(Debug, Default)]
struct Elements {
    rows: Vec<u32>,
    attributes_end: Vec<u32>,
    attributes: Items,
}

impl Elements {
    fn rollback(&mut self, row: u32) -> usize {
        let kept = self.rows.partition_point(|&r| r < row);
        self.rows.truncate(kept);
        self.attributes_end.truncate(kept);
        self.attributes.truncate(self.attributes_end.last().map_or(0, |&end| end as usize));
        kept
    }

    fn attributes_of(&self, element: u32) -> std::ops::Range<u32> {
        let start = element.checked_sub(1).map_or(0, |before| self.attributes_end[before as usize]);
        start..self.attributes_end[element as usize]
    }

    /// Gives the row of each element with the bytes of its attributes and `own(element)` more.
    fn each_bytes(&self, own: impl Fn(usize) -> usize, add: &mut impl FnMut(u32, usize)) {
        for (element, &row) in self.rows.iter().enumerate() {
            let attributes = self.attributes_of(element as u32);
            let attributes = attributes.map(|item| self.attributes.column_bytes(item)).sum::<usize>();
            add(row, own(element) + attributes);
        }
    }

    /// The attribute lists of these elements.
    fn attribute_lists(&self, elements: &[u32]) -> ArrayRef {
        let ranges = || elements.iter().map(|&element| self.attributes_of(element));
        let values = self.attributes.to_array(ranges().flatten());
        Arc::new(list(attribute_fields(), ranges().map(|range| range.len()), values))
    }

    fn memory_bytes(&self) -> usize {
        4 * (self.rows.capacity() + self.attributes_end.capacity()) + self.attributes.memory_bytes()
    }
}

/// Bytes of an event's or link's members of fixed size, about.
const ELEMENT_BYTES: usize = 32;

/// Rows above which a table of starts is cheaper than a search for each.
const SEARCH_ROWS_MAX: usize = 1024;

/// For each selected row the numbers, in storage order, of the elements that belong to it: a range, as `rows` ascends.
fn ranges_of(rows: &[u32], selected: &[u32]) -> Vec<std::ops::Range<u32>> {
    let Some(&last) = rows.last() else {
        return vec![0..0; selected.len()];
    };
    if selected.len() <= SEARCH_ROWS_MAX {
        let end = |row: u32| rows.partition_point(|&r| r <= row) as u32;
        let start = |row: u32| rows.partition_point(|&r| r < row) as u32;
        return selected.iter().map(|&row| start(row)..end(row)).collect();
    }
    let mut ends = vec![0_u32; last as usize + 2];
    for &row in rows {
        ends[row as usize + 1] += 1;
    }
    for index in 1..ends.len() {
        ends[index] += ends[index - 1];
    }
    let range = |row: u32| {
        if row > last { 0..0 } else { ends[row as usize]..ends[row as usize + 1] }
    };
    selected.iter().map(|&row| range(row)).collect()
}

/// A list column from the length of each list and the values one after the other; an empty list is null.
pub(crate) fn list(
    fields: arrow::datatypes::Fields,
    lengths: impl Iterator<Item = usize> + Clone,
    values: ArrayRef,
) -> ListArray {
    let nulls: NullBuffer = lengths.clone().map(|length| length > 0).collect::<Vec<_>>().into();
    ListArray::new(item(fields), OffsetBuffer::from_lengths(lengths), values, Some(nulls))
}

/// The list of each selected row, from the rows of all elements and a maker of the elements' struct array.
fn lists_of(
    fields: arrow::datatypes::Fields,
    element_rows: &[u32],
    selected: &[u32],
    make: impl FnOnce(&[u32]) -> ArrayRef,
) -> ArrayRef {
    let ranges = ranges_of(element_rows, selected);
    let elements: Vec<u32> = ranges.iter().cloned().flatten().collect();
    Arc::new(list(fields, ranges.iter().map(ExactSizeIterator::len), make(&elements)))
}

/// Events of an open block. `Span.Event`: 1 time, 2 name, 3 attributes, 4 dropped_attributes_count.
#[derive(Debug, Default)]
pub(crate) struct Events {
    elements: Elements,
    times: Vec<u64>,
    names: Vec<u32>,
    interner: Interner,
    dropped: Vec<u32>,
}

impl Events {
    pub(crate) fn push(&mut self, row: u32, message: &[u8]) -> Result<(), DecodeError> {
        let (mut time, mut name, mut dropped) = (0, &message[..0], 0);
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => time = field.fixed64()?,
                2 => name = field.bytes()?,
                3 => {
                    let (key, value) = key_value(field.bytes()?)?;
                    self.elements.attributes.push(key, value)?;
                }
                4 => dropped = field.varint()? as u32,
                _ => {}
            }
        }
        self.names.push(self.interner.intern(name)?);
        self.times.push(time);
        self.dropped.push(dropped);
        self.elements.rows.push(row);
        self.elements.attributes_end.push(self.elements.attributes.len() as u32);
        Ok(())
    }

    pub(crate) fn rollback(&mut self, row: u32) {
        let kept = self.elements.rollback(row);
        self.times.truncate(kept);
        self.names.truncate(kept);
        self.dropped.truncate(kept);
    }

    /// The events of each selected row.
    pub(crate) fn to_array(&self, selected: &[u32]) -> ArrayRef {
        lists_of(event_fields(), &self.elements.rows, selected, |events| {
            let at = || events.iter().map(|&event| event as usize);
            let mut names = StringBuilder::new();
            at().for_each(|event| names.append_value(self.interner.get(self.names[event])));
            let arrays: Vec<ArrayRef> = vec![
                Arc::new(TimestampNanosecondArray::from_iter_values(at().map(|e| self.times[e] as i64))),
                Arc::new(names.finish()),
                Arc::new(UInt32Array::from_iter_values(at().map(|e| self.dropped[e]))),
                self.elements.attribute_lists(events),
            ];
            Arc::new(StructArray::new(event_fields(), arrays, None))
        })
    }

    /// Gives the row of each event with its bytes.
    pub(crate) fn each_bytes(&self, add: &mut impl FnMut(u32, usize)) {
        let own = |event: usize| ELEMENT_BYTES + self.interner.bytes(self.names[event]).len();
        self.elements.each_bytes(own, add);
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.elements.memory_bytes() + 16 * self.times.capacity() + self.interner.memory_bytes()
    }
}

#[derive(Debug)]
struct Link {
    trace_id: Box<[u8]>,
    span_id: Box<[u8]>,
    trace_state: Box<str>,
    flags: u32,
    dropped: u32,
}

/// Links of an open block. `Span.Link`: 1 trace_id, 2 span_id, 3 trace_state, 4 attributes,
/// 5 dropped_attributes_count, 6 flags.
#[derive(Debug, Default)]
pub(crate) struct Links {
    elements: Elements,
    links: Vec<Link>,
    memory_bytes: usize,
}

impl Links {
    pub(crate) fn push(&mut self, row: u32, message: &[u8]) -> Result<(), DecodeError> {
        let none = &message[..0];
        let (mut trace_id, mut span_id, mut trace_state) = (none, none, none);
        let (mut flags, mut dropped) = (0, 0);
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => trace_id = field.bytes()?,
                2 => span_id = field.bytes()?,
                3 => trace_state = field.bytes()?,
                4 => {
                    let (key, value) = key_value(field.bytes()?)?;
                    self.elements.attributes.push(key, value)?;
                }
                5 => dropped = field.varint()? as u32,
                6 => flags = field.fixed32()?,
                _ => {}
            }
        }
        let trace_state = std::str::from_utf8(trace_state)?;
        self.memory_bytes += size_of::<Link>() + trace_id.len() + span_id.len() + trace_state.len();
        self.links.push(Link {
            trace_id: trace_id.into(),
            span_id: span_id.into(),
            trace_state: trace_state.into(),
            flags,
            dropped,
        });
        self.elements.rows.push(row);
        self.elements.attributes_end.push(self.elements.attributes.len() as u32);
        Ok(())
    }

    pub(crate) fn rollback(&mut self, row: u32) {
        let kept = self.elements.rollback(row);
        self.links.truncate(kept);
    }

    /// The links of each selected row.
    pub(crate) fn to_array(&self, selected: &[u32]) -> ArrayRef {
        lists_of(link_fields(), &self.elements.rows, selected, |numbers| {
            let links = || numbers.iter().map(|&link| &self.links[link as usize]);
            let (mut trace_ids, mut span_ids) = (BinaryBuilder::new(), BinaryBuilder::new());
            let mut trace_states = StringBuilder::new();
            for link in links() {
                trace_ids.append_value(&link.trace_id);
                span_ids.append_value(&link.span_id);
                trace_states.append_option(Some(&link.trace_state).filter(|text| !text.is_empty()));
            }
            let arrays: Vec<ArrayRef> = vec![
                Arc::new(trace_ids.finish()),
                Arc::new(span_ids.finish()),
                Arc::new(trace_states.finish()),
                Arc::new(UInt32Array::from_iter_values(links().map(|link| link.flags))),
                Arc::new(UInt32Array::from_iter_values(links().map(|link| link.dropped))),
                self.elements.attribute_lists(numbers),
            ];
            Arc::new(StructArray::new(link_fields(), arrays, None))
        })
    }

    /// Gives the row of each link with its bytes.
    pub(crate) fn each_bytes(&self, add: &mut impl FnMut(u32, usize)) {
        let own = |link: usize| {
            let Link { trace_id, span_id, trace_state, .. } = &self.links[link];
            ELEMENT_BYTES + trace_id.len() + span_id.len() + trace_state.len()
        };
        self.elements.each_bytes(own, add);
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.elements.memory_bytes() + self.memory_bytes
    }
}
