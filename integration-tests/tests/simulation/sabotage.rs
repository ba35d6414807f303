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
use vivace_log::{Log, LogError, Reader, Record};
use vivace_model::Partition;

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The log leaves out a record now and then.
    LogSkipsRecords,
    /// The store lets a create-only put succeed although the object exists.
    StoreOverwrites,
    /// Ingesters answer without their spans.
    IngestersForget,
    /// Where an ingester's next record was deleted from the log, it goes on with the first that is there, and says nothing.
    IngestersSkipDeleted,
    /// The same of those who answer questions.
    ReadersSkipDeleted,
    /// The log leaves out a record now and then, but only where blocks are built anew.
    ReplaysSkipRecords,
    /// A redaction does not look for the trace that it was told, but says that it is gone.
    RedactionsMiss,
    /// A redaction removes one more trace than it was told.
    RedactionsGoTooFar,
    /// The clocks of compactors are a day ahead, which an operator calls right, and so is the name of a file that lies in the
    /// store: so whatever is being uploaded looks as if it had been left there.
    TomorrowIsNow,
    /// The store says of every file that it is new.
    StoreForgetsAge,
}

impl Sabotage {
    /// Whether it only matters where the log loses records.
    pub(crate) const fn needs_losses(self) -> bool {
        matches!(self, Self::IngestersSkipDeleted | Self::ReadersSkipDeleted)
    }

    /// Whether it only matters where blocks are built anew.
    pub(crate) const fn needs_replays(self) -> bool {
        matches!(self, Self::ReplaysSkipRecords)
    }

    /// Whether it only matters where traces are removed.
    pub(crate) const fn needs_redactions(self) -> bool {
        matches!(self, Self::RedactionsMiss | Self::RedactionsGoTooFar)
    }

    /// Whether it only matters where compactors run.
    pub(crate) const fn needs_compactors(self) -> bool {
        matches!(self, Self::TomorrowIsNow | Self::StoreForgetsAge)
    }

    /// Whether it strikes whoever reads the log for that.
    pub(crate) const fn strikes(self, reader: Reads) -> bool {
        match self {
            Self::LogSkipsRecords | Self::IngestersSkipDeleted => matches!(reader, Reads::Ingester),
            Self::ReadersSkipDeleted => matches!(reader, Reads::Querier),
            Self::ReplaysSkipRecords => matches!(reader, Reads::Replay),
            Self::StoreOverwrites
            | Self::IngestersForget
            | Self::RedactionsMiss
            | Self::RedactionsGoTooFar
            | Self::TomorrowIsNow
            | Self::StoreForgetsAge => false,
        }
    }
}

/// Why the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// To store what is there.
    Ingester,
    /// To answer a question.
    Querier,
    /// To build blocks anew.
    Replay,
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

/// Goes on with the first record that is there when the next one was deleted.
#[derive(Debug)]
pub(crate) struct ResettingReader {
    pub(crate) reader: Box<dyn Reader>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) topic: String,
    pub(crate) partition: Partition,
}

#[async_trait]
impl Reader for ResettingReader {
    async fn next(&mut self, bytes_max: usize) -> std::result::Result<Vec<Record>, LogError> {
        match self.reader.next(bytes_max).await {
            Err(LogError::OffsetOutOfRange { watermarks, .. }) => {
                self.reader = self.log.read(&self.topic, self.partition, watermarks.start).await?;
                self.reader.next(bytes_max).await
            }
            read => read,
        }
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
