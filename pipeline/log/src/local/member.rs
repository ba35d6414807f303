//! A member of a consumer group on the embedded log.
//! Owns: its place in the group, given up on drop. Does not own: who gets what, where commits go.

use std::sync::Arc;

use async_trait::async_trait;
use vivace_model::{Offset, Partition};

use super::topic::Topic;
use crate::coordinator::Place;
use crate::{Assignment, LogError, Membership};

#[derive(Debug)]
pub(super) struct LocalMembership {
    topic: Arc<Topic>,
    group: String,
    place: Place,
}

impl LocalMembership {
    pub(super) fn join(topic: Arc<Topic>, group: &str) -> Result<Self, LogError> {
        let place = topic.groups.join(group)?;
        Ok(Self { topic, group: group.to_owned(), place })
    }
}

#[async_trait]
impl Membership for LocalMembership {
    async fn next(&mut self) -> Result<Assignment, LogError> {
        self.topic.poison.check()?;
        self.place.next().await
    }

    async fn commit(&self, partition: Partition, offset: Offset) -> Result<(), LogError> {
        let watermarks = self.topic.watermarks(partition)?;
        self.place.check_owner(partition)?;
        // Offsets go on from the highest commit after a loss of data: one that is too high must not get in.
        if offset > watermarks.end {
            return Err(self.topic.out_of_range(partition, offset));
        }
        self.topic.groups.commit(&self.group, partition, offset);
        self.topic.keeper.work();
        Ok(())
    }

    async fn leave(self: Box<Self>) {}
}
