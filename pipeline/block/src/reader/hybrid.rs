//! Parquet's mix of run-length and bit-packed runs, read by position.
//! Source: <https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE>.

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::BooleanBuffer;

/// Bits of a number at most.
const WIDTH_MAX: usize = 32;

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

    /// Gives the next numbers.
    pub(super) fn take(&mut self, mut count: usize, mut put: impl FnMut(u32)) -> Option<()> {
        while count > 0 {
            let step = self.step(count)?;
            match self.run {
                Run::Repeat(number) => (0..step).for_each(|_| put(number)),
                Run::Packed(bytes, read) => {
                    (read..read + step).for_each(|index| put(unpack(bytes, self.width, index)));
                }
            }
            self.advance(step);
            count -= step;
        }
        Some(())
    }

    /// Gives the runs of the next numbers, which have one bit each: whether it is set, and how many are alike.
    pub(super) fn runs_of_bits(
        &mut self,
        mut count: usize,
        mut take: impl FnMut(bool, usize) -> Option<()>,
    ) -> Option<()> {
        while count > 0 {
            let mut step = self.step(count)?;
            let set = match self.run {
                Run::Repeat(number) => number == 1,
                Run::Packed(bytes, read) => {
                    let (set, alike) = alike(bytes, read);
                    step = step.min(alike);
                    set
                }
            };
            take(set, step)?;
            self.advance(step);
            count -= step;
        }
        Some(())
    }

    /// The next numbers, which have one bit each.
    pub(super) fn bits(&mut self, mut count: usize) -> Option<BooleanBuffer> {
        let mut bits = BooleanBufferBuilder::new(count);
        while count > 0 {
            let step = self.step(count)?;
            match self.run {
                Run::Repeat(number) => bits.append_n(step, number == 1),
                Run::Packed(bytes, read) => bits.append_packed_range(read..read + step, bytes),
            }
            self.advance(step);
            count -= step;
        }
        Some(bits.finish())
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

/// The number at an index, lowest bits first.
fn unpack(bytes: &[u8], width: usize, index: usize) -> u32 {
    let bit = index * width;
    (word(bytes, bit / 8) >> (bit % 8) & ((1 << width) - 1)) as u32
}

/// Whether the bit at an index is set, and how many from there on are like it, at least.
fn alike(bytes: &[u8], index: usize) -> (bool, usize) {
    let word = word(bytes, index / 8) >> (index % 8);
    let known = 64 - index % 8;
    let set = word & 1 == 1;
    let alike = if set { word.trailing_ones() } else { word.trailing_zeros() };
    (set, (alike as usize).min(known))
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
                let mut found = Vec::new();
                hybrid.take(taken, |number| found.push(number)).unwrap();
                prop_assert_eq!(&found[..], &rest[skipped..skipped + taken]);
                rest = &rest[skipped + taken..];
            }
        }

        #[test]
        fn bits_come_in_runs(runs in prop::collection::vec((any::<bool>(), 1_usize..30), 1..40)) {
            let bits: Vec<bool> = runs.iter().flat_map(|(bit, run)| vec![*bit; *run]).collect();
            let bytes = encode(&bits.iter().map(|bit| u32::from(*bit)).collect::<Vec<_>>(), 1);
            let mut found = Vec::new();
            let mut hybrid = Hybrid::new(&bytes, 1).unwrap();
            hybrid.runs_of_bits(bits.len(), |set, count| {
                found.extend(vec![set; count]);
                Some(())
            }).unwrap();
            prop_assert_eq!(&found, &bits);
            let bits_again = Hybrid::new(&bytes, 1).unwrap().bits(bits.len()).unwrap();
            prop_assert_eq!(bits_again.iter().collect::<Vec<_>>(), bits);
        }

        #[test]
        fn any_bytes_end(bytes: Vec<u8>, width in 0_usize..40, count in 0_usize..100_000) {
            if let Some(mut hybrid) = Hybrid::new(&bytes, width) {
                let mut found = 0;
                let whole = hybrid.take(count, |_| found += 1).is_some();
                prop_assert!(!whole || found == count);
            }
        }
    }
}
