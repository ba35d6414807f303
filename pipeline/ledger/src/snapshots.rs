//! Snapshots of a chain: the folded state after every 64th entry, so that nobody reads the whole chain.
//! Owns: when one is written, which are kept, which is read.
//! Does not own: the truth. All snapshots may be damaged, stale or gone; reading then takes longer, nothing else.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Handle, RuntimeFlavor};
use tracing::{debug, warn};
use vivace_model::Partition;

use crate::files::{Create, Files};
use crate::paths::ChainPaths;
use crate::state::Folded;
use crate::{LedgerError, PartitionState, Violation};

/// A snapshot is written after each entry whose number this divides.
pub(crate) const SNAPSHOT_EVERY: u64 = 64;
/// So many snapshots stay, for the case that the newest are damaged; older ones are deleted, to keep listings short.
const SNAPSHOTS_KEPT: u64 = 8;
/// Of those listed, so many are tried before the chain is read from its beginning.
const SNAPSHOTS_TRIED: usize = 8;
/// Larger ones are not read: ten thousand blocks make about 4 MB.
const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;
/// From this size on, encoding and decoding take more than a millisecond and leave the async threads.
const INLINE_BYTES_MAX: usize = 128 << 10;
const INLINE_BLOCKS_MAX: usize = 256;

const SNAPSHOT_VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    state: &'a Folded,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    state: Folded,
}

/// What the snapshots tell of a chain.
#[derive(Debug)]
pub(crate) struct Newest {
    /// The state to go on from.
    pub(crate) state: PartitionState,
    /// An entry that surely exists: a snapshot after it was listed, readable or not.
    pub(crate) seen: u64,
}

/// Finds the newest readable snapshot.
pub(crate) async fn newest(
    files: &Files,
    paths: &ChainPaths,
    topic: &str,
    partition: Partition,
) -> Result<Newest, LedgerError> {
    let mut listed = Vec::with_capacity(SNAPSHOTS_TRIED + 1);
    files
        .list(paths.folder(), &paths.before_snapshots(), |path| {
            if let Some(sequence) = paths.snapshot_sequence(path)
                && !listed.contains(&sequence)
            {
                listed.push(sequence);
                listed.sort_unstable_by(|a, b| b.cmp(a));
                listed.truncate(SNAPSHOTS_TRIED);
            }
        })
        .await?;
    let seen = listed.first().copied().unwrap_or(0);
    for sequence in listed {
        match read(files, paths, topic, partition, sequence).await {
            Ok(Some(state)) => return Ok(Newest { state, seen }),
            Ok(None) => debug!(topic, %partition, sequence, "listed snapshot is gone"),
            Err(LedgerError::Corrupt { path, source }) => {
                files.metrics.snapshots_damaged.inc();
                warn!(topic, %partition, path, error = %source, "snapshot is damaged, trying an older one");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Newest { state: PartitionState::empty(topic, partition), seen })
}

pub(crate) async fn read(
    files: &Files,
    paths: &ChainPaths,
    topic: &str,
    partition: Partition,
    sequence: u64,
) -> Result<Option<PartitionState>, LedgerError> {
    let path = paths.snapshot(sequence);
    let Some(json) = files.read(&path, SNAPSHOT_BYTES_MAX).await? else {
        return Ok(None);
    };
    let (inline, topic) = (json.len() <= INLINE_BYTES_MAX, topic.to_owned());
    let state = compute(inline, move || decode(&json, &topic, partition, sequence)).await;
    state.map(Some).map_err(|source| LedgerError::Corrupt { path: path.to_string(), source })
}

fn decode(
    json: &[u8],
    topic: &str,
    partition: Partition,
    sequence: u64,
) -> Result<PartitionState, Violation> {
    let unreadable = |error: serde_json::Error| Violation::Unreadable { reason: error.to_string() };
    let read = serde_json::from_slice::<Read>(json).map_err(unreadable)?;
    if read.version != SNAPSHOT_VERSION {
        return Err(Violation::Version { found: read.version });
    }
    PartitionState::restore(read.state, topic, partition, sequence)
}

/// Writes the snapshot that is due after an append, and deletes the one that is no longer kept. One attempt each: the
/// next snapshot makes up for a missing one.
pub(crate) async fn write_if_due(files: &Files, paths: &ChainPaths, state: &PartitionState) {
    let sequence = state.sequence();
    if !sequence.is_multiple_of(SNAPSHOT_EVERY) {
        return;
    }
    let (inline, copy) = (state.live().len() + state.retired().len() <= INLINE_BLOCKS_MAX, state.clone());
    let json = compute(inline, move || encode(&copy)).await;
    match files.create(&paths.snapshot(sequence), json).await {
        Create::Done => {
            files.metrics.snapshots_written.inc();
        }
        Create::Exists(_) => {
            debug!(topic = state.topic(), partition = %state.partition(), sequence, "snapshot exists")
        }
        Create::Unknown(error) => {
            files.metrics.snapshots_failed.inc();
            warn!(topic = state.topic(), partition = %state.partition(), sequence, %error, "snapshot not written");
            // An older one may be all that is left.
            return;
        }
    }
    let Some(old) = sequence.checked_sub(SNAPSHOT_EVERY * SNAPSHOTS_KEPT).filter(|old| *old > 0) else {
        return;
    };
    if let Err(error) = files.delete_once(&paths.snapshot(old)).await {
        debug!(topic = state.topic(), partition = %state.partition(), old, %error, "old snapshot not deleted");
    }
}

fn encode(state: &PartitionState) -> Bytes {
    let written = Written { version: SNAPSHOT_VERSION, state: state.folded() };
    serde_json::to_vec(&written).expect("a state has only string keys and plain values").into()
}

/// Runs CPU work here if it is short, else off the async threads; but on a runtime of a single thread, which only tests
/// and simulations have, always here, so that simulations repeat.
async fn compute<T: Send + 'static>(inline: bool, work: impl FnOnce() -> T + Send + 'static) -> T {
    if inline || Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    tokio::task::spawn_blocking(work).await.expect("coding a snapshot neither panics nor is cancelled")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TOPIC, block, expired, ingested, state_of};

    fn state() -> PartitionState {
        state_of(&[ingested(vec![block(1, 0..10), block(2, 0..10)], 0..10), expired(&[2])])
    }

    fn damaged(change: impl FnOnce(&mut serde_json::Value)) -> Violation {
        let mut json = serde_json::from_slice(&encode(&state())).unwrap();
        change(&mut json);
        decode(json.to_string().as_bytes(), TOPIC, Partition(0), 2).unwrap_err()
    }

    #[test]
    fn a_snapshot_gives_its_state_back() {
        assert_eq!(decode(&encode(&state()), TOPIC, Partition(0), 2), Ok(state()));
    }

    #[test]
    fn what_cannot_be_the_state_is_damaged() {
        assert_eq!(damaged(|json| json["version"] = 2.into()), Violation::Version { found: 2 });
        assert!(matches!(damaged(|json| json["state"]["topic"] = "t".into()), Violation::Stranger { .. }));
        assert!(matches!(damaged(|json| json["state"]["partition"] = 1.into()), Violation::Stranger { .. }));
        assert!(matches!(damaged(|json| json["state"]["sequence"] = 3.into()), Violation::Snapshot { .. }));
        assert!(matches!(damaged(|json| json["state"]["end"] = 5.into()), Violation::Block { .. }));
        assert!(matches!(damaged(|json| drop(json["state"].take())), Violation::Unreadable { .. }));
        let revived = damaged(|json| {
            let gone = json["state"]["retired"][0]["block"].clone();
            json["state"]["live"].as_array_mut().unwrap().push(gone);
        });
        assert_eq!(revived, Violation::RepeatedBlock { id: block(2, 0..10).id });
    }
}
