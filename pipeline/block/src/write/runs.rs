//! Parquet's mix of run-length and bit-packed runs, for definition levels and for numbers of dictionary values.
//! Source: <https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE>.

use arrow::buffer::BooleanBuffer;
use vivace_model::wire::put_varint;

/// Bit-packed runs come in groups of this many values.
const GROUP: usize = 8;
/// Equal bytes of validity that are worth a run: fewer would make more bytes than they save.
const LEVEL_BYTES_MIN: usize = 4;

/// Numbers that are compared at once.
const BLOCK: usize = 32;

/// A level, or the number of a dictionary value.
pub(super) trait Number: Copy + PartialEq + Into<u32> {}

impl<N: Copy + PartialEq + Into<u32>> Number for N {}

/// Bits that numbers below `count` take.
pub(super) const fn bit_width(count: usize) -> u32 {
    usize::BITS - count.saturating_sub(1).leading_zeros()
}

/// Appends what `put` does, after its length.
pub(super) fn put_prefixed(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put(out);
    let length = u32::try_from(out.len() - start - 4).expect("levels of a page are few bytes");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends numbers of `width` bits. What is bit-packed starts and ends at multiples of eight numbers, so a run of equal
/// numbers is looked for only there.
pub(super) fn put_numbers<N: Number>(out: &mut Vec<u8>, numbers: &[N], width: u32) {
    let mut rest = numbers;
    while let Some(&first) = rest.first() {
        let equal = equal(rest, first);
        if equal >= GROUP || equal == rest.len() {
            put_run(out, equal, first.into(), width);
            rest = &rest[equal..];
            continue;
        }
        let mut groups = 1;
        while let Some(group) = rest.get(groups * GROUP..).and_then(|rest| rest.first_chunk::<GROUP>())
            && group.iter().any(|number| *number != group[0])
        {
            groups += 1;
        }
        // What is left and too short for a group is packed too: readers know how many numbers there are.
        if rest.len() < (groups + 1) * GROUP && rest.len() > groups * GROUP {
            groups += 1;
        }
        let (packed, more) = rest.split_at(rest.len().min(groups * GROUP));
        put_varint(out, (groups as u64) << 1 | 1);
        pack(out, packed, width);
        rest = more;
    }
}

/// How many numbers at the start are this one.
fn equal<N: Number>(numbers: &[N], same: N) -> usize {
    let (blocks, _) = numbers.as_chunks::<BLOCK>();
    let differs =
        |block: &[N; BLOCK]| block.iter().fold(false, |differs, number| differs | (*number != same));
    let whole = BLOCK * blocks.iter().take_while(|block| !differs(block)).count();
    whole + numbers[whole..].iter().take_while(|number| **number == same).count()
}

/// Appends definition levels of 0 (null) and 1 (there), of which there are `set`. Bits of validity are what bit-packed levels of one bit are.
pub(super) fn put_levels(out: &mut Vec<u8>, valid: &BooleanBuffer, set: usize) {
    if set == 0 || set == valid.len() {
        return put_run(out, valid.len(), u32::from(set > 0), 1);
    }
    let chunks = valid.bit_chunks();
    let mut bytes: Vec<u8> = chunks.iter().flat_map(u64::to_le_bytes).collect();
    let remainder = chunks.remainder_bits().to_le_bytes();
    bytes.extend_from_slice(&remainder[..valid.len().div_ceil(8) - bytes.len()]);
    let whole = valid.len() / 8;
    let mut at = 0;
    while at < bytes.len() {
        let mut end = at;
        let equal = loop {
            let Some(&byte) = bytes[..whole].get(end) else {
                end = bytes.len();
                break 0;
            };
            let equal = bytes[end..whole].iter().take_while(|other| **other == byte).count();
            if equal >= LEVEL_BYTES_MIN && matches!(byte, 0 | 0xff) {
                break equal;
            }
            end += equal;
        };
        if end > at {
            put_varint(out, ((end - at) as u64) << 1 | 1);
            out.extend_from_slice(&bytes[at..end]);
        }
        if equal > 0 {
            put_run(out, equal * 8, u32::from(bytes[end] & 1), 1);
        }
        at = end + equal;
    }
}

pub(super) fn put_run(out: &mut Vec<u8>, count: usize, number: u32, width: u32) {
    put_varint(out, (count as u64) << 1);
    out.extend_from_slice(&number.to_le_bytes()[..width.div_ceil(8) as usize]);
}

/// Lowest bits first; the last group is filled up with zeros.
fn pack<N: Number>(out: &mut Vec<u8>, numbers: &[N], width: u32) {
    for group in numbers.chunks(GROUP) {
        let numbers = group.iter().map(|number| (*number).into()).zip(0_u32..);
        if width <= 8 {
            let bits = numbers.fold(0, |bits, (number, index)| bits | u64::from(number) << (index * width));
            out.extend_from_slice(&bits.to_le_bytes()[..width as usize]);
        } else if width <= 16 {
            let bits = numbers.fold(0, |bits, (number, index)| bits | u128::from(number) << (index * width));
            out.extend_from_slice(&bits.to_le_bytes()[..width as usize]);
        } else {
            pack_wide(out, group, width);
        }
    }
}

fn pack_wide<N: Number>(out: &mut Vec<u8>, group: &[N], width: u32) {
    let end = out.len() + width as usize;
    let (mut bits, mut filled) = (0_u64, 0);
    for &number in group {
        bits |= u64::from(number.into()) << filled;
        filled += width;
        if filled >= 32 {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            filled -= 32;
        }
    }
    out.extend_from_slice(&(bits as u32).to_le_bytes());
    out.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `count` numbers back, as the format's description says.
    fn read(bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        let mut at = 0;
        while numbers.len() < count {
            let (mut header, mut shift) = (0_usize, 0);
            loop {
                header |= usize::from(bytes[at] & 0x7f) << shift;
                shift += 7;
                at += 1;
                if bytes[at - 1] < 0x80 {
                    break;
                }
            }
            let bit = |start: usize, bit: usize| u32::from(bytes[start + bit / 8] >> (bit % 8) & 1);
            let number = |start, first| (0..width as usize).map(|i| bit(start, first + i) << i).sum::<u32>();
            if header & 1 == 1 {
                let values = (header >> 1) * GROUP;
                numbers.extend((0..values).map(|index| number(at, index * width as usize)));
                at += (header >> 1) * width as usize;
            } else {
                numbers.extend(std::iter::repeat_n(number(at, 0), header >> 1));
                at += width.div_ceil(8) as usize;
            }
        }
        assert_eq!(at, bytes.len(), "nothing follows");
        numbers.truncate(count);
        numbers
    }

    /// Numbers in runs of various lengths.
    fn runs(max: u32) -> impl Strategy<Value = Vec<u32>> {
        let run = (0..=max, prop_oneof![3 => Just(1_usize), 1 => 1..40_usize]);
        prop::collection::vec(run, 0..60)
            .prop_map(|runs| runs.into_iter().flat_map(|(number, count)| vec![number; count]).collect())
    }

    proptest! {
        #[test]
        fn numbers_come_back(width in 0..32_u32, numbers in runs(u32::MAX)) {
            let numbers: Vec<u32> = numbers.into_iter().map(|n| n & ((1 << width) - 1)).collect();
            let mut bytes = Vec::new();
            put_numbers(&mut bytes, &numbers, width);
            prop_assert_eq!(read(&bytes, width, numbers.len()), numbers);
        }

        #[test]
        fn levels_come_back(levels in runs(1), skip in 0..20_usize) {
            prop_assume!(skip < levels.len());
            let valid: BooleanBuffer = levels.iter().map(|level| *level == 1).collect();
            let valid = valid.slice(skip, levels.len() - skip);
            let mut bytes = Vec::new();
            put_levels(&mut bytes, &valid, valid.count_set_bits());
            prop_assert_eq!(read(&bytes, 1, levels.len() - skip), &levels[skip..]);
        }
    }

    #[test]
    fn widths() {
        let widths = [0, 1, 2, 3, 4, 5, 256, 257].map(bit_width);
        assert_eq!(widths, [0, 0, 1, 2, 2, 3, 8, 9]);
    }
}
