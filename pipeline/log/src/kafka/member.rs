//! Membership of a Kafka consumer group that fetches nothing: it only learns what it is assigned, and commits.
//! Owns: a consumer on a thread of its own, which keeps polling (so the group knows that we live) however long the work
//! on a batch takes; what we were told so far. Does not own: reading (readers are consumers of their own).
//! Partitions are paused as soon as they are assigned, before anything is fetched.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientContext, TopicPartitionList};
use tokio::sync::Notify;
use tracing::{debug, info, warn};
use vivace_model::{Offset, Partition};

use super::client::{self, at, unavailable};
use crate::{Assignment, KafkaConfig, LogError, Membership};

/// How soon the thread notices that it is to end.
const POLL: Duration = Duration::from_millis(50);

/// What librdkafka's callbacks write and the member reads.
#[derive(Debug, Default)]
struct Assigned {
    state: Mutex<State>,
    changed: Notify,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// What we have, each with the number of its assignment: one lost and regained in between is still told of.
    pub(super) now: BTreeMap<Partition, u64>,
    /// What the member was told that it has.
    told: BTreeMap<Partition, u64>,
    assignments: u64,
    /// Why it is over, if it is.
    pub(super) fenced: Option<String>,
}

impl State {
    /// The next thing to tell; losses come first.
    pub(super) fn poll(&mut self) -> Result<Option<Assignment>, LogError> {
        let stays = |partition: &Partition, number: &u64| self.now.get(partition) == Some(number);
        let lost: Vec<_> =
            self.told.iter().filter(|(at, number)| !stays(at, number)).map(|(at, _)| *at).collect();
        if !lost.is_empty() {
            self.told.retain(|partition, _| !lost.contains(partition));
            return Ok(Some(Assignment::Lost(lost)));
        }
        if let Some(reason) = &self.fenced {
            return Err(LogError::Fenced(reason.clone()));
        }
        let gained: Vec<_> = self.now.keys().filter(|at| !self.told.contains_key(at)).copied().collect();
        self.told.clone_from(&self.now);
        Ok((!gained.is_empty()).then_some(Assignment::Gained(gained)))
    }
}

impl Assigned {
    fn change(&self, edit: impl FnOnce(&mut State)) {
        edit(&mut self.state.lock());
        self.changed.notify_waiters();
    }

    fn fence(&self, reason: &KafkaError) {
        self.change(|state| {
            state.now.clear();
            state.fenced.get_or_insert_with(|| reason.to_string());
        });
    }
}

struct GroupContext {
    group: String,
    assigned: Arc<Assigned>,
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    let id = |id: i32| Partition(u32::try_from(id).unwrap_or_default());
    list.elements().iter().map(|element| id(element.partition())).collect()
}

impl ClientContext for GroupContext {
    fn error(&self, error: KafkaError, reason: &str) {
        warn!(target: "librdkafka", group = self.group, %error, reason, "client error");
    }
}

impl ConsumerContext for GroupContext {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                if let Err(error) = consumer.pause(list) {
                    warn!(group = self.group, %error, "failed to pause what was assigned");
                }
                let gained = partitions(list);
                info!(group = self.group, ?gained, "partitions assigned");
                self.assigned.change(|state| {
                    state.assignments += 1;
                    state.now.extend(gained.iter().map(|partition| (*partition, state.assignments)));
                });
            }
            Rebalance::Revoke(list) => {
                let lost = partitions(list);
                info!(group = self.group, ?lost, "partitions revoked");
                self.assigned.change(|state| state.now.retain(|partition, _| !lost.contains(partition)));
            }
            Rebalance::Error(error) => warn!(group = self.group, %error, "rebalance failed"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            // A hint only; the next one follows soon.
            debug!(group = self.group, %error, "commit failed");
        }
    }
}

type GroupConsumer = Arc<BaseConsumer<GroupContext>>;

pub(super) struct KafkaMembership {
    topic: String,
    group: String,
    assigned: Arc<Assigned>,
    /// There until it leaves.
    consumer: Option<GroupConsumer>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for KafkaMembership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaMembership({} on {})", self.group, self.topic)
    }
}

impl KafkaMembership {
    pub(super) fn join(config: &KafkaConfig, topic: &str, group: &str) -> Result<Self, LogError> {
        let action = || format!("failed to join group {group} on {topic}");
        let assigned = Arc::<Assigned>::default();
        let context = GroupContext { group: group.to_owned(), assigned: Arc::clone(&assigned) };
        let consumer: BaseConsumer<GroupContext> = client::member(config, group)
            .create_with_context(context)
            .map_err(|error| unavailable(action(), error))?;
        consumer.subscribe(&[topic]).map_err(|error| unavailable(action(), error))?;
        let consumer = Arc::new(consumer);
        let (polled, shared) = (Arc::clone(&consumer), Arc::clone(&assigned));
        let thread = thread::Builder::new().name("log-group".into()).spawn(move || poll(&polled, &shared));
        let thread =
            thread.map_err(|source| LogError::Unavailable { action: action(), source: source.into() })?;
        Ok(Self {
            topic: topic.to_owned(),
            group: group.to_owned(),
            assigned,
            consumer: Some(consumer),
            thread: Some(thread),
        })
    }

    /// Lets the thread end, which has the last reference then and leaves the group.
    fn stop(&mut self) -> Option<JoinHandle<()>> {
        self.consumer = None;
        self.assigned.stop.store(true, Ordering::Release);
        self.thread.take()
    }
}

/// The thread's loop.
fn poll(consumer: &GroupConsumer, assigned: &Assigned) {
    while !assigned.stop.load(Ordering::Acquire) {
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(_)) => debug!("a record came in before its partition was paused"),
            Some(Err(error)) => {
                let code = error.rdkafka_error_code();
                let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
                if fatal || matches!(code, Some(RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::Fatal))
                {
                    warn!(%error, "group membership is lost for good");
                    assigned.fence(&error);
                    return;
                }
                debug!(%error, "group error");
            }
        }
    }
}

#[async_trait]
impl Membership for KafkaMembership {
    async fn next(&mut self) -> Result<Assignment, LogError> {
        loop {
            let mut changed = pin!(self.assigned.changed.notified());
            changed.as_mut().enable();
            let polled = self.assigned.state.lock().poll()?;
            match polled {
                Some(assignment) => return Ok(assignment),
                None => changed.await,
            }
        }
    }

    async fn commit(&self, partition: Partition, offset: Offset) -> Result<(), LogError> {
        if !self.assigned.state.lock().now.contains_key(&partition) {
            let reason =
                format!("partition {partition} of {} is not ours in group {}", self.topic, self.group);
            return Err(LogError::Fenced(reason));
        }
        let Some(consumer) = &self.consumer else { return Ok(()) };
        let committed =
            at(&self.topic, partition, offset).and_then(|list| consumer.commit(&list, CommitMode::Async));
        committed.map_err(|error| unavailable(format!("failed to commit {}/{partition}", self.topic), error))
    }

    async fn leave(mut self: Box<Self>) {
        if let Some(thread) = self.stop() {
            // Whether it panicked does not matter any more.
            drop(tokio::task::spawn_blocking(move || drop(thread.join())).await);
        }
    }
}

impl Drop for KafkaMembership {
    fn drop(&mut self) {
        drop(self.stop());
    }
}
