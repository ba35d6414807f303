//! Numbers: `10`, `1.5`, `.5`, `1e3`, and with units `1h30m`, `1.5s`, `7d`.

use super::{Token, attribute::is_key_char};

const UNITS: [(&str, u64); 11] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5
    ("μs", 1_000), // U+03BC
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 24 * 3_600 * 1_000_000_000),
    ("w", 7 * 24 * 3_600 * 1_000_000_000),
    ("y", 365 * 24 * 3_600 * 1_000_000_000),
];

/// The number that starts here and its length, none if none starts here.
pub(super) fn number(rest: &str) -> Result<Option<(Token<'static>, usize)>, String> {
    let bytes = rest.as_bytes();
    match bytes {
        [b'0'..=b'9', ..] => {
            let run = &rest[..run_length(rest)];
            let token = classify(run)?.ok_or_else(|| format!("{run:?} is no number and no duration"))?;
            Ok(Some((token, run.len())))
        }
        // `.5` is a number, `.5xx` an attribute.
        [b'.', b'0'..=b'9', ..] => {
            let length = 1 + rest[1..].find(|c| !is_key_char(c)).unwrap_or(rest.len() - 1);
            Ok(classify(&rest[..length]).ok().flatten().map(|token| (token, length)))
        }
        _ => Ok(None),
    }
}

/// Digits, dots, letters, and the sign of an exponent.
fn run_length(rest: &str) -> usize {
    let mut only_digits = true;
    let mut after_exponent = false;
    for (at, c) in rest.char_indices() {
        let sign = matches!(c, '+' | '-') && after_exponent;
        if !(c.is_alphanumeric() || c == '.' || sign) {
            return at;
        }
        after_exponent = only_digits && matches!(c, 'e' | 'E');
        only_digits &= c.is_ascii_digit() || c == '.';
    }
    rest.len()
}

fn classify(run: &str) -> Result<Option<Token<'static>>, String> {
    if run.bytes().all(|byte| byte.is_ascii_digit()) {
        return match run.parse::<u64>() {
            Ok(value) if value <= i64::MIN.unsigned_abs() => Ok(Some(Token::Int(value))),
            _ => Err(format!("{run} is out of the range of integers")),
        };
    }
    let float = run.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    if float {
        return match run.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Some(Token::Float(value))),
            Ok(_) => Err(format!("{run} is out of the range of numbers")),
            Err(_) => Ok(None),
        };
    }
    duration(run)
}

/// `1h30m`: numbers that may have a fraction, each with a unit.
fn duration(run: &str) -> Result<Option<Token<'static>>, String> {
    let mut rest = run;
    let mut total = 0u128;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let Some((_, nanoseconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Ok(None);
        };
        let Some(amount) = amount(digits, *nanoseconds) else {
            return Ok(None);
        };
        total = total.saturating_add(amount);
        rest = after;
    }
    match i64::try_from(total) {
        Ok(total) => Ok(Some(Token::Duration(total))),
        Err(_) => Err(format!("{run} is out of the range of durations, which end at 292 years")),
    }
}

/// Exact, as `1.1s` is 1100 ms; digits beyond nanoseconds are cut.
fn amount(digits: &str, nanoseconds: u64) -> Option<u128> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let nanoseconds = u128::from(nanoseconds);
    // Of more than 25 digits the range is exceeded anyway.
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(u128::MAX) };
    let fraction = &fraction[..fraction.len().min(18)];
    let parts: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(whole.saturating_mul(nanoseconds).saturating_add(parts * nanoseconds / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Option<Token<'static>> {
        number(source).ok().flatten().filter(|(_, length)| *length == source.len()).map(|(token, _)| token)
    }

    #[test]
    fn numbers_and_durations() {
        assert_eq!(read("007"), Some(Token::Int(7)));
        assert_eq!(read("9223372036854775808"), Some(Token::Int(1 << 63)));
        assert_eq!(read("9223372036854775809"), None);
        for (source, value) in
            [("1.5", 1.5), (".5", 0.5), ("1e3", 1e3), ("1.5e-3", 1.5e-3), ("2E+2", 200.0), ("1.", 1.0)]
        {
            assert_eq!(read(source), Some(Token::Float(value)), "{source}");
        }
        let second = 1_000_000_000;
        for (source, value) in [
            ("100ms", 100_000_000),
            ("1h30m", 5_400 * second),
            ("1.1s", 1_100_000_000),
            (".5s", 500_000_000),
            ("10d", 864_000 * second),
            ("1w", 604_800 * second),
            ("1y", 31_536_000 * second),
            ("3us", 3_000),
            ("3µs", 3_000),
            ("3μs", 3_000),
            ("9223372036854775807ns", i64::MAX),
        ] {
            assert_eq!(read(source), Some(Token::Duration(value)), "{source}");
        }
        for bad in
            ["1e", "1e999", "1.2.3", "1x", "5s3", "9223372036854775808ns", "300y", "1.s.", "0x1f", "1_000"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_sign_belongs_to_an_exponent_only() {
        assert_eq!(number("10-5").unwrap(), Some((Token::Int(10), 2)));
        assert_eq!(number("1e3-5").unwrap(), Some((Token::Float(1e3), 3)));
        assert_eq!(number("10s-5s").unwrap(), Some((Token::Duration(10_000_000_000), 3)));
        assert_eq!(number(".5xx=1").unwrap(), None);
    }
}
