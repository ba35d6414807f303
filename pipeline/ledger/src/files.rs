//! The store as a chain uses it: small objects, put once, read whole.
//! Owns: how long one attempt may take, how often and how fast it is repeated.
//! Does not own: what is in an object; whether an unanswered put has happened (the chain finds out).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::{LedgerError, Metrics, Violation};

/// One attempt may take that long; then it counts as unanswered.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts in all before giving up.
const ATTEMPTS_MAX: u32 = 6;
/// Pause before the second attempt; doubled before each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The pauses between attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempts_left: u32,
    pause: Duration,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { attempts_left: ATTEMPTS_MAX - 1, pause: PAUSE_FIRST }
    }

    /// Waits before the next attempt; false if there is none left.
    pub(crate) async fn wait(&mut self) -> bool {
        if self.attempts_left == 0 {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.attempts_left -= 1;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}

/// How a create-only put ended.
#[derive(Debug)]
pub(crate) enum Create {
    /// The object is ours.
    Done,
    /// There is one already: ours, if an earlier attempt's answer was lost, or another's.
    Exists(Error),
    /// No answer, or one that does not tell whether it happened.
    Unknown(Error),
}

/// Why an object could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Store(Error),
    Damaged(Violation),
}

/// The objects of a store.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    store: Arc<dyn ObjectStore>,
    pub(crate) metrics: Metrics,
}

impl Files {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, metrics: Metrics::default() }
    }

    /// One attempt to create an object.
    pub(crate) async fn create(&self, path: &Path, content: Bytes) -> Create {
        let options = PutOptions::from(PutMode::Create);
        let put = self.store.put_opts(path, PutPayload::from_bytes(content), options);
        match answered(put).await {
            Ok(_) => Create::Done,
            // Which of the two a store answers differs; both say that the condition "absent" did not hold.
            Err(error @ (Error::AlreadyExists { .. } | Error::Precondition { .. })) => Create::Exists(error),
            Err(error) => Create::Unknown(error),
        }
    }

    /// One attempt to read an object whole; `None` if there is none.
    pub(crate) async fn read_once(&self, path: &Path, bytes_max: u64) -> Result<Option<Bytes>, ReadError> {
        let read = async {
            let object = match self.store.get(path).await {
                Ok(object) => object,
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(ReadError::Store(error)),
            };
            let bytes = object.meta.size;
            if bytes > bytes_max {
                return Err(ReadError::Damaged(Violation::TooLarge { bytes, bytes_max }));
            }
            object.bytes().await.map(Some).map_err(ReadError::Store)
        };
        match tokio::time::timeout(ATTEMPT_TIMEOUT, read).await {
            Ok(result) => result,
            Err(_) => Err(ReadError::Store(unanswered())),
        }
    }

    /// Reads an object whole, with all attempts.
    pub(crate) async fn read(&self, path: &Path, bytes_max: u64) -> Result<Option<Bytes>, LedgerError> {
        let mut backoff = Backoff::new();
        loop {
            match self.read_once(path, bytes_max).await {
                Ok(content) => return Ok(content),
                Err(ReadError::Damaged(source)) => {
                    return Err(LedgerError::Corrupt { path: path.to_string(), source });
                }
                Err(ReadError::Store(error)) if !backoff.wait().await => {
                    return Err(unavailable("read", path, error));
                }
                Err(ReadError::Store(_)) => self.metrics.retries.inc(),
            };
        }
    }

    /// Gives the paths of a folder behind `after` to `visit`, in no certain order, with all attempts. After a failure
    /// it begins anew, so a path may be visited again.
    pub(crate) async fn list(
        &self,
        folder: &Path,
        after: &Path,
        mut visit: impl FnMut(&Path),
    ) -> Result<(), LedgerError> {
        let mut backoff = Backoff::new();
        loop {
            let mut listing = self.store.list_with_offset(Some(folder), after);
            let error = loop {
                match tokio::time::timeout(ATTEMPT_TIMEOUT, listing.next()).await {
                    Ok(Some(Ok(object))) => visit(&object.location),
                    Ok(Some(Err(error))) => break error,
                    Ok(None) => return Ok(()),
                    Err(_) => break unanswered(),
                }
            };
            if !backoff.wait().await {
                return Err(unavailable("list", folder, error));
            }
            self.metrics.retries.inc();
        }
    }

    /// One attempt to delete an object that nobody needs.
    pub(crate) async fn delete_once(&self, path: &Path) -> Result<(), Error> {
        match answered(self.store.delete(path)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

pub(crate) fn unavailable(action: &'static str, path: &Path, error: Error) -> LedgerError {
    LedgerError::Unavailable { action, path: path.to_string(), source: Arc::new(error) }
}

async fn answered<T>(attempt: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(ATTEMPT_TIMEOUT, attempt).await.unwrap_or_else(|_| Err(unanswered()))
}

fn unanswered() -> Error {
    let source = format!("no answer within {} s", ATTEMPT_TIMEOUT.as_secs()).into();
    Error::Generic { store: "ledger", source }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::testing::paused;

    #[test]
    fn what_is_too_large_is_not_read() {
        paused(async {
            let (files, path) = (Files::new(Arc::new(InMemory::new())), Path::from("object"));
            assert!(matches!(files.create(&path, "12345".into()).await, Create::Done));
            assert!(matches!(files.create(&path, "12345".into()).await, Create::Exists(_)));
            assert_eq!(files.read(&path, 5).await.unwrap().unwrap(), "12345");
            let error = files.read(&path, 4).await.unwrap_err();
            let source = Violation::TooLarge { bytes: 5, bytes_max: 4 };
            assert!(matches!(error, LedgerError::Corrupt { source: found, .. } if found == source));
            files.delete_once(&path).await.unwrap();
            assert!(files.read(&path, 5).await.unwrap().is_none());
        });
    }

    #[test]
    fn pauses_grow_and_end() {
        paused(async {
            let began = tokio::time::Instant::now();
            let mut backoff = Backoff::new();
            let mut attempts = 1;
            while backoff.wait().await {
                attempts += 1;
            }
            assert_eq!(attempts, ATTEMPTS_MAX);
            assert_eq!(began.elapsed(), PAUSE_FIRST * (1 + 2 + 4 + 8 + 16));
        });
    }
}
