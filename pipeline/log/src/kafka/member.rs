//! Membership of a Kafka consumer group that fetches nothing: it only learns what it is assigned, and commits.
//! Owns: a consumer on a thread of its own, which keeps polling (so the group knows that we live) however long the work
//! on a batch takes, and replacing it when it broke; what we were told so far.
//! Does not own: reading (readers are consumers of their own).
//! Partitions are paused as soon as they are assigned, before anything is fetched.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
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

use super::brokers::Brokers;
use super::client::{self, at, unavailable};
use crate::{Assignment, KafkaConfig, LogError, Membership};

/// How soon the thread notices that it is to end.
const POLL: Duration = Duration::from_millis(50);
/// Pause before another try to join anew.
const JOIN_PAUSE: Duration = Duration::from_secs(1);

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
    brokers: Brokers,
    /// Another consumer has taken its place.
    replaced: AtomicBool,
}

impl GroupContext {
    fn change(&self, edit: impl FnOnce(&mut State)) {
        if !self.replaced.load(Ordering::Acquire) {
            self.assigned.change(edit);
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    let id = |id: i32| Partition(u32::try_from(id).unwrap_or_default());
    list.elements().iter().map(|element| id(element.partition())).collect()
}

impl ClientContext for GroupContext {
    fn error(&self, error: KafkaError, reason: &str) {
        warn!(target: "librdkafka", group = self.group, %error, reason, "client error");
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.brokers.note(statistics);
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
                self.change(|state| {
                    state.assignments += 1;
                    state.now.extend(gained.iter().map(|partition| (*partition, state.assignments)));
                });
            }
            Rebalance::Revoke(list) => {
                let lost = partitions(list);
                info!(group = self.group, ?lost, "partitions revoked");
                self.change(|state| state.now.retain(|partition, _| !lost.contains(partition)));
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

type GroupConsumer = BaseConsumer<GroupContext>;

/// What it takes to join.
struct Joining {
    config: KafkaConfig,
    topic: String,
    group: String,
    assigned: Arc<Assigned>,
}

impl Joining {
    fn join(&self) -> Result<Arc<GroupConsumer>, LogError> {
        let failed = |error| unavailable(self.action(), error);
        let context = GroupContext {
            group: self.group.clone(),
            assigned: Arc::clone(&self.assigned),
            brokers: Brokers::default(),
            replaced: AtomicBool::new(false),
        };
        let consumer: GroupConsumer =
            client::member(&self.config, &self.group).create_with_context(context).map_err(failed)?;
        consumer.subscribe(&[&self.topic]).map_err(failed)?;
        Ok(Arc::new(consumer))
    }

    fn action(&self) -> String {
        format!("failed to join group {} on {}", self.group, self.topic)
    }
}

pub(super) struct KafkaMembership {
    topic: String,
    group: String,
    assigned: Arc<Assigned>,
    /// The thread's.
    consumer: Arc<Mutex<Weak<GroupConsumer>>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for KafkaMembership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaMembership({} on {})", self.group, self.topic)
    }
}

impl KafkaMembership {
    pub(super) fn join(config: &KafkaConfig, topic: &str, group: &str) -> Result<Self, LogError> {
        let assigned = Arc::<Assigned>::default();
        let joining = Joining {
            config: config.clone(),
            topic: topic.to_owned(),
            group: group.to_owned(),
            assigned: Arc::clone(&assigned),
        };
        let (joined, action) = (joining.join()?, joining.action());
        let consumer = Arc::new(Mutex::new(Arc::downgrade(&joined)));
        let current = Arc::clone(&consumer);
        let thread = thread::Builder::new().name("log-group".into());
        let thread = thread.spawn(move || poll(&joining, joined, &current));
        let thread = thread.map_err(|source| LogError::Unavailable { action, source: source.into() })?;
        Ok(Self {
            topic: topic.to_owned(),
            group: group.to_owned(),
            assigned,
            consumer,
            thread: Some(thread),
        })
    }

    /// As if its client had lost its brokers.
    #[cfg(test)]
    pub(super) fn lose_brokers(&self) {
        let consumer = self.consumer.lock().upgrade().expect("it has not left");
        consumer.context().brokers.lose();
    }

    /// Lets the thread end, which has the last reference then and leaves the group.
    fn stop(&mut self) -> Option<JoinHandle<()>> {
        self.assigned.stop.store(true, Ordering::Release);
        self.thread.take()
    }
}

/// The thread's loop.
fn poll(joining: &Joining, mut consumer: Arc<GroupConsumer>, current: &Mutex<Weak<GroupConsumer>>) {
    let assigned = &joining.assigned;
    while !assigned.stop.load(Ordering::Acquire) {
        let mut wait = POLL;
        if consumer.context().brokers.are_lost() {
            match joining.join() {
                Ok(new) => {
                    warn!(group = joining.group, "group member has lost its brokers and joins anew");
                    consumer.context().replaced.store(true, Ordering::Release);
                    // Whoever else is in the group has them by now, or we get them again.
                    assigned.change(|state| state.now.clear());
                    *current.lock() = Arc::downgrade(&new);
                    let old = std::mem::replace(&mut consumer, new);
                    // It waits for its threads, while the new one has to be polled.
                    drop(thread::spawn(move || drop(old)));
                }
                Err(error) => {
                    warn!(
                        group = joining.group,
                        error = &error as &dyn std::error::Error,
                        "cannot join anew, trying again"
                    );
                    wait = JOIN_PAUSE;
                }
            }
        }
        match consumer.poll(wait) {
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
        let Some(consumer) = self.consumer.lock().upgrade() else { return Ok(()) };
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
