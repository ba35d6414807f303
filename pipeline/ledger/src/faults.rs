//! A store that fails, for tests and simulations: a decorator of any [`ObjectStore`].
//! Owns: which call suffers what. It follows from the seed, the operation, the path and how often that was tried
//! before, not from the order of unrelated calls, so a run repeats under tokio's paused time and nearly so outside.
//! Does not own: the objects; tests look at them through [`FaultyStore::inner`] without faults.
//! What it never does: tear an object, forget one, or let a create-only put succeed twice. A ledger on a store that
//! does is lost, and no real one may.

mod chances;
mod listing;
mod upload;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    memory::InMemory,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use chances::Plan;
pub use chances::{Faults, Struck};
use listing::Changes;
use upload::FaultyUpload;

/// A store whose calls fail now and then. Clones share everything.
#[derive(Clone, Debug)]
pub struct FaultyStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: Arc<dyn ObjectStore>,
    seed: u64,
    faults: Mutex<Faults>,
    tried: Mutex<HashMap<(Operation, Path), u64>>,
    changes: Changes,
    late: Mutex<Vec<LatePut>>,
    struck: Mutex<Struck>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    Put,
    Multipart,
    Part,
    Complete,
    Get,
    Delete,
    List,
    Copy,
}

#[derive(Debug)]
struct LatePut {
    due: Instant,
    path: Path,
    payload: PutPayload,
    options: PutOptions,
}

impl FaultyStore {
    /// A store in memory.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self::around(Arc::new(InMemory::new()), seed, faults)
    }

    /// The faults on top of another store.
    #[must_use]
    pub fn around(inner: Arc<dyn ObjectStore>, seed: u64, faults: Faults) -> Self {
        Self(Arc::new(Shared {
            inner,
            seed,
            faults: Mutex::new(faults),
            tried: Mutex::default(),
            changes: Changes::default(),
            late: Mutex::default(),
            struck: Mutex::default(),
        }))
    }

    /// The store underneath, which has no faults.
    #[must_use]
    pub fn inner(&self) -> &Arc<dyn ObjectStore> {
        &self.0.inner
    }

    /// Changes what later calls suffer.
    pub fn set_faults(&self, faults: Faults) {
        *self.0.faults.lock() = faults;
    }

    /// Ends all faults: late puts happen now or never (every other one), listings are true.
    pub async fn heal(&self) {
        self.set_faults(Faults::NONE);
        let late = std::mem::take(&mut *self.0.late.lock());
        for (put, lands) in late.into_iter().zip([true, false].into_iter().cycle()) {
            if lands {
                self.0.land(put).await;
            }
        }
        self.0.changes.forget();
    }

    /// How often each fault struck so far.
    #[must_use]
    pub fn struck(&self) -> Struck {
        *self.0.struck.lock()
    }
}

impl Shared {
    /// Begins a call: decides what it suffers, waits, lets late puts happen whose time has come, and fails if it is to
    /// fail before it did anything.
    async fn begin(&self, operation: Operation, path: &Path) -> Result<Plan> {
        let tried = {
            let mut tried = self.tried.lock();
            let tried = tried.entry((operation, path.clone())).or_default();
            *tried += 1;
            *tried
        };
        let name = format!("{operation:?} {tried} {path}");
        let plan = Plan::new(*self.faults.lock(), self.seed, &name);
        wait(plan.before).await;
        self.land_due().await;
        self.count(|struck| struck.calls += 1);
        if plan.draw.hits("error before", plan.faults.error_before) {
            self.count(|struck| struck.errors_before += 1);
            return Err(failure(format!("{name}: nothing happened")));
        }
        Ok(plan)
    }

    /// Ends a call that happened: waits, and loses its answer if that is to be.
    async fn end<T>(&self, plan: &Plan, result: Result<T>) -> Result<T> {
        wait(plan.after).await;
        if plan.draw.hits("error after", plan.faults.error_after) {
            self.count(|struck| struck.errors_after += 1);
            return Err(failure("the answer got lost".into()));
        }
        result
    }

    fn count(&self, change: impl FnOnce(&mut Struck)) {
        change(&mut self.struck.lock());
    }

    async fn put(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let result = self.inner.put_opts(path, payload, options).await;
        if result.is_ok() {
            self.changes.created(path);
        }
        result
    }

    async fn land_due(&self) {
        loop {
            let next = {
                let mut late = self.late.lock();
                let due = late.iter().enumerate().filter(|(_, put)| put.due <= Instant::now());
                let first = due.min_by_key(|(_, put)| put.due).map(|(index, _)| index);
                first.map(|index| late.remove(index))
            };
            match next {
                Some(put) => self.land(put).await,
                None => return,
            }
        }
    }

    /// Nobody hears how a late put ends.
    async fn land(&self, put: LatePut) {
        drop(self.put(&put.path, put.payload, put.options).await);
    }

    async fn delete(&self, path: &Path) -> Result<()> {
        let plan = self.begin(Operation::Delete, path).await?;
        let before = self.inner.head(path).await.ok();
        let result = self.inner.delete(path).await;
        if let (Ok(()), Some(meta)) = (&result, before) {
            self.changes.deleted(meta);
        }
        self.end(&plan, result).await
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let shared = &self.0;
        let plan = shared.begin(Operation::Put, path).await?;
        let faults = &plan.faults;
        if plan.draw.hits("late", faults.late) {
            let due = Instant::now() + faults.late_max.mul_f64(plan.draw.share("lateness"));
            shared.late.lock().push(LatePut { due, path: path.clone(), payload, options });
            shared.count(|struck| struck.late += 1);
            return Err(failure("nobody knows yet".into()));
        }
        let create = matches!(options.mode, PutMode::Create);
        let result = shared.put(path, payload, options).await;
        let result = match result {
            Ok(_) if create && plan.draw.hits("repeated", faults.repeated) => {
                shared.count(|struck| struck.repeated += 1);
                let source = "the client repeated its own request".into();
                Err(Error::AlreadyExists { path: path.to_string(), source })
            }
            other => other,
        };
        shared.end(&plan, result).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let plan = self.0.begin(Operation::Multipart, path).await?;
        let inner = self.0.inner.put_multipart_opts(path, options).await?;
        let upload: Box<dyn MultipartUpload> =
            Box::new(FaultyUpload::new(Arc::clone(&self.0), path.clone(), inner));
        self.0.end(&plan, Ok(upload)).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let plan = self.0.begin(Operation::Get, path).await?;
        let found = self.0.inner.get_opts(path, options).await?;
        if !plan.draw.hits("cut", plan.faults.cut) {
            return self.0.end(&plan, Ok(found)).await;
        }
        let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
        let extensions = found.extensions.clone();
        let body = found.bytes().await?;
        self.0.count(|struck| struck.cut += 1);
        let parts = [Ok(body.slice(..body.len() / 2)), Err(failure("the body broke off".into()))];
        let payload = GetResultPayload::Stream(stream::iter(parts).boxed());
        self.0.end(&plan, Ok(GetResult { payload, meta, range, attributes, extensions })).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let shared = Arc::clone(&self.0);
        paths
            .then(move |path| {
                let shared = Arc::clone(&shared);
                async move {
                    let path = path?;
                    shared.delete(&path).await?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (shared, prefix) = (Arc::clone(&self.0), prefix.cloned());
        stream::once(async move { shared.list(prefix.as_ref()).await })
            .map_ok(|objects| stream::iter(objects.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let plan = self.0.begin(Operation::Copy, to).await?;
        let result = self.0.inner.copy_opts(from, to, options).await;
        if result.is_ok() {
            self.0.changes.created(to);
        }
        self.0.end(&plan, result).await
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.0.inner)
    }
}

async fn wait(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

fn failure(what: String) -> Error {
    Error::Generic { store: "faulty", source: what.into() }
}

/// The seeds of a test: `0..count`, or the one that the variable `SEED` names, to run a failure again.
///
/// # Panics
/// If `SEED` is not a number.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..count,
    }
}

#[cfg(test)]
mod tests;
