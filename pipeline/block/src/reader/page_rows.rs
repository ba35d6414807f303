//! Which rows of a page are asked for. Pages of all columns have the same rows, so this is found out once for all of them.

use std::ops::Range;

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::BooleanBuffer;

/// Ranges shorter than this, on average, are looked up by bits.
const SCATTERED_LENGTH_MAX: usize = 32;

/// Rows counted from the page's first.
#[derive(Debug)]
pub(super) struct PageRows {
    /// Ascending, not empty.
    pub(super) ranges: Vec<Range<usize>>,
    /// One bit for each row of the page.
    pub(super) bits: BooleanBuffer,
    /// Rows in all ranges.
    pub(super) count: usize,
}

impl PageRows {
    /// The parts of the ranges, which ascend, that lie in the page.
    pub(super) fn new(rows: &[Range<usize>], page: &Range<usize>) -> Self {
        let rows = &rows[rows.partition_point(|range| range.end <= page.start)..];
        let rows = &rows[..rows.partition_point(|range| range.start < page.end)];
        let clipped = rows.iter().map(|range| range.start.max(page.start)..range.end.min(page.end));
        let ranges: Vec<Range<usize>> = clipped
            .filter(|range| !range.is_empty())
            .map(|range| range.start - page.start..range.end - page.start)
            .collect();
        let mut bits = BooleanBufferBuilder::new(page.len());
        for range in &ranges {
            bits.append_n(range.start - bits.len(), false);
            bits.append_n(range.len(), true);
        }
        bits.append_n(page.len() - bits.len(), false);
        let count = ranges.iter().map(Range::len).sum();
        Self { ranges, bits: bits.finish(), count }
    }

    /// Whether all rows of the page are asked for.
    pub(super) fn is_whole(&self) -> bool {
        self.count == self.bits.len()
    }

    /// Whether the ranges are many and short.
    pub(super) fn is_scattered(&self) -> bool {
        self.count < self.ranges.len() * SCATTERED_LENGTH_MAX
    }

    /// Whether a row that is asked for is among those of a mask of the page.
    pub(super) fn meet(&self, mask: &BooleanBuffer) -> bool {
        let (own, other) = (self.bits.bit_chunks(), mask.bit_chunks());
        own.iter_padded().zip(other.iter_padded()).any(|(own, other)| own & other != 0)
    }
}
