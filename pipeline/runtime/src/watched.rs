//! A YAML file that is read again when it changes.
//! Owns: reading it at start and regularly, what to do when it is wrong, and which versions were in force lately.
//! Does not own: what the values mean; their owner checks them.
//! Guarantee: a value that is in force was read and checked; a file that is wrong later changes nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Versions that are remembered.
const VERSIONS_MAX: usize = 64;
/// How long a version counts as one of lately, after another came.
const LATELY: Duration = Duration::from_secs(60 * 60);

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WatchedError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its content is not what it must be.
    #[error("{path}: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// A value that comes from a file, or never changes. Cheap to clone; all clones are one.
#[derive(Debug)]
pub struct Watched<T>(Arc<Inner<T>>);

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Inner<T> {
    source: Option<Source<T>>,
    /// Never empty; oldest first. Each with when it was read.
    versions: RwLock<VecDeque<(Instant, Arc<T>)>>,
    reads: Counter,
    wrong: Gauge,
}

#[derive(Debug)]
struct Source<T> {
    path: PathBuf,
    check: fn(&T) -> Result<(), String>,
}

impl<T> Watched<T> {
    /// A value that never changes.
    #[must_use]
    pub fn fixed(value: T) -> Self {
        Self::new(None, value)
    }

    fn new(source: Option<Source<T>>, value: T) -> Self {
        let versions = RwLock::new([(Instant::now(), Arc::new(value))].into());
        Self(Arc::new(Inner { source, versions, reads: Counter::default(), wrong: Gauge::default() }))
    }

    /// The value in force.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.0.versions.read().back().expect("there is always a version").1)
    }

    /// The newest value that is at least that old, or the first one: what others have had time to learn of.
    #[must_use]
    pub fn settled(&self, age: Duration) -> Arc<T> {
        let versions = self.0.versions.read();
        let old = versions.iter().rev().find(|(read, _)| read.elapsed() >= age);
        Arc::clone(&old.or_else(|| versions.front()).expect("there is always a version").1)
    }

    /// All values that were in force in the last hour.
    #[must_use]
    pub fn lately(&self) -> Vec<Arc<T>> {
        self.0.versions.read().iter().map(|(_, value)| Arc::clone(value)).collect()
    }
}

impl<T: DeserializeOwned + PartialEq> Watched<T> {
    /// Reads the file.
    ///
    /// # Errors
    /// [`WatchedError`] if it cannot be read, is larger than 4 MiB, is no YAML of that shape, or `check` says no.
    pub fn open(path: PathBuf, check: fn(&T) -> Result<(), String>) -> Result<Self, WatchedError> {
        let value = read(&path, check)?;
        Ok(Self::new(Some(Source { path, check }), value))
    }

    /// Registers how often the file was read anew, and whether it is wrong now, as `<name>_reads` and `<name>_wrong`.
    pub fn register(&self, registry: &mut Registry, name: &str) {
        let help = "New versions of the file that were taken over";
        registry.register(format!("{name}_reads"), help, self.0.reads.clone());
        let help =
            "Whether the file cannot be used as it is now (1), so that its last version stays in force";
        registry.register(format!("{name}_wrong"), help, self.0.wrong.clone());
    }

    /// Looks at the file that often, until shutdown.
    ///
    /// # Errors
    /// None: a file that is wrong is told of, and looked at again.
    pub async fn follow(self, every: Duration, shutdown: CancellationToken) -> Result<(), Infallible> {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(every) => self.look(),
            }
        }
    }

    fn look(&self) {
        let Some(Source { path, check }) = &self.0.source else { return };
        let value = match read(path, *check) {
            Ok(value) => value,
            Err(problem) => {
                let cause = std::error::Error::source(&problem).map(ToString::to_string);
                error!(%problem, cause, "file of settings cannot be used; what was read before stays in force");
                self.0.wrong.set(1);
                return;
            }
        };
        self.0.wrong.set(0);
        if *self.current() == value {
            return;
        }
        self.0.reads.inc();
        info!(path = %path.display(), "file of settings changed");
        let mut versions = self.0.versions.write();
        versions.push_back((Instant::now(), Arc::new(value)));
        // A version goes when the one after it has been in force for long enough.
        while versions.len() > VERSIONS_MAX
            || versions.get(1).is_some_and(|(read, _)| read.elapsed() > LATELY)
        {
            versions.pop_front();
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path, check: fn(&T) -> Result<(), String>) -> Result<T, WatchedError> {
    let failed = |source| WatchedError::Read { path: path.to_owned(), source };
    let wrong = |problem: String| WatchedError::Content { path: path.to_owned(), problem };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(wrong(format!("it has {bytes} bytes, more than {FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let value = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    check(&value).map_err(wrong)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends by it")]

    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Value {
        size: u32,
    }

    fn check(value: &Value) -> Result<(), String> {
        if value.size < 100 { Ok(()) } else { Err("size must be below 100".into()) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_comes_into_force_and_a_wrong_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.yaml");
        std::fs::write(&path, "size: 1").unwrap();
        let watched = Watched::open(path.clone(), check).unwrap();
        std::fs::write(&path, "size: 2").unwrap();
        watched.look();
        assert_eq!(watched.current().size, 2);
        for wrong in ["size: 200", "size: x", "other: 1", "size: [", "siz"] {
            std::fs::write(&path, wrong).unwrap();
            watched.look();
            assert_eq!((watched.current().size, watched.0.wrong.get()), (2, 1), "{wrong}");
            assert!(Watched::open(path.clone(), check).is_err());
        }
        std::fs::remove_file(&path).unwrap();
        watched.look();
        assert_eq!(watched.current().size, 2);
        std::fs::write(&path, "size: 3").unwrap();
        watched.look();
        assert_eq!((watched.current().size, watched.0.wrong.get(), watched.0.reads.get()), (3, 0, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn values_settle_and_are_remembered_for_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.yaml");
        let write = |size: u32| std::fs::write(&path, format!("size: {size}")).unwrap();
        write(1);
        let watched = Watched::open(path.clone(), check).unwrap();
        let settled = || watched.settled(Duration::from_secs(60)).size;
        let lately = || watched.lately().iter().map(|value| value.size).collect::<Vec<_>>();
        assert_eq!(settled(), 1, "the first one is in force at once");
        tokio::time::sleep(Duration::from_secs(100)).await;
        write(2);
        watched.look();
        assert_eq!((settled(), lately()), (1, vec![1, 2]));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(settled(), 2);
        tokio::time::sleep(LATELY).await;
        write(3);
        watched.look();
        assert_eq!(lately(), [2, 3]);
    }
}
