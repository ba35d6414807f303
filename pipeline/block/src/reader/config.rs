use vivace_model::{ByteSize, settings};

settings! {
    /// Settings of reading blocks.
    pub struct ReaderConfig: "VIVACE_BLOCK_READER_" {
        /// Read that much of a file's end at once when it is opened: best as much as footer and bloom filters take.
        footer_read_bytes: ByteSize = ByteSize::kib(64),
        /// Keep bloom filters of blocks in memory up to that size. A block takes about 1 KiB per thousand traces.
        filter_cache_bytes: ByteSize = ByteSize::mib(64),
        /// Keep footers and page indexes of blocks in memory up to that size. A block takes some hundred KiB.
        index_cache_bytes: ByteSize = ByteSize::mib(64),
        /// Keep which rows of a row group belong to which trace in memory up to that size. A trace takes 20 bytes.
        runs_cache_bytes: ByteSize = ByteSize::mib(64),
        /// Keep what rules row groups out of searches (dictionaries and bloom filters of columns) in memory up to that
        /// size.
        facts_cache_bytes: ByteSize = ByteSize::mib(64),
        /// Files up to that size are read whole and kept; fresh blocks are such files.
        small_file_bytes_max: ByteSize = ByteSize::kib(512),
        /// Keep small files, and what queries read of others, in memory up to that size; 0: read only the parts that are
        /// needed, each time.
        small_file_cache_bytes: ByteSize = ByteSize::mib(64),
        /// Read the trace ids and all other columns of the pages that may hold a trace at once, unless this takes more
        /// than that; then trace ids are read first, which takes one more round trip.
        lookup_read_bytes_max: ByteSize = ByteSize::mib(8),
    }
}

impl ReaderConfig {
    /// Checks what types alone cannot.
    ///
    /// # Errors
    /// One line that names the variable at fault.
    pub fn validate(&self) -> Result<(), String> {
        if self.footer_read_bytes < ByteSize::kib(1) || self.footer_read_bytes > ByteSize::mib(64) {
            return Err("VIVACE_BLOCK_READER_FOOTER_READ_BYTES must be from 1 KiB to 64 MiB".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_a_tiny_read_is_not() {
        let mut config = ReaderConfig::default();
        assert_eq!(config.validate(), Ok(()));
        config.footer_read_bytes = ByteSize(7);
        assert!(config.validate().unwrap_err().contains("VIVACE_BLOCK_READER_FOOTER_READ_BYTES"));
    }
}
