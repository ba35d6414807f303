//! Series of several labels as small numbers: pairs become numbers, pair by pair.

use ahash::RandomState;
use hashbrown::HashMap;

use super::codes::{DROPPED, Lookup, ValueCodes};
use super::picked::PickedRows;
use crate::collect::labels::LabelKey;

/// Second halves under this are found in a table.
const TABLE_WIDTH: u32 = 64;
/// First halves under this are.
const TABLE_HEIGHT: u32 = 1 << 16;
const UNKNOWN: u32 = u32::MAX - 1;
/// Text of one label at most, in bytes.
const LABEL_BYTES_MAX: usize = 16 << 20;

/// Numbers of pairs of numbers, from 0 on.
#[derive(Debug)]
pub(crate) struct Pairs {
    table: Vec<u32>,
    far: HashMap<(u32, u32), u32, RandomState>,
    halves: Vec<(u32, u32)>,
    pairs_max: usize,
}

impl Pairs {
    pub(crate) fn new(pairs_max: usize) -> Self {
        let (table, far, halves) = Default::default();
        Self { table, far, halves, pairs_max }
    }

    /// Number of a pair; [`DROPPED`] if a half is, or for a new pair when there is no room.
    #[inline]
    pub(crate) fn number(&mut self, first: u32, second: u32) -> u32 {
        if second < TABLE_WIDTH && first < TABLE_HEIGHT {
            let at = (first * TABLE_WIDTH + second) as usize;
            return match self.table.get(at) {
                Some(number) if *number != UNKNOWN => *number,
                _ => self.insert_near(at, first, second),
            };
        }
        if first == DROPPED || second == DROPPED {
            return DROPPED;
        }
        if let Some(number) = self.far.get(&(first, second)) {
            return *number;
        }
        let number = self.push(first, second);
        if number != DROPPED {
            self.far.insert((first, second), number);
        }
        number
    }

    #[cold]
    fn insert_near(&mut self, at: usize, first: u32, second: u32) -> u32 {
        if self.table.len() <= at {
            self.table.resize(((first + 1) * TABLE_WIDTH) as usize, UNKNOWN);
        }
        let number = self.push(first, second);
        self.table[at] = number;
        number
    }

    fn push(&mut self, first: u32, second: u32) -> u32 {
        if self.halves.len() >= self.pairs_max {
            return DROPPED;
        }
        let Some(number) = u32::try_from(self.halves.len()).ok().filter(|number| *number < UNKNOWN) else {
            return DROPPED;
        };
        self.halves.push((first, second));
        number
    }

    /// Bytes of memory held, about.
    pub(crate) fn bytes(&self) -> usize {
        let far = self.far.capacity() * (size_of::<((u32, u32), u32)>() + 1);
        far + self.table.capacity() * size_of::<u32>() + self.halves.capacity() * size_of::<(u32, u32)>()
    }

    /// The pair of a number.
    pub(crate) fn halves(&self, number: u32) -> (u32, u32) {
        self.halves[number as usize]
    }
}

/// Numbers of series by the values of their labels.
#[derive(Debug)]
pub(crate) struct Tuples {
    codes: Vec<ValueCodes>,
    /// One less than labels.
    pairs: Vec<Pairs>,
}

impl Tuples {
    pub(crate) fn new(labels: usize, series_max: usize) -> Self {
        // A value more is a series more, so series cannot be more than the values of one label where those are bounded.
        let codes = (0..labels).map(|_| ValueCodes::new(series_max, LABEL_BYTES_MAX)).collect();
        let pairs = (1..labels).map(|_| Pairs::new(series_max)).collect();
        Self { codes, pairs }
    }

    /// Numbers of the rows' series; `scratch` is for anything.
    pub(crate) fn fill(
        &mut self,
        labels: &mut [Lookup<'_>],
        rows: PickedRows<'_>,
        out: &mut Vec<u32>,
        scratch: &mut Vec<u32>,
    ) {
        let Some((first, others)) = labels.split_first_mut() else {
            out.clear();
            out.resize(rows.len(), 0);
            return;
        };
        first.fill(&mut self.codes[0], rows, out);
        for (number, label) in others.iter_mut().enumerate() {
            label.fill(&mut self.codes[number + 1], rows, scratch);
            let pairs = &mut self.pairs[number];
            for (tuple, code) in out.iter_mut().zip(&*scratch) {
                *tuple = pairs.number(*tuple, *code);
            }
        }
    }

    /// Bytes of memory held, about.
    pub(crate) fn bytes(&self) -> usize {
        let codes: usize = self.codes.iter().map(ValueCodes::bytes).sum();
        codes + self.pairs.iter().map(Pairs::bytes).sum::<usize>()
    }

    /// Values of the labels of a series.
    pub(crate) fn values(&self, series: u32) -> Vec<LabelKey> {
        let mut values = Vec::with_capacity(self.codes.len());
        let mut tuple = series;
        for (pairs, codes) in self.pairs.iter().zip(&self.codes[self.codes.len().min(1)..]).rev() {
            let (before, code) = pairs.halves(tuple);
            values.push(codes.key(code).clone());
            tuple = before;
        }
        if let Some(codes) = self.codes.first() {
            values.push(codes.key(tuple).clone());
        }
        values.reverse();
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::series::picked::Property;
    use crate::{Lane, Value};

    #[test]
    fn pairs_have_one_number_each() {
        let mut pairs = Pairs::new(6);
        let asked = [(0, 0), (5, 63), (5, 64), (1 << 20, 3), (0, 0), (5, 64), (5, 63), (1 << 20, 3)];
        let numbers = asked.map(|(first, second)| pairs.number(first, second));
        assert_eq!(numbers, [0, 1, 2, 3, 0, 2, 1, 3]);
        assert_eq!(pairs.halves(2), (5, 64));
        assert_eq!(pairs.number(DROPPED, 1), DROPPED);
        assert_eq!([pairs.number(7, 7), pairs.number(8, 8), pairs.number(9, 9)], [4, 5, DROPPED]);
    }

    #[test]
    fn labels_come_back_in_order() {
        let lane =
            |step: i64| Lane::Sparse((0..4).map(|row| (row, Value::Int(i64::from(row) / step))).collect());
        let mut tuples = Tuples::new(3, 100);
        let rows = PickedRows::same(&[0, 1, 2, 3]);
        let mut labels = [1, 2, 4].map(|step| Lookup::new(Property::of(vec![lane(step)])).unwrap());
        let (mut out, mut scratch) = (Vec::new(), Vec::new());
        tuples.fill(&mut labels, rows, &mut out, &mut scratch);
        assert_eq!(out, [0, 1, 2, 3]);
        assert_eq!(tuples.values(3), [LabelKey::Int(3), LabelKey::Int(1), LabelKey::Int(0)]);
        let mut none = Tuples::new(0, 100);
        none.fill(&mut [], rows, &mut out, &mut scratch);
        assert_eq!(out, [0, 0, 0, 0]);
        assert_eq!(none.values(0), []);
    }
}
