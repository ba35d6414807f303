//! Consumer groups of one topic of the embedded log.
//! Owns: which groups ever joined and what each committed, in memory and in the file `groups.json`.
//! Does not own: when the file is written (the keeper does), what is deleted because of it.
//! Guarantee: a group is on disk before its first join returns; a commit soon after. A commit lost in a crash is harmless:
//! nobody starts from it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use vivace_model::{Offset, Partition};

use super::disk::{replace_file, storage, sync_dir};
use crate::LogError;
use crate::coordinator::{Coordinator, Place};

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Committed {
    /// Of each group that ever joined: the offset committed for each partition, if any.
    groups: BTreeMap<String, Vec<Option<Offset>>>,
}

#[derive(Debug)]
struct State {
    committed: Committed,
    coordinators: BTreeMap<String, Arc<Coordinator>>,
    /// Whether the file is behind.
    dirty: bool,
}

#[derive(Debug)]
pub(super) struct Groups {
    path: PathBuf,
    partitions: u32,
    state: Mutex<State>,
    /// Held while the file is written, so that an older state never replaces a newer one.
    saving: Mutex<()>,
}

impl Groups {
    /// Reads the file of a topic's folder.
    pub(super) fn open(dir: &Path, partitions: u32) -> Result<Self, LogError> {
        let path = dir.join("groups.json");
        let mut committed: Committed = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| LogError::Corrupt(format!("{} is damaged: {error}", path.display())))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Committed::default(),
            Err(error) => return Err(storage(format!("failed to read {}", path.display()))(error)),
        };
        for offsets in committed.groups.values_mut() {
            if offsets.len() > partitions as usize {
                return Err(LogError::Corrupt(format!("{} is of more partitions", path.display())));
            }
            // Of partitions that the topic got since.
            offsets.resize(partitions as usize, None);
        }
        let state = State { committed, coordinators: BTreeMap::new(), dirty: false };
        Ok(Self { path, partitions, state: Mutex::new(state), saving: Mutex::new(()) })
    }

    /// Joins a group; one that is new is noted on disk first, since data is kept for it from now on.
    pub(super) fn join(&self, group: &str) -> Result<Place, LogError> {
        let new = {
            let mut state = self.state.lock();
            let new = !state.committed.groups.contains_key(group);
            if new {
                state.committed.groups.insert(group.to_owned(), vec![None; self.partitions as usize]);
                state.dirty = true;
            }
            new
        };
        if new {
            self.save().map_err(storage(format!("failed to write {}", self.path.display())))?;
        }
        let mut state = self.state.lock();
        let coordinator = state
            .coordinators
            .entry(group.to_owned())
            .or_insert_with(|| Coordinator::new(group, self.partitions));
        Ok(coordinator.join())
    }

    pub(super) fn commit(&self, group: &str, partition: Partition, offset: Offset) {
        let mut state = self.state.lock();
        let offsets = state.committed.groups.get_mut(group).expect("it joined");
        offsets[partition.0 as usize] = Some(offset);
        state.dirty = true;
    }

    /// Below what every group has committed, per partition; none if no group ever joined.
    pub(super) fn floors(&self) -> Option<Vec<u64>> {
        let state = self.state.lock();
        self.fold(&state, |lowest, offset| lowest.min(offset))
    }

    /// The highest that any group has committed, per partition; none if no group ever joined.
    pub(super) fn ceilings(&self) -> Option<Vec<u64>> {
        let state = self.state.lock();
        self.fold(&state, |highest, offset| highest.max(offset))
    }

    fn fold(&self, state: &State, pick: fn(u64, u64) -> u64) -> Option<Vec<u64>> {
        let of_partition = |partition: usize| {
            let offsets = state.committed.groups.values().map(|group| group[partition].unwrap_or_default().0);
            offsets.reduce(pick)
        };
        (0..self.partitions as usize).map(of_partition).collect()
    }

    /// Writes the file if it is behind.
    pub(super) fn save(&self) -> io::Result<()> {
        let _saving = self.saving.lock();
        let bytes = {
            let mut state = self.state.lock();
            if !state.dirty {
                return Ok(());
            }
            state.dirty = false;
            serde_json::to_vec(&state.committed)?
        };
        let result = replace_file(&self.path, &bytes)
            .and_then(|()| sync_dir(self.path.parent().expect("it lies in the topic's folder")));
        if result.is_err() {
            self.state.lock().dirty = true;
        }
        result
    }

    /// What a group committed, for tests.
    #[cfg(test)]
    pub(super) fn committed(&self, group: &str) -> Option<Vec<Option<Offset>>> {
        self.state.lock().committed.groups.get(group).cloned()
    }
}
