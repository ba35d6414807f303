//! What is added up per series and interval.
//! Owns: the memory of it. A job sees a short time of a long grid, so cells come in pages, where something is.

use super::codes::DROPPED;

/// How values of one cell become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// There are none, only counts.
    Count,
    /// Their sum.
    Sum,
    /// The least.
    Min,
    /// The greatest.
    Max,
}

impl Fold {
    /// Where folding begins.
    pub(crate) const fn start(self) -> f64 {
        match self {
            Self::Count | Self::Sum => 0.0,
            Self::Min => f64::INFINITY,
            Self::Max => f64::NEG_INFINITY,
        }
    }

    pub(crate) fn fold(self, into: &mut f64, value: f64) {
        match self {
            Self::Count => {}
            Self::Sum => *into += value,
            Self::Min => *into = into.min(value),
            Self::Max => *into = into.max(value),
        }
    }
}

/// Intervals of a page.
const PAGE_INTERVALS: u32 = 32;
const NO_PAGE: u32 = u32::MAX;

/// Counts and folded values by slot (a series, or one of its parts) and interval.
#[derive(Debug)]
pub(crate) struct Cells {
    fold: Fold,
    page_shift: u32,
    pages_per_slot: usize,
    /// Page of each slot and stretch of intervals.
    pages: Vec<u32>,
    counts: Vec<u64>,
    values: Vec<f64>,
    cells_max: usize,
    /// Something found no place.
    pub(crate) full: bool,
    /// Because all cells are taken.
    out_of_cells: bool,
}

impl Cells {
    pub(crate) fn new(fold: Fold, intervals: u32, cells_max: usize) -> Self {
        let page_shift = intervals.clamp(1, PAGE_INTERVALS).next_power_of_two().trailing_zeros();
        let pages_per_slot = (intervals.max(1) as usize).div_ceil(1 << page_shift);
        let (pages, counts, values) = Default::default();
        Self {
            fold,
            page_shift,
            pages_per_slot,
            pages,
            counts,
            values,
            cells_max,
            full: false,
            out_of_cells: false,
        }
    }

    /// Adds one to the cell of each pair of slot and interval.
    pub(crate) fn count(&mut self, slots: &[u32], intervals: &[u32]) {
        for (slot, interval) in slots.iter().zip(intervals) {
            if let Some(cell) = self.cell(*slot, *interval) {
                self.counts[cell] += 1;
            }
        }
    }

    /// Adds one and a value to the cell of each pair of slot and interval.
    pub(crate) fn fold(&mut self, slots: &[u32], intervals: &[u32], values: &[f64]) {
        for ((slot, interval), value) in slots.iter().zip(intervals).zip(values) {
            if let Some(cell) = self.cell(*slot, *interval) {
                self.counts[cell] += 1;
                self.fold.fold(&mut self.values[cell], *value);
            }
        }
    }

    /// Adds a count to one cell; false if it found no place.
    pub(crate) fn add(&mut self, slot: u32, interval: u32, count: u64) -> bool {
        let cell = self.cell(slot, interval);
        if let Some(cell) = cell {
            self.counts[cell] += count;
        }
        cell.is_some()
    }

    #[inline]
    fn cell(&mut self, slot: u32, interval: u32) -> Option<usize> {
        if slot == DROPPED {
            self.full = true;
            return None;
        }
        let index = slot as usize * self.pages_per_slot + (interval >> self.page_shift) as usize;
        let page = match self.pages.get(index) {
            Some(page) if *page != NO_PAGE => *page,
            _ => self.new_page(index)?,
        };
        Some(((page as usize) << self.page_shift) + (interval & ((1 << self.page_shift) - 1)) as usize)
    }

    #[cold]
    fn new_page(&mut self, index: usize) -> Option<u32> {
        let page_cells = 1 << self.page_shift;
        if self.counts.len() + page_cells > self.cells_max {
            self.full = true;
            self.out_of_cells = true;
            return None;
        }
        if self.pages.len() <= index {
            self.pages.resize((index / self.pages_per_slot + 1) * self.pages_per_slot, NO_PAGE);
        }
        let page = u32::try_from(self.counts.len() >> self.page_shift).expect("bounded by the cells");
        self.pages[index] = page;
        self.counts.resize(self.counts.len() + page_cells, 0);
        if self.fold != Fold::Count {
            self.values.resize(self.counts.len(), self.fold.start());
        }
        Some(page)
    }

    /// Whether there are values besides counts.
    pub(crate) fn has_values(&self) -> bool {
        self.fold != Fold::Count
    }

    /// Bytes of memory held; more than any limit, if something found no cell.
    pub(crate) const fn bytes(&self) -> usize {
        if self.out_of_cells { usize::MAX } else { self.held() }
    }

    /// Bytes of memory held.
    pub(crate) const fn held(&self) -> usize {
        self.pages.capacity() * size_of::<u32>()
            + self.counts.capacity() * size_of::<u64>()
            + self.values.capacity() * size_of::<f64>()
    }

    /// Slots that there may be something in.
    pub(crate) fn slots(&self) -> u32 {
        u32::try_from(self.pages.len() / self.pages_per_slot).expect("slots have numbers of 32 bits")
    }

    /// Gives the cells of a slot that have anything, by interval ascending: interval, count, folded value.
    pub(crate) fn each(&self, slot: u32, mut take: impl FnMut(u32, u64, f64)) {
        let start = slot as usize * self.pages_per_slot;
        let pages = self.pages.get(start..start + self.pages_per_slot).unwrap_or_default();
        for (number, page) in (0u32..).zip(pages).filter(|(_, page)| **page != NO_PAGE) {
            for within in 0..1u32 << self.page_shift {
                let cell = ((*page as usize) << self.page_shift) + within as usize;
                if self.counts[cell] > 0 {
                    let value = self.values.get(cell).copied().unwrap_or_default();
                    take((number << self.page_shift) + within, self.counts[cell], value);
                }
            }
        }
    }

    /// Count of all intervals of a slot.
    pub(crate) fn total(&self, slot: u32) -> u64 {
        let mut total = 0;
        self.each(slot, |_, count, _| total += count);
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cells: &Cells, slot: u32) -> Vec<(u32, u64, f64)> {
        let mut found = Vec::new();
        cells.each(slot, |interval, count, value| found.push((interval, count, value)));
        found
    }

    #[test]
    fn cells_add_up_apart() {
        let mut cells = Cells::new(Fold::Max, 100, 1000);
        cells.fold(&[0, 2, 2, 2], &[99, 0, 33, 33], &[1.0, 2.0, 5.0, -3.0]);
        assert_eq!(of(&cells, 0), [(99, 1, 1.0)]);
        assert_eq!(of(&cells, 1), []);
        assert_eq!(of(&cells, 2), [(0, 1, 2.0), (33, 2, 5.0)]);
        assert_eq!(of(&cells, 9), []);
        assert_eq!(cells.slots(), 3);
        assert_eq!(cells.total(2), 3);
        assert!(!cells.full);
    }

    #[test]
    fn memory_is_bounded() {
        let mut cells = Cells::new(Fold::Count, 100, 64);
        cells.count(&[0, 1, 2, 0], &[0, 0, 0, 1]);
        assert!(cells.full);
        assert_eq!((cells.total(0), cells.total(1), cells.total(2)), (2, 1, 0));
        let mut cells = Cells::new(Fold::Count, 1, 64);
        cells.count(&[DROPPED, 3], &[0, 0]);
        assert!(cells.full);
        assert_eq!(cells.total(3), 1);
    }
}
