//! A store whose objects bear the time of the simulation.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use vivace_model::{Clock, UnixNanos};

use crate::sabotage::Sabotage;

/// Knows when each object was put; one that was put in parts is as old as it is known.
#[derive(Clone, Debug)]
pub(crate) struct DatedStore {
    inner: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    dates: Arc<Mutex<HashMap<Path, UnixNanos>>>,
    forgets: bool,
}

impl DatedStore {
    pub(crate) fn new(
        inner: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let forgets = sabotage == Some(Sabotage::StoreForgetsAge);
        Self { inner, clock, dates: Arc::default(), forgets }
    }

    /// Gives an object another date.
    pub(crate) fn date_back(&self, path: &Path, date: UnixNanos) {
        self.dates.lock().insert(path.clone(), date);
    }

    fn date(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let date = *self.dates.lock().entry(meta.location.clone()).or_insert_with(|| self.clock.now());
        let date = if self.forgets { self.clock.now() } else { date };
        // In terms of the time that is there, lest the library of times be needed.
        let real = meta.last_modified.timestamp_nanos_opt().and_then(|nanos| u64::try_from(nanos).ok());
        let real = UnixNanos(real.unwrap_or_default());
        meta.last_modified = meta.last_modified - real.since(date) + date.since(real);
        meta
    }
}

#[async_trait]
impl ObjectStore for DatedStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let done = self.inner.put_opts(path, payload, options).await?;
        self.dates.lock().insert(path.clone(), self.clock.now());
        Ok(done)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.inner.get_opts(path, options).await?;
        let meta = self.date(found.meta.clone());
        Ok(GetResult { meta, ..found })
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = self.clone();
        self.inner.list(prefix).map(move |found| found.map(|meta| store.date(meta))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut found = self.inner.list_with_delimiter(prefix).await?;
        found.objects = found.objects.into_iter().map(|meta| self.date(meta)).collect();
        Ok(found)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for DatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatedStore({})", self.inner)
    }
}
