//! Lanes tested as a whole: the hot path of filters.
//! Text is tested once for each text of the dictionary, numbers in loops without branches.

use arrow::array::{Array, AsArray, DictionaryArray, FixedSizeBinaryArray, Int32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Int32Type;

use super::mask::Mask;
use super::predicate::{Predicate, TextTest};
use crate::ast::{Kind, Status};
use crate::{EvalError, Lane, Spans, Value};

/// Rows of a column of numbers that take as long as one row where each is looked at by itself.
const ROWS_PER_TICK: usize = 64;

/// Rows that have a value in the lane.
pub(super) fn present(lane: &Lane<'_>, rows: usize) -> Mask {
    let nulls = match lane {
        Lane::Text(texts) if texts.values().null_count() > 0 => texts.logical_nulls(),
        Lane::Text(texts) => texts.nulls().cloned(),
        Lane::Int(numbers) | Lane::Duration(numbers) => numbers.nulls().cloned(),
        Lane::Float(numbers) => numbers.nulls().cloned(),
        Lane::Bool(flags) => flags.nulls().cloned(),
        Lane::Status(numbers) | Lane::Kind(numbers) | Lane::Small(numbers) => numbers.nulls().cloned(),
        Lane::Id(ids) => ids.nulls().cloned(),
        Lane::Sparse(items) => {
            let mut mask = Mask::none(rows);
            items.iter().for_each(|(row, _)| mask.set(*row as usize));
            return mask;
        }
    };
    nulls.map_or_else(|| Mask::all(rows), |nulls| Mask::from_buffer(nulls.inner()))
}

/// Rows of which some value in the lane meets the predicate, or, inverted, does not. Only rows `within` have to be right.
pub(super) fn any(
    lane: &Lane<'_>,
    predicate: &Predicate,
    invert: bool,
    within: Option<&Mask>,
    spans: &Spans<'_>,
) -> Result<Mask, EvalError> {
    let rows = spans.rows();
    spans.tick(rows / ROWS_PER_TICK)?;
    Ok(match lane {
        Lane::Text(texts) => match &predicate.texts {
            Some(test) => text(texts, test, invert, within, spans)?,
            None => constant(lane, invert, rows),
        },
        Lane::Int(numbers) | Lane::Duration(numbers) => match predicate.numbers {
            Some(test) => {
                let ((low, high), negate) = (test.ints, test.negate ^ invert);
                let mask = Mask::of(numbers.values(), |value| ((low <= value) & (value <= high)) ^ negate);
                valid(mask, numbers.nulls())
            }
            None => constant(lane, invert, rows),
        },
        Lane::Float(numbers) => match predicate.numbers {
            Some(test) => {
                let ((low, high), negate) = (test.floats, test.negate ^ invert);
                let mask = Mask::of(numbers.values(), |value| ((low <= value) & (value <= high)) ^ negate);
                valid(mask, numbers.nulls())
            }
            None => constant(lane, invert, rows),
        },
        Lane::Small(numbers) => match predicate.numbers {
            Some(test) => {
                let ((low, high), negate) = (small(test.ints), test.negate ^ invert);
                let mask = Mask::of(numbers.values(), |value| ((low <= value) & (value <= high)) ^ negate);
                valid(mask, numbers.nulls())
            }
            None => constant(lane, invert, rows),
        },
        Lane::Bool(flags) => match predicate.flags.map(|flag| flag ^ invert) {
            [false, true] => valid(Mask::from_buffer(flags.values()), flags.nulls()),
            [true, false] => valid(Mask::from_buffer(flags.values()).not(), flags.nulls()),
            [same, _] => constant(lane, same, rows),
        },
        Lane::Status(numbers) => {
            named(numbers, predicate.statuses, Status::ALL.len(), invert, |n| Status::from_number(n) as u8)
        }
        Lane::Kind(numbers) => {
            named(numbers, predicate.kinds, Kind::ALL.len(), invert, |n| Kind::from_number(n) as u8)
        }
        Lane::Id(ids) => id(ids, predicate, invert, within),
        Lane::Sparse(items) => {
            let mut mask = Mask::none(rows);
            // Spans of one resource share its values: a large text is tested once, not once for each of them.
            let mut last: Option<(&str, bool)> = None;
            for (row, value) in items {
                let met = match (*value, last) {
                    (Value::Text(text), Some((tested, met))) if std::ptr::eq(text, tested) => met,
                    (value, _) => {
                        spans.tick(predicate.units(value))?;
                        let met = predicate.holds(value) != invert;
                        if let Value::Text(text) = value {
                            last = Some((text, met));
                        }
                        met
                    }
                };
                if met {
                    mask.set(*row as usize);
                }
            }
            mask
        }
    })
}

/// What is the same for every value there is.
fn constant(lane: &Lane<'_>, holds: bool, rows: usize) -> Mask {
    if holds { present(lane, rows) } else { Mask::none(rows) }
}

fn valid(mut mask: Mask, nulls: Option<&NullBuffer>) -> Mask {
    if let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) {
        mask.and(&Mask::from_buffer(nulls.inner()));
    }
    mask
}

/// An interval of 64 bits as one of 32.
fn small((low, high): (i64, i64)) -> (i32, i32) {
    let (least, most) = (i64::from(i32::MIN), i64::from(i32::MAX));
    if low > high || low > most || high < least {
        return (i32::MAX, i32::MIN);
    }
    (low.max(least) as i32, high.min(most) as i32)
}

fn text(
    texts: &DictionaryArray<Int32Type>,
    test: &TextTest,
    invert: bool,
    within: Option<&Mask>,
    spans: &Spans<'_>,
) -> Result<Mask, EvalError> {
    let values = texts.values().as_string::<i32>();
    let keys = texts.keys();
    // A dictionary may be that of a whole block while few rows are left.
    if let Some(within) = within.filter(|within| within.count() < values.len()) {
        let mut mask = Mask::none(keys.len());
        for row in within.rows().filter(|row| keys.is_valid(*row as usize)) {
            let key = keys.value(row as usize) as usize;
            if values.is_valid(key) && holds(test, values.value(key), spans)? != invert {
                mask.set(row as usize);
            }
        }
        return Ok(mask);
    }
    let hit = |key: usize| Ok(values.is_valid(key) && holds(test, values.value(key), spans)? != invert);
    let hits = (0..values.len()).map(hit).collect::<Result<Vec<bool>, EvalError>>()?;
    let mut found = hits.iter().enumerate().filter(|(_, hit)| **hit).map(|(key, _)| key as i32);
    let mask = match (found.next(), found.next()) {
        (None, _) => return Ok(Mask::none(keys.len())),
        (Some(only), None) => Mask::of(keys.values(), |key| key == only),
        _ if hits.iter().all(|hit| *hit) => Mask::all(keys.len()),
        _ => Mask::of(keys.values(), |key| hits.get(key as usize).is_some_and(|hit| *hit)),
    };
    Ok(valid(mask, keys.nulls()))
}

fn holds(test: &TextTest, text: &str, spans: &Spans<'_>) -> Result<bool, EvalError> {
    spans.tick(test.units(text))?;
    Ok(test.holds(text))
}

/// Statuses and kinds: `met` has a bit for each of the `count` numbers that OTLP names.
fn named(numbers: &Int32Array, met: u8, count: usize, invert: bool, known: impl Fn(i32) -> u8) -> Mask {
    let all = ((1_u16 << count) - 1) as u8;
    let met = if invert { !met & all } else { met };
    let single = |bits: u8| (bits.count_ones() == 1 && bits != 1).then(|| bits.trailing_zeros() as i32);
    let mask = if met == 0 {
        Mask::none(numbers.len())
    } else if met == all {
        Mask::all(numbers.len())
    } else if let Some(only) = single(met) {
        Mask::of(numbers.values(), |number| number == only)
    } else if let Some(other) = single(all & !met) {
        Mask::of(numbers.values(), |number| number != other)
    } else {
        Mask::of(numbers.values(), |number| met >> known(number) & 1 == 1)
    };
    valid(mask, numbers.nulls())
}

fn id(ids: &FixedSizeBinaryArray, predicate: &Predicate, invert: bool, within: Option<&Mask>) -> Mask {
    let exact = match &predicate.texts {
        Some(TextTest::Equal(text)) => bytes(text).map(|bytes| (bytes, !invert)),
        Some(TextTest::NotEqual(text)) => bytes(text).map(|bytes| (bytes, invert)),
        _ => None,
    };
    let holds = |id: &[u8]| match &exact {
        Some((wanted, equal)) => (*wanted == id) == *equal,
        None => predicate.holds(Value::Id(id)) != invert,
    };
    let mut mask = Mask::none(ids.len());
    let mut test = |row: usize| {
        if ids.is_valid(row) && holds(ids.value(row)) {
            mask.set(row);
        }
    };
    match within {
        Some(within) => within.rows().for_each(|row| test(row as usize)),
        None => (0..ids.len()).for_each(test),
    }
    mask
}

/// Lower-case hex as bytes; none if it is something else.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let pairs = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    pairs.collect::<Option<_>>().filter(|_| rest.is_empty())
}
