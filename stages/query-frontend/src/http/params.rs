//! Query parameters.

use std::ops::Range;
use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;
use vivace_model::UnixNanos;

use crate::QueryError;
use crate::duration::parse_duration;

/// What a metrics query without a time is about.
const LATELY: Duration = Duration::from_secs(3600);

/// The parameters of a request, in order.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn of(uri: &Uri) -> Result<Self, QueryError> {
        let Query(pairs) = Query::try_from_uri(uri)
            .map_err(|error| QueryError::Invalid(format!("query parameters cannot be read: {error}")))?;
        Ok(Self(pairs))
    }

    /// The first parameter of that name, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        (!value.is_empty()).then_some(value)
    }

    /// `start` and `end`: both or none. Both zero means none, as some clients write it.
    pub(super) fn range(&self) -> Result<Option<Range<UnixNanos>>, QueryError> {
        let invalid = |text: &str| Err(QueryError::Invalid(text.into()));
        match (self.time("start")?, self.time("end")?) {
            (None, None) | (Some(UnixNanos(0)), Some(UnixNanos(0))) => Ok(None),
            (Some(_), None) | (None, Some(_)) => invalid("start and end must be given together"),
            (Some(start), Some(end)) if start >= end => invalid("start must be before end"),
            (Some(start), Some(end)) => Ok(Some(start..end)),
        }
    }

    /// `start` and `end`, or `since` before now; none if none of them is given.
    pub(super) fn range_or_since(&self, now: UnixNanos) -> Result<Option<Range<UnixNanos>>, QueryError> {
        match (self.range()?, self.duration("since")?) {
            (Some(range), _) => Ok(Some(range)),
            (None, Some(since)) => Ok(Some(before(now, since)..now)),
            (None, None) => Ok(None),
        }
    }

    /// `start` and `end`; what is missing is `since` apart, an hour if that is missing too, and ends now.
    pub(super) fn range_or_lately(&self, now: UnixNanos) -> Result<Range<UnixNanos>, QueryError> {
        let given = |time: &UnixNanos| time.0 > 0;
        let end = self.time("end")?.filter(given).unwrap_or(now);
        let since = self.duration("since")?.unwrap_or(LATELY);
        let start = self.time("start")?.filter(given).unwrap_or_else(|| before(end, since));
        if start >= end {
            return Err(QueryError::Invalid("start must be before end".into()));
        }
        Ok(start..end)
    }

    /// A number that is not negative.
    pub(super) fn number(&self, name: &str) -> Result<Option<u32>, QueryError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| QueryError::Invalid(format!("{name} must be a number, not {text:?}")))
        };
        self.get(name).map(parse).transpose()
    }

    /// A duration as Go writes it.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, QueryError> {
        let parse = |text: &str| {
            parse_duration(text).ok_or_else(|| {
                QueryError::Invalid(format!("{name} must be a duration such as 1h30m or 250ms, not {text:?}"))
            })
        };
        self.get(name).map(parse).transpose()
    }

    /// `step` in nanoseconds: seconds or a duration; 0 if it is not given.
    pub(super) fn step(&self) -> Result<u64, QueryError> {
        let Some(text) = self.get("step") else {
            return Ok(0);
        };
        let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..1e9).contains(seconds));
        let step = seconds.map(Duration::from_secs_f64).or_else(|| parse_duration(text));
        let nanoseconds = step.and_then(|step| u64::try_from(step.as_nanos()).ok());
        nanoseconds.filter(|step| *step > 0).ok_or_else(|| {
            QueryError::Invalid(format!("step must be seconds or a duration such as 30s, not {text:?}"))
        })
    }

    /// All parameters of other names.
    pub(super) fn others<'a>(&'a self, known: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let other = |(key, _): &&(String, String)| !known.contains(&key.as_str());
        self.0.iter().filter(other).map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn time(&self, name: &str) -> Result<Option<UnixNanos>, QueryError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        parse_time(text).map(Some).ok_or_else(|| {
            QueryError::Invalid(format!("{name} must be a time in seconds since the epoch, not {text:?}"))
        })
    }
}

fn before(time: UnixNanos, by: Duration) -> UnixNanos {
    UnixNanos(time.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
}

/// Seconds, with a fraction or not; a whole number of more than ten digits is nanoseconds. Or as RFC 3339 has it.
fn parse_time(text: &str) -> Option<UnixNanos> {
    const DIGITS_OF_SECONDS_MAX: usize = 10;
    if let Ok(number) = text.parse::<u64>() {
        let seconds = text.len() <= DIGITS_OF_SECONDS_MAX;
        return Some(if seconds { UnixNanos::from_secs(number) } else { UnixNanos(number) });
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return (0.0..1e10).contains(&seconds).then_some(UnixNanos((seconds * 1e9) as u64));
    }
    let time = text.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(time.as_nanosecond()).ok().map(UnixNanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::of(&format!("/api/traces/1{query}").parse().unwrap()).unwrap()
    }

    fn range(query: &str) -> Result<Option<(u64, u64)>, String> {
        let range = params(query).range().map_err(|error| {
            assert_eq!(error.status(), 400);
            error.to_string()
        })?;
        Ok(range.map(|range| (range.start.0, range.end.0)))
    }

    #[test]
    fn times_come_in_pairs_and_in_order() {
        const S: u64 = 1_000_000_000;
        assert_eq!(range(""), Ok(None));
        assert_eq!(range("?start=&end="), Ok(None));
        assert_eq!(range("?start=0&end=0"), Ok(None));
        assert_eq!(range("?start=10&end=20"), Ok(Some((10 * S, 20 * S))));
        assert_eq!(range("?end=20&start=0"), Ok(Some((0, 20 * S))));
        assert_eq!(range("?start=1.5&end=1700000000"), Ok(Some((S + S / 2, 1_700_000_000 * S))));
        assert_eq!(range("?start=1&end=1700000000000000001"), Ok(Some((S, 1_700_000_000_000_000_001))));
        let day = 1_780_000_000 / 86_400 * 86_400 * S;
        assert_eq!(range("?start=1970-01-01T00:00:00Z&end=2026-05-28T02:00:00%2B02:00"), Ok(Some((0, day))));
        for wrong in ["?start=10", "?end=10", "?start=10&end=10", "?start=20&end=10"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
        for wrong in ["x", "-1", "NaN", "inf", "1e300", "10s"] {
            let error = range(&format!("?start={wrong}&end=20")).unwrap_err();
            assert!(error.starts_with("start must be a time"), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_is_missing_of_a_time_ends_now() {
        const S: u64 = 1_000_000_000;
        let now = UnixNanos::from_secs(10_000);
        let lately = |query: &str| {
            let range = params(query).range_or_lately(now).map_err(|error| error.status().as_u16())?;
            Ok((range.start.0 / S, range.end.0 / S))
        };
        assert_eq!(lately(""), Ok((6400, 10_000)));
        assert_eq!(lately("?since=10m"), Ok((9400, 10_000)));
        assert_eq!(lately("?start=9000"), Ok((9000, 10_000)));
        assert_eq!(lately("?end=5000"), Ok((1400, 5000)));
        assert_eq!(lately("?start=2&end=1"), Err(400));
        let since = params("?since=1000s").range_or_since(now).unwrap();
        assert_eq!(since, Some(UnixNanos::from_secs(9000)..now));
        assert_eq!(params("").range_or_since(now).unwrap(), None);
    }

    #[test]
    fn steps_are_seconds_or_durations() {
        let step = |text: &str| params(&format!("?step={text}")).step().ok();
        assert_eq!(step(""), Some(0));
        assert_eq!(step("1.5"), Some(1_500_000_000));
        assert_eq!(step("28s"), Some(28_000_000_000));
        for wrong in ["0", "-1", "x", "0s", "NaN"] {
            assert_eq!(step(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        assert_eq!(params("?q=%7B%20%7D&x=a+b").get("q"), Some("{ }"));
        assert_eq!(params("?q=1&q=2").get("q"), Some("1"));
        assert_eq!(params("?q=").get("q"), None);
    }
}
