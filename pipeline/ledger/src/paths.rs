use object_store::path::Path;
use vivace_model::Partition;

const LEDGER: &str = "ledger";
const SNAPSHOT: &str = "snapshot-";
const SUFFIX: &str = ".json";

/// The folder of all chains, of whatever topic.
#[must_use]
pub fn ledger_folder() -> Path {
    Path::from(LEDGER)
}

/// Names of the objects of one chain. Twenty digits hold any `u64`, so names sort as their numbers do.
#[derive(Clone, Debug)]
pub(crate) struct ChainPaths {
    folder: Path,
}

impl ChainPaths {
    pub(crate) fn new(topic: &str, partition: Partition) -> Self {
        assert!(!topic.is_empty(), "a chain belongs to a topic");
        Self { folder: Path::from_iter([LEDGER.to_owned(), topic.to_owned(), partition.to_string()]) }
    }

    pub(crate) const fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn entry(&self, sequence: u64) -> Path {
        self.folder.clone().join(format!("{sequence:020}{SUFFIX}"))
    }

    pub(crate) fn snapshot(&self, sequence: u64) -> Path {
        self.folder.clone().join(format!("{SNAPSHOT}{sequence:020}{SUFFIX}"))
    }

    /// What a listing that wants only snapshots starts after: entries sort before it, snapshots behind.
    pub(crate) fn before_snapshots(&self) -> Path {
        self.folder.clone().join(SNAPSHOT)
    }

    /// The number of an entry of this chain, or nothing for any other object.
    pub(crate) fn entry_sequence(&self, path: &Path) -> Option<u64> {
        let sequence = path.filename()?.strip_suffix(SUFFIX)?.parse().ok()?;
        (*path == self.entry(sequence)).then_some(sequence)
    }

    /// The number of a snapshot of this chain, or nothing for any other object.
    pub(crate) fn snapshot_sequence(&self, path: &Path) -> Option<u64> {
        let name = path.filename()?.strip_prefix(SNAPSHOT)?.strip_suffix(SUFFIX)?;
        let sequence = name.parse().ok()?;
        (*path == self.snapshot(sequence)).then_some(sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_documented() {
        let paths = ChainPaths::new("vivace.spans", Partition(3));
        assert_eq!(paths.entry(17).as_ref(), "ledger/vivace.spans/3/00000000000000000017.json");
        assert_eq!(paths.snapshot(64).as_ref(), "ledger/vivace.spans/3/snapshot-00000000000000000064.json");
        assert!(paths.entry(u64::MAX) < paths.before_snapshots());
        assert!(paths.before_snapshots() < paths.snapshot(0));
    }

    #[test]
    fn snapshots_are_told_from_others() {
        let paths = ChainPaths::new("t", Partition(0));
        assert_eq!(paths.snapshot_sequence(&paths.snapshot(128)), Some(128));
        assert_eq!(paths.snapshot_sequence(&paths.entry(128)), None);
        assert_eq!(paths.entry_sequence(&paths.entry(128)), Some(128));
        assert_eq!(paths.entry_sequence(&paths.snapshot(128)), None);
        for name in ["snapshot-12.json", "snapshot-00000000000000000064.json.tmp", "snapshot-.json"] {
            assert_eq!(paths.snapshot_sequence(&paths.folder().clone().join(name)), None, "{name}");
        }
        let other = ChainPaths::new("t", Partition(1));
        assert_eq!(paths.snapshot_sequence(&other.snapshot(64)), None);
    }
}
