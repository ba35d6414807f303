//! Durations as Go writes and reads them: `1h30m`, `1.5s`, `100ms`.

use std::time::Duration;

const UNITS: [(&str, f64); 11] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
    ("d", 86_400e9),
    ("w", 7.0 * 86_400e9),
    ("y", 365.0 * 86_400e9),
];

/// Numbers with units, one after the other.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut nanoseconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (digits, after) = rest.split_at(number);
        let unit = after.find(|char: char| char.is_ascii_digit() || char == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        nanoseconds += digits.parse::<f64>().ok()? * factor;
        rest = after;
    }
    (nanoseconds < 1e19).then(|| Duration::from_nanos(nanoseconds.round() as u64))
}

/// As Go prints it.
pub(crate) fn go_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let fraction = |unit: u128, name: &str| {
        let (whole, part) = (nanoseconds / unit, nanoseconds % unit);
        let width = unit.ilog10() as usize;
        let part = if part == 0 { String::new() } else { format!(".{part:0width$}") };
        format!("{whole}{}{name}", part.trim_end_matches('0'))
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        1_000_000_000..60_000_000_000 => fraction(1_000_000_000, "s"),
        _ => {
            let seconds = duration.as_secs();
            let rest = Duration::new(seconds % 60, duration.subsec_nanos());
            let rest = if rest < Duration::from_secs(1) && !rest.is_zero() {
                format!("{}s", rest.as_secs_f64())
            } else {
                go_duration(rest)
            };
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            if hours > 0 { format!("{hours}h{minutes}m{rest}") } else { format!("{minutes}m{rest}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, nanoseconds) in [
            ("1s", 1_000_000_000_u64),
            ("1.5s", 1_500_000_000),
            ("1h30m", 5_400_000_000_000),
            ("100ms", 100_000_000),
            ("10us", 10_000),
            ("2d", 172_800_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_nanos(nanoseconds)), "{text}");
        }
        for wrong in ["", "1", "s", "1x", "-1s", "1..s", "9999999y"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_are_written_as_go_does() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (100_000_000, "100ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (8_640_000_000, "8.64s"),
            (90_500_000_000, "1m30.5s"),
            (168 * 3_600_000_000_000, "168h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(nanoseconds)), text);
        }
    }
}
