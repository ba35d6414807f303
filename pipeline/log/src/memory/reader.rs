//! Reads one partition of the in-memory log.

use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use rand::RngExt;
use vivace_model::{Offset, Partition};

use super::{Shared, unavailable};
use crate::{LogError, Reader, Record};

#[derive(Debug)]
pub(super) struct MemoryReader {
    shared: Arc<Shared>,
    topic: String,
    partition: Partition,
    next: Offset,
}

impl MemoryReader {
    pub(super) fn new(shared: Arc<Shared>, topic: &str, partition: Partition, from: Offset) -> Self {
        Self { shared, topic: topic.to_owned(), partition, next: from }
    }

    /// What is there now; empty if there is nothing yet.
    fn poll(&self, bytes_max: usize) -> Result<Vec<Record>, LogError> {
        let mut state = self.shared.state.lock();
        let log = state.partition(&self.topic, self.partition)?;
        let watermarks = log.watermarks();
        if self.next < watermarks.start || self.next > watermarks.end {
            let (topic, partition, offset) = (self.topic.clone(), self.partition, self.next);
            return Err(LogError::OffsetOutOfRange { topic, partition, offset, watermarks });
        }
        let skip = usize::try_from(self.next.0 - watermarks.start.0).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let fits = |record: &&Record| {
            let first = bytes == 0;
            bytes += record.value.len().max(1);
            first || bytes <= bytes_max
        };
        Ok(log.records.iter().skip(skip).take_while(fits).cloned().collect())
    }
}

#[async_trait]
impl Reader for MemoryReader {
    async fn next(&mut self, bytes_max: usize) -> Result<Vec<Record>, LogError> {
        self.shared.delay(|faults| faults.read_delay_max).await;
        loop {
            let mut news = pin!(self.shared.news.notified());
            news.as_mut().enable();
            let records = self.poll(bytes_max)?;
            if let Some(last) = records.last() {
                let failed = {
                    let mut state = self.shared.state.lock();
                    let chance = state.faults.read_failed;
                    chance > 0.0 && state.dice.random_bool(chance)
                };
                if failed {
                    return Err(unavailable("read"));
                }
                self.next = last.offset.next();
                return Ok(records);
            }
            news.await;
        }
    }
}
