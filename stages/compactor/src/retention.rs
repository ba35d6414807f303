//! How long traces are kept.
//! Owns: classes of traces, and what follows from them for a whole block and for each trace of one.
//! Does not own: where a tenant's values come from, when a block is written anew.
//! Guarantee: a trace is dropped only after the longest time that any of its classes grants.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use vivace_block::KeepTraces;
use vivace_block::schema::{DURATION_NANOS, START_TIME, STATUS_CODE};
use vivace_ledger::BlockMeta;
use vivace_model::scan::TraceRuns;
use vivace_model::{MatchingTraces, RetentionOverrides, SlowTraces, TenantId, UnixNanos};
use vivace_proto::internal::{Search, TracesKind, search};
use vivace_traceql::{ScanPlan, Spans};

use crate::Config;

/// OTLP's number of an error.
const ERROR: i32 = 2;

/// Which retention a tenant has.
pub type RetentionOf = Arc<dyn Fn(&TenantId) -> Retention + Send + Sync>;

/// How long a tenant's traces are kept. A class only ever makes it longer.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    /// All traces; none: for ever.
    pub keep: Option<Duration>,
    /// Traces with a span whose status is error.
    pub errors: Option<Duration>,
    /// Traces that take at least the first time are kept for the second.
    pub slow: Option<(Duration, Duration)>,
    /// Traces that the filter selects.
    pub matching: Option<(TraceFilter, Duration)>,
}

/// A TraceQL query that says yes or no to a trace.
#[derive(Clone, Debug)]
pub struct TraceFilter(Arc<ScanPlan>);

impl TraceFilter {
    /// Understands a query.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn new(query: &str) -> Result<Self, String> {
        let kind = Some(search::Kind::Traces(TracesKind { limit: 1, spans_max: 1 }));
        let search = Search { query: query.to_owned(), kind, ..Search::default() };
        ScanPlan::new(&search).map(|plan| Self(Arc::new(plan))).map_err(|error| crate::error::causes(&error))
    }

    /// Which of the traces it selects.
    fn select(
        &self,
        batch: &RecordBatch,
        traces: &TraceRuns,
    ) -> Result<Vec<bool>, vivace_traceql::EvalError> {
        let mut selected = vec![false; traces.len()];
        for found in self.0.select(&Spans::new(batch, traces))? {
            found.spansets.iter().for_each(|spanset| selected[spanset.trace as usize] = true);
        }
        Ok(selected)
    }
}

impl Retention {
    /// What the settings say.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub fn from_config(config: &Config) -> Result<Self, String> {
        let set = |time: Duration| (!time.is_zero()).then_some(time);
        let matching = match config.matching.trim() {
            "" => None,
            query => {
                let wrong = |error| format!("{}MATCHING: {error}", Config::PREFIX);
                Some(TraceFilter::new(query).map_err(wrong)?)
            }
        };
        Ok(Self {
            keep: set(config.retention),
            errors: set(config.retention_errors),
            slow: set(config.retention_slow).map(|keep| (config.slow_min, keep)),
            matching: matching.zip(set(config.retention_matching)),
        })
    }

    /// With what is set for a tenant in place of the settings.
    ///
    /// # Errors
    /// What is wrong with its query.
    pub fn overridden(&self, overrides: &RetentionOverrides) -> Result<Self, String> {
        let set = |time: Duration| (!time.is_zero()).then_some(time);
        let mut retention = self.clone();
        if let Some(keep) = overrides.keep {
            retention.keep = set(keep);
        }
        if let Some(errors) = overrides.errors {
            retention.errors = set(errors);
        }
        if let Some(SlowTraces { min, keep }) = overrides.slow {
            retention.slow = set(keep).map(|keep| (min, keep));
        }
        if let Some(MatchingTraces { query, keep }) = &overrides.matching {
            let filter = TraceFilter::new(query).map_err(|error| format!("query `{query}`: {error}"))?;
            retention.matching = set(*keep).map(|keep| (filter, keep));
        }
        Ok(retention)
    }

    /// The times after which something may go, ascending; none if nothing ever goes.
    fn times(&self) -> Vec<Duration> {
        let Some(keep) = self.keep else {
            return Vec::new();
        };
        let classes =
            [self.errors, self.slow.map(|(_, keep)| keep), self.matching.as_ref().map(|(_, keep)| *keep)];
        let longer = classes.into_iter().flatten().filter(|time| *time > keep);
        let mut times: Vec<Duration> = std::iter::once(keep).chain(longer).collect();
        times.sort_unstable();
        times.dedup();
        times
    }

    /// Whether nothing of the block is to be kept any longer.
    pub(crate) fn is_over(&self, block: &BlockMeta, now: UnixNanos) -> bool {
        self.times().last().is_some_and(|longest| now.since(end_of(block)) > *longest)
    }

    /// Whether all traces of the block have come to a time after which some classes of them go, since the block was made.
    pub(crate) fn is_due(&self, block: &BlockMeta, now: UnixNanos) -> bool {
        // An ingester never judges; a compactor judges whatever it writes.
        let judged = if block.level == 0 { Duration::ZERO } else { block.created.since(end_of(block)) };
        let age = now.since(end_of(block));
        self.times().into_iter().any(|time| age > time && (block.level == 0 || judged <= time))
    }

    /// Whether some trace of the block may have to go.
    pub(crate) fn touches(&self, block: &BlockMeta, now: UnixNanos) -> bool {
        self.keep.is_some_and(|keep| now.since(block.start_min.min(end_of(block))) > keep)
    }
}

/// When the block's last trace ended: no later than the day on which it was taken in, whatever a sender's clock said.
fn end_of(block: &BlockMeta) -> UnixNanos {
    block.end_max.min(day_end(&block.date).unwrap_or(block.end_max))
}

/// The end of a day `yyyy-mm-dd`.
fn day_end(date: &str) -> Option<UnixNanos> {
    let tomorrow = date.parse::<jiff::civil::Date>().ok()?.tomorrow().ok()?;
    let timestamp = tomorrow.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(UnixNanos::from_secs(u64::try_from(timestamp.as_second()).ok()?))
}

/// Judges traces while they are written anew.
#[derive(Clone)]
pub(crate) struct Judge {
    pub(crate) retention: Retention,
    pub(crate) now: UnixNanos,
    /// No trace counts as ending later.
    pub(crate) end_max: UnixNanos,
}

impl Judge {
    /// The judge of what these blocks of one tenant and day hold; none if all of it is kept for sure.
    pub(crate) fn of(retention: Retention, inputs: &[Arc<BlockMeta>], now: UnixNanos) -> Option<Arc<Self>> {
        if !inputs.iter().any(|block| retention.touches(block, now)) {
            return None;
        }
        let end_max = inputs.iter().map(|block| end_of(block)).max()?;
        Some(Arc::new(Self { retention, now, end_max }))
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge")
            .field("retention", &self.retention)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl KeepTraces for Judge {
    fn keep(
        &self,
        batch: &RecordBatch,
        traces: &TraceRuns,
    ) -> Result<Vec<bool>, Box<dyn Error + Send + Sync>> {
        let Some(keep) = self.retention.keep else {
            return Ok(vec![true; traces.len()]);
        };
        let column =
            |name: &'static str| batch.column_by_name(name).ok_or(format!("column {name} is missing"));
        let starts = column(START_TIME)?.as_primitive::<TimestampNanosecondType>().values();
        let durations = column(DURATION_NANOS)?.as_primitive::<Int64Type>().values();
        let codes = column(STATUS_CODE)?.as_primitive::<Int32Type>().values();
        let matching = match &self.retention.matching {
            Some((filter, time)) => Some((filter.select(batch, traces)?, *time)),
            None => None,
        };
        let kept = (0..traces.len()).map(|trace| {
            let rows = traces.rows_of(trace);
            let (mut first, mut last) = (u64::MAX, 0);
            for row in rows.clone() {
                let start = starts[row].cast_unsigned();
                first = first.min(start);
                last = last.max(start.wrapping_add(durations[row].cast_unsigned()).max(start));
            }
            let age = self.now.since(UnixNanos(last).min(self.end_max));
            let mut longest = keep;
            if let Some(time) = self.retention.errors.filter(|_| codes[rows].contains(&ERROR)) {
                longest = longest.max(time);
            }
            if let Some((bound, time)) = self.retention.slow
                && UnixNanos(last).since(UnixNanos(first)) >= bound
            {
                longest = longest.max(time);
            }
            if let Some((_, time)) = matching.as_ref().filter(|(selected, _)| selected[trace]) {
                longest = longest.max(*time);
            }
            age <= longest
        });
        Ok(kept.collect())
    }
}

#[cfg(test)]
mod tests;
