//! A log whose members hear late of changes: zombies, who work on partitions that others have been given. Where a run is
//! sabotaged, its readers lie.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep_until};
use vivace_log::{Assignment, Log, LogError, Membership, NewRecord, Reader, Record, TopicSpec};
use vivace_model::{Offset, OffsetRange, Partition};

use crate::sabotage::{Reads, ResettingReader, Sabotage, SkippingReader};
use crate::world::World;

/// Share of reads that come late.
const LAG: f64 = 0.05;
/// How late they come at most.
const LAG_MAX: Duration = Duration::from_secs(3);

/// The log as one sluggish process sees it.
#[derive(Debug)]
pub(crate) struct SluggishLog {
    pub(crate) inner: Arc<dyn Log>,
    pub(crate) delay_max: Duration,
    pub(crate) dice: Arc<Mutex<ChaCha8Rng>>,
    pub(crate) sabotage: Option<Sabotage>,
    /// Whether its readers fall behind.
    pub(crate) lags: bool,
}

impl SluggishLog {
    /// The log as those see it who belong to no group.
    pub(crate) fn prompt(world: &World, reads: Reads) -> Arc<dyn Log> {
        let (inner, sabotage) = (world.shared_log(), world.plan.sabotage.filter(|it| it.strikes(reads)));
        let dice = Arc::new(Mutex::new(ChaCha8Rng::from_seed([0; 32])));
        Arc::new(Self { inner, delay_max: Duration::ZERO, dice, sabotage, lags: false })
    }
}

/// Falls behind the log now and then.
#[derive(Debug)]
struct LaggingReader {
    inner: Box<dyn Reader>,
    dice: Arc<Mutex<ChaCha8Rng>>,
    until: Option<Instant>,
}

#[async_trait]
impl Reader for LaggingReader {
    async fn next(&mut self, bytes_max: usize) -> Result<Vec<Record>, LogError> {
        if self.until.is_none() {
            let lag = self.dice.lock().random_bool(LAG);
            let lag =
                if lag { LAG_MAX.mul_f64(self.dice.lock().random_range(0.0..=1.0)) } else { Duration::ZERO };
            self.until = Some(Instant::now() + lag);
        }
        // Whoever drops this and asks again waits for the same moment.
        sleep_until(self.until.unwrap_or_else(Instant::now)).await;
        let records = self.inner.next(bytes_max).await;
        self.until = None;
        records
    }
}

#[derive(Debug)]
struct SluggishMembership {
    inner: Box<dyn Membership>,
    delay_max: Duration,
    dice: Arc<Mutex<ChaCha8Rng>>,
    /// Changes that the group has told and the process has not heard, in order.
    untold: VecDeque<(Instant, Assignment)>,
}

#[async_trait]
impl Membership for SluggishMembership {
    async fn next(&mut self) -> Result<Assignment, LogError> {
        loop {
            let due = self.untold.front().map(|(due, _)| *due);
            if due.is_some_and(|due| due <= Instant::now())
                && let Some((_, assignment)) = self.untold.pop_front()
            {
                return Ok(assignment);
            }
            tokio::select! {
                biased;
                assignment = self.inner.next() => {
                    let assignment = assignment?;
                    let delay_max = match assignment {
                        Assignment::Lost(_) => self.delay_max,
                        // Or whoever comes next would be as late, and nobody a zombie.
                        Assignment::Gained(_) => self.delay_max / 20,
                    };
                    let delay = delay_max.mul_f64(self.dice.lock().random_range(0.0..=1.0));
                    let last = self.untold.back().map(|(due, _)| *due);
                    let due = (Instant::now() + delay).max(last.unwrap_or_else(Instant::now));
                    self.untold.push_back((due, assignment));
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    // By hand, for a membership need not be `Sync`, and an async function would hold it across an await.
    fn commit<'life, 'async_trait>(
        &'life self,
        partition: Partition,
        offset: Offset,
    ) -> Pin<Box<dyn Future<Output = Result<(), LogError>> + Send + 'async_trait>>
    where
        'life: 'async_trait,
        Self: 'async_trait,
    {
        self.inner.commit(partition, offset)
    }

    async fn leave(self: Box<Self>) {
        self.inner.leave().await;
    }
}

#[async_trait]
impl Log for SluggishLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.inner.ensure_topic(spec).await
    }

    async fn grow_topic(&self, topic: &str, partitions: u32) -> Result<(), LogError> {
        self.inner.grow_topic(topic, partitions).await
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        self.inner.append(topic, records).await
    }

    async fn watermarks(&self, topic: &str, partition: Partition) -> Result<OffsetRange, LogError> {
        self.inner.watermarks(topic, partition).await
    }

    async fn read(
        &self,
        topic: &str,
        partition: Partition,
        from: Offset,
    ) -> Result<Box<dyn Reader>, LogError> {
        let mut reader = self.inner.read(topic, partition, from).await?;
        if self.lags {
            reader = Box::new(LaggingReader { inner: reader, dice: Arc::clone(&self.dice), until: None });
        }
        Ok(match self.sabotage {
            Some(Sabotage::LogSkipsRecords | Sabotage::ReplaysSkipRecords) => {
                Box::new(SkippingReader(reader))
            }
            Some(sabotage) if sabotage.needs_losses() => {
                let (log, topic) = (Arc::clone(&self.inner), topic.to_owned());
                Box::new(ResettingReader { reader, log, topic, partition })
            }
            _ => reader,
        })
    }

    async fn join(&self, topic: &str, group: &str) -> Result<Box<dyn Membership>, LogError> {
        let inner = self.inner.join(topic, group).await?;
        let (delay_max, dice) = (self.delay_max, Arc::clone(&self.dice));
        Ok(Box::new(SluggishMembership { inner, delay_max, dice, untold: VecDeque::new() }))
    }
}
