//! A bit for each row.

use std::ops::Range;

use arrow::buffer::{BooleanBuffer, Buffer};

/// Rows that are in, out of all of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mask {
    /// Bits past `len` are zero.
    words: Vec<u64>,
    len: usize,
}

/// Packs eight bytes that are 0 or 1 into the eight highest bits of the product.
const PACK: u64 = 0x0102_0408_1020_4080;

impl Mask {
    pub(crate) fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    pub(crate) fn all(len: usize) -> Self {
        let mut mask = Self { words: vec![u64::MAX; len.div_ceil(64)], len };
        mask.trim();
        mask
    }

    /// Rows of which the value holds. `holds` should be a few comparisons without branches: it is made SIMD code then.
    #[inline]
    pub(crate) fn of<T: Copy>(values: &[T], holds: impl Fn(T) -> bool) -> Self {
        let mut words = Vec::with_capacity(values.len().div_ceil(64));
        let mut chunks = values.chunks_exact(64);
        let mut bytes = [0_u8; 64];
        let pack = |bytes: &[u8; 64]| {
            let (eights, _) = bytes.as_chunks::<8>();
            let eights = eights.iter().enumerate();
            eights.fold(0, |word, (index, eight)| {
                word | ((u64::from_le_bytes(*eight).wrapping_mul(PACK) >> 56) << (8 * index))
            })
        };
        for chunk in &mut chunks {
            for (byte, value) in bytes.iter_mut().zip(chunk) {
                *byte = u8::from(holds(*value));
            }
            words.push(pack(&bytes));
        }
        if !chunks.remainder().is_empty() {
            bytes = [0; 64];
            for (byte, value) in bytes.iter_mut().zip(chunks.remainder()) {
                *byte = u8::from(holds(*value));
            }
            words.push(pack(&bytes));
        }
        Self { words, len: values.len() }
    }

    pub(crate) fn from_buffer(bits: &BooleanBuffer) -> Self {
        let chunks = bits.bit_chunks();
        let mut words: Vec<u64> = chunks.iter().collect();
        words.push(chunks.remainder_bits());
        words.truncate(bits.len().div_ceil(64));
        Self { words, len: bits.len() }
    }

    pub(crate) fn into_buffer(self) -> BooleanBuffer {
        BooleanBuffer::new(Buffer::from_vec(self.words), 0, self.len)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn and(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    pub(crate) fn or(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    pub(crate) fn and_not(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
    }

    pub(crate) fn not(mut self) -> Self {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.trim();
        self
    }

    pub(crate) fn set(&mut self, row: usize) {
        self.words[row / 64] |= 1 << (row % 64);
    }

    pub(crate) fn set_range(&mut self, rows: Range<usize>) {
        for (index, part) in words_of(rows) {
            self.words[index] |= part;
        }
    }

    pub(crate) fn get(&self, row: usize) -> bool {
        self.words[row / 64] >> (row % 64) & 1 == 1
    }

    pub(crate) fn any(&self) -> bool {
        self.words.iter().any(|word| *word != 0)
    }

    pub(crate) fn any_in(&self, rows: Range<usize>) -> bool {
        words_of(rows).any(|(index, part)| self.words[index] & part != 0)
    }

    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The rows that are in, ascending.
    pub(crate) fn rows(&self) -> impl Iterator<Item = u32> + '_ {
        let words = self.words.iter().enumerate();
        words.flat_map(|(index, word)| Bits { word: *word, base: (index * 64) as u32 })
    }

    /// The same as a list.
    pub(crate) fn to_rows(&self) -> Vec<u32> {
        let count = self.count();
        if count == self.len {
            return (0..count as u32).collect();
        }
        let mut rows = Vec::with_capacity(count);
        rows.extend(self.rows());
        rows
    }

    /// Those of some rows that are in, ascending.
    pub(crate) fn rows_in(&self, rows: Range<usize>) -> impl Iterator<Item = u32> + '_ {
        words_of(rows)
            .flat_map(|(index, part)| Bits { word: self.words[index] & part, base: (index * 64) as u32 })
    }

    fn trim(&mut self) {
        if !self.len.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << (self.len % 64)) - 1;
        }
    }
}

/// The words that hold these rows, and which bits of them do.
fn words_of(rows: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let (first, end) = (rows.start / 64, rows.end.div_ceil(64));
    let indices = if rows.is_empty() { 0..0 } else { first..end };
    indices.map(move |index| {
        let low = rows.start.saturating_sub(index * 64);
        let high = (rows.end - index * 64).min(64);
        (index, (u64::MAX << low) & (u64::MAX >> (64 - high)))
    })
}

#[derive(Debug)]
struct Bits {
    word: u64,
    base: u32,
}

impl Iterator for Bits {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.word == 0 {
            return None;
        }
        let bit = self.word.trailing_zeros();
        self.word &= self.word - 1;
        Some(self.base + bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_are_those_of_a_list(flags in prop::collection::vec(any::<bool>(), 0..300), cut in 0..300_usize, end in 0..300_usize) {
            let mask = Mask::of(&flags, |flag| flag);
            let rows: Vec<u32> = (0..).zip(&flags).filter(|(_, flag)| **flag).map(|(row, _)| row).collect();
            prop_assert_eq!(mask.rows().collect::<Vec<_>>(), rows.clone());
            prop_assert_eq!(mask.count(), rows.len());
            let (start, end) = (cut.min(end).min(flags.len()), cut.max(end).min(flags.len()));
            let within: Vec<u32> = rows.iter().copied().filter(|row| (start..end).contains(&(*row as usize))).collect();
            prop_assert_eq!(mask.any_in(start..end), !within.is_empty());
            prop_assert_eq!(mask.rows_in(start..end).collect::<Vec<_>>(), within);
            prop_assert_eq!(mask.clone().not().count(), flags.len() - rows.len());
            let buffer = mask.clone().into_buffer();
            prop_assert_eq!(Mask::from_buffer(&buffer.slice(start, end - start)).rows().count(), mask.rows_in(start..end).count());
            let mut filled = mask.clone();
            filled.set_range(start..end);
            prop_assert_eq!(filled.rows_in(start..end).count(), end - start);
            prop_assert_eq!(filled.count(), mask.count() + end - start - mask.rows_in(start..end).count());
        }
    }
}
