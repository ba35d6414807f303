//! Parquet's mix of run-length and bit-packed runs, read by position.
//! Source: <https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE>.

use std::array::from_fn;
use std::ops::Range;

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::BooleanBuffer;
use arrow::util::bit_chunk_iterator::UnalignedBitChunk;

/// Bits of a number at most.
const WIDTH_MAX: usize = 32;
/// Numbers that are packed together.
const GROUP: usize = 8;

/// What a number is kept in.
pub(super) trait Number: Copy {
    /// The low bits, which hold any number of the width that is wanted.
    fn of(number: u32) -> Self;
}

impl Number for i32 {
    fn of(number: u32) -> Self {
        number.cast_signed()
    }
}

impl Number for u8 {
    fn of(number: u32) -> Self {
        number as Self
    }
}

/// Numbers in order. What ends early says so by `None`.
#[derive(Debug)]
pub(super) struct Hybrid<'a> {
    rest: &'a [u8],
    width: usize,
    /// Numbers left of the present run.
    left: usize,
    run: Run<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Run<'a> {
    /// The same number.
    Repeat(u32),
    /// Bytes of packed numbers, and how many were read.
    Packed(&'a [u8], usize),
}

impl<'a> Hybrid<'a> {
    /// None if numbers cannot have so many bits.
    pub(super) fn new(bytes: &'a [u8], width: usize) -> Option<Self> {
        (width <= WIDTH_MAX).then_some(Self { rest: bytes, width, left: 0, run: Run::Repeat(0) })
    }

    pub(super) fn skip(&mut self, mut count: usize) -> Option<()> {
        while count > 0 {
            let step = self.step(count)?;
            self.advance(step);
            count -= step;
        }
        Some(())
    }

    /// Appends the next numbers.
    pub(super) fn take<N: Number>(&mut self, mut count: usize, out: &mut Vec<N>) -> Option<()> {
        while count > 0 {
            let step = self.step(count)?;
            match self.run {
                Run::Repeat(number) => out.resize(out.len() + step, N::of(number)),
                Run::Packed(bytes, read) => unpack(bytes, self.width, read..read + step, out),
            }
            self.advance(step);
            count -= step;
        }
        Some(())
    }

    /// The next numbers, which have one bit each.
    pub(super) fn bits(&mut self, count: usize) -> Option<BooleanBuffer> {
        let mut bits = BooleanBufferBuilder::new(count);
        self.put_bits(count, &mut bits)?;
        Some(bits.finish())
    }

    /// Appends the next numbers, which have one bit each, and gives how many of them are set.
    pub(super) fn put_bits(&mut self, mut count: usize, out: &mut BooleanBufferBuilder) -> Option<usize> {
        let mut set = 0;
        while count > 0 {
            let step = self.step(count)?;
            match self.run {
                Run::Repeat(number) => out.append_n(step, number == 1),
                Run::Packed(bytes, read) => out.append_packed_range(read..read + step, bytes),
            }
            set += self.set(step);
            self.advance(step);
            count -= step;
        }
        Some(set)
    }

    /// Skips numbers, which have one bit each, and gives how many of them are set.
    pub(super) fn skip_bits(&mut self, mut count: usize) -> Option<usize> {
        let mut set = 0;
        while count > 0 {
            let step = self.step(count)?;
            set += self.set(step);
            self.advance(step);
            count -= step;
        }
        Some(set)
    }

    /// How many of the next numbers of the present run, which have one bit each, are set.
    fn set(&self, count: usize) -> usize {
        match self.run {
            Run::Repeat(number) => {
                if number == 1 {
                    count
                } else {
                    0
                }
            }
            Run::Packed(bytes, read) => UnalignedBitChunk::new(bytes, read, count).count_ones(),
        }
    }

    /// How many of the next `count` numbers are of one run.
    fn step(&mut self, count: usize) -> Option<usize> {
        while self.left == 0 {
            self.next_run()?;
        }
        Some(count.min(self.left))
    }

    fn advance(&mut self, count: usize) {
        self.left -= count;
        if let Run::Packed(_, read) = &mut self.run {
            *read += count;
        }
    }

    fn next_run(&mut self) -> Option<()> {
        let header = self.varint()?;
        let count = usize::try_from(header >> 1).ok()?;
        if header & 1 == 1 {
            let (bytes, rest) = self.rest.split_at_checked(count.checked_mul(self.width)?)?;
            self.rest = rest;
            (self.left, self.run) = (count.checked_mul(8)?, Run::Packed(bytes, 0));
        } else {
            let (bytes, rest) = self.rest.split_at_checked(self.width.div_ceil(8))?;
            self.rest = rest;
            let number = bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
            (self.left, self.run) = (count, Run::Repeat(number));
        }
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for index in 0..9 {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

/// Eight bytes, with zeros beyond the end.
fn word(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        Some(word) => u64::from_le_bytes(*word),
        None => {
            let mut word = [0; 8];
            let rest = bytes.get(at..).unwrap_or_default();
            word[..rest.len()].copy_from_slice(rest);
            u64::from_le_bytes(word)
        }
    }
}

/// Appends packed numbers by their indices, lowest bits first.
fn unpack<N: Number>(bytes: &[u8], width: usize, indices: Range<usize>, out: &mut Vec<N>) {
    out.reserve(indices.len());
    let single = |index: usize| number::<N>(word(bytes, index * width / 8), index * width % 8, width);
    // The first of eight numbers begins with a byte.
    let aligned = indices.start.next_multiple_of(GROUP).min(indices.end);
    let groups = (aligned..indices.end).step_by(GROUP).take((indices.end - aligned) / GROUP);
    let rest = aligned + groups.len() * GROUP;
    out.extend((indices.start..aligned).map(single));
    match width {
        0 => out.resize(out.len() + rest - aligned, N::of(0)),
        1..=8 => groups.for_each(|first| {
            let word = word(bytes, first * width / 8);
            out.extend_from_slice(&from_fn::<N, GROUP, _>(|index| number(word, index * width, width)));
        }),
        9..=16 => groups.for_each(|first| {
            let (byte, half) = (first * width / 8, GROUP / 2 * width);
            let words = [word(bytes, byte), word(bytes, byte + half / 8) >> (half % 8)];
            out.extend_from_slice(&from_fn::<N, GROUP, _>(|index| {
                number(words[index / (GROUP / 2)], index % (GROUP / 2) * width, width)
            }));
        }),
        _ => out.extend((aligned..rest).map(single)),
    }
    out.extend((rest..indices.end).map(single));
}

/// The number that begins at a bit of a word.
fn number<N: Number>(word: u64, bit: usize, width: usize) -> N {
    N::of((word >> bit & ((1 << width) - 1)) as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vivace_model::wire::put_varint;

    use super::*;

    /// Encodes numbers in runs of both kinds: long ones repeat.
    fn encode(numbers: &[u32], width: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = numbers;
        while let Some(&number) = rest.first() {
            let run = rest.iter().take_while(|&&other| other == number).count();
            if run >= 8 || rest.len() < 8 {
                put_varint(&mut out, (run as u64) << 1);
                out.extend(&number.to_le_bytes()[..width.div_ceil(8)]);
                rest = &rest[run..];
            } else {
                put_varint(&mut out, 1 << 1 | 1);
                let mut bits = vec![0_u8; width];
                for (index, number) in rest[..8].iter().enumerate() {
                    for bit in (0..width).filter(|bit| number >> bit & 1 == 1) {
                        bits[(index * width + bit) / 8] |= 1 << ((index * width + bit) % 8);
                    }
                }
                out.extend(bits);
                rest = &rest[8..];
            }
        }
        out
    }

    proptest! {
        #[test]
        fn numbers_are_read_by_position(
            width in 1_usize..=32,
            runs in prop::collection::vec((any::<u32>(), 1_usize..20), 1..40),
            steps in prop::collection::vec((0_usize..30, 0_usize..30), 1..20),
        ) {
            let mask = u32::MAX >> (32 - width);
            let numbers: Vec<u32> = runs.iter().flat_map(|(number, run)| vec![number & mask; *run]).collect();
            let bytes = encode(&numbers, width);
            let mut hybrid = Hybrid::new(&bytes, width).unwrap();
            let mut rest = &numbers[..];
            for (skipped, taken) in steps {
                if skipped + taken > rest.len() {
                    break;
                }
                hybrid.skip(skipped).unwrap();
                let mut found: Vec<i32> = Vec::new();
                hybrid.take(taken, &mut found).unwrap();
                let found: Vec<u32> = found.into_iter().map(i32::cast_unsigned).collect();
                prop_assert_eq!(&found[..], &rest[skipped..skipped + taken]);
                rest = &rest[skipped + taken..];
            }
        }

        #[test]
        fn bits_are_read_by_position(
            runs in prop::collection::vec((any::<bool>(), 1_usize..30), 1..40),
            steps in prop::collection::vec((0_usize..30, 0_usize..30), 1..20),
        ) {
            let bits: Vec<bool> = runs.iter().flat_map(|(bit, run)| vec![*bit; *run]).collect();
            let bytes = encode(&bits.iter().map(|bit| u32::from(*bit)).collect::<Vec<_>>(), 1);
            let mut hybrid = Hybrid::new(&bytes, 1).unwrap();
            let mut rest = &bits[..];
            for (skipped, taken) in steps {
                if skipped + taken > rest.len() {
                    break;
                }
                let set = |bits: &[bool]| bits.iter().filter(|bit| **bit).count();
                prop_assert_eq!(hybrid.skip_bits(skipped), Some(set(&rest[..skipped])));
                let mut found = BooleanBufferBuilder::new(0);
                let wanted = &rest[skipped..skipped + taken];
                prop_assert_eq!(hybrid.put_bits(taken, &mut found), Some(set(wanted)));
                prop_assert_eq!(found.finish().iter().collect::<Vec<_>>(), wanted);
                rest = &rest[skipped + taken..];
            }
        }

        #[test]
        fn any_bytes_end(bytes: Vec<u8>, width in 0_usize..40, count in 0_usize..100_000) {
            if let Some(mut hybrid) = Hybrid::new(&bytes, width) {
                let mut found: Vec<u8> = Vec::new();
                let whole = hybrid.take(count, &mut found).is_some();
                prop_assert!(!whole || found.len() == count);
            }
            let bits = Hybrid::new(&bytes, 1).unwrap().bits(count);
            prop_assert!(bits.is_none_or(|bits| bits.len() == count));
        }
    }
}
