//! Chunks of lists' leaves, encoded here and not by the Parquet library: it looks at each row for each leaf anew, and most
//! rows have no list.
//! Owns: the levels of nullable lists of structs, in which there may be such lists again.
//! Does not own: how values are encoded (`encoder`).

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::LevelHistogram;
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{Chunk, PageCounts, PageLevels};
use super::encoder::{Cells, Encoder};
use super::runs::{bit_width, put_numbers, put_prefixed};

/// Levels of a list: it is null, it is empty, it has an element.
const LEVELS: u32 = 2;
/// No element.
const NONE: u32 = u32::MAX;

/// What all leaves of a list share, in the order of the rows.
#[derive(Debug, Default)]
struct Elements {
    reps: Vec<u32>,
    /// Definition levels; a leaf adds one if it is nullable and has a value.
    defs: Vec<u32>,
    /// Which element each level is of; [`NONE`] where a list is null or empty.
    numbers: Vec<u32>,
}

/// A leaf to be encoded.
struct Leaf<'a> {
    elements: &'a Elements,
    values: &'a dyn Array,
    /// Its definition levels.
    defs: &'a [u32],
    max_rep: u32,
    max_def: u32,
}

/// Some rows of a leaf.
struct Page<'a> {
    leaf: &'a Leaf<'a>,
    rows: usize,
    reps: &'a [u32],
    defs: &'a [u32],
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
        numbers: (0..).take(list.len()).collect(),
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
    depth: u32,
    chunks: &mut Vec<Chunk>,
) -> Result<bool, ParquetError> {
    let Some(items) = list.values().as_struct_opt().filter(|items| items.null_count() == 0) else {
        return Ok(false);
    };
    let elements = outer.of(list, depth);
    for (field, member) in items.fields().iter().zip(items.columns()) {
        if let Some(list) = member.as_list_opt::<i32>() {
            if !below(encoder, leaves, &elements, list, depth + 1, chunks)? {
                return Ok(false);
            }
            continue;
        }
        let nullable = u32::from(field.is_nullable());
        let leaf = leaves.next().filter(|leaf| leaf.max_def_level() as u32 == LEVELS * depth + nullable);
        let Some(leaf) = leaf else { return Ok(false) };
        let defs = if nullable == 0 { Vec::new() } else { elements.defs_of(member) };
        let cells = Leaf {
            elements: &elements,
            values: member,
            defs: if nullable == 0 { &elements.defs } else { &defs },
            max_rep: depth,
            max_def: LEVELS * depth + nullable,
        };
        let Some(chunk) = encoder.encode(leaf, member, &cells)? else { return Ok(false) };
        chunks.push(chunk);
    }
    Ok(true)
}

impl Elements {
    /// The elements of lists, of which each is an element here.
    fn of(&self, list: &ListArray, depth: u32) -> Self {
        let levels = self.reps.len() + list.values().len();
        let mut elements = Self::default();
        let Self { reps, defs, numbers } = &mut elements;
        reps.reserve(levels);
        defs.reserve(levels);
        numbers.reserve(levels);
        let offsets = list.value_offsets();
        for ((&rep, &def), &number) in self.reps.iter().zip(&self.defs).zip(&self.numbers) {
            let lists = number as usize;
            let own = if number == NONE || list.is_null(lists) {
                0..0
            } else {
                offsets[lists] as u32..offsets[lists + 1] as u32
            };
            if own.is_empty() {
                reps.push(rep);
                defs.push(def + u32::from(number != NONE && list.is_valid(lists)));
                numbers.push(NONE);
                continue;
            }
            reps.push(rep);
            reps.extend(std::iter::repeat_n(depth, own.len() - 1));
            defs.extend(std::iter::repeat_n(def + LEVELS, own.len()));
            numbers.extend(own);
        }
        elements
    }

    /// Definition levels of a nullable leaf.
    fn defs_of(&self, values: &dyn Array) -> Vec<u32> {
        let levels = self.defs.iter().zip(&self.numbers);
        levels.map(|(def, number)| def + u32::from(has_value(*number, values))).collect()
    }
}

fn has_value(number: u32, values: &dyn Array) -> bool {
    number != NONE && values.is_valid(number as usize)
}

impl Cells for Leaf<'_> {
    fn each(&self, place: impl FnMut(usize)) {
        let numbers = self.elements.numbers.iter().copied();
        numbers
            .filter(|number| has_value(*number, self.values))
            .map(|number| number as usize)
            .for_each(place);
    }

    fn pages(&self, rows_max: usize) -> impl Iterator<Item = impl PageLevels> {
        let reps = &self.elements.reps;
        let starts = reps.iter().enumerate().filter(|(_, rep)| **rep == 0).map(|(at, _)| at);
        let rows = starts.clone().count();
        let starts: Vec<usize> = starts.step_by(rows_max).chain([reps.len()]).collect();
        (0..starts.len() - 1).map(move |page| {
            let levels = starts[page]..starts[page + 1];
            let defs = &self.defs[levels.clone()];
            let values = defs.iter().filter(|def| **def == self.max_def).count();
            let rows = rows_max.min(rows - page * rows_max);
            Page { leaf: self, rows, reps: &reps[levels], defs, values }
        })
    }
}

impl PageLevels for Page<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        for (levels, max) in [(self.reps, self.leaf.max_rep), (self.defs, self.leaf.max_def)] {
            put_prefixed(out, |out| put_numbers(out, levels, bit_width(max as usize + 1)));
        }
    }

    fn counts(&self) -> PageCounts {
        PageCounts { rows: self.rows, levels: self.defs.len(), values: self.values }
    }

    fn histograms(&self) -> [Option<LevelHistogram>; 2] {
        [(self.reps, self.leaf.max_rep), (self.defs, self.leaf.max_def)].map(|(levels, max)| {
            let mut counts = vec![0_i64; max as usize + 1];
            levels.iter().for_each(|level| counts[*level as usize] += 1);
            Some(counts.into())
        })
    }
}
