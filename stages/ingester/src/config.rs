//! What can be set about the ingester.

use std::time::Duration;

use vivace_model::{ByteSize, settings};

settings! {
    /// Settings of the ingester.
    pub struct Config: "VIVACE_INGESTER_" {
        /// Consumer group whose members share the partitions.
        group: String = "vivace-ingester".into(),
        /// Name of this ingester in ownership records and logs; empty: a random one at each start.
        instance: String = String::new(),
        /// Seal what is open of a partition when it holds that many spans: about a second of replay.
        #[unit = "spans"]
        rows_max: usize = 150_000,
        /// Seal what is open of a partition when its first record is that old, however small it is.
        block_age_max: Duration = Duration::from_secs(120),
        /// Memory for open, sealed and recent spans of all partitions together. Near it blocks are cut early; at it
        /// fetching pauses.
        memory_bytes_max: ByteSize = ByteSize::mib(384),
        /// Sealed sets of blocks per partition that wait for or are in sorting, upload and listing.
        #[unit = "sets"]
        sealing_max: usize = 2,
        /// Fetch about that much from a partition at once.
        fetch_bytes_max: ByteSize = ByteSize::mib(1),
        /// Reject records with a larger value.
        record_bytes_max: ByteSize = ByteSize::mib(16),
        /// Keep listed spans in memory for that long, for readers whose View is a little older; less when the memory
        /// is needed.
        recent_retention: Duration = Duration::from_secs(30),
        /// Processor time that one question of a query about the recent data of a partition may use; one that needs more
        /// ends (422).
        answer_cpu_max: Duration = Duration::from_secs(20),
        /// At a stop, wait that long at most for what is open to be stored and listed.
        drain_max: Duration = Duration::from_secs(20),
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
        check(self.rows_max > 0, "ROWS_MAX", "must be at least 1")?;
        check(!self.block_age_max.is_zero(), "BLOCK_AGE_MAX", "must be more than 0")?;
        check(!self.answer_cpu_max.is_zero(), "ANSWER_CPU_MAX", "must be more than 0")?;
        check((1..=16).contains(&self.sealing_max), "SEALING_MAX", "must be from 1 to 16")?;
        check(self.fetch_bytes_max.0 > 0, "FETCH_BYTES_MAX", "must be more than 0")?;
        check(self.record_bytes_max.0 > 0, "RECORD_BYTES_MAX", "must be more than 0")?;
        let room = 4 * self.fetch_bytes_max.0.max(self.record_bytes_max.0);
        check(
            self.memory_bytes_max.0 >= room,
            "MEMORY_BYTES_MAX",
            "must be at least four times FETCH_BYTES_MAX and RECORD_BYTES_MAX",
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
        let wrong = Config { rows_max: 0, ..Config::default() };
        assert_eq!(wrong.validate(), Err("VIVACE_INGESTER_ROWS_MAX must be at least 1".into()));
        let wrong = Config { memory_bytes_max: ByteSize::mib(1), ..Config::default() };
        assert!(wrong.validate().unwrap_err().starts_with("VIVACE_INGESTER_MEMORY_BYTES_MAX"));
    }
}
