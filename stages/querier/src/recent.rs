//! Jobs about recent data: every record of a partition from an offset on, wherever it is now.
//! Owns: the order in which places are tried: the owner, a new owner, the log itself.
//! Does not own: who owns a partition (`owners`), how an ingester is reached (`recent_services`).
//! Guarantee: an answer holds every record from the asked offset up to its `through`, each once, and `through` is not
//! below the end of the log when the job began. Only where the settings say so, an answer is given without that end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};
use tracing::{debug, warn};
use vivace_log::SharedLog;
use vivace_model::{ErrorKind, Offset, Partition};
use vivace_proto::internal::{PartStream, RecentService};

use crate::metrics::{Metrics, RecentOutcome};
use crate::owners::Owners;
use crate::tail::{PartitionLog, TailPart, Tails};
use crate::{Config, JobError, RecentServices, tail};

/// First pause before an owner that is behind the log is asked again; it doubles each time.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(5);

/// An owner that has taken a question may take that long for the answer: its work waits its turn behind that of others.
/// It must not be taken for gone then, for to read the log instead is far more work.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);

/// Pause before the log is asked for its end again.
const END_PAUSE: Duration = Duration::from_millis(100);

/// Where a job about recent data begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From {
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
    /// Leave the owner aside.
    pub(crate) log_only: bool,
}

/// Something that is asked about recent data: how an owner is asked, and what its answer, or the log's records, add up to.
pub(crate) trait Question: Sync {
    /// What an owner answers with, some of which make up an answer.
    type Part: Send;
    /// What is found.
    type Answer: Send;

    /// Nothing found yet.
    fn empty(&self) -> Self::Answer;

    /// Asks an owner.
    fn ask(
        &self,
        owner: &RecentService,
        from: From,
    ) -> impl Future<Output = Result<PartStream<Self::Part>, Status>> + Send;

    /// Through where the answer goes that the part belongs to.
    fn through(part: &Self::Part) -> Offset;

    /// Adds an owner's part; false when no more is wanted.
    fn take(
        &self,
        answer: Self::Answer,
        part: Self::Part,
    ) -> impl Future<Output = Result<(Self::Answer, bool), Status>> + Send;

    /// Adds what records of the log hold; false when no more is wanted.
    fn read(
        &self,
        answer: Self::Answer,
        part: TailPart,
    ) -> impl Future<Output = Result<(Self::Answer, bool), JobError>> + Send;
}

/// An answer, and the offset below which it is complete.
#[derive(Debug)]
pub(crate) struct Found<A> {
    pub(crate) answer: A,
    pub(crate) through: Offset,
}

/// Answers jobs about recent data.
#[derive(Debug)]
pub(crate) struct Recent {
    pub(crate) config: Config,
    pub(crate) log: SharedLog,
    pub(crate) topic: String,
    pub(crate) owners: Arc<Owners>,
    pub(crate) services: RecentServices,
    pub(crate) metrics: Metrics,
    /// Partitions that nobody answers for.
    pub(crate) outages: Outages,
    /// What was read of the log for them.
    pub(crate) tails: Tails,
}

impl Recent {
    pub(crate) async fn find<Q: Question>(
        &self,
        question: &Q,
        from: From,
    ) -> Result<Found<Q::Answer>, JobError> {
        // Taken first: what was acknowledged before the question has to be in the answer.
        let end = match self.end(from.partition).await {
            Ok(end) => Some(end),
            Err(error) if self.config.answer_without_log => {
                warn!(partition = %from.partition, %error, "answer may lack the newest spans");
                self.metrics.without_end.inc();
                None
            }
            Err(error) => return Err(error),
        };
        if !from.log_only
            && let Some(found) = self.ask_owners(question, from, end).await?
        {
            self.metrics.recent(RecentOutcome::Owner);
            return self.complete(question, from, end, found).await;
        }
        self.metrics.recent(RecentOutcome::Log);
        let end = match end {
            Some(end) => end,
            None => self.end(from.partition).await?,
        };
        self.read_log(question, from.partition, from.offset, end, question.empty()).await
    }

    /// Asks the owner, then each new one, until one answers. None when nobody did for long enough.
    async fn ask_owners<Q: Question>(
        &self,
        question: &Q,
        from: From,
        end: Option<Offset>,
    ) -> Result<Option<Found<Q::Answer>>, JobError> {
        loop {
            let announced = self.owners.get(from.partition);
            let version = announced.as_ref().map(|it| it.version);
            if let Some(owner) = announced.and_then(|it| it.owner) {
                let service = self.services.get(&owner.address, || self.owners.addresses());
                let asked = match service {
                    Ok(service) => self.ask(&service, question, from, end).await,
                    Err(status) => Err(status),
                };
                match asked {
                    Ok(found) => {
                        self.outages.ended(from.partition);
                        return Ok(Some(found));
                    }
                    Err(status) if status.code() == Code::FailedPrecondition => {
                        let message = status.message().to_owned();
                        return Err(JobError::NoBoundary { partition: from.partition, message });
                    }
                    // Whoever looks at the same data needs as long.
                    Err(status) if status.code() == Code::OutOfRange => {
                        return Err(JobError::OwnerOutOfTime(status.message().to_owned()));
                    }
                    Err(status) => {
                        self.metrics.owner_failures.inc();
                        warn!(partition = %from.partition, address = owner.address, code = ?status.code(),
                            message = status.message(), "owner of the partition does not answer");
                    }
                }
            }
            let give_up = self.outages.since(from.partition, version) + self.config.owner_wait;
            if !self.owners.newer(from.partition, version, give_up).await {
                return Ok(None);
            }
        }
    }

    /// One owner's answer. An owner that is behind `end` is asked again for a while.
    async fn ask<Q: Question>(
        &self,
        service: &RecentService,
        question: &Q,
        from: From,
        end: Option<Offset>,
    ) -> Result<Found<Q::Answer>, Status> {
        let late = Instant::now() + self.config.catch_up_wait;
        let mut pause = CATCH_UP_PAUSE;
        loop {
            let deadline = Instant::now() + self.config.owner_timeout;
            let exceeded = |_| Status::deadline_exceeded("no answer in time");
            let mut stream = timeout_at(deadline, question.ask(service, from)).await.map_err(exceeded)??;
            let deadline = Instant::now() + ANSWER_WAIT_MAX;
            let first = timeout_at(deadline, stream.try_next()).await.map_err(exceeded)??;
            let first = first.ok_or_else(|| Status::internal("answer without any part"))?;
            let behind = end.is_some_and(|end| Q::through(&first) < end);
            if behind && Instant::now() + pause < late {
                drop(stream);
                tokio::time::sleep(pause).await;
                pause *= 2;
                continue;
            }
            return timeout_at(deadline, collect(question, first, stream)).await.map_err(exceeded)?;
        }
    }

    /// Adds from the log what the owner had not reached yet.
    async fn complete<Q: Question>(
        &self,
        question: &Q,
        from: From,
        end: Option<Offset>,
        found: Found<Q::Answer>,
    ) -> Result<Found<Q::Answer>, JobError> {
        let Found { answer, through } = found;
        match end {
            Some(end) if through < end => {
                self.metrics.recent(RecentOutcome::CatchUp);
                self.read_log(question, from.partition, through.max(from.offset), end, answer).await
            }
            _ => {
                self.tails.forget(from.partition);
                Ok(Found { answer, through })
            }
        }
    }

    async fn read_log<Q: Question>(
        &self,
        question: &Q,
        partition: Partition,
        from: Offset,
        end: Offset,
        answer: Q::Answer,
    ) -> Result<Found<Q::Answer>, JobError> {
        let range = tail::range(from, end);
        let log = PartitionLog { log: &self.log, topic: &self.topic, partition };
        let (answer, bytes) = self.tails.read(log, range, question, answer).await?;
        self.metrics.log_bytes.inc_by(bytes);
        Ok(Found { answer, through: range.end })
    }

    /// The end of the log; asked for until the log tells it, for as long as is set.
    async fn end(&self, partition: Partition) -> Result<Offset, JobError> {
        let late = Instant::now() + self.config.log_end_wait;
        loop {
            let error = match timeout_at(late, self.log.watermarks(&self.topic, partition)).await {
                Ok(Ok(range)) => return Ok(range.end),
                Ok(Err(source)) => JobError::Log { partition, source },
                Err(_) => return Err(JobError::NoEnd { partition }),
            };
            if error.kind() != ErrorKind::Unavailable || Instant::now() + END_PAUSE >= late {
                return Err(error);
            }
            debug!(%partition, %error, "failed to learn the end of the log, asking again");
            tokio::time::sleep(END_PAUSE).await;
        }
    }
}

/// All parts of an owner's answer.
async fn collect<Q: Question>(
    question: &Q,
    first: Q::Part,
    mut stream: PartStream<Q::Part>,
) -> Result<Found<Q::Answer>, Status> {
    let through = Q::through(&first);
    let mut answer = question.empty();
    let mut next = Some(first);
    while let Some(part) = next {
        if Q::through(&part) != through {
            return Err(Status::internal("parts of one answer differ in their offset"));
        }
        let more;
        (answer, more) = question.take(answer, part).await?;
        if !more {
            break;
        }
        next = stream.try_next().await?;
    }
    Ok(Found { answer, through })
}

/// Since when nobody answers for a partition, so that only the first questions wait for a new owner.
#[derive(Debug, Default)]
pub(crate) struct Outages(Mutex<HashMap<Partition, (Option<Offset>, Instant)>>);

impl Outages {
    /// When the owner of that announcement was first found not to answer.
    fn since(&self, partition: Partition, version: Option<Offset>) -> Instant {
        let mut outages = self.0.lock();
        let now = Instant::now();
        let outage = outages.entry(partition).or_insert((version, now));
        if outage.0 != version {
            *outage = (version, now);
        }
        outage.1
    }

    fn ended(&self, partition: Partition) {
        self.0.lock().remove(&partition);
    }
}
