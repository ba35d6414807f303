//! What can be set about the query-frontend.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vivace_model::{ByteSize, settings};

settings! {
    /// Settings of the query-frontend.
    pub struct Config: "VIVACE_QUERY_FRONTEND_" {
        /// Queriers as host:port; a name stands for all its addresses. Empty: the querier of this process.
        queriers: Vec<String> = Vec::new(),
        /// Path before `/api`, such as `/tempo`.
        http_api_prefix: String = String::new(),
        /// Whether `X-Scope-OrgID` may name several tenants, as `a|b`, whose data are read together.
        multi_tenant_queries_enabled: bool = false,
        /// Read what is new in the ledger that often, even when no hint came. While hints cannot be read it is read every ten
        /// seconds.
        view_refresh: Duration = Duration::from_secs(120),
        /// A query that has no answer after that long fails.
        query_timeout: Duration = Duration::from_secs(30),
        /// Queries at the same time, those that wait included; more are refused.
        #[unit = "queries"]
        queries_max: usize = 256,
        /// Of these, so many run; others wait up to ten seconds for their turn.
        #[unit = "queries"]
        queries_running_max: usize = 32,
        /// Jobs of one query at the same time.
        #[unit = "jobs"]
        query_jobs_max: usize = 32,
        /// Jobs of all queries at the same time; more wait.
        #[unit = "jobs"]
        jobs_in_flight_max: usize = 512,
        /// Blocks in one job.
        #[unit = "blocks"]
        job_blocks_max: usize = 16,
        /// Spans in the blocks of one job of a search; a block that has more is a job of its own.
        #[unit = "spans"]
        job_rows_max: u64 = 500_000,
        /// What a query answers that needs a damaged block, or one whose file is missing: `partial`: the rest, marked as
        /// partial; `error`: nothing but an error.
        damaged_blocks: DamagedBlocks = DamagedBlocks::Partial,
        /// Look for a trace only in the partition that its id hashes to. Switch it off where something other than
        /// Vivace's distributor wrote the topic without keying it by trace id.
        partition_pruning: bool = true,
        /// Spans of one trace given out.
        #[unit = "spans"]
        trace_spans_max: usize = 250_000,
        /// Pieces of one trace put together, as OTLP bytes.
        trace_bytes_max: ByteSize = ByteSize::mib(128),
        /// Pieces of traces held by all queries together, as OTLP bytes; at it queries are refused. In memory they take
        /// about three times as much.
        bytes_in_flight_max: ByteSize = ByteSize::mib(256),
        /// Longest time that a search may be about; 0: any. A search without a time is about all there is.
        search_range_max: Duration = Duration::from_secs(168 * 3600),
        /// Longest time that a metrics query may be about; 0: any.
        metrics_range_max: Duration = Duration::from_secs(24 * 3600),
        /// Points of a series that a metrics query may ask for.
        #[unit = "points"]
        metrics_points_max: u64 = 10_000,
        /// Series in one answer; more are left out, and the answer says so.
        #[unit = "series"]
        series_max: usize = 10_000,
        /// Memory for what one query puts together: series with their labels and steps, names and values, found traces. One
        /// that needs more is refused (422).
        group_bytes_max: ByteSize = ByteSize::mib(64),
        /// Names of attributes in one scope, or values of one attribute, in an answer.
        #[unit = "tags"]
        tags_max: usize = 10_000,
        /// Bytes of the blocks that one search may look into; 0: any. More is refused before it begins.
        search_bytes_max: ByteSize = ByteSize(0),
        /// Jobs that one search may take. More is refused before it begins.
        #[unit = "jobs"]
        search_jobs_max: usize = 100_000,
        /// Size of the answer of a search.
        answer_bytes_max: ByteSize = ByteSize::mib(64),
        /// Traces are put together from spans that start up to that long before and after the time that is asked about.
        trace_slack: Duration = Duration::from_secs(30 * 60),
        /// What was found in single blocks is kept in that much memory; 0: not at all.
        result_cache_bytes: ByteSize = ByteSize::mib(64),
    }
}

/// What a query answers that needs a damaged block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DamagedBlocks {
    /// What all other blocks and recent data hold, marked as partial.
    #[default]
    Partial,
    /// An error.
    Error,
}

impl Config {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// Says which setting is wrong and why.
    pub fn validate(&self) -> Result<(), String> {
        let check = |right: bool, field: &str, rule: &str| {
            if right { Ok(()) } else { Err(format!("{}{field} {rule}", Self::PREFIX)) }
        };
        let port =
            |address: &String| address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        check(self.queriers.iter().all(port), "QUERIERS", "must be a list of host:port")?;
        let prefix = &self.http_api_prefix;
        check(
            prefix.is_empty()
                || prefix.starts_with('/') && !prefix.ends_with('/') && !prefix.contains(['{', '}', '*']),
            "HTTP_API_PREFIX",
            "must begin with / and not end with it",
        )?;
        check(!self.view_refresh.is_zero(), "VIEW_REFRESH", "must be more than 0")?;
        check(!self.query_timeout.is_zero(), "QUERY_TIMEOUT", "must be more than 0")?;
        check(self.queries_max > 0, "QUERIES_MAX", "must be at least 1")?;
        check(self.queries_running_max > 0, "QUERIES_RUNNING_MAX", "must be at least 1")?;
        check(self.group_bytes_max.0 > 0, "GROUP_BYTES_MAX", "must be more than 0")?;
        check(self.query_jobs_max > 0, "QUERY_JOBS_MAX", "must be at least 1")?;
        check(self.job_blocks_max > 0, "JOB_BLOCKS_MAX", "must be at least 1")?;
        check(self.jobs_in_flight_max > 0, "JOBS_IN_FLIGHT_MAX", "must be at least 1")?;
        check(self.metrics_points_max > 0, "METRICS_POINTS_MAX", "must be at least 1")?;
        check(self.series_max > 0, "SERIES_MAX", "must be at least 1")?;
        check(self.tags_max > 0, "TAGS_MAX", "must be at least 1")?;
        check(self.search_jobs_max > 0, "SEARCH_JOBS_MAX", "must be at least 1")?;
        check(self.answer_bytes_max.0 > 0, "ANSWER_BYTES_MAX", "must be more than 0")?;
        check(self.trace_spans_max > 0, "TRACE_SPANS_MAX", "must be at least 1")?;
        check(self.trace_bytes_max.0 > 0, "TRACE_BYTES_MAX", "must be more than 0")?;
        check(
            self.bytes_in_flight_max >= self.trace_bytes_max,
            "BYTES_IN_FLIGHT_MAX",
            "must not be less than TRACE_BYTES_MAX",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn wrong_settings_are_named() {
        let wrong = |config: Config| config.validate().unwrap_err();
        let queriers = vec!["a:1".into(), "b".into()];
        let message = wrong(Config { queriers, ..Config::default() });
        assert_eq!(message, "VIVACE_QUERY_FRONTEND_QUERIERS must be a list of host:port");
        for prefix in ["tempo", "/tempo/", "/{x}"] {
            let message = wrong(Config { http_api_prefix: prefix.into(), ..Config::default() });
            assert!(message.contains("HTTP_API_PREFIX"), "{prefix}: {message}");
        }
        let message = wrong(Config { bytes_in_flight_max: ByteSize::mib(1), ..Config::default() });
        assert!(message.contains("BYTES_IN_FLIGHT_MAX"), "{message}");
    }
}
