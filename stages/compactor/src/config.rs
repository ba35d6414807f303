//! What can be set about the compactor.

use std::time::Duration;

use vivace_block::MergeLimits;
use vivace_ledger::RETIRED_KEEP;
use vivace_model::{ByteSize, settings};

settings! {
    /// Settings of the compactor.
    pub struct Config: "VIVACE_COMPACTOR_" {
        /// Consumer group whose members share the partitions.
        group: String = "vivace-compactor".into(),
        /// Merge as soon as that many neighbouring blocks of one level are there.
        #[unit = "blocks"]
        inputs_min: usize = 8,
        /// Merge that many blocks at once at most.
        #[unit = "blocks"]
        inputs_max: usize = 32,
        /// A merged block takes no more row groups once it has this size; a block of half of it is left as it is.
        block_bytes_max: ByteSize = ByteSize::mib(256),
        /// A span is written again by merges that many times at most, on its way from small blocks to large ones.
        #[unit = "levels"]
        levels_max: u32 = 4,
        /// Merge what is left, even if it is fewer than VIVACE_COMPACTOR_INPUTS_MIN blocks, when nothing was added to their
        /// day for that long.
        settle_after: Duration = Duration::from_secs(60 * 60),
        /// Merges at once.
        #[unit = "merges"]
        merges_max: usize = 1,
        /// Spans of the inputs of a merge that are looked ahead to; each takes 60 bytes beside its row group, which is in memory
        /// as it is stored.
        #[unit = "spans"]
        input_rows_max: usize = 300_000,
        /// A trace of more spans than this is merged in parts. It has to be in memory whole otherwise.
        #[unit = "spans"]
        trace_rows_max: usize = 500_000,
        /// Look at the ledger that often, even if nobody tells of new blocks.
        look_every: Duration = Duration::from_secs(120),
        /// Keep the files of replaced and expired blocks for that long, for queries that still read them. Less than an hour.
        grace: Duration = Duration::from_secs(15 * 60),
        /// Keep traces for that long after their end; 0: for ever.
        retention: Duration = Duration::from_secs(14 * 24 * 60 * 60),
        /// Keep traces that have an error for that long, if it is longer than VIVACE_COMPACTOR_RETENTION.
        retention_errors: Duration = Duration::ZERO,
        /// Keep traces that take VIVACE_COMPACTOR_SLOW_MIN or longer for that long, if it is longer than the others are kept.
        retention_slow: Duration = Duration::ZERO,
        /// A trace that takes that long is slow.
        slow_min: Duration = Duration::from_secs(1),
        /// Keep traces that VIVACE_COMPACTOR_MATCHING selects for that long, if it is longer than the others are kept.
        retention_matching: Duration = Duration::ZERO,
        /// A TraceQL query: which traces VIVACE_COMPACTOR_RETENTION_MATCHING is about.
        matching: String = String::new(),
        /// Look for files that no ledger names that often; 0: never.
        orphans_every: Duration = Duration::from_secs(6 * 60 * 60),
        /// Delete such a file when it is that old: more than any upload takes to be listed.
        orphan_age_min: Duration = Duration::from_secs(24 * 60 * 60),
        /// Our clock is right, whatever the store says of time. For once, after an alert; a clock that is ahead deletes
        /// everything.
        clock_trusted: bool = false,
        /// At a stop, wait that long at most for what is being appended to the ledger.
        drain_max: Duration = Duration::from_secs(5),
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
        check(!self.group.is_empty(), "GROUP", "must not be empty")?;
        check(self.inputs_min >= 2, "INPUTS_MIN", "must be at least 2")?;
        check(self.inputs_max >= self.inputs_min, "INPUTS_MAX", "must not be below INPUTS_MIN")?;
        check(self.inputs_max <= 1000, "INPUTS_MAX", "must be at most 1000")?;
        check(self.block_bytes_max.0 > 0, "BLOCK_BYTES_MAX", "must be more than 0")?;
        check((1..=64).contains(&self.levels_max), "LEVELS_MAX", "must be from 1 to 64")?;
        check((1..=64).contains(&self.merges_max), "MERGES_MAX", "must be from 1 to 64")?;
        check(self.input_rows_max > 0, "INPUT_ROWS_MAX", "must be at least 1")?;
        check(self.trace_rows_max > 0, "TRACE_ROWS_MAX", "must be at least 1")?;
        check(!self.look_every.is_zero(), "LOOK_EVERY", "must be more than 0")?;
        // With room for clocks that differ, and for a look that comes late.
        check(self.grace <= RETIRED_KEEP / 4 * 3, "GRACE", "must be at most 45 minutes")?;
        let needs_query = self.retention_matching.is_zero() || !self.matching.trim().is_empty();
        check(needs_query, "MATCHING", "must be set, as RETENTION_MATCHING is")?;
        let hour = Duration::from_secs(60 * 60);
        check(self.orphan_age_min >= hour, "ORPHAN_AGE_MIN", "must be at least an hour")?;
        check(
            self.orphans_every.is_zero() || self.orphans_every >= Duration::from_secs(1),
            "ORPHANS_EVERY",
            "must be 0 or at least a second",
        )?;
        crate::Retention::from_config(self).map(drop)
    }

    pub(crate) const fn limits(&self) -> MergeLimits {
        MergeLimits {
            input_rows_max: self.input_rows_max,
            trace_rows_max: self.trace_rows_max,
            file_bytes_max: self.block_bytes_max.0,
        }
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
        let minute = Duration::from_secs(60);
        for (wrong, name) in [
            (Config { inputs_min: 1, ..Config::default() }, "INPUTS_MIN"),
            (Config { inputs_max: 7, ..Config::default() }, "INPUTS_MAX"),
            (Config { grace: minute * 50, ..Config::default() }, "GRACE"),
            (Config { orphan_age_min: minute, ..Config::default() }, "ORPHAN_AGE_MIN"),
            (Config { retention_matching: minute, ..Config::default() }, "MATCHING"),
            (Config { matching: "{ nonsense".into(), ..Config::default() }, "MATCHING"),
            (Config { matching: "{ } | rate()".into(), ..Config::default() }, "MATCHING"),
        ] {
            let said = wrong.validate().unwrap_err();
            assert!(said.starts_with(&format!("VIVACE_COMPACTOR_{name}")), "{said}");
        }
    }
}
