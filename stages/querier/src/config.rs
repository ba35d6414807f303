//! What can be set about the querier.

use std::time::Duration;

use vivace_model::{ByteSize, settings};

settings! {
    /// Settings of the querier.
    pub struct Config: "VIVACE_QUERIER_" {
        /// Jobs that run at the same time.
        #[unit = "jobs"]
        jobs_max: usize = 32,
        /// Jobs that wait for their turn; more are refused.
        #[unit = "jobs"]
        jobs_waiting_max: usize = 512,
        /// Spans that one job may hold, as OTLP bytes; what is more is cut off and said to be.
        job_bytes_max: ByteSize = ByteSize::mib(128),
        /// Blocks that one job reads at the same time.
        #[unit = "blocks"]
        blocks_concurrent_max: usize = 8,
        /// Row groups, or batches of recent data, that all searches together work on at the same time: each takes some
        /// megabytes and a core.
        #[unit = "row groups"]
        search_pieces_max: usize = 8,
        /// Of these, so many of one job.
        #[unit = "row groups"]
        search_job_pieces_max: usize = 4,
        /// Where a search looks at traces as wholes: rows of traces in several places that are put together at once. A
        /// trace that alone has more is put together nevertheless.
        #[unit = "rows"]
        search_rows_max: usize = 250_000,
        /// Processor time that one job may use, all threads together; one that needs more ends (422).
        job_cpu_max: Duration = Duration::from_secs(20),
        /// Memory for the recent data of one search; one that needs more is refused.
        search_recent_bytes_max: ByteSize = ByteSize::mib(256),
        /// Memory for what one job finds: series with their labels and steps, names and values, traces. One that needs more
        /// is refused (422).
        search_group_bytes_max: ByteSize = ByteSize::mib(64),
        /// The log is asked for the end of a partition that long, so that an answer has all that was acknowledged before
        /// it was asked for. Without it a query fails (503).
        log_end_wait: Duration = Duration::from_secs(5),
        /// While the log does not tell its end, answer with what blocks and owners hold instead of failing. Such an
        /// answer may lack the newest spans, and nothing in it says so: for outages of the log only.
        answer_without_log: bool = false,
        /// While nobody serves a partition's recent data, wait that long for a new owner; then read the log.
        owner_wait: Duration = Duration::from_secs(2),
        /// An owner that has not taken a question for that long counts as gone.
        owner_timeout: Duration = Duration::from_secs(5),
        /// While the owner of a partition is behind the log, ask it again for that long; then read what it lacks from
        /// the log.
        catch_up_wait: Duration = Duration::from_millis(250),
    }
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
        check(self.jobs_max > 0, "JOBS_MAX", "must be at least 1")?;
        check(
            self.jobs_max.saturating_add(self.jobs_waiting_max) < 1 << 20,
            "JOBS_WAITING_MAX",
            "is too large",
        )?;
        check(self.job_bytes_max.0 > 0, "JOB_BYTES_MAX", "must be more than 0")?;
        check(self.blocks_concurrent_max > 0, "BLOCKS_CONCURRENT_MAX", "must be at least 1")?;
        check(
            (1..1 << 16).contains(&self.search_pieces_max),
            "SEARCH_PIECES_MAX",
            "must be from 1 to 65535",
        )?;
        check(self.search_job_pieces_max > 0, "SEARCH_JOB_PIECES_MAX", "must be at least 1")?;
        check(self.search_rows_max > 0, "SEARCH_ROWS_MAX", "must be at least 1")?;
        check(self.search_recent_bytes_max.0 > 0, "SEARCH_RECENT_BYTES_MAX", "must be more than 0")?;
        check(self.search_group_bytes_max.0 > 0, "SEARCH_GROUP_BYTES_MAX", "must be more than 0")?;
        check(!self.job_cpu_max.is_zero(), "JOB_CPU_MAX", "must be more than 0")?;
        check(!self.log_end_wait.is_zero(), "LOG_END_WAIT", "must be more than 0")?;
        check(!self.owner_timeout.is_zero(), "OWNER_TIMEOUT", "must be more than 0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_wrong_settings_are_named() {
        assert_eq!(Config::default().validate(), Ok(()));
        let wrong = Config { jobs_max: 0, ..Config::default() };
        assert_eq!(wrong.validate(), Err("VIVACE_QUERIER_JOBS_MAX must be at least 1".into()));
    }
}
