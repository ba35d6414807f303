use std::sync::Arc;

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::{Operation, Shared};

/// A multipart upload whose parts and completion fail now and then.
#[derive(Debug)]
pub(super) struct FaultyUpload {
    shared: Arc<Shared>,
    path: Path,
    inner: Box<dyn MultipartUpload>,
}

impl FaultyUpload {
    pub(super) fn new(shared: Arc<Shared>, path: Path, inner: Box<dyn MultipartUpload>) -> Self {
        Self { shared, path, inner }
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (shared, path) = (Arc::clone(&self.shared), self.path.clone());
        // The part's number is given out now, in the order of these calls.
        let part = self.inner.put_part(data);
        Box::pin(async move {
            let plan = shared.begin(Operation::Part, &path).await?;
            let result = part.await;
            shared.end(&plan, result).await
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let plan = self.shared.begin(Operation::Complete, &self.path).await?;
        let result = self.inner.complete().await;
        if result.is_ok() {
            self.shared.changes.created(&self.path);
        }
        self.shared.end(&plan, result).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
