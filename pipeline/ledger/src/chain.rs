use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use object_store::ObjectStore;
use object_store::path::Path;
use tracing::{debug, warn};
use vivace_model::{Clock, Partition};

use crate::entry::ENTRY_VERSION;
use crate::files::{Backoff, Create, Files, ReadError, unavailable};
use crate::paths::ChainPaths;
use crate::{Entry, LedgerError, Metrics, PartitionState, Proposal, Violation, rules, snapshots};

/// An entry of more bytes is neither written nor read: tens of thousands of blocks or rejected records.
const ENTRY_BYTES_MAX: u64 = 16 << 20;
/// So many entries are asked for at once while there are more and more of them.
const FETCH_AHEAD_MAX: u64 = 16;

/// The chain of one partition in object storage. It holds no state of its own: any number of chains, in any number of
/// processes, may work on the same partition.
///
/// ```text
/// ledger/<topic>/<partition>/<sequence, 20 digits>.json            created once, never changed, never deleted
/// ledger/<topic>/<partition>/snapshot-<sequence, 20 digits>.json   only saves time
/// ```
///
/// Why a proposal is in the chain at most once: an attempt to write entry `N + 1` is made only by someone whose state
/// ends with `N`, and such a state exists only once entry `N` does. A put that lingers in the network can therefore
/// land only on a number that is still free, and once a writer was seen to have lost a number, no later put of its
/// proposal can take it.
#[derive(Clone, Debug)]
pub struct Chain {
    files: Files,
    paths: ChainPaths,
    topic: Arc<str>,
    partition: Partition,
    clock: Arc<dyn Clock>,
}

impl Chain {
    /// The chain of that partition. Nothing is read or written yet.
    ///
    /// # Panics
    /// If the topic has no name.
    #[must_use]
    pub fn new(
        store: Arc<dyn ObjectStore>,
        topic: &str,
        partition: Partition,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let paths = ChainPaths::new(topic, partition);
        Self { files: Files::new(store), paths, topic: topic.into(), partition, clock }
    }

    /// The same, counting into `metrics`.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.files.metrics = metrics;
        self
    }

    /// The partition.
    #[must_use]
    pub const fn partition(&self) -> Partition {
        self.partition
    }

    /// Reads the newest state: the newest readable snapshot, then entry by entry up to the first that does not exist.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`], or [`LedgerError::Corrupt`] if an entry is damaged, missing or out of place.
    pub async fn load(&self) -> Result<PartitionState, LedgerError> {
        let newest = snapshots::newest(&self.files, &self.paths, &self.topic, self.partition).await?;
        let from = newest.state.sequence();
        let state = self.walk(newest.state, newest.seen).await?;
        debug!(
            topic = %self.topic, partition = %self.partition, snapshot = from, sequence = state.sequence(),
            blocks = state.live().len(), end = %state.end(), "chain loaded"
        );
        Ok(state)
    }

    /// Reads the entries after `known`.
    ///
    /// # Errors
    /// As [`Self::load`]; [`LedgerError::Invalid`] if `known` is of another chain.
    pub async fn refresh(&self, known: &PartitionState) -> Result<PartitionState, LedgerError> {
        self.check_ours(known)?;
        self.walk(known.clone(), known.sequence()).await
    }

    /// Reads one entry; `None` if the chain has not come that far.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`], or [`LedgerError::Corrupt`] if it cannot be read. The rules are not asked.
    pub async fn entry(&self, sequence: u64) -> Result<Option<Entry>, LedgerError> {
        let path = self.paths.entry(sequence);
        match self.files.read(&path, ENTRY_BYTES_MAX).await? {
            Some(json) => self.decode(&path, &json).map(Some),
            None => Ok(None),
        }
    }

    /// The state that a snapshot holds; `None` if it is not there. The entries may say otherwise.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`], or [`LedgerError::Corrupt`] if it cannot be read.
    pub async fn snapshot(&self, sequence: u64) -> Result<Option<PartitionState>, LedgerError> {
        snapshots::read(&self.files, &self.paths, &self.topic, self.partition, sequence).await
    }

    /// Numbers of the entries and of the snapshots that a listing shows, ascending: both may be there without being
    /// shown.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`].
    pub async fn listed(&self) -> Result<(Vec<u64>, Vec<u64>), LedgerError> {
        let (mut entries, mut snapshots) = (BTreeSet::new(), BTreeSet::new());
        let folder = self.paths.folder();
        self.files
            .list(folder, folder, |path| {
                entries.extend(self.paths.entry_sequence(path));
                snapshots.extend(self.paths.snapshot_sequence(path));
            })
            .await?;
        Ok((entries.into_iter().collect(), snapshots.into_iter().collect()))
    }

    /// Adds the proposed entry after `known` and returns the state with it. To drop the future before it ends is like
    /// [`LedgerError::Unavailable`].
    ///
    /// # Errors
    /// - [`LedgerError::Conflict`]: another writer's entry took the number (also if `known` is just old). The proposal
    ///   is not in the chain and will never be; it may be proposed anew on top of `current`, if that still makes sense.
    /// - [`LedgerError::Unavailable`]: nobody knows whether it was added. Append the same proposal to the same `known`
    ///   again; and until that says more, delete no block that the proposal names.
    /// - [`LedgerError::Invalid`]: it breaks a rule, nothing was written.
    /// - [`LedgerError::Corrupt`]: what lies under the number cannot be right.
    pub async fn append(
        &self,
        known: &PartitionState,
        proposal: &Proposal,
    ) -> Result<PartitionState, LedgerError> {
        self.check_ours(known)?;
        let entry = self.next_entry(known, proposal);
        let path = self.paths.entry(entry.sequence);
        let content = check_before_writing(known, &entry)
            .map_err(|source| LedgerError::Invalid { path: path.to_string(), source })?;
        let entry = self.put(&path, content, entry, known).await?;
        let mut state = known.clone();
        state.fold(&entry).map_err(|source| LedgerError::Corrupt { path: path.to_string(), source })?;
        self.files.metrics.appended.inc();
        snapshots::write_if_due(&self.files, &self.paths, &state).await;
        Ok(state)
    }

    /// Creates the entry and returns it as it was stored, by this attempt or by an earlier one of the same proposal.
    async fn put(
        &self,
        path: &Path,
        content: Bytes,
        entry: Entry,
        known: &PartitionState,
    ) -> Result<Entry, LedgerError> {
        let mut backoff = Backoff::new();
        loop {
            let error = match self.files.create(path, content.clone()).await {
                Create::Done => return Ok(entry),
                // Even "exists" may mean our own: the store client repeats requests whose answers got lost.
                Create::Exists(error) | Create::Unknown(error) => error,
            };
            match self.files.read_once(path, ENTRY_BYTES_MAX).await {
                Ok(Some(json)) => {
                    let found = self.decode(path, &json)?;
                    if found.writer == entry.writer {
                        return self.check_same(path, found, &entry);
                    }
                    self.files.metrics.conflicts.inc();
                    let current = self.refresh(known).await?;
                    return Err(LedgerError::Conflict { path: path.to_string(), current });
                }
                Err(ReadError::Damaged(source)) => {
                    return Err(LedgerError::Corrupt { path: path.to_string(), source });
                }
                Ok(None) | Err(ReadError::Store(_)) => {}
            }
            if !backoff.wait().await {
                self.files.metrics.unanswered.inc();
                return Err(unavailable("append", path, error));
            }
            self.files.metrics.retries.inc();
            warn!(%path, %error, "entry not written yet, trying again");
        }
    }

    fn next_entry(&self, known: &PartitionState, proposal: &Proposal) -> Entry {
        Entry {
            version: ENTRY_VERSION,
            sequence: known.sequence() + 1,
            topic: self.topic.to_string(),
            partition: self.partition,
            writer: proposal.writer().to_owned(),
            written: self.clock.now(),
            body: proposal.body().clone(),
        }
    }

    /// The error for an entry that was told of but does not come.
    pub(crate) fn not_there(&self, sequence: u64) -> LedgerError {
        let path = self.paths.entry(sequence);
        let source = "nobody has written it in time".into();
        unavailable("find", &path, object_store::Error::NotFound { path: path.to_string(), source })
    }

    /// The time may differ between two attempts, nothing else may.
    fn check_same(&self, path: &Path, found: Entry, proposed: &Entry) -> Result<Entry, LedgerError> {
        if found == (Entry { written: found.written, ..proposed.clone() }) {
            return Ok(found);
        }
        let source = Violation::Twice { first: found.sequence, second: proposed.sequence };
        Err(LedgerError::Corrupt { path: path.to_string(), source })
    }

    fn check_ours(&self, known: &PartitionState) -> Result<(), LedgerError> {
        if known.topic() == &*self.topic && known.partition() == self.partition {
            return Ok(());
        }
        let source = Violation::Stranger { topic: known.topic().to_owned(), partition: known.partition() };
        Err(LedgerError::Invalid { path: self.paths.entry(known.sequence() + 1).to_string(), source })
    }

    /// Folds all entries after `state`. `seen` is an entry that surely exists: if the walk ends before it, one between
    /// is missing, and to write into that hole would tear the chain.
    async fn walk(&self, mut state: PartitionState, mut seen: u64) -> Result<PartitionState, LedgerError> {
        let mut ahead = 1;
        let mut backoff = Backoff::new();
        loop {
            let first = state.sequence() + 1;
            let found = try_join_all((first..first + ahead).map(|sequence| self.entry(sequence))).await?;
            let last_found = (first..).zip(&found).filter(|(_, entry)| entry.is_some()).last();
            seen = seen.max(last_found.map_or(0, |(sequence, _)| sequence));
            for entry in found.into_iter().map_while(|entry| entry) {
                let path = self.paths.entry(state.sequence() + 1);
                state
                    .fold(&entry)
                    .map_err(|source| LedgerError::Corrupt { path: path.to_string(), source })?;
                self.files.metrics.read.inc();
            }
            let missing = state.sequence() + 1;
            if missing == first + ahead {
                ahead = (ahead * 2).min(FETCH_AHEAD_MAX);
            } else if seen < missing {
                return Ok(state);
            } else if missing > first {
                // Asked at the same time, the later one may have been written just after the earlier was not found.
                ahead = 1;
            } else if !backoff.wait().await {
                let path = self.paths.entry(missing).to_string();
                return Err(LedgerError::Corrupt { path, source: Violation::Missing { seen } });
            }
        }
    }

    fn decode(&self, path: &Path, json: &[u8]) -> Result<Entry, LedgerError> {
        Entry::decode(json).map_err(|source| LedgerError::Corrupt { path: path.to_string(), source })
    }
}

/// Nothing that breaks a rule reaches the store.
fn check_before_writing(known: &PartitionState, entry: &Entry) -> Result<Bytes, Violation> {
    rules::check(known, entry)?;
    let content = entry.encode();
    let bytes = content.len() as u64;
    if bytes > ENTRY_BYTES_MAX {
        return Err(Violation::TooLarge { bytes, bytes_max: ENTRY_BYTES_MAX });
    }
    Ok(content.into())
}

#[cfg(test)]
mod tests;
