//! A member of a consumer group on the in-memory log.

use std::sync::Arc;

use async_trait::async_trait;
use vivace_model::{Offset, Partition};

use super::Shared;
use crate::coordinator::Place;
use crate::{Assignment, LogError, Membership};

#[derive(Debug)]
pub(super) struct MemoryMembership {
    shared: Arc<Shared>,
    topic: String,
    group: String,
    place: Place,
}

impl MemoryMembership {
    pub(super) fn new(shared: Arc<Shared>, topic: &str, group: &str, place: Place) -> Self {
        Self { shared, topic: topic.to_owned(), group: group.to_owned(), place }
    }
}

#[async_trait]
impl Membership for MemoryMembership {
    async fn next(&mut self) -> Result<Assignment, LogError> {
        self.place.next().await
    }

    async fn commit(&self, partition: Partition, offset: Offset) -> Result<(), LogError> {
        self.place.check_owner(partition)?;
        let mut state = self.shared.state.lock();
        let group = state.topic(&self.topic)?.groups.get_mut(&self.group).expect("it joined");
        group.committed[partition.0 as usize] = Some(offset);
        Ok(())
    }

    async fn leave(self: Box<Self>) {}
}
