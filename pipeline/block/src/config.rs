use vivace_model::settings;

settings! {
    /// How blocks are built.
    pub struct BlockConfig: "VIVACE_BLOCK_" {
        /// Attribute columns of a block at most, over all scopes; rarer keys go to overflow lists.
        #[unit = "columns"]
        columns_max: usize = 256,
        /// An attribute gets a column if at least one row in this many has it.
        #[unit = "rows"]
        promote_one_in: usize = 1000,
        /// Keys and types that an open block keeps apart before it knows which of them will be columns.
        #[unit = "columns"]
        open_columns_max: usize = 2048,
        /// Rows of a row group at most, the unit of parallel search.
        #[unit = "rows"]
        row_group_rows_max: usize = 131_072,
        /// Rows of a data page at most.
        #[unit = "rows"]
        page_rows_max: usize = 8192,
        /// Level of zstd, 1 to 22.
        zstd_level: i32 = 1,
    }
}

impl BlockConfig {
    /// Checks that the values make sense together.
    ///
    /// # Errors
    /// A sentence that names the setting.
    pub fn validate(&self) -> Result<(), String> {
        let at_least_one = [
            ("VIVACE_BLOCK_PROMOTE_ONE_IN", self.promote_one_in),
            ("VIVACE_BLOCK_OPEN_COLUMNS_MAX", self.open_columns_max),
            ("VIVACE_BLOCK_ROW_GROUP_ROWS_MAX", self.row_group_rows_max),
            ("VIVACE_BLOCK_PAGE_ROWS_MAX", self.page_rows_max),
        ];
        if let Some((name, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name} must be at least 1"));
        }
        if self.columns_max > 10_000 {
            return Err("VIVACE_BLOCK_COLUMNS_MAX must be at most 10000".into());
        }
        if !(1..=22).contains(&self.zstd_level) {
            return Err("VIVACE_BLOCK_ZSTD_LEVEL must be from 1 to 22".into());
        }
        Ok(())
    }
}
