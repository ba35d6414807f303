//! What a data folder holds, by its ledger.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

/// Sums over all blocks that the ledger names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stored {
    /// Blocks.
    pub blocks: u64,
    /// Spans in them.
    pub rows: u64,
    /// Bytes of their files.
    pub bytes: u64,
}

/// Reads all `ingested` entries below `data`.
///
/// # Errors
/// When a folder or an entry can't be read.
pub fn stored(data: &Path) -> Result<Stored> {
    let mut sum = Stored::default();
    let mut folders: Vec<PathBuf> = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_entry = name.ends_with(".json") && name.starts_with(|c: char| c.is_ascii_digit());
            if is_entry && folder.components().any(|part| part.as_os_str() == "ledger") {
                let entry: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
                if entry["body"]["kind"] == "ingested" {
                    add_blocks(&entry, &mut sum);
                }
            }
        }
    }
    Ok(sum)
}

/// Adds each object that describes a block, wherever in the entry it stands.
fn add_blocks(value: &Value, sum: &mut Stored) {
    match value {
        Value::Object(object) => {
            let number = |name: &str| object.get(name).and_then(Value::as_u64);
            if let (Some(rows), Some(bytes), Some(_)) = (number("rows"), number("bytes"), number("level")) {
                sum.blocks += 1;
                sum.rows += rows;
                sum.bytes += bytes;
            }
            object.values().for_each(|value| add_blocks(value, sum));
        }
        Value::Array(values) => values.iter().for_each(|value| add_blocks(value, sum)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
