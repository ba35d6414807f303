//! What is asked for, whichever way it came in: checked, with defaults filled in.
//! Owns: defaults and limits of searches. Does not own: the forms of HTTP and gRPC, running a search (`search`).

use std::ops::Range;
use std::time::Duration;

use vivace_model::{TenantId, UnixNanos};
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::{Search, SeriesKind, TracesKind};
use vivace_traceql::ast::{Body, Literal, Query};
use vivace_traceql::{Grid, ScanPlan, TEXT_BYTES_MAX, check_points, default_step, parse};

use crate::duration::go_duration;
use crate::search::{Asked, Window};
use crate::{Config, QueryError};

mod legacy;
mod tags;

pub(crate) use legacy::query_of_tags;
pub(crate) use tags::{TagNamesRequest, TagValuesRequest, TagsAnswer};

/// Traces told where nobody says how many.
pub(crate) const LIMIT_DEFAULT: u32 = 20;
const LIMIT_MAX: u32 = 262_144;
/// Spans told of a spanset where nobody says how many.
const SPANS_DEFAULT: u32 = 3;
const SPANS_MAX: u32 = 100;
const EXEMPLARS_DEFAULT: u32 = 100;
const EXEMPLARS_MAX: u32 = 10_000;

/// The newest traces that match.
#[derive(Clone, Debug)]
pub(crate) struct TracesRequest {
    pub(crate) query: String,
    pub(crate) limit: u32,
    /// 0: the default.
    pub(crate) spans_max: u32,
    pub(crate) range: Option<Range<UnixNanos>>,
}

impl TracesRequest {
    /// What to search for, with the number of traces and of spans of a spanset.
    pub(crate) fn asked(
        &self,
        tenants: Vec<TenantId>,
        config: &Config,
    ) -> Result<(Asked, u32, u32), QueryError> {
        if self.limit == 0 {
            return Err(invalid("limit must be more than 0"));
        }
        if self.limit > LIMIT_MAX {
            return Err(invalid(format!("limit {} exceeds the maximum of {LIMIT_MAX}", self.limit)));
        }
        if self.spans_max > SPANS_MAX {
            return Err(invalid(format!("spss {} exceeds the maximum of {SPANS_MAX}", self.spans_max)));
        }
        let spans_max = if self.spans_max == 0 { SPANS_DEFAULT } else { self.spans_max };
        check_range(self.range.as_ref(), config)?;
        if !matches!(parsed(&self.query)?.body, Body::Spans(_)) {
            return Err(invalid("a metrics query is no search; ask /api/metrics/query_range"));
        }
        let kind = Kind::Traces(TracesKind { limit: self.limit, spans_max });
        let asked = asked(tenants, self.query.clone(), self.range.clone(), kind)?;
        Ok((asked, self.limit, spans_max))
    }
}

/// Series over a time, or one sample of each.
#[derive(Clone, Debug)]
pub(crate) struct SeriesRequest {
    pub(crate) query: String,
    pub(crate) range: Range<UnixNanos>,
    /// Nanoseconds; 0: as fits the time.
    pub(crate) step: u64,
    /// 0: the default.
    pub(crate) exemplars: u32,
    /// 0: as set.
    pub(crate) series_max: u32,
    pub(crate) instant: bool,
}

/// A metrics query that makes sense.
#[derive(Debug)]
pub(crate) struct SeriesAsked {
    pub(crate) asked: Asked,
    pub(crate) query: Query,
    pub(crate) grid: Grid,
    pub(crate) exemplars_max: u32,
    /// In the answer.
    pub(crate) series_max: usize,
}

impl SeriesRequest {
    pub(crate) fn asked(&self, tenants: Vec<TenantId>, config: &Config) -> Result<SeriesAsked, QueryError> {
        let Range { start, end } = self.range;
        if start >= end {
            return Err(invalid("start must be before end"));
        }
        let (length, most) = (end.since(start), config.metrics_range_max);
        if !most.is_zero() && length > most {
            let most = go_duration(most);
            return Err(invalid(format!(
                "metrics query time range exceeds the maximum allowed duration of {most} (VIVACE_QUERY_FRONTEND_METRICS_RANGE_MAX)"
            )));
        }
        let query = parsed(&self.query)?;
        if !matches!(query.body, Body::Metrics(_)) {
            return Err(invalid(
                "the query is a search, not a metrics query: it has no function such as rate()",
            ));
        }
        let grid = self.grid(config)?;
        let kind = SeriesKind {
            step: grid.step,
            grid_start: grid.start,
            intervals: grid.intervals,
            exemplars_max: self.exemplars_max(&query),
            // Which of the series are told is known only when all were seen.
            series_max: u32::try_from(config.series_max.saturating_mul(2)).unwrap_or(u32::MAX),
            instant: grid.instant,
        };
        // An interval holds its right edge, and only that of an instant query its left one.
        let from = grid.start + u64::from(!grid.instant);
        let until = grid.timestamp(grid.intervals.saturating_sub(1)).saturating_add(1);
        let range = UnixNanos(from)..UnixNanos(until);
        let series_max = match self.series_max as usize {
            0 => config.series_max,
            asked => asked.min(config.series_max),
        };
        let asked = asked(tenants, self.query.clone(), Some(range), Kind::Series(kind))?;
        Ok(SeriesAsked { asked, query, grid, exemplars_max: kind.exemplars_max, series_max })
    }

    /// A hint of the query wins: `with(exemplars=false)`, `with(exemplars=10)`.
    fn exemplars_max(&self, query: &Query) -> u32 {
        let hint = query.hints.iter().find(|(name, _)| name == "exemplars").map(|(_, value)| value);
        let wanted = match hint {
            _ if self.instant => 0,
            Some(Literal::Bool(false)) => 0,
            Some(Literal::Int(count)) => u32::try_from(*count).unwrap_or(0),
            _ if self.exemplars == 0 => EXEMPLARS_DEFAULT,
            _ => self.exemplars,
        };
        wanted.min(EXEMPLARS_MAX)
    }

    fn grid(&self, config: &Config) -> Result<Grid, QueryError> {
        let Range { start, end } = self.range;
        if self.instant {
            return Ok(Grid::instant(start.0, end.0));
        }
        let range = end.0 - start.0;
        let step = if self.step == 0 { default_step(range) } else { self.step };
        let points_max = config.metrics_points_max;
        check_points(range, step, points_max).map_err(|least| {
            let least = go_duration(Duration::from_nanos(least));
            invalid(format!(
                "step is too small: a series would have more than {points_max} points (VIVACE_QUERY_FRONTEND_METRICS_POINTS_MAX); the minimum step for this time is {least}"
            ))
        })?;
        Ok(Grid::range(start.0, end.0, step))
    }
}

/// The query, if it is one.
fn parsed(query: &str) -> Result<Query, QueryError> {
    if query.len() > TEXT_BYTES_MAX {
        return Err(invalid(format!(
            "query of {} bytes exceeds the maximum of {TEXT_BYTES_MAX}",
            query.len()
        )));
    }
    parse(query).map_err(|error| QueryError::Invalid(error.to_string()))
}

/// The search for that kind of answer.
fn asked(
    tenants: Vec<TenantId>,
    query: String,
    range: Option<Range<UnixNanos>>,
    kind: Kind,
) -> Result<Asked, QueryError> {
    let (start, end) = range.as_ref().map_or((0, 0), |range| (range.start.0, range.end.0));
    let search = Search { tenant: String::new(), query, start, end, kind: Some(kind) };
    let plan = ScanPlan::new(&search).map_err(|error| QueryError::Invalid(error.to_string()))?;
    let blocks = range.map_or(Window::Any, Window::Of);
    Ok(Asked { tenants, search, blocks, whole: plan.whole() })
}

fn check_range(range: Option<&Range<UnixNanos>>, config: &Config) -> Result<(), QueryError> {
    let Some(range) = range else {
        return Ok(());
    };
    if range.start >= range.end {
        return Err(invalid("start must be before end"));
    }
    let (length, most) = (range.end.since(range.start), config.search_range_max);
    if most.is_zero() || length <= most {
        return Ok(());
    }
    let (length, most) = (go_duration(length), go_duration(most));
    Err(invalid(format!(
        "range specified by start and end ({length}) exceeds {most} (VIVACE_QUERY_FRONTEND_SEARCH_RANGE_MAX)"
    )))
}

fn invalid(message: impl Into<String>) -> QueryError {
    QueryError::Invalid(message.into())
}
