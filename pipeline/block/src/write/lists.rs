//! Chunks of lists' leaves, encoded here and not by the Parquet library: it looks at each row for each leaf anew, and most
//! rows have no list.
//! Owns: the levels of nullable lists of structs, in which there may be such lists again.
//! Does not own: how values are encoded (`encoder`).

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::LevelHistogram;
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{Chunk, PageCounts, PageLevels};
use super::encoder::{Cells, Encoder};
use super::runs::{bit_width, put_numbers, put_prefixed};

/// Levels of a list: it is null, it is empty, it has an element.
const LEVELS: u8 = 2;

/// What all leaves of a list share, in the order of the rows.
#[derive(Debug, Default)]
struct Elements {
    reps: Vec<u8>,
    /// Definition levels; a leaf adds one if it is nullable and has a value.
    defs: Vec<u8>,
    /// Which of the levels are of an element, and its number. The others, which are most, are of null or empty lists.
    elements: Vec<(usize, usize)>,
}

/// What all leaves have in a page.
#[derive(Debug)]
struct Cut {
    rows: usize,
    levels: Range<usize>,
    /// Those of `Elements::elements` that are in it.
    elements: Range<usize>,
    /// The repetition levels as a page has them.
    reps: Vec<u8>,
    /// How often each level is there.
    rep_counts: Vec<i64>,
    def_counts: Vec<i64>,
}

/// A leaf to be encoded.
struct Leaf<'a> {
    elements: &'a Elements,
    pages: &'a [Cut],
    values: &'a dyn Array,
    /// Its definition levels.
    defs: &'a [u8],
    nullable: bool,
    depth: u8,
}

/// Some rows of a leaf.
struct Page<'a> {
    leaf: &'a Leaf<'a>,
    cut: &'a Cut,
    values: usize,
}

/// Leaf columns of a type.
pub(super) fn leaf_count(data_type: &DataType) -> usize {
    match data_type {
        DataType::List(item) => leaf_count(item.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| leaf_count(field.data_type())).sum(),
        _ => 1,
    }
}

/// The chunks of a column's leaves; none if the Parquet library is to encode them.
pub(super) fn encode(
    encoder: &mut Encoder,
    leaves: &[ColumnDescPtr],
    array: &ArrayRef,
) -> Result<Option<Vec<Chunk>>, ParquetError> {
    let Some(list) = array.as_list_opt::<i32>() else { return Ok(None) };
    let rows = Elements {
        reps: vec![0; list.len()],
        defs: vec![0; list.len()],
        elements: (0..list.len()).map(|row| (row, row)).collect(),
    };
    let mut chunks = Vec::with_capacity(leaves.len());
    Ok(below(encoder, &mut leaves.iter(), &rows, list, 1, &mut chunks)?.then_some(chunks))
}

/// Adds the chunks of a list's leaves. False if it is not of those that are encoded here.
fn below<'a>(
    encoder: &mut Encoder,
    leaves: &mut impl Iterator<Item = &'a ColumnDescPtr>,
    outer: &Elements,
    list: &ListArray,
    depth: u8,
    chunks: &mut Vec<Chunk>,
) -> Result<bool, ParquetError> {
    let Some(items) = list.values().as_struct_opt().filter(|items| items.null_count() == 0) else {
        return Ok(false);
    };
    let elements = outer.of(list, depth);
    let pages = elements.pages(encoder.page_rows_max(), depth);
    for (field, member) in items.fields().iter().zip(items.columns()) {
        if let Some(list) = member.as_list_opt::<i32>() {
            if !below(encoder, leaves, &elements, list, depth + 1, chunks)? {
                return Ok(false);
            }
            continue;
        }
        let nullable = field.is_nullable();
        let max_def = LEVELS * depth + u8::from(nullable);
        let leaf = leaves.next().filter(|leaf| leaf.max_def_level() == i16::from(max_def));
        let Some(leaf) = leaf else { return Ok(false) };
        let defs = if nullable { elements.defs_of(member) } else { Vec::new() };
        let defs = if nullable { &defs } else { &elements.defs };
        let cells = Leaf { elements: &elements, pages: &pages, values: member, defs, nullable, depth };
        let Some(chunk) = encoder.encode(leaf, member, &cells)? else { return Ok(false) };
        chunks.push(chunk);
    }
    Ok(true)
}

impl Elements {
    /// The elements of lists, of which each is an element here.
    fn of(&self, list: &ListArray, depth: u8) -> Self {
        let levels = self.reps.len() + list.values().len();
        let mut below = Self::default();
        below.reps.reserve(levels);
        below.defs.reserve(levels);
        below.elements.reserve(list.values().len());
        let offsets = list.value_offsets();
        let mut passed = 0;
        // What is of no list stays as it is, and most is not.
        for &(level, number) in self.elements.iter().filter(|(_, number)| list.is_valid(*number)) {
            below.reps.extend_from_slice(&self.reps[passed..=level]);
            below.defs.extend_from_slice(&self.defs[passed..level]);
            passed = level + 1;
            let own = offsets[number] as usize..offsets[number + 1] as usize;
            if own.is_empty() {
                below.defs.push(self.defs[level] + 1);
                continue;
            }
            let first = below.defs.len();
            below.reps.extend(std::iter::repeat_n(depth, own.len() - 1));
            below.defs.extend(std::iter::repeat_n(self.defs[level] + LEVELS, own.len()));
            below.elements.extend((first..).zip(own));
        }
        below.reps.extend_from_slice(&self.reps[passed..]);
        below.defs.extend_from_slice(&self.defs[passed..]);
        below
    }

    /// Definition levels of a nullable leaf.
    fn defs_of(&self, values: &dyn Array) -> Vec<u8> {
        let mut defs = self.defs.clone();
        with_value(&self.elements, values).for_each(|(level, _)| defs[level] += 1);
        defs
    }

    /// What is in pages of so many rows.
    fn pages(&self, rows_max: usize, depth: u8) -> Vec<Cut> {
        let starts = self.reps.iter().enumerate().filter(|(_, rep)| **rep == 0).map(|(level, _)| level);
        let starts: Vec<usize> = starts.collect();
        let ends = starts.iter().skip(rows_max).step_by(rows_max).copied().chain([self.reps.len()]);
        let pages = starts.chunks(rows_max).zip(ends).map(|(rows, end)| {
            let levels = rows[0]..end;
            let mut reps = Vec::new();
            put_levels(&mut reps, &self.reps[levels.clone()], depth);
            let element = |level: usize| self.elements.partition_point(|(before, _)| *before < level);
            Cut {
                rows: rows.len(),
                elements: element(levels.start)..element(levels.end),
                reps,
                rep_counts: histogram(&self.reps[levels.clone()], depth),
                def_counts: histogram(&self.defs[levels.clone()], LEVELS * depth),
                levels,
            }
        });
        pages.collect()
    }
}

/// The elements of which a leaf has a value.
fn with_value<'a>(
    elements: &'a [(usize, usize)],
    values: &'a dyn Array,
) -> impl Iterator<Item = (usize, usize)> + 'a {
    let all = values.null_count() == 0;
    let none = values.null_count() == values.len();
    let elements = if none { &[] } else { elements };
    elements.iter().copied().filter(move |(_, number)| all || values.is_valid(*number))
}

fn put_levels(out: &mut Vec<u8>, levels: &[u8], max: u8) {
    put_prefixed(out, |out| put_numbers(out, levels, bit_width(usize::from(max) + 1)));
}

fn histogram(levels: &[u8], max: u8) -> Vec<i64> {
    let mut counts = vec![0; usize::from(max) + 1];
    levels.iter().for_each(|level| counts[usize::from(*level)] += 1);
    counts
}

impl Cells for Leaf<'_> {
    fn each(&self, mut place: impl FnMut(usize)) {
        with_value(&self.elements.elements, self.values).for_each(|(_, number)| place(number));
    }

    fn pages(&self) -> impl Iterator<Item = impl PageLevels> {
        self.pages.iter().map(|cut| {
            let values = with_value(&self.elements.elements[cut.elements.clone()], self.values).count();
            Page { leaf: self, cut, values }
        })
    }
}

impl PageLevels for Page<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cut.reps);
        let Leaf { defs, nullable, depth, .. } = self.leaf;
        put_levels(out, &defs[self.cut.levels.clone()], LEVELS * depth + u8::from(*nullable));
    }

    fn counts(&self) -> PageCounts {
        PageCounts { rows: self.cut.rows, levels: self.cut.levels.len(), values: self.values }
    }

    fn histograms(&self) -> [Option<LevelHistogram>; 2] {
        let mut defs = self.cut.def_counts.clone();
        if self.leaf.nullable {
            let values = self.values as i64;
            *defs.last_mut().expect("a list has levels") -= values;
            defs.push(values);
        }
        [Some(self.cut.rep_counts.clone().into()), Some(defs.into())]
    }
}
