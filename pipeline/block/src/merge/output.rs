//! Files that grow in object storage.
//! Owns: that at most a few parts of a file are in memory. Does not own: their names, what is in them.
//! Guarantee: a file is there whole or not at all. If a merge is dropped, parts of a large file may lie in the store
//! unseen; stores expire such by a rule of the bucket.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};

use super::retry::retry;
use crate::BlockError;

/// A file smaller than this is put at once; a larger one in parts of this size, which stores want to be equal.
const PART_BYTES: usize = 8 << 20;
/// Parts of a file that are on their way at once.
const PARTS_MAX: usize = 2;

/// One file.
#[derive(Debug)]
pub(super) struct Output {
    store: Arc<dyn ObjectStore>,
    pub(super) path: Path,
    bytes: u64,
    /// What waits while it is not known whether the file is large.
    first: BytesMut,
    upload: Option<WriteMultipart>,
}

impl Output {
    pub(super) fn new(store: &Arc<dyn ObjectStore>, path: Path) -> Self {
        Self { store: Arc::clone(store), path, bytes: 0, first: BytesMut::new(), upload: None }
    }

    /// Adds bytes; waits while too many are on their way.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), BlockError> {
        self.bytes += bytes.len() as u64;
        if self.upload.is_none() {
            self.first.extend_from_slice(&bytes);
            if self.first.len() < PART_BYTES {
                return Ok(());
            }
            let upload =
                self.store.put_multipart(&self.path).await.map_err(|error| failed(&self.path, error))?;
            let upload = self.upload.insert(WriteMultipart::new_with_chunk_size(upload, PART_BYTES));
            upload.put(std::mem::take(&mut self.first).freeze());
        } else if let Some(upload) = &mut self.upload {
            upload.put(bytes);
        }
        if let Some(upload) = &mut self.upload {
            let waited = upload.wait_for_capacity(PARTS_MAX).await;
            waited.map_err(|error| failed(&self.path, error))?;
        }
        Ok(())
    }

    /// Ends the file; returns its size.
    pub(super) async fn finish(&mut self) -> Result<u64, BlockError> {
        if let Some(upload) = self.upload.take() {
            upload.finish().await.map_err(|error| failed(&self.path, error))?;
            return Ok(self.bytes);
        }
        let file = std::mem::take(&mut self.first).freeze();
        let (store, path) = (&self.store, &self.path);
        let put = || {
            let put = store.put(path, file.clone().into());
            async { put.await.map_err(|error| failed(path, error)) }
        };
        retry(put).await?;
        Ok(self.bytes)
    }

    /// Gives the file up.
    pub(super) async fn abort(&mut self) -> Result<(), object_store::Error> {
        match self.upload.take() {
            Some(upload) => upload.abort().await,
            None => Ok(()),
        }
    }
}

fn failed(path: &Path, error: object_store::Error) -> BlockError {
    BlockError::Write { path: path.clone(), source: Arc::new(error) }
}
