//! What can be set about the memory of the process.

use vivace_model::{ByteSize, settings};

settings! {
    /// Settings of the process's memory.
    pub struct MemoryConfig: "VIVACE_MEMORY_" {
        /// Memory that this process may take in all. Settings of single parts (VIVACE_INGESTER_MEMORY_BYTES_MAX and the like)
        /// are upper bounds: where they do not fit into the limit together, each gets its share of it. 0: the limit of
        /// the container (cgroup), or else the memory of the machine.
        limit: ByteSize = ByteSize(0),
    }
}

impl MemoryConfig {
    /// Below this no stage can do anything.
    const LIMIT_MIN: ByteSize = ByteSize::mib(128);

    /// Checks what types cannot say.
    ///
    /// # Errors
    /// Says which setting is wrong and why.
    pub fn validate(&self) -> Result<(), String> {
        if self.limit.0 > 0 && self.limit < Self::LIMIT_MIN {
            return Err(format!("VIVACE_MEMORY_LIMIT must be 0 or at least {}", Self::LIMIT_MIN));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_a_tiny_limit_is_not() {
        assert_eq!(MemoryConfig::default().validate(), Ok(()));
        let tiny = MemoryConfig { limit: ByteSize::mib(1) };
        assert_eq!(tiny.validate(), Err("VIVACE_MEMORY_LIMIT must be 0 or at least 128MiB".into()));
    }
}
