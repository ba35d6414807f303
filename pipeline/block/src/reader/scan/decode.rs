//! Bytes of a row group to batches of columns.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowSelection};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Type;
use vivace_model::scan::TraceRuns;

use super::values::Decoded;
use super::{Block, flat, lists};
use crate::complete::complete;
use crate::reader::fetched::Fetched;
use crate::reader::pages::{Kept, Pages};
use crate::schema::{AttributeScope, TRACE_ID, fixed_fields};

/// Rows decoded at once: what is decoded should stay in the processor's cache while it is put in its place.
const DECODE_ROWS_MAX: usize = 32_768;

/// The columns, by their numbers in the schema, of the rows. `leaves` are those leaf columns of them that were read.
pub(super) fn columns(
    block: &Block,
    group: usize,
    columns: &[usize],
    leaves: &[usize],
    rows: &[Range<usize>],
    fetched: &Arc<Fetched>,
    kept: Option<&[Kept]>,
) -> Decoded<RecordBatch> {
    let read = read(block, group, leaves, rows, fetched, kept)?;
    let count = rows.iter().map(Range::len).sum();
    let (mut fields, mut arrays) = (Vec::with_capacity(columns.len()), Vec::with_capacity(columns.len()));
    let fixed = fixed_fields();
    for &column in columns {
        let own = block.index.schema.field(column);
        let target = fixed.iter().find(|field| field.name() == own.name());
        let leaf = block.leaves[column].start;
        let array = read.own.get(&leaf);
        let array = array.or_else(|| read.others.as_ref()?.column_by_name(own.name()));
        let (field, array) = match (target, array) {
            (Some(target), Some(array)) => (target.clone(), complete(array, target.data_type())?),
            (Some(target), None) if target.is_nullable() || count == 0 => {
                (target.clone(), new_null_array(target.data_type(), count))
            }
            (Some(target), None) => return Err(format!("column {} has no value", target.name()).into()),
            (None, Some(array)) => promoted(own, array)?,
            (None, None) => continue,
        };
        fields.push(field);
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
}

/// Checks the type of a promoted attribute's column.
fn promoted(own: &Field, array: &ArrayRef) -> Decoded<(Field, ArrayRef)> {
    let known = matches!(own.data_type(), DataType::Int64 | DataType::Float64 | DataType::Boolean)
        || *own.data_type() == crate::schema::dictionary();
    if !known || AttributeScope::parse_column(own.name()).is_none() {
        return Err(format!("no column of a block is named {} and {}", own.name(), own.data_type()).into());
    }
    let array = complete(array, own.data_type())?;
    Ok((Field::new(own.name(), own.data_type().clone(), true), array))
}

/// The traces of a row group.
pub(super) fn runs(block: &Block, group: usize, fetched: &Arc<Fetched>) -> Decoded<TraceRuns> {
    let read = read(block, group, &[block.index.trace_id_leaf], &block.all_rows(group), fetched, None)?;
    let column = read.own.get(&block.index.trace_id_leaf);
    let column = column.or_else(|| read.others.as_ref()?.column_by_name(TRACE_ID));
    let Some(column) = column else {
        return Ok(TraceRuns::new([]));
    };
    let ids = column.as_fixed_size_binary_opt();
    let ids = ids.filter(|ids| ids.null_count() == 0 && ids.value_length() == 16);
    let ids = ids.ok_or("trace ids are of another type")?;
    let ids = ids.value_data().as_chunks::<16>().0.get(ids.offset()..).unwrap_or_default();
    let runs = TraceRuns::new(ids);
    if !runs.ids().is_sorted() || runs.rows() != column.len() {
        return Err("its rows are not sorted by trace id".into());
    }
    Ok(runs)
}

/// Columns as they are in the file; those without any value are left out.
#[derive(Debug, Default)]
struct Read {
    /// Columns that were decoded here, by their first leaf.
    own: HashMap<usize, ArrayRef>,
    others: Option<RecordBatch>,
}

/// The leaf columns, in those of these rows.
fn read(
    block: &Block,
    group: usize,
    leaves: &[usize],
    rows: &[Range<usize>],
    fetched: &Arc<Fetched>,
    kept: Option<&[Kept]>,
) -> Decoded<Read> {
    let count: usize = rows.iter().map(Range::len).sum();
    let mut read = Read::default();
    if count == 0 {
        return Ok(read);
    }
    let mut pages = Pages::new(&block.index.metadata, group);
    let mut others = Vec::new();
    for (column, leaves) in by_column(block, leaves) {
        let mut present = Vec::with_capacity(leaves.len());
        for &leaf in leaves {
            let index = &block.index.leaves(group)[leaf];
            if pages.add(fetched, leaf, index, rows, kept.map(|kept| &kept[leaf]))? {
                present.push(leaf);
            }
        }
        if present.is_empty() {
            continue;
        }
        match own(block, group, column, &present, &pages, count, kept)? {
            Some(array) => {
                read.own.insert(block.leaves[column].start, array);
                present.iter().for_each(|leaf| pages.remove(*leaf));
            }
            None => {
                for &leaf in &present {
                    if kept.is_some_and(|kept| kept[leaf].texts.get().is_some()) {
                        pages.add(fetched, leaf, &block.index.leaves(group)[leaf], rows, None)?;
                    }
                }
                others.extend(present);
            }
        }
    }
    if !others.is_empty() {
        read.others = Some(with_library(block, group, &pages, &others, rows)?);
    }
    Ok(read)
}

/// The leaves, ascending, by the columns that they belong to.
fn by_column<'a>(block: &Block, leaves: &'a [usize]) -> Vec<(usize, &'a [usize])> {
    let column = |leaf: usize| block.leaves.partition_point(|leaves| leaves.end <= leaf);
    leaves.chunk_by(|a, b| column(*a) == column(*b)).map(|leaves| (column(leaves[0]), leaves)).collect()
}

/// A column decoded here, from those of its leaves that have values; none if the Parquet library is to decode it.
fn own(
    block: &Block,
    group: usize,
    column: usize,
    present: &[usize],
    pages: &Pages<'_>,
    count: usize,
    kept: Option<&[Kept]>,
) -> Decoded<Option<ArrayRef>> {
    let field = block.index.schema.field(column);
    let meta = block.index.metadata.row_group(group);
    let known = |leaf: usize| kept.map(|kept| &kept[leaf].texts);
    let first = block.leaves[column].start;
    if !field.data_type().is_nested() {
        let Some(chunk) = pages.chunk(first) else { return Ok(None) };
        return flat::column(meta.column(first), field.data_type(), chunk, count, known(first));
    }
    let Some(types) = lists::leaf_types(field) else { return Ok(None) };
    let mut found = BTreeMap::new();
    for &leaf in present {
        let (number, chunk) = (leaf - first, pages.chunk(leaf));
        let Some((data_type, chunk)) = types.get(number).zip(chunk) else { return Ok(None) };
        let decoded = lists::leaf(meta.column(leaf), data_type, chunk, known(leaf))?;
        let Some(decoded) = decoded else { return Ok(None) };
        found.insert(number, decoded);
    }
    lists::column(field, &found, count).map(Some)
}

/// Columns decoded by the Parquet library.
fn with_library(
    block: &Block,
    group: usize,
    pages: &Pages<'_>,
    present: &[usize],
    rows: &[Range<usize>],
) -> Decoded<RecordBatch> {
    let descriptor = block.index.metadata.file_metadata().schema_descr();
    // Where not all pages have a dictionary, making one would mean to hash every value.
    let fields = block.index.schema.fields().iter().zip(&block.leaves).map(|(field, leaves)| {
        let plain = matches!(field.data_type(), DataType::Dictionary(..))
            && present.binary_search(&leaves.start).is_ok()
            && !pages.all_dictionary(leaves.start);
        if plain {
            Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8))
        } else {
            Arc::clone(field)
        }
    });
    let mask = ProjectionMask::leaves(descriptor, present.iter().copied());
    let levels = parquet_to_arrow_field_levels(descriptor, mask, Some(&fields.collect()))?;
    let count: usize = rows.iter().map(Range::len).sum();
    let total = block.rows(group);
    // Of many short ranges the Parquet library makes a mask, and then reads all between them, pages that are not there
    // too. It does not if the ranges are few compared to all rows, which the rows behind the last range count as.
    let claimed = if pages.has_gap() { usize::MAX / 2 } else { total };
    let selection =
        (count < total).then(|| RowSelection::from_consecutive_ranges(rows.iter().cloned(), claimed));
    // What has one place for each row is put there at once.
    let fixed = |leaf: &usize| {
        let column = descriptor.column(*leaf);
        column.max_rep_level() == 0 && column.physical_type() != Type::BYTE_ARRAY
    };
    let size = if present.iter().all(fixed) { count } else { count.min(DECODE_ROWS_MAX) };
    let reader = ParquetRecordBatchReader::try_new_with_row_groups(&levels, pages, size, selection)?;
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>()?;
    let Some(first) = batches.first() else {
        return Err("fewer rows than asked for".into());
    };
    // Dictionaries are those of the row group, so that only keys are put together.
    let batch =
        if batches.len() == 1 { first.clone() } else { concat_batches(first.schema_ref(), &batches)? };
    if batch.num_rows() != count {
        return Err("fewer rows than asked for".into());
    }
    Ok(batch)
}
