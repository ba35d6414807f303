//! What a block's file says of itself, read back.
//! Owns: the way from the file's key-value metadata to a [`Description`] and its counts.
//! Does not own: what they should be (the ledger knows).

use std::collections::HashMap;
use std::str::FromStr;

use parquet::file::metadata::KeyValue;
use vivace_model::{Offset, OffsetRange, Partition, Spread, UnixNanos};

use crate::Description;
use crate::columns::BlockStats;
use crate::write::FORMAT_VERSION;

/// Reads the metadata of a file.
///
/// # Errors
/// Names the first value that is missing or wrong.
pub(crate) fn parse(pairs: Option<&Vec<KeyValue>>) -> Result<(Description, BlockStats), String> {
    let pairs: HashMap<&str, &str> = pairs
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((pair.key.strip_prefix("vivace.")?, pair.value.as_deref()?)))
        .collect();
    let values = Values(pairs);
    let version: u32 = values.get("version")?;
    if version != FORMAT_VERSION {
        return Err(format!("it has version {version} of the format, which this program does not know"));
    }
    let (start, end) = (values.get("offset_start")?, values.get("offset_end")?);
    let description = Description {
        tenant: values.get("tenant")?,
        partition: Partition(values.get("partition")?),
        spread: Spread {
            partition_count: values.get("partition_count")?,
            shard_size: values.get("shard_size")?,
        },
        offsets: OffsetRange { start: Offset(start), end: Offset(end) },
        level: values.get("level")?,
        created: UnixNanos(values.get("created_unix_nano")?),
    };
    let stats = BlockStats {
        rows: values.get("rows")?,
        traces: values.get("traces")?,
        start_min: UnixNanos(values.get("start_min_unix_nano")?),
        end_max: UnixNanos(values.get("end_max_unix_nano")?),
    };
    Ok((description, stats))
}

struct Values<'a>(HashMap<&'a str, &'a str>);

impl Values<'_> {
    fn get<T: FromStr>(&self, key: &str) -> Result<T, String> {
        let text = self.0.get(key).ok_or_else(|| format!("its metadata lacks vivace.{key}"))?;
        text.parse().map_err(|_| format!("its metadata has vivace.{key} = {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let description = Description {
            tenant: "a".parse().unwrap(),
            partition: Partition(3),
            spread: Spread { partition_count: 4, shard_size: 1 },
            offsets: OffsetRange::new(Offset(5), Offset(9)),
            level: 2,
            created: UnixNanos(77),
        };
        let stats = BlockStats { rows: 8, traces: 2, start_min: UnixNanos(1), end_max: UnixNanos(6) };
        let mut pairs = description.metadata(&stats);
        assert_eq!(parse(Some(&pairs)), Ok((description, stats)));
        pairs[5].value = Some("x".into());
        assert!(parse(Some(&pairs)).unwrap_err().contains("offset_start"));
        assert!(parse(None).unwrap_err().contains("vivace.version"));
    }
}
