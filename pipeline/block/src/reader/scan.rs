//! Scanning the columns of a stored block, row group by row group.
//! Owns: what of a row group is read for which question, and in how many requests.
//! Does not own: what a search means, which row groups are looked at and in which order.
//! Guarantee: a batch holds exactly the rows asked for; a row group is only ruled out if none of its rows can matter.

mod cache;
mod condition;
mod decode;
mod facts;
mod flat;
mod lists;
mod loaded;
mod projection;
mod unread;
mod values;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Field;
use arrow::error::ArrowError;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::file::statistics::Statistics;
use vivace_model::scan::{Condition, Projection, TimeRange, TraceRuns};
use vivace_model::{TraceId, UnixNanos};

pub(super) use self::cache::ScanCache;
pub(crate) use self::loaded::{LoadedGroup, LoadedRows};
use super::BlockReader;
use super::cache::DescriptionCache;
use super::index::BlockIndex;
use super::small_files::SmallFiles;
use super::source::{Counters, Source, blocking};
use crate::columns::{BlockStats, any_folded, unfold};
use crate::schema::{AttributeScope, START_TIME};
use crate::{BlockError, Description, Metrics, describe};

/// A block opened for scanning. Cheap to clone; clones share what they count.
#[derive(Clone, Debug)]
pub struct BlockScan {
    block: Arc<Block>,
}

/// What is known of the block, and how to learn more.
#[derive(Debug)]
struct Block {
    store: Arc<dyn ObjectStore>,
    path: Path,
    file_bytes: u64,
    metrics: Metrics,
    counters: Counters,
    descriptions: Arc<DescriptionCache>,
    small_files: Arc<SmallFiles>,
    cache: Arc<ScanCache>,
    index: Arc<BlockIndex>,
    /// Leaf columns of each column of the schema.
    leaves: Vec<Range<usize>>,
}

impl BlockScan {
    pub(super) async fn open(reader: &BlockReader, path: &Path, file_bytes: u64) -> Result<Self, BlockError> {
        let counters = Counters::default();
        let BlockReader { store, small_files, metrics, .. } = reader;
        let source = Source { store, path, file_bytes, small_files, metrics, counters: &counters };
        let (filter, tail) = reader.cache.filter(&source).await?;
        let index = reader.cache.index(&source, &filter, tail).await?;
        let leaves = leaves(&index).ok_or_else(|| source.corrupt("its two schemas differ"))?;
        let block = Block {
            store: Arc::clone(store),
            path: path.clone(),
            file_bytes,
            metrics: metrics.clone(),
            counters,
            descriptions: Arc::clone(&reader.cache),
            small_files: Arc::clone(small_files),
            cache: Arc::clone(&reader.scan_cache),
            index,
            leaves,
        };
        Ok(Self { block: Arc::new(block) })
    }

    /// Number of row groups; they are numbered from 0.
    #[must_use]
    pub fn row_groups(&self) -> usize {
        self.block.index.metadata.num_row_groups()
    }

    /// Rows of a row group.
    ///
    /// # Panics
    /// If there is no such row group; so do all that take one.
    #[must_use]
    pub fn rows(&self, group: usize) -> usize {
        self.block.rows(group)
    }

    /// Earliest and latest start of the row group's spans; none if it is not known.
    #[must_use]
    pub fn start_bounds(&self, group: usize) -> Option<(UnixNanos, UnixNanos)> {
        self.block.start_bounds(group)
    }

    /// Where the block lies.
    pub(crate) fn path(&self) -> &Path {
        &self.block.path
    }

    /// The columns of attributes, and in how many rows of the block each has a value.
    pub(crate) fn promoted(&self) -> impl Iterator<Item = (&Field, u64)> {
        let block = &*self.block;
        block.index.schema.fields().iter().enumerate().filter_map(|(column, field)| {
            AttributeScope::parse_column(field.name())?;
            let leaf = block.leaves[column].start;
            let rows = (0..self.row_groups()).map(|group| {
                let nulls = block.statistics(group, leaf).and_then(Statistics::null_count_opt);
                (block.rows(group) as u64).saturating_sub(nulls.unwrap_or(0))
            });
            Some((field.as_ref(), rows.sum()))
        })
    }

    /// What the file says of itself.
    ///
    /// # Errors
    /// [`BlockError::Corrupt`] if it does not say all of it.
    pub fn describe(&self) -> Result<(Description, BlockStats), BlockError> {
        let metadata = self.block.index.metadata.file_metadata();
        describe::parse(metadata.key_value_metadata())
            .map_err(|reason| BlockError::corrupt(&self.block.path, reason))
    }

    /// Bytes read from the store so far, descriptions of the block included.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.block.counters.bytes.load(Ordering::Relaxed)
    }

    /// Requests to the store so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.block.counters.reads.load(Ordering::Relaxed)
    }

    /// The row groups that may hold spans of a trace, by filters and bounds of trace ids.
    ///
    /// # Errors
    /// As for [`BlockReader::trace`]; so have all that read.
    pub async fn may_hold(&self, id: &TraceId) -> Result<Vec<usize>, BlockError> {
        let (filter, _) = self.block.descriptions.filter(&self.block.source()).await?;
        let groups = filter.candidates(id).into_iter().filter(|&group| group < self.row_groups());
        Ok(groups.filter(|&group| !self.block.index.candidates(group, id).is_empty()).collect())
    }

    /// Whether a row of the row group may meet the condition and start in the time. False only if it is certain.
    ///
    /// # Errors
    /// See [`Self::may_hold`].
    pub async fn may_match(
        &self,
        group: usize,
        condition: &Condition,
        range: Option<&TimeRange>,
    ) -> Result<bool, BlockError> {
        if let (Some(range), Some((first, last))) = (range, self.start_bounds(group))
            && (last < range.start || range.end <= first)
        {
            return Ok(false);
        }
        condition::may_match(&self.block, group, condition).await
    }

    /// The traces of the row group and their rows in it.
    ///
    /// # Errors
    /// See [`Self::may_hold`].
    pub async fn runs(&self, group: usize) -> Result<Arc<TraceRuns>, BlockError> {
        let load = async {
            let (leaf, rows) = (self.block.index.trace_id_leaf, self.block.all_rows(group));
            let mut ranges = Vec::new();
            self.block.index.leaves(group)[leaf].ranges(&rows, &mut ranges);
            let fetched = Arc::new(self.block.source().ranges(ranges).await?);
            let block = Arc::clone(&self.block);
            blocking(&self.block.path, move || decode::runs(&block, group, &fetched)).await.map(Arc::new)
        };
        self.block.cache.runs(&self.block.path, group, Box::pin(load)).await
    }

    /// Keys of the attributes in the row group, each once or twice, with the column that holds such as have no column of
    /// their own: of all attributes of the projection's scopes, and of those of events and links if it has these. None
    /// if only the rows can tell.
    ///
    /// # Errors
    /// See [`Self::may_hold`].
    pub async fn attribute_names(
        &self,
        group: usize,
        projection: &Projection,
    ) -> Result<Option<Vec<(&'static str, String)>>, BlockError> {
        projection::names(&self.block, group, projection).await
    }

    /// The columns asked for of all rows, or of those in the ranges, which ascend and do not overlap: one batch of the
    /// block's schema. Strings come as dictionaries in which a value may stand twice.
    ///
    /// # Errors
    /// See [`Self::may_hold`]; [`BlockError::Value`] if the ranges are not such.
    pub async fn columns(
        &self,
        group: usize,
        projection: &Projection,
        rows: Option<&[Range<usize>]>,
    ) -> Result<RecordBatch, BlockError> {
        let rows = match rows {
            None => self.block.all_rows(group),
            Some(rows) => checked(rows, self.rows(group))?,
        };
        let wanted = projection::wanted(&self.block, group, projection, &rows).await?;
        let batch = self.read(group, wanted, rows).await?;
        let folded = |scope: &AttributeScope| batch.column_by_name(scope.overflow()).is_some_and(any_folded);
        if !AttributeScope::ALL.iter().any(folded) {
            return Ok(batch);
        }
        let projection = projection.clone();
        blocking(&self.block.path, move || Ok(unfolded(&batch, &projection)?)).await
    }

    /// All columns that have a value, of those rows of the row group.
    ///
    /// # Errors
    /// See [`Self::may_hold`].
    pub async fn all_columns(&self, group: usize, rows: Range<usize>) -> Result<RecordBatch, BlockError> {
        let columns = 0..self.block.leaves.len();
        self.read(group, columns.collect(), vec![rows]).await
    }

    async fn read(
        &self,
        group: usize,
        wanted: Vec<usize>,
        rows: Vec<Range<usize>>,
    ) -> Result<RecordBatch, BlockError> {
        let index = &self.block.index.leaves(group);
        let leaves = wanted.iter().flat_map(|&column| self.block.leaves[column].clone());
        let mut ranges = Vec::new();
        leaves
            .filter(|&leaf| index[leaf].any_value(&rows))
            .for_each(|leaf| index[leaf].ranges(&rows, &mut ranges));
        let fetched = Arc::new(self.block.source().ranges(ranges).await?);
        let block = Arc::clone(&self.block);
        let work = move || decode::columns(&block, group, &wanted, rows, &fetched);
        blocking(&self.block.path, work).await
    }
}

impl Block {
    fn source(&self) -> Source<'_> {
        Source {
            store: &self.store,
            path: &self.path,
            file_bytes: self.file_bytes,
            small_files: &self.small_files,
            metrics: &self.metrics,
            counters: &self.counters,
        }
    }

    fn rows(&self, group: usize) -> usize {
        usize::try_from(self.index.metadata.row_group(group).num_rows()).unwrap_or(0)
    }

    fn all_rows(&self, group: usize) -> Vec<Range<usize>> {
        let all = 0..self.rows(group);
        if all.is_empty() { Vec::new() } else { vec![all] }
    }

    /// Number in the schema of a column.
    fn column(&self, name: &str) -> Option<usize> {
        self.index.schema.fields().iter().position(|field| field.name() == name)
    }

    fn statistics(&self, group: usize, leaf: usize) -> Option<&Statistics> {
        self.index.metadata.row_group(group).column(leaf).statistics()
    }

    fn start_bounds(&self, group: usize) -> Option<(UnixNanos, UnixNanos)> {
        let leaf = self.leaves[self.column(START_TIME)?].start;
        let Some(Statistics::Int64(bounds)) = self.statistics(group, leaf) else {
            return None;
        };
        // Times from 2262 on are negative here, and sorted wrongly.
        let time = |nanos: Option<&i64>| Some(UnixNanos(u64::try_from(*nanos?).ok()?));
        Some((time(bounds.min_opt())?, time(bounds.max_opt())?))
    }

    /// Whether a leaf column has any value in the row group.
    fn any_value(&self, group: usize, leaf: usize) -> bool {
        self.index.leaves(group)[leaf].any_value(&self.all_rows(group))
    }
}

/// The batch with those folded attributes listed that the projection asks for.
fn unfolded(batch: &RecordBatch, projection: &Projection) -> Result<RecordBatch, ArrowError> {
    let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, array)| {
        let scope = AttributeScope::ALL.into_iter().find(|scope| scope.overflow() == field.name());
        scope.map_or_else(|| Ok(Arc::clone(array)), |scope| unfold(array, scope, projection))
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns.collect::<Result<_, _>>()?, &options)
}

/// None if the schema in Arrow's form does not fit the file's.
fn leaves(index: &BlockIndex) -> Option<Vec<Range<usize>>> {
    let descriptor = index.metadata.file_metadata().schema_descr();
    let mut leaves: Vec<Range<usize>> = Vec::new();
    for leaf in 0..descriptor.num_columns() {
        let column = descriptor.get_column_root_idx(leaf);
        if column == leaves.len() {
            leaves.push(leaf..leaf);
        }
        leaves.get_mut(column)?.end = leaf + 1;
    }
    (leaves.len() == index.schema.fields().len()).then_some(leaves)
}

/// The ranges without empty ones.
fn checked(rows: &[Range<usize>], total: usize) -> Result<Vec<Range<usize>>, BlockError> {
    let ascending = rows.windows(2).all(|pair| pair[0].end <= pair[1].start);
    if !ascending || rows.iter().any(|range| range.start > range.end || range.end > total) {
        return Err(BlockError::value("rows", "ranges overlap, or lie beyond the row group"));
    }
    Ok(rows.iter().filter(|range| !range.is_empty()).cloned().collect())
}
