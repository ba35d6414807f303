//! Files of blocks that nobody names.

use std::collections::HashSet;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use serde::Serialize;
use vivace_model::BlockId;

use crate::{Bucket, OperateError};

/// A file that is younger may be about to be listed.
const YOUNG: Duration = Duration::from_secs(60 * 60);
/// So many files are told by name.
const TOLD_MAX: usize = 20;

/// Files below `blocks/` that no chain names, of whatever topic. They cost money and nothing else; crashes leave them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Orphans {
    /// How many there are.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Files of the last hour that no chain names yet; not counted above.
    pub young: u64,
    /// The first of them.
    pub told: Vec<String>,
}

pub(super) async fn find(bucket: &Bucket) -> Result<Orphans, OperateError> {
    let mut known = HashSet::new();
    // Listed before the chains are read, a file that becomes live meanwhile would look like an orphan; read before, too:
    // that is what young files are for.
    for topic in bucket.all_topics().await? {
        for state in topic.states(None).await? {
            known.extend(state.live().iter().chain(state.kept()).map(|block| block.id));
            known.extend(state.retired().iter().map(|retired| retired.block.id));
        }
    }
    let now = bucket.clock.now();
    let mut orphans = Orphans::default();
    let mut listing = bucket.store.list(Some(&Path::from("blocks")));
    let failed = |source| OperateError::Store { action: "list blocks", source };
    while let Some(file) = listing.try_next().await.map_err(failed)? {
        let name = file.location.filename().and_then(|name| name.strip_suffix(".parquet"));
        if name.and_then(|name| name.parse::<BlockId>().ok()).is_some_and(|id| known.contains(&id)) {
            continue;
        }
        let written =
            Duration::from_millis(u64::try_from(file.last_modified.timestamp_millis()).unwrap_or(0));
        let age = Duration::from_nanos(now.0).saturating_sub(written);
        if age < YOUNG {
            orphans.young += 1;
            continue;
        }
        orphans.files += 1;
        orphans.bytes += file.size;
        if orphans.told.len() < TOLD_MAX {
            orphans.told.push(file.location.to_string());
        }
    }
    Ok(orphans)
}
