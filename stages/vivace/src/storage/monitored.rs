//! A store that notes whether it answers.
//! Owns: which errors mean that it does not. Does not own: what follows from it (`Dependency`).

use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use vivace_runtime::Dependency;

/// The store of the process, watched.
#[derive(Debug)]
pub(crate) struct MonitoredStore {
    inner: Arc<dyn ObjectStore>,
    answers: Dependency,
}

impl MonitoredStore {
    pub(crate) const fn new(inner: Arc<dyn ObjectStore>, answers: Dependency) -> Self {
        Self { inner, answers }
    }
}

/// Notes what a result says of the store.
fn note<T>(answers: &Dependency, result: Result<T>) -> Result<T> {
    match &result {
        Err(
            error @ (Error::Generic { .. }
            | Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::JoinError { .. }),
        ) => answers.failed(error),
        // That something is not there, or there already, is an answer.
        Ok(_) | Err(_) => answers.answered(),
    }
    result
}

#[tonic::async_trait]
impl ObjectStore for MonitoredStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        note(&self.answers, self.inner.put_opts(path, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        note(&self.answers, self.inner.put_multipart_opts(path, options).await)
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        note(&self.answers, self.inner.get_opts(path, options).await)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        note(&self.answers, self.inner.get_ranges(path, ranges).await)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let answers = self.answers.clone();
        self.inner.delete_stream(paths).map(move |deleted| note(&answers, deleted)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let answers = self.answers.clone();
        self.inner.list(prefix).map(move |found| note(&answers, found)).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let answers = self.answers.clone();
        self.inner.list_with_offset(prefix, offset).map(move |found| note(&answers, found)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        note(&self.answers, self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        note(&self.answers, self.inner.copy_opts(from, to, options).await)
    }
}

impl fmt::Display for MonitoredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::local::LocalFileSystem;
    use vivace_runtime::{BuildInfo, Readiness, new_registry};

    use super::*;

    #[tokio::test]
    async fn what_is_not_there_is_an_answer_and_a_broken_disk_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let readiness = Readiness::default();
        let check = readiness.dependency("store");
        let registry = new_registry(&BuildInfo::new("1.2.3"));
        let answers = Dependency::new("object store", "store", check, &mut registry.lock());
        let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let store = MonitoredStore::new(Arc::new(store), answers);
        let detail = || readiness.report().checks[0].detail.clone();
        for _ in 0..10 {
            assert!(matches!(store.get(&Path::from("a")).await, Err(Error::NotFound { .. })));
        }
        assert_eq!(detail(), None);
        // A file where a folder has to be: an error of the disk.
        std::fs::write(folder.path().join("file"), "x").unwrap();
        for _ in 0..3 {
            assert!(store.put(&Path::from("file/a"), "b".into()).await.is_err());
        }
        let said = detail().unwrap();
        assert!(said.starts_with("object store does not answer: "), "{said}");
        store.put(&Path::from("a"), "b".into()).await.unwrap();
        assert_eq!(detail(), None);
    }
}
