//! Constants, in queries and in answers.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write as _};

use crate::ast::{Kind, Literal, Status};

const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(i64::MIN) => f.write_str("minInt"),
            Self::Int(value) => value.fmt(f),
            // Always with a dot or an exponent, so that it stays a float.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => quoted(f, text),
            Self::Duration(nanoseconds) => duration(f, *nanoseconds),
            Self::Status(status) => status.fmt(f),
            Self::Kind(kind) => kind.fmt(f),
        }
    }
}

fn quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// `1h30m`, `1s500ms`: exact.
fn duration(f: &mut Formatter<'_>, nanoseconds: i64) -> fmt::Result {
    let mut rest = nanoseconds.unsigned_abs();
    if rest == 0 {
        return f.write_str("0s");
    }
    if nanoseconds < 0 {
        f.write_char('-')?;
    }
    for (unit, size) in UNITS {
        if rest >= size {
            write!(f, "{}{unit}", rest / size)?;
            rest %= size;
        }
    }
    Ok(())
}

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Literal {
    /// The constant that a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "nil" => Self::Nil,
            "true" => Self::Bool(true),
            "false" => Self::Bool(false),
            "minInt" => Self::Int(i64::MIN),
            "maxInt" => Self::Int(i64::MAX),
            _ => match (Status::from_name(word), Kind::from_name(word)) {
                (Some(status), _) => Self::Status(status),
                (None, Some(kind)) => Self::Kind(kind),
                (None, None) => return None,
            },
        })
    }

    /// The value as text for answers: what is printed, but texts without quotes and durations as Go prints them
    /// (`1.5s`, `1h0m0s`).
    #[must_use]
    pub fn plain(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Duration(nanoseconds) => Cow::Owned(go_duration(*nanoseconds)),
            Self::Int(value) => Cow::Owned(value.to_string()),
            other => Cow::Owned(other.to_string()),
        }
    }
}

/// As Go prints durations.
fn go_duration(nanoseconds: i64) -> String {
    let total = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let (unit, size) = match total {
        0 => return "0s".to_owned(),
        1..1_000 => ("ns", 1),
        1_000..1_000_000 => ("µs", 1_000),
        1_000_000..1_000_000_000 => ("ms", 1_000_000),
        _ => ("s", 1_000_000_000),
    };
    let seconds = total / size;
    let fraction = format!("{:0width$}", total % size, width = size.ilog10() as usize);
    let fraction = match fraction.trim_end_matches('0') {
        "" => String::new(),
        digits => format!(".{digits}"),
    };
    match (unit, seconds) {
        ("s", 3_600..) => {
            format!("{sign}{}h{}m{}{fraction}s", seconds / 3_600, seconds / 60 % 60, seconds % 60)
        }
        ("s", 60..) => format!("{sign}{}m{}{fraction}s", seconds / 60, seconds % 60),
        _ => format!("{sign}{seconds}{fraction}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_queries_and_in_answers() {
        for (nanoseconds, query, answer) in [
            (0, "0s", "0s"),
            (1, "1ns", "1ns"),
            (1_500, "1us500ns", "1.5µs"),
            (250_000_000, "250ms", "250ms"),
            (1_050_000_000, "1s50ms", "1.05s"),
            (5_400_000_000_000, "1h30m", "1h30m0s"),
            (-90_000_000_000, "-1m30s", "-1m30s"),
        ] {
            assert_eq!(Literal::Duration(nanoseconds).to_string(), query);
            assert_eq!(Literal::Duration(nanoseconds).plain(), answer);
        }
    }
}
