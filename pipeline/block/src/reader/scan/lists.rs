//! Columns of lists as blocks have them: nullable lists of structs, in which there may be such lists again.
//! The Parquet library looks at each row of each leaf in turn, and most rows have no list at all.
//! Owns: which rows and elements have a value, and putting the leaves together. Does not own: the values (`values`).
//! Guarantee: damaged pages give an error, never other rows.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, BooleanBufferBuilder, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use parquet::column::page::Page;
use parquet::file::metadata::ColumnChunkMetaData;

use super::values::{Decoded, Form, Picked, Values, form};
use crate::reader::hybrid::Hybrid;
use crate::reader::levels::prefixed;
use crate::reader::page_rows::PageRows;
use crate::reader::pages::Chunk;
use crate::schema::item;

/// Levels of a list: it is null, it is empty, it has an element.
const LEVELS: i32 = 2;
/// Levels looked at at once, where it does not matter which of them begin a row.
const STEP: usize = 64;

/// Encoded levels, the largest of them that there can be, and how many they are.
type Encoded<'a> = (&'a [u8], u8, usize);

/// Levels that were decoded: the leaves of a list mostly have the same.
#[derive(Debug, Default)]
pub(super) struct KnownLevels<'a>(HashMap<Encoded<'a>, Rc<Vec<u8>>>);

impl<'a> KnownLevels<'a> {
    /// So many levels. None if the bytes end early.
    fn get(&mut self, bytes: &'a [u8], max: u8, count: usize) -> Option<Rc<Vec<u8>>> {
        let place = match self.0.entry((bytes, max, count)) {
            Entry::Occupied(known) => return Some(Rc::clone(known.get())),
            Entry::Vacant(place) => place,
        };
        let mut levels = Vec::new();
        let width = (u8::BITS - max.leading_zeros()) as usize;
        Hybrid::new(bytes, width)?.take(count, &mut levels)?;
        Some(Rc::clone(place.insert(Rc::new(levels))))
    }
}

/// A leaf in the rows asked for.
#[derive(Debug)]
pub(super) struct Leaf {
    /// Repetition and definition levels, as many of one as of the other.
    reps: Vec<u8>,
    defs: Vec<u8>,
    /// One for each element of the innermost list that the leaf is in.
    values: ArrayRef,
}

/// The leaf's part of the rows asked for; none if the Parquet library is to decode it.
pub(super) fn leaf<'a>(
    meta: &ColumnChunkMetaData,
    data_type: &DataType,
    chunk: Chunk<'a>,
    known: Option<&OnceLock<ArrayRef>>,
    levels: &mut KnownLevels<'a>,
) -> Decoded<Option<Leaf>> {
    let Some(form) = form(meta, data_type, chunk) else { return Ok(None) };
    let description = meta.column_descr();
    let max_rep = u8::try_from(description.max_rep_level())?;
    let max_def = u8::try_from(description.max_def_level())?;
    let mut found = Rows {
        max_rep,
        max_def,
        reps: Vec::new(),
        defs: Vec::new(),
        valid: BooleanBufferBuilder::new(0),
        picked: Picked::new(form, 0),
    };
    for (rows, page) in chunk.pages().filter(|(rows, _)| rows.count > 0) {
        found.page(page, form, rows, levels).ok_or("a page is cut off")?;
    }
    let Rows { reps, defs, mut valid, picked, .. } = found;
    let values =
        picked.into_column(data_type, Some(valid.finish()), chunk.dictionary, known)?.into_array()?;
    Ok(Some(Leaf { reps, defs, values }))
}

/// The column, of so many rows, from those of its leaves that have values: by their numbers in it.
pub(super) fn column(column: &Field, leaves: &BTreeMap<usize, Leaf>, rows: usize) -> Decoded<ArrayRef> {
    let DataType::List(item) = column.data_type() else { return Err("a column is no list".into()) };
    let array = list(item, 1, &mut 0, leaves)?.ok_or("a list has no leaf")?;
    if array.len() != rows {
        return Err("fewer rows than asked for".into());
    }
    Ok(array)
}

/// The types of a column's leaves; none if its lists are not as ours are.
pub(super) fn leaf_types(column: &Field) -> Option<Vec<&DataType>> {
    let mut types = Vec::new();
    add_leaf_types(column, &mut types)?;
    Some(types)
}

fn add_leaf_types<'a>(field: &'a Field, types: &mut Vec<&'a DataType>) -> Option<()> {
    match field.data_type() {
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) if field.is_nullable() && !item.is_nullable() => {
                fields.iter().try_for_each(|field| add_leaf_types(field, types))
            }
            _ => None,
        },
        DataType::Struct(_) => None,
        leaf => {
            types.push(leaf);
            Some(())
        }
    }
}

/// The rows of a leaf picked so far.
#[derive(Debug)]
struct Rows {
    max_rep: u8,
    max_def: u8,
    reps: Vec<u8>,
    defs: Vec<u8>,
    /// Which elements have a value.
    valid: BooleanBufferBuilder,
    picked: Picked,
}

impl Rows {
    /// Adds the rows of a page. None if the page ends early or its levels are none of a leaf.
    fn page<'a>(
        &mut self,
        page: &'a Page,
        form: Form,
        rows: &PageRows,
        levels: &mut KnownLevels<'a>,
    ) -> Option<()> {
        let count = page.num_values() as usize;
        let (reps, rest) = prefixed(page.buffer())?;
        let (defs, rest) = prefixed(rest)?;
        let (reps, defs) = (levels.get(reps, self.max_rep, count)?, levels.get(defs, self.max_def, count)?);
        let mut values = Values::new(form, rest)?;
        let element = LEVELS * i32::from(self.max_rep);
        let mut starts = Starts { reps: &reps, rows: rows.bits.len(), row: 0, at: 0 };
        let mut at = 0;
        for range in &rows.ranges {
            let (start, end) = (starts.of(range.start)?, starts.of(range.end)?);
            let count = |defs: &[u8]| defs.iter().map(|def| usize::from(*def == self.max_def)).sum();
            let asked = &defs[start..end];
            let there = count(asked);
            values.skip(count(&defs[at..start]))?;
            values.take(there, &mut self.picked)?;
            self.reps.extend_from_slice(&reps[start..end]);
            self.defs.extend_from_slice(asked);
            if i32::from(self.max_def) == element {
                self.valid.append_n(there, true);
            } else {
                let elements = asked.iter().filter(|def| i32::from(**def) >= element);
                elements.for_each(|def| self.valid.append(*def == self.max_def));
            }
            at = end;
        }
        Some(())
    }
}

/// Where rows begin among the levels of a page: at each repetition level of 0.
struct Starts<'a> {
    reps: &'a [u8],
    rows: usize,
    /// A row, and where it begins.
    row: usize,
    at: usize,
}

impl Starts<'_> {
    /// Where a row begins that is not before the last one asked for. None if there are more or fewer rows.
    fn of(&mut self, row: usize) -> Option<usize> {
        if self.reps.len() == self.rows {
            // One level for each row.
            return Some(row);
        }
        if self.at == 0 && self.reps.first() != Some(&0) {
            return None;
        }
        // Rows that still have to begin, and where to look for the next of them.
        let (mut left, mut next) = (row - self.row, self.at + 1);
        while left > STEP
            && let Some(reps) = self.reps.get(next..next + STEP)
        {
            left -= reps.iter().map(|rep| usize::from(*rep == 0)).sum::<usize>();
            next += STEP;
        }
        for _ in 0..left {
            let reps = self.reps.get(next..)?;
            self.at = next + reps.iter().position(|rep| *rep == 0).unwrap_or(reps.len());
            next = self.at + 1;
        }
        self.row = row;
        ((row == self.rows) == (self.at == self.reps.len())).then_some(self.at)
    }
}

/// The lists of a depth, 1 for the outermost. `next` is the number of their first leaf, and then of what follows them.
/// None if no leaf of them has values.
fn list(
    of: &FieldRef,
    depth: i32,
    next: &mut usize,
    leaves: &BTreeMap<usize, Leaf>,
) -> Decoded<Option<ArrayRef>> {
    let DataType::Struct(fields) = of.data_type() else { return Err("a list is not of structs".into()) };
    let start = *next;
    let mut members: Vec<(FieldRef, ArrayRef)> = Vec::with_capacity(fields.len());
    for field in fields {
        let member = match field.data_type() {
            DataType::List(of) => list(of, depth + 1, next, leaves)?,
            _ => {
                *next += 1;
                leaves.get(&(*next - 1)).map(|leaf| Arc::clone(&leaf.values))
            }
        };
        if let Some(member) = member {
            let field = field.as_ref().clone().with_data_type(member.data_type().clone());
            members.push((Arc::new(field), member));
        }
    }
    let Some((_, first)) = leaves.range(start..*next).next() else { return Ok(None) };
    let (offsets, lists) = first.lists(depth).ok_or("levels are none of lists")?;
    let elements = offsets.last().map_or(0, |end| *end as usize);
    if members.iter().any(|(_, member)| member.len() != elements) {
        return Err("leaves of a list have different elements".into());
    }
    let (fields, members): (Vec<FieldRef>, Vec<ArrayRef>) = members.into_iter().unzip();
    let fields = Fields::from(fields);
    let elements = StructArray::try_new_with_length(fields.clone(), members, None, elements)?;
    let offsets = OffsetBuffer::new(offsets.into());
    let nulls = Some(lists).filter(|lists| lists.null_count() > 0);
    Ok(Some(Arc::new(ListArray::try_new(item(fields), offsets, Arc::new(elements), nulls)?)))
}

impl Leaf {
    /// Where the elements of the lists of a depth end, and which of these lists are there. None if levels are wrong.
    fn lists(&self, depth: i32) -> Option<(Vec<i32>, NullBuffer)> {
        // What an outer list needs to have an element, and the list itself.
        let (outer, inner) = (LEVELS * (depth - 1), LEVELS * depth);
        let mut offsets = vec![0_i32];
        let mut there = BooleanBufferBuilder::new(self.reps.len());
        for (rep, def) in self.reps.iter().zip(&self.defs) {
            let (rep, def) = (i32::from(*rep), i32::from(*def));
            if rep < depth && def >= outer {
                there.append(def > outer);
                offsets.push(*offsets.last()?);
            }
            if rep <= depth && def >= inner {
                let end = offsets.last_mut()?;
                *end = end.checked_add(1)?;
            }
        }
        // Elements before the first list.
        (offsets[0] == 0).then(|| (offsets, NullBuffer::new(there.finish())))
    }
}
