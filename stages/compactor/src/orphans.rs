//! Files of blocks that no ledger names: left by a crash between upload and listing, or by a compactor that was down for
//! longer than the ledger remembers what it replaced.
//! Owns: finding and deleting them. Does not own: files of blocks that the ledger knows (`partition`).
//! Guarantee: a file is deleted only if it is older, by our clock and beside the newest file, than an upload may take to be listed,
//! and if, after it was seen, no
//! chain of any topic in the store named it, live or replaced. Whatever lies there that is not understood stops it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use tokio::time::sleep;
use tracing::{error, info, warn};
use vivace_ledger::Chain;
use vivace_model::{BlockId, Partition, UnixNanos};
use vivace_runtime::caught;

use crate::error::{CompactorError, causes};
use crate::job::delete;
use crate::shared::Shared;

/// Orphans deleted at one look, at most; the others wait for the next.
const ORPHANS_MAX: usize = 100_000;

/// Looks for orphans now and then.
#[derive(Debug)]
pub(crate) struct Orphans {
    shared: Arc<Shared>,
}

impl Orphans {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Goes on until it is dropped.
    pub(crate) async fn run(self) {
        loop {
            // Not at the start: who starts over and over should not list the store over and over.
            sleep(self.shared.random().jitter(self.shared.config.orphans_every)).await;
            if !self.shared.clock_agrees(None).await {
                continue;
            }
            if let Err(panicked) = caught(self.look()).await {
                self.shared.metrics().panics.inc();
                error!(error = %panicked, "cannot look for orphans, trying again later");
            }
        }
    }

    async fn look(&self) {
        match self.find().await {
            Ok(orphans) if orphans.is_empty() => {}
            Ok(orphans) => {
                let found = orphans.len();
                let gone = delete(&self.shared, orphans).await;
                self.shared.metrics().orphans.inc_by(gone.len() as u64);
                info!(found, deleted = gone.len(), "files deleted that no ledger names");
            }
            Err(error) => warn!(error = causes(&error), "cannot look for orphans, trying again later"),
        }
    }

    /// The files that may be deleted.
    pub(crate) async fn find(&self) -> Result<Vec<Path>, CompactorError> {
        let list = |source| CompactorError::List { what: "blocks", source };
        let now = self.shared.environment.clock.now();
        let age_min = self.shared.config.orphan_age_min;
        // Files first, chains afterwards: what is listed meanwhile is seen as listed.
        let (mut old, mut newest) = (Vec::new(), UnixNanos(0));
        let mut files = self.shared.environment.store.list(Some(&Path::from("blocks")));
        while let Some(file) = files.try_next().await.map_err(list)? {
            let Some(id) = block_of(&file) else {
                continue;
            };
            let made = made(&file, id);
            newest = newest.max(made);
            if now.since(made) > age_min && old.len() < ORPHANS_MAX {
                old.push((id, made, file.location));
            }
        }
        drop(files);
        // A clock that is ahead must not make uploads old that are still on their way: what is newest tells the time too.
        old.retain(|(_, made, _)| newest.since(*made) > age_min);
        if old.is_empty() {
            return Ok(Vec::new());
        }
        let named = self.named().await?;
        Ok(old.into_iter().filter(|(id, ..)| !named.contains(id)).map(|(_, _, path)| path).collect())
    }

    /// All blocks that the chains of the store name now.
    async fn named(&self) -> Result<HashSet<BlockId>, CompactorError> {
        let mut named = HashSet::new();
        for (topic, partition) in self.chains().await? {
            let environment = &self.shared.environment;
            let chain =
                Chain::new(Arc::clone(&environment.store), &topic, partition, Arc::clone(&environment.clock));
            let state = chain.load().await?;
            // What a replay replaced stays until an operator discards it.
            named.extend(state.live().iter().chain(state.kept()).map(|block| block.id));
            named.extend(state.retired().iter().map(|retired| retired.block.id));
        }
        Ok(named)
    }

    /// All chains of the store: those listed, and our own even if a listing is old.
    async fn chains(&self) -> Result<BTreeSet<(String, Partition)>, CompactorError> {
        let list = |source| CompactorError::List { what: "the ledger", source };
        let topics = &self.shared.topics;
        let mut chains: BTreeSet<_> =
            (0..topics.partitions).map(|number| (topics.spans.clone(), Partition(number))).collect();
        let store = &self.shared.environment.store;
        let root = Path::from("ledger");
        for topic in store.list_with_delimiter(Some(&root)).await.map_err(list)?.common_prefixes {
            for folder in store.list_with_delimiter(Some(&topic)).await.map_err(list)?.common_prefixes {
                let (name, number) = (topic.filename(), folder.filename());
                let number = number.and_then(|number| number.parse().ok());
                let Some((name, number)) = name.zip(number) else {
                    let source = format!("{folder} is no chain that this version knows").into();
                    return Err(list(object_store::Error::Generic { store: "ledger", source }));
                };
                chains.insert((name.to_owned(), Partition(number)));
            }
        }
        Ok(chains)
    }
}

/// The block whose file it is; none for what is named otherwise, which is not ours to delete.
fn block_of(file: &ObjectMeta) -> Option<BlockId> {
    file.location.filename()?.strip_suffix(".parquet")?.parse().ok()
}

/// When the file was made: the later of what its name and the store say, lest a wrong clock makes it old.
fn made(file: &ObjectMeta, id: BlockId) -> UnixNanos {
    let stored = file.last_modified.timestamp_nanos_opt().and_then(|nanos| u64::try_from(nanos).ok());
    id.made().max(UnixNanos(stored.unwrap_or(u64::MAX)))
}
