//! Query parameters.

use std::ops::Range;

use axum::extract::Query;
use axum::http::Uri;
use vivace_model::UnixNanos;

use crate::QueryError;

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

    fn time(&self, name: &str) -> Result<Option<UnixNanos>, QueryError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        parse_time(text).map(Some).ok_or_else(|| {
            QueryError::Invalid(format!("{name} must be a time in seconds since the epoch, not {text:?}"))
        })
    }
}

/// Seconds, with a fraction or not; a whole number of more than ten digits is nanoseconds.
fn parse_time(text: &str) -> Option<UnixNanos> {
    const DIGITS_OF_SECONDS_MAX: usize = 10;
    if let Ok(number) = text.parse::<u64>() {
        let seconds = text.len() <= DIGITS_OF_SECONDS_MAX;
        return Some(if seconds { UnixNanos::from_secs(number) } else { UnixNanos(number) });
    }
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..1e10).contains(seconds))?;
    Some(UnixNanos((seconds * 1e9) as u64))
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
        for wrong in ["?start=10", "?end=10", "?start=10&end=10", "?start=20&end=10"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
        for wrong in ["x", "-1", "NaN", "inf", "1e300", "10s"] {
            let error = range(&format!("?start={wrong}&end=20")).unwrap_err();
            assert!(error.starts_with("start must be a time"), "{wrong}: {error}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        assert_eq!(params("?q=%7B%20%7D&x=a+b").get("q"), Some("{ }"));
        assert_eq!(params("?q=1&q=2").get("q"), Some("1"));
        assert_eq!(params("?q=").get("q"), None);
    }
}
