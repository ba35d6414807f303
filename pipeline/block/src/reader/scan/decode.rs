//! Bytes of a row group to batches of columns.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, FieldRef, Fields, Schema};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowSelection};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Type;
use vivace_model::scan::TraceRuns;

use super::lists::KnownLevels;
use super::values::Decoded;
use super::{Block, flat, lists};
use crate::numbered::Column;
use crate::reader::fetched::Fetched;
use crate::reader::pages::{Kept, Pages};
use crate::schema::{AttributeScope, fixed_fields};

/// Rows decoded at once: what is decoded should stay in the processor's cache while it is put in its place.
const DECODE_ROWS_MAX: usize = 32_768;

/// The columns, by their numbers in the schema, of the rows.
pub(super) fn columns(
    block: &Block,
    group: usize,
    columns: &[usize],
    rows: Vec<Range<usize>>,
    fetched: &Arc<Fetched>,
) -> Decoded<RecordBatch> {
    let mut decoder = Decoder::new(block, group, rows, fetched, None);
    let (mut fields, mut arrays) = (Vec::with_capacity(columns.len()), Vec::with_capacity(columns.len()));
    for &column in columns {
        if let Some((field, found)) = decoder.column(column)? {
            fields.push(field);
            arrays.push(found.into_array()?);
        } else if let Some(field) = fixed(block.index.schema.field(column).name()) {
            fields.push(Arc::clone(field));
            arrays.push(new_null_array(field.data_type(), decoder.count));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(decoder.count));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
}

/// The fixed column of that name.
fn fixed(name: &str) -> Option<&'static FieldRef> {
    static FIXED: LazyLock<Fields> = LazyLock::new(|| fixed_fields().into());
    FIXED.iter().find(|field| field.name() == name)
}

/// Checks the type of a promoted attribute's column.
fn promoted(own: &FieldRef, found: Column) -> Decoded<(FieldRef, Column)> {
    let known = matches!(own.data_type(), DataType::Int64 | DataType::Float64 | DataType::Boolean)
        || *own.data_type() == crate::schema::dictionary();
    if !known || AttributeScope::parse_column(own.name()).is_none() {
        return Err(format!("no column of a block is named {} and {}", own.name(), own.data_type()).into());
    }
    let field =
        if own.is_nullable() { Arc::clone(own) } else { Arc::new(own.as_ref().clone().with_nullable(true)) };
    Ok((field, found.complete(own.data_type())?))
}

/// The traces of a row group.
pub(super) fn runs(block: &Block, group: usize, fetched: &Arc<Fetched>) -> Decoded<TraceRuns> {
    let mut decoder = Decoder::new(block, group, block.all_rows(group), fetched, None);
    let column = block.leaves.partition_point(|leaves| leaves.end <= block.index.trace_id_leaf);
    let Some(column) = decoder.stored(column)? else {
        return Ok(TraceRuns::new([]));
    };
    let column = column.into_array()?;
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

/// Columns of some rows of a row group, one after the other.
pub(super) struct Decoder<'a> {
    block: &'a Block,
    group: usize,
    rows: Vec<Range<usize>>,
    /// Number of the rows.
    count: usize,
    fetched: &'a Arc<Fetched>,
    /// By leaf.
    kept: Option<&'a [Kept]>,
    pages: Pages<'a>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(
        block: &'a Block,
        group: usize,
        rows: Vec<Range<usize>>,
        fetched: &'a Arc<Fetched>,
        kept: Option<&'a [Kept]>,
    ) -> Self {
        let count = rows.iter().map(Range::len).sum();
        let pages = Pages::new(&block.index.metadata, group);
        Self { block, group, rows, count, fetched, kept, pages }
    }

    /// A column, by its number in the schema, in the type that its name stands for; none if it has no value.
    pub(super) fn column(&mut self, column: usize) -> Decoded<Option<(FieldRef, Column)>> {
        let own = &self.block.index.schema.fields()[column];
        Ok(match (fixed(own.name()), self.stored(column)?) {
            (Some(target), Some(found)) => Some((Arc::clone(target), found.complete(target.data_type())?)),
            (Some(target), None) if !target.is_nullable() && self.count > 0 => {
                return Err(format!("column {} has no value", target.name()).into());
            }
            (None, Some(found)) => Some(promoted(own, found)?),
            (_, None) => None,
        })
    }

    /// A column as it is in the file.
    fn stored(&mut self, column: usize) -> Decoded<Option<Column>> {
        let index = self.block.index.leaves(self.group);
        let mut present = Vec::new();
        for leaf in self.block.leaves[column].clone() {
            if index[leaf].any_value(&self.rows) && self.read(leaf, self.kept.map(|kept| &kept[leaf]))? {
                present.push(leaf);
            }
        }
        if present.is_empty() {
            return Ok(None);
        }
        let mut found = self.own(column, &present)?;
        if found.is_none() {
            for &leaf in &present {
                if self.kept.is_some_and(|kept| kept[leaf].values.get().is_some()) {
                    self.read(leaf, None)?;
                }
            }
            found = Some(Column::Array(self.with_library(&present)?));
        }
        present.iter().for_each(|leaf| self.pages.remove(*leaf));
        Ok(found)
    }

    /// Reads the pages of a leaf; false if it has no value.
    fn read(&mut self, leaf: usize, kept: Option<&Kept>) -> Decoded<bool> {
        let index = &self.block.index.leaves(self.group)[leaf];
        Ok(self.pages.add(self.fetched, leaf, index, &self.rows, kept)?)
    }

    /// A column decoded here, from those of its leaves that have values; none if the Parquet library is to decode it.
    fn own(&self, column: usize, present: &[usize]) -> Decoded<Option<Column>> {
        let field = self.block.index.schema.field(column);
        let meta = self.block.index.metadata.row_group(self.group);
        let known = |leaf: usize| self.kept.map(|kept| &kept[leaf].values);
        let first = self.block.leaves[column].start;
        if !field.data_type().is_nested() {
            let Some(chunk) = self.pages.chunk(first) else { return Ok(None) };
            return flat::column(meta.column(first), field.data_type(), chunk, self.count, known(first));
        }
        let Some(types) = lists::leaf_types(field) else { return Ok(None) };
        let (mut found, mut levels) = (BTreeMap::new(), KnownLevels::default());
        for &leaf in present {
            let (number, chunk) = (leaf - first, self.pages.chunk(leaf));
            let Some((data_type, chunk)) = types.get(number).zip(chunk) else { return Ok(None) };
            let decoded = lists::leaf(meta.column(leaf), data_type, chunk, known(leaf), &mut levels)?;
            let Some(decoded) = decoded else { return Ok(None) };
            found.insert(number, decoded);
        }
        lists::column(field, &found, self.count).map(|array| Some(Column::Array(array)))
    }

    /// A column decoded by the Parquet library.
    fn with_library(&self, present: &[usize]) -> Decoded<ArrayRef> {
        let Self { block, pages, rows, count, .. } = self;
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
        let total = block.rows(self.group);
        // Of many short ranges the Parquet library makes a mask, and then reads all between them, pages that are not there
        // too. It does not if the ranges are few compared to all rows, which the rows behind the last range count as.
        let claimed = if pages.has_gap() { usize::MAX / 2 } else { total };
        let selection =
            (*count < total).then(|| RowSelection::from_consecutive_ranges(rows.iter().cloned(), claimed));
        // What has one place for each row is put there at once.
        let fixed = |leaf: &usize| {
            let column = descriptor.column(*leaf);
            column.max_rep_level() == 0 && column.physical_type() != Type::BYTE_ARRAY
        };
        let size = if present.iter().all(fixed) { *count } else { (*count).min(DECODE_ROWS_MAX) };
        let reader = ParquetRecordBatchReader::try_new_with_row_groups(&levels, pages, size, selection)?;
        let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>()?;
        let Some(first) = batches.first() else {
            return Err("fewer rows than asked for".into());
        };
        // Dictionaries are those of the row group, so that only keys are put together.
        let batch =
            if batches.len() == 1 { first.clone() } else { concat_batches(first.schema_ref(), &batches)? };
        if batch.num_rows() != *count {
            return Err("fewer rows than asked for".into());
        }
        Ok(Arc::clone(batch.column(0)))
    }
}
