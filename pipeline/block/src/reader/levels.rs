//! What a page's levels alone tell: whether it is whole, and whether it has a value in some rows.
//! Decoding a column means decoding its dictionary first, which costs far more than looking whether that is needed:
//! many columns of a block have no value in a given trace. And the Parquet library loops forever over a page whose
//! levels are fewer than it claims to have values.

use std::ops::Range;

use parquet::basic::Encoding;
use parquet::column::page::Page;

use super::hybrid::Hybrid;
use super::page_rows::PageRows;

/// Values of a page at most. Memory bounds what goes into a block to far less; damage might claim anything.
const PAGE_VALUES_MAX: usize = 1 << 26;

/// Whether a page of so many rows can have as many values, nulls among them, as it claims: one in each row if it is of no
/// list. It tells pages and their index apart, which would give other rows.
pub(super) fn fits(page: &Page, max_rep: i16, rows: usize) -> bool {
    let values = page.num_values() as usize;
    if max_rep == 0 { values == rows } else { (rows..=PAGE_VALUES_MAX).contains(&values) }
}

/// Whether the page has as many levels as it claims to have values, encoded as blocks encode them.
pub(super) fn is_whole(page: &Page, max_rep: i16, max_def: i16, rows: usize) -> bool {
    let values = page.num_values() as usize;
    fits(page, max_rep, rows)
        && levels(page, max_rep, max_def).is_some_and(|(mut reps, mut defs)| {
            (max_rep == 0 || reps.skip(values).is_some()) && (max_def == 0 || defs.skip(values).is_some())
        })
}

/// Whether any of the rows, counted from the page's first one, has a value in a leaf column with these maximum levels.
/// In doubt (a damaged page, an old encoding) says yes, and decoding finds out.
pub(super) fn has_value(page: &Page, max_rep: i16, max_def: i16, rows: &PageRows) -> bool {
    if max_def == 0 {
        return true;
    }
    let Some((reps, defs)) = levels(page, max_rep, max_def) else {
        return true;
    };
    if max_rep == 0 && max_def == 1 {
        let there = Hybrid::new(defs.rest, 1).and_then(|mut levels| levels.bits(rows.bits.len()));
        return there.is_none_or(|there| rows.meet(&there));
    }
    nested(reps, defs, max_def as u16, page.num_values() as usize, &rows.ranges).unwrap_or(true)
}

/// A row starts at each repetition level of 0.
fn nested(
    mut reps: Levels<'_>,
    mut defs: Levels<'_>,
    max_def: u16,
    mut left: usize,
    rows: &[Range<usize>],
) -> Option<bool> {
    let (start, end) = (rows.first()?.start, rows.last()?.end);
    let (mut started, mut range) = (0_usize, 0);
    // The levels of earlier rows, in long steps.
    while left > 0 {
        let (rep, run) = reps.run()?;
        let count = if rep == 0 { run.min(start - started) } else { run }.min(left);
        if count == 0 {
            break;
        }
        if rep == 0 {
            started += count;
        }
        reps.skip(count)?;
        defs.skip(count)?;
        left -= count;
    }
    while left > 0 {
        let ((rep, rep_run), (def, def_run)) = (reps.run()?, defs.run()?);
        let count = rep_run.min(def_run).min(left);
        let first = if rep == 0 { started } else { started.checked_sub(1)? };
        if rep == 0 {
            started += count;
        }
        if first >= end {
            break;
        }
        range += rows[range..].iter().take_while(|range| range.end <= first).count();
        if def == max_def && rows.get(range).is_some_and(|range| range.start < started) {
            return Some(true);
        }
        reps.skip(count)?;
        defs.skip(count)?;
        left -= count;
    }
    Some(false)
}

fn levels(page: &Page, max_rep: i16, max_def: i16) -> Option<(Levels<'_>, Levels<'_>)> {
    let (reps, defs) = match page {
        Page::DataPage { buf, def_level_encoding, rep_level_encoding, .. } => {
            let wanted = |max, encoding: &Encoding| max == 0 || *encoding == Encoding::RLE;
            if !wanted(max_rep, rep_level_encoding) || !wanted(max_def, def_level_encoding) {
                return None;
            }
            let (reps, rest) = if max_rep > 0 { prefixed(buf)? } else { (&[][..], &buf[..]) };
            (reps, if max_def > 0 { prefixed(rest)?.0 } else { &[][..] })
        }
        Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
            let (reps, rest) = buf.split_at_checked(*rep_levels_byte_len as usize)?;
            (reps, rest.get(..*def_levels_byte_len as usize)?)
        }
        Page::DictionaryPage { .. } => return None,
    };
    Some((Levels::new(reps, max_rep), Levels::new(defs, max_def)))
}

/// Bytes that follow their length, and what follows them.
pub(super) fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Reads Parquet's mix of run-length and bit-packed runs.
#[derive(Debug)]
struct Levels<'a> {
    rest: &'a [u8],
    width: usize,
    /// Values left of the present run.
    left: usize,
    value: u16,
    /// Of a bit-packed run: its bytes, and the values that were read.
    packed: Option<(&'a [u8], usize)>,
}

impl<'a> Levels<'a> {
    const fn new(bytes: &'a [u8], max: i16) -> Self {
        let width = (16 - (max as u16).leading_zeros()) as usize;
        Self { rest: bytes, width, left: 0, value: 0, packed: None }
    }

    /// The next value and how often it comes at least, without moving on. None at the end.
    fn run(&mut self) -> Option<(u16, usize)> {
        while self.left == 0 {
            self.next_run()?;
        }
        match self.packed {
            None => Some((self.value, self.left)),
            Some((bytes, read)) => Some((unpack(bytes, self.width, read)?, 1)),
        }
    }

    fn skip(&mut self, mut count: usize) -> Option<()> {
        while count > 0 {
            if self.left == 0 {
                self.next_run()?;
                continue;
            }
            let step = count.min(self.left);
            self.left -= step;
            count -= step;
            if let Some((_, read)) = &mut self.packed {
                *read += step;
            }
        }
        Some(())
    }

    fn next_run(&mut self) -> Option<()> {
        let header = self.varint()?;
        let count = usize::try_from(header >> 1).ok()?;
        if header & 1 == 1 {
            let (bytes, rest) = self.rest.split_at_checked(count.checked_mul(self.width)?)?;
            self.rest = rest;
            self.packed = Some((bytes, 0));
            self.left = count * 8;
        } else {
            let (bytes, rest) = self.rest.split_at_checked(self.width.div_ceil(8))?;
            self.rest = rest;
            self.value = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u16::from(byte));
            self.packed = None;
            self.left = count;
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

/// The value at an index, of `width` bits each, lowest bits first.
fn unpack(bytes: &[u8], width: usize, index: usize) -> Option<u16> {
    let bit = index * width;
    let low = u32::from(*bytes.get(bit / 8)?);
    let byte = |at: usize| u32::from(bytes.get(at).copied().unwrap_or(0));
    let word = low | byte(bit / 8 + 1) << 8 | byte(bit / 8 + 2) << 16;
    Some((word >> (bit % 8) & ((1 << width) - 1)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    /// Encodes levels in runs of both kinds, chosen by the values.
    fn encode(levels: &[u16], max: i16) -> Vec<u8> {
        let width = Levels::new(&[], max).width;
        let mut out = Vec::new();
        let mut rest = levels;
        while let Some(&value) = rest.first() {
            let run = rest.iter().take_while(|&&other| other == value).count();
            if run >= 8 || rest.len() < 8 {
                vivace_model::wire::put_varint(&mut out, (run as u64) << 1);
                out.extend(&value.to_le_bytes()[..width.div_ceil(8)]);
                rest = &rest[run..];
            } else {
                vivace_model::wire::put_varint(&mut out, 1 << 1 | 1);
                let mut bits = 0_u128;
                for (index, &level) in rest[..8].iter().enumerate() {
                    bits |= u128::from(level) << (index * width);
                }
                out.extend(&bits.to_le_bytes()[..width]);
                rest = &rest[8..];
            }
        }
        out
    }

    fn page(reps: &[u16], max_rep: i16, defs: &[u16], max_def: i16) -> Page {
        let mut buf = Vec::new();
        let mut put = |levels: Vec<u8>| {
            buf.extend((levels.len() as u32).to_le_bytes());
            buf.extend(levels);
        };
        if max_rep > 0 {
            put(encode(reps, max_rep));
        }
        put(encode(defs, max_def));
        Page::DataPage {
            buf: Bytes::from(buf),
            num_values: defs.len() as u32,
            encoding: Encoding::PLAIN,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        }
    }

    proptest! {
        #[test]
        fn flat_levels_are_looked_up(
            runs in prop::collection::vec((0_u16..=1, 1_usize..40), 1..20),
            from in 0_usize..300,
            length in 1_usize..60,
        ) {
            let defs: Vec<u16> = runs.iter().flat_map(|&(def, run)| vec![def; run]).collect();
            let rows = from.min(defs.len() - 1)..(from + length).min(defs.len());
            prop_assume!(!rows.is_empty());
            let expected = defs[rows.clone()].contains(&1);
            let rows = PageRows::new(&[rows], &(0..defs.len()));
            prop_assert_eq!(has_value(&page(&[], 0, &defs, 1), 0, 1, &rows), expected);
        }

        #[test]
        fn nested_levels_are_looked_up(
            rows in prop::collection::vec(prop::collection::vec(0_u16..=4, 1..6), 1..80),
            from in 0_usize..80,
            length in 1_usize..20,
        ) {
            let reps: Vec<u16> = rows
                .iter()
                .flat_map(|row| (0..row.len()).map(|index| u16::from(index > 0) * 2))
                .collect();
            let defs: Vec<u16> = rows.concat();
            let range = from.min(rows.len() - 1)..(from + length).min(rows.len());
            prop_assume!(!range.is_empty());
            let expected = rows[range.clone()].iter().flatten().any(|&def| def == 4);
            let asked = PageRows::new(&[range], &(0..rows.len()));
            prop_assert_eq!(has_value(&page(&reps, 2, &defs, 4), 2, 4, &asked), expected);
        }

        #[test]
        fn whole_pages_are_told_from_others(
            rows in prop::collection::vec(prop::collection::vec(0_u16..=4, 1..6), 1..80),
            cut in 1_usize..20,
        ) {
            let starts = |row: &Vec<u16>| (0..row.len()).map(|index| u16::from(index > 0) * 2).collect::<Vec<_>>();
            let (reps, defs) = (rows.iter().flat_map(starts).collect::<Vec<_>>(), rows.concat());
            let whole = page(&reps, 2, &defs, 4);
            prop_assert!(is_whole(&whole, 2, 4, rows.len()));
            prop_assert!(!is_whole(&whole, 2, 4, defs.len() + 1));
            // An index that calls the page one of other rows.
            prop_assert!(fits(&whole, 0, reps.len()) && fits(&whole, 2, rows.len()));
            prop_assert!(!fits(&whole, 0, reps.len() - 1) && !fits(&whole, 0, reps.len() + 1));
            prop_assert!(!fits(&whole, 2, reps.len() + 1));
            prop_assert!(!is_whole(&whole, 0, 4, rows.len()) || reps.len() == rows.len());
            let fewer = defs.len().saturating_sub(cut * 8);
            let mut cut = page(&reps[..fewer], 2, &defs, 4);
            prop_assert!(!is_whole(&cut, 2, 4, rows.len()));
            if let Page::DataPage { buf, .. } = &mut cut {
                buf.truncate(5);
            }
            prop_assert!(!is_whole(&cut, 2, 4, rows.len()));
        }

        #[test]
        fn any_bytes_give_an_answer(bytes: Vec<u8>, max_rep in 0_i16..3, start in 0_usize..50) {
            let page = Page::DataPage {
                buf: Bytes::from(bytes),
                num_values: 1 << 20,
                encoding: Encoding::PLAIN,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            let rows = PageRows::new(&[start..start + 3, start + 5..start + 6], &(0..60));
            // The answer does not matter, only that there is one.
            let _: bool = has_value(&page, max_rep, 3, &rows);
            let _: bool = is_whole(&page, max_rep, 3, start);
        }
    }
}
