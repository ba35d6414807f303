//! Faults that no run survives, to see that the simulation would notice them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use vivace_log::{LogError, Reader, Record};

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The log leaves out a record now and then.
    LogSkipsRecords,
    /// The store lets a create-only put succeed although the object exists.
    StoreOverwrites,
    /// Ingesters answer without their spans.
    IngestersForget,
}

/// Leaves out every twentieth record.
#[derive(Debug)]
pub(crate) struct SkippingReader(pub(crate) Box<dyn Reader>);

#[async_trait]
impl Reader for SkippingReader {
    async fn next(&mut self, bytes_max: usize) -> std::result::Result<Vec<Record>, LogError> {
        let mut records = self.0.next(bytes_max).await?;
        records.retain(|record| record.offset.0 % 20 != 19);
        Ok(records)
    }
}

/// Knows no conditions.
#[derive(Debug, Default)]
pub(crate) struct OverwritingStore(InMemory);

impl OverwritingStore {
    pub(crate) fn shared() -> Arc<dyn ObjectStore> {
        Arc::new(Self::default())
    }
}

#[async_trait]
impl ObjectStore for OverwritingStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.0.put_opts(path, payload, PutOptions { mode: PutMode::Overwrite, ..options }).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

impl fmt::Display for OverwritingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OverwritingStore({})", self.0)
    }
}
