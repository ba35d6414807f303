//! A log that notes whether it answers.
//! Owns: which errors mean that it does not. Does not own: what follows from it (`Dependency`).

use std::sync::Arc;

use vivace_log::{Log, LogError, Membership, NewRecord, Reader, Record, SharedLog, TopicSpec};
use vivace_model::{ErrorKind, Offset, OffsetRange, Partition};
use vivace_runtime::Dependency;

/// The log of the process, watched.
#[derive(Debug)]
pub(crate) struct MonitoredLog {
    inner: SharedLog,
    answers: Dependency,
}

impl MonitoredLog {
    pub(crate) fn new(inner: SharedLog, answers: Dependency) -> Arc<Self> {
        Arc::new(Self { inner, answers })
    }
}

/// Notes what a result says of the log.
fn note<T>(answers: &Dependency, result: Result<T, LogError>) -> Result<T, LogError> {
    match &result {
        // Too much is on its way to it: that may be its fault or not.
        Err(LogError::Full) => {}
        Err(error) if error.kind() == ErrorKind::Unavailable => answers.failed(error),
        Ok(_) | Err(_) => answers.answered(),
    }
    result
}

#[tonic::async_trait]
impl Log for MonitoredLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        note(&self.answers, self.inner.ensure_topic(spec).await)
    }

    async fn grow_topic(&self, topic: &str, partitions: u32) -> Result<(), LogError> {
        note(&self.answers, self.inner.grow_topic(topic, partitions).await)
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        note(&self.answers, self.inner.append(topic, records).await)
    }

    async fn watermarks(&self, topic: &str, partition: Partition) -> Result<OffsetRange, LogError> {
        note(&self.answers, self.inner.watermarks(topic, partition).await)
    }

    async fn read(
        &self,
        topic: &str,
        partition: Partition,
        from: Offset,
    ) -> Result<Box<dyn Reader>, LogError> {
        // It only begins to ask.
        let inner = self.inner.read(topic, partition, from).await?;
        Ok(Box::new(MonitoredReader { inner, answers: self.answers.clone() }))
    }

    async fn join(&self, topic: &str, group: &str) -> Result<Box<dyn Membership>, LogError> {
        self.inner.join(topic, group).await
    }
}

#[derive(Debug)]
struct MonitoredReader {
    inner: Box<dyn Reader>,
    answers: Dependency,
}

#[tonic::async_trait]
impl Reader for MonitoredReader {
    async fn next(&mut self, bytes_max: usize) -> Result<Vec<Record>, LogError> {
        let result = self.inner.next(bytes_max).await;
        // No records are no answer: a reader gets none from a broker that is down, too.
        match &result {
            Ok(records) if records.is_empty() => result,
            _ => note(&self.answers, result),
        }
    }
}
