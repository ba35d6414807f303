//! Parquet's delta encoding of integers, read by position.
//! Source: <https://parquet.apache.org/docs/file-format/data-pages/encodings/#DELTAENC>.

/// Bits of a difference at most.
const WIDTH_MAX: usize = 64;

/// Integers in order. What ends early, or is damaged, says so by `None`.
#[derive(Debug)]
pub(super) struct Deltas<'a> {
    rest: &'a [u8],
    /// Miniblocks of a block, and integers of a miniblock.
    miniblocks: usize,
    length: usize,
    /// Integers that were not given yet.
    left: usize,
    /// The next integer, if one is left.
    next: i64,
    /// The smallest difference of the present block.
    min: i64,
    /// Widths of the block's miniblocks that were not begun.
    widths: &'a [u8],
    packed: &'a [u8],
    width: usize,
    /// Differences of the present miniblock that were taken.
    taken: usize,
}

impl<'a> Deltas<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        let block = usize::try_from(varint(&mut rest)?).ok()?;
        let miniblocks = usize::try_from(varint(&mut rest)?).ok()?;
        let left = usize::try_from(varint(&mut rest)?).ok()?;
        let next = zigzag(varint(&mut rest)?);
        let length =
            block.checked_div(miniblocks).filter(|length| *length > 0 && length.is_multiple_of(8))?;
        let (min, width, taken) = (0, 0, length);
        Some(Self { rest, miniblocks, length, left, next, min, widths: &[], packed: &[], width, taken })
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count, |_| ())
    }

    /// Gives the next integers.
    pub(super) fn take(&mut self, mut count: usize, mut put: impl FnMut(i64)) -> Option<()> {
        while count > 0 {
            if self.left == 1 {
                put(self.next);
                self.left = 0;
                return (count == 1).then_some(());
            }
            if self.taken == self.length {
                self.next_miniblock()?;
            }
            // The last integer has no difference behind it.
            let step = count.min(self.length - self.taken).min(self.left.checked_sub(1)?);
            let (packed, width, min) = (self.packed, self.width, self.min);
            let mut next = self.next;
            for index in self.taken..self.taken + step {
                put(next);
                next = next.wrapping_add(min).wrapping_add(unpack(packed, width, index).cast_signed());
            }
            self.next = next;
            self.taken += step;
            self.left -= step;
            count -= step;
        }
        Some(())
    }

    fn next_miniblock(&mut self) -> Option<()> {
        if self.widths.is_empty() {
            self.min = zigzag(varint(&mut self.rest)?);
            (self.widths, self.rest) = self.rest.split_at_checked(self.miniblocks)?;
        }
        let (&width, widths) = self.widths.split_first()?;
        self.width = usize::from(width);
        if self.width > WIDTH_MAX {
            return None;
        }
        self.widths = widths;
        let bytes = self.length.checked_mul(self.width)? / 8;
        // Some writers leave out the end of the last miniblock.
        let needed = self.length.min(self.left).checked_mul(self.width)?.div_ceil(8);
        let at = bytes.min(self.rest.len());
        (self.packed, self.rest) =
            self.rest.split_at_checked(at).filter(|(packed, _)| packed.len() >= needed.min(bytes))?;
        self.taken = 0;
        Some(())
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for index in 0..10 {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

const fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// The number at an index, lowest bits first; zeros beyond the end.
fn unpack(bytes: &[u8], width: usize, index: usize) -> u64 {
    let (byte, shift) = (index * width / 8, index * width % 8);
    if let Some(word) = bytes.get(byte..).and_then(<[u8]>::first_chunk::<8>)
        && width + shift <= 64
    {
        let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
        return u64::from_le_bytes(*word) >> shift & mask;
    }
    let rest = bytes.get(byte..).unwrap_or_default();
    let rest = &rest[..rest.len().min(16)];
    let mut word = [0; 16];
    word[..rest.len()].copy_from_slice(rest);
    (u128::from_le_bytes(word) >> shift & ((1 << width) - 1)) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vivace_model::wire::put_varint;

    use super::*;

    /// Encodes integers in blocks of 64, each of 2 miniblocks.
    fn encode(integers: &[i64]) -> Vec<u8> {
        let zigzag = |number: i64| ((number << 1) ^ (number >> 63)).cast_unsigned();
        let mut out = Vec::new();
        for number in [64, 2, integers.len() as u64, zigzag(integers.first().copied().unwrap_or(0))] {
            put_varint(&mut out, number);
        }
        let deltas: Vec<i64> = integers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        for block in deltas.chunks(64) {
            let min = block.iter().copied().min().unwrap_or(0);
            put_varint(&mut out, zigzag(min));
            let offsets: Vec<u64> =
                block.iter().map(|delta| delta.wrapping_sub(min).cast_unsigned()).collect();
            let miniblocks: Vec<&[u64]> = offsets.chunks(32).collect();
            let widths: Vec<u32> = miniblocks
                .iter()
                .map(|mini| 64 - mini.iter().fold(0, |all, one| all | one).leading_zeros())
                .collect();
            out.extend((0..2).map(|mini| widths.get(mini).map_or(0, |width| *width as u8)));
            for (mini, width) in miniblocks.iter().zip(widths) {
                let mut bits = vec![0_u8; 4 * width as usize];
                for (index, number) in mini.iter().enumerate() {
                    for bit in (0..width as usize).filter(|bit| number >> bit & 1 == 1) {
                        let at = index * width as usize + bit;
                        bits[at / 8] |= 1 << (at % 8);
                    }
                }
                out.extend(bits);
            }
        }
        out
    }

    fn integers() -> impl Strategy<Value = Vec<i64>> {
        let steps = prop_oneof![any::<i64>(), -100..100_i64, Just(0), 0..1_000_000_000_i64];
        prop::collection::vec(steps, 0..300).prop_map(|steps| {
            let sum = |sum: &mut i64, step: i64| {
                *sum = sum.wrapping_add(step);
                Some(*sum)
            };
            steps.into_iter().scan(0, sum).collect()
        })
    }

    proptest! {
        #[test]
        fn integers_are_read_by_position(
            integers in integers(),
            steps in prop::collection::vec((0_usize..50, 0_usize..50), 1..20),
        ) {
            let bytes = encode(&integers);
            let mut deltas = Deltas::new(&bytes).unwrap();
            let mut rest = &integers[..];
            for (skipped, taken) in steps {
                if skipped + taken > rest.len() {
                    break;
                }
                deltas.skip(skipped).unwrap();
                let mut found = Vec::new();
                deltas.take(taken, |integer| found.push(integer)).unwrap();
                prop_assert_eq!(&found[..], &rest[skipped..skipped + taken]);
                rest = &rest[skipped + taken..];
            }
            prop_assert_eq!(deltas.skip(rest.len() + 1), None);
        }

        #[test]
        fn any_bytes_end(bytes: Vec<u8>, cut in 0_usize..400, integers in integers(), count in 0_usize..10_000) {
            let whole = encode(&integers);
            for bytes in [&bytes[..], &whole[..cut.min(whole.len())]] {
                let mut found = 0;
                let read = Deltas::new(bytes).and_then(|mut deltas| deltas.take(count, |_| found += 1));
                prop_assert!(read.is_none() || found == count);
            }
        }
    }
}
