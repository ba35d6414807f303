//! What a partition needs now and then: that others know who serves it, and a look at its lag.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;
use vivace_log::NewRecord;
use vivace_model::{Offset, Partition, UnixNanos};
use vivace_proto::owners::Owner;

use crate::error::causes;
use crate::holding::Holding;
use crate::retry::Backoff;
use crate::shared::Shared;

/// Ownership is announced anew that often: heals what an ingester that lost the partition without knowing it wrote.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(30);
/// The lag is measured that often.
const LAG_EVERY: Duration = Duration::from_secs(30);
/// Work that goes on for so long is well, whatever failed before.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// How long taking back announcements may take.
const RETRACT_TIMEOUT: Duration = Duration::from_secs(3);
/// The one partition of the topic of owners.
const OWNERS_PARTITION: Partition = Partition(0);

/// Announces and measures one partition.
#[derive(Debug)]
pub(crate) struct Upkeep {
    shared: Arc<Shared>,
    partition: Partition,
    /// When the partition was given to us.
    since: UnixNanos,
    announced: Option<Instant>,
}

impl Upkeep {
    pub(crate) const fn new(shared: Arc<Shared>, partition: Partition, since: UnixNanos) -> Self {
        Self { shared, partition, since, announced: None }
    }

    /// Goes on until it is dropped.
    pub(crate) async fn run(&mut self, holding: &Holding, start: Offset) {
        let started = Instant::now();
        loop {
            if self.announced.is_none_or(|announced| announced.elapsed() >= ANNOUNCE_EVERY) {
                self.announce(start).await;
                self.announced = Some(Instant::now());
            }
            self.measure_lag(holding).await;
            match started.elapsed() >= WELL_AFTER {
                true => self.shared.status.recovered(self.partition),
                false => self.shared.status.look(),
            }
            sleep(LAG_EVERY).await;
        }
    }

    async fn announce(&self, start: Offset) {
        let shared = &self.shared;
        let owner = Owner {
            partition: self.partition.0,
            address: shared.address.clone(),
            instance: shared.instance.clone(),
            since: self.since.0,
            start: start.0,
        };
        let record = owner_record(shared, self.partition, owner.to_value().into());
        let mut backoff = Backoff::new();
        while let Err(error) = shared.log().append(&shared.topics.owners, vec![record.clone()]).await {
            warn!(partition = %self.partition, error = causes(&error), "ownership not announced, trying again");
            backoff.wait(shared.random()).await;
        }
    }

    async fn measure_lag(&self, holding: &Holding) {
        match self.shared.log().watermarks(&self.shared.topics.spans, self.partition).await {
            Ok(watermarks) => {
                let consumed = holding.open().offsets().end;
                self.shared.metrics().set_lag(self.partition, watermarks.end.0.saturating_sub(consumed.0));
            }
            Err(error) => warn!(partition = %self.partition, error = causes(&error), "lag not measured"),
        }
    }
}

fn owner_record(shared: &Shared, partition: Partition, value: Bytes) -> NewRecord {
    let key = Owner::key(&shared.topics.spans, partition.0);
    NewRecord { partition: OWNERS_PARTITION, key: Some(key.into()), headers: Vec::new(), value }
}

/// Says that nobody owns these partitions, so that readers do not ask in vain until the next owner comes. To be called
/// while they are still ours: a later one would take back the next owner's announcement.
pub(crate) async fn retract(shared: &Shared, partitions: &[Partition]) {
    if partitions.is_empty() {
        return;
    }
    let records: Vec<_> =
        partitions.iter().map(|partition| owner_record(shared, *partition, Bytes::new())).collect();
    match timeout(RETRACT_TIMEOUT, shared.log().append(&shared.topics.owners, records)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => warn!(error = causes(&error), "ownership not taken back"),
        Err(_) => warn!("ownership not taken back in time"),
    }
}
