//! Consumer groups within one process, for the embedded and the in-memory log.
//! Owns: who is a member, which partitions each should have, and in which order they change hands.
//! Does not own: committed offsets.
//! Guarantee: a partition is given to a member only after the one before was told of its loss (as Kafka's cooperative
//! rebalance does), unless that one was expelled: then it learns late, as a stalled process would.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use vivace_model::Partition;

use crate::{Assignment, LogError};

/// One group on one topic.
#[derive(Debug)]
pub(crate) struct Coordinator {
    group: String,
    state: Mutex<State>,
    changed: Notify,
}

type MemberId = u64;

#[derive(Debug)]
struct State {
    members: BTreeMap<MemberId, Member>,
    member_next: MemberId,
    /// Who should have each partition.
    target: Vec<Option<MemberId>>,
    /// Who has it.
    owner: Vec<Option<MemberId>>,
}

#[derive(Debug, Default)]
struct Member {
    /// What it believes it has: everything it was told of.
    told: BTreeSet<usize>,
    /// What it must give up although it may get it back.
    recalled: BTreeSet<usize>,
    /// Taken for dead; it comes back when it asks again.
    expelled: bool,
    /// Another took its name; it never comes back.
    fenced: bool,
}

/// A place in a group, given up on drop.
#[derive(Debug)]
pub(crate) struct Place {
    coordinator: Arc<Coordinator>,
    id: MemberId,
}

impl Coordinator {
    pub(crate) fn new(group: &str, partitions: u32) -> Arc<Self> {
        let none = vec![None; partitions as usize];
        let state = State { members: BTreeMap::new(), member_next: 0, target: none.clone(), owner: none };
        Arc::new(Self { group: group.to_owned(), state: Mutex::new(state), changed: Notify::new() })
    }

    pub(crate) fn join(self: &Arc<Self>) -> Place {
        let id = self.change(|state| {
            let id = state.member_next;
            state.member_next += 1;
            state.members.insert(id, Member::default());
            state.retarget();
            id
        });
        Place { coordinator: Arc::clone(self), id }
    }

    /// More partitions, which are dealt out to those that are there.
    pub(crate) fn grow(&self, partitions: usize) {
        self.change(|state| {
            state.target.resize(partitions, None);
            state.owner.resize(partitions, None);
            state.retarget();
        });
    }

    /// Deals the partitions out anew, in the order given; each one that has an owner is taken from it first, even if it
    /// is to get it back.
    pub(crate) fn reassign(&self, order: &[usize]) {
        self.change(|state| {
            let active = state.active();
            if active.is_empty() {
                return;
            }
            for (index, &partition) in order.iter().enumerate() {
                state.target[partition] = Some(active[index % active.len()]);
                if let Some(member) = state.owner[partition].and_then(|id| state.members.get_mut(&id)) {
                    member.recalled.insert(partition);
                }
            }
        });
    }

    /// Takes a member's partitions away behind its back, as after a session timeout: others may have them at once. The
    /// member is told of its loss when it asks next, and joins again then. Members count from 0 in the order of joining.
    pub(crate) fn expel(&self, index: usize) -> bool {
        self.remove(index, |member| member.expelled = true)
    }

    /// Like [`Self::expel`], but the member gets [`LogError::Fenced`] and never comes back.
    pub(crate) fn fence(&self, index: usize) -> bool {
        self.remove(index, |member| member.fenced = true)
    }

    fn remove(&self, index: usize, mark: impl FnOnce(&mut Member)) -> bool {
        self.change(|state| {
            let Some(&id) = state.active().get(index) else { return false };
            if let Some(member) = state.members.get_mut(&id) {
                mark(member);
            }
            state.disown(id);
            state.retarget();
            true
        })
    }

    fn change<T>(&self, edit: impl FnOnce(&mut State) -> T) -> T {
        let result = edit(&mut self.state.lock());
        self.changed.notify_waiters();
        result
    }
}

impl State {
    /// Members that count, by the time of their joining.
    fn active(&self) -> Vec<MemberId> {
        let counts = |member: &Member| !member.expelled && !member.fenced;
        self.members.iter().filter(|(_, member)| counts(member)).map(|(&id, _)| id).collect()
    }

    fn disown(&mut self, id: MemberId) {
        for owner in &mut self.owner {
            if *owner == Some(id) {
                *owner = None;
            }
        }
    }

    /// Splits the partitions evenly and moves as few as that takes.
    fn retarget(&mut self) {
        let active = self.active();
        let Some(least) = self.target.len().checked_div(active.len()) else {
            self.target.fill(None);
            return;
        };
        let mut with_one_more = self.target.len() % active.len();
        let mut counts: BTreeMap<MemberId, usize> = active.iter().map(|&id| (id, 0)).collect();
        for target in &mut self.target {
            let keeps = target.and_then(|id| counts.get_mut(&id)).is_some_and(|count| {
                let room = *count < least || (*count == least && with_one_more > 0);
                if room {
                    with_one_more -= usize::from(*count == least);
                    *count += 1;
                }
                room
            });
            if !keeps {
                *target = None;
            }
        }
        for target in self.target.iter_mut().filter(|target| target.is_none()) {
            if let Some((&id, count)) = counts.iter_mut().min_by_key(|(_, count)| **count) {
                *count += 1;
                *target = Some(id);
            }
        }
    }

    /// The next thing a member has to be told, if any. Losses come first.
    fn poll(&mut self, id: MemberId) -> Result<Option<Assignment>, ()> {
        let Some(member) = self.members.get_mut(&id).filter(|member| !member.fenced) else { return Err(()) };
        let lost: Vec<usize> = if member.expelled {
            member.expelled = false;
            member.recalled.clear();
            member.told.iter().copied().collect()
        } else {
            let goes = |&partition: &usize| {
                self.target[partition] != Some(id) || member.recalled.contains(&partition)
            };
            member.told.iter().copied().filter(goes).collect()
        };
        for partition in &lost {
            member.told.remove(partition);
            member.recalled.remove(partition);
            if self.owner[*partition] == Some(id) {
                self.owner[*partition] = None;
            }
        }
        // For the case that it was expelled just now: it counts again.
        self.retarget_if_unserved(id);
        if !lost.is_empty() {
            return Ok(Some(Assignment::Lost(lost.into_iter().map(partition_of).collect())));
        }
        let mut gained = Vec::new();
        for (partition, owner) in self.owner.iter_mut().enumerate() {
            if owner.is_none() && self.target[partition] == Some(id) {
                *owner = Some(id);
                gained.push(partition);
            }
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.told.extend(&gained);
        }
        let gained: Vec<_> = gained.into_iter().map(partition_of).collect();
        Ok((!gained.is_empty()).then_some(Assignment::Gained(gained)))
    }

    fn retarget_if_unserved(&mut self, id: MemberId) {
        if !self.target.contains(&Some(id)) {
            self.retarget();
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "partitions are counted in u32")]
fn partition_of(index: usize) -> Partition {
    Partition(index as u32)
}

impl Place {
    /// Waits for the next change. Safe to drop at any await: what was not returned is told again.
    pub(crate) async fn next(&self) -> Result<Assignment, LogError> {
        loop {
            let mut changed = pin!(self.coordinator.changed.notified());
            changed.as_mut().enable();
            let polled = self.coordinator.state.lock().poll(self.id);
            match polled {
                Ok(Some(assignment)) => {
                    // A loss may be what another member waits for.
                    self.coordinator.changed.notify_waiters();
                    return Ok(assignment);
                }
                Ok(None) => changed.await,
                Err(()) => return Err(self.fenced()),
            }
        }
    }

    /// Whether the partition is this member's, as the group sees it.
    pub(crate) fn check_owner(&self, partition: Partition) -> Result<(), LogError> {
        let owner = self.coordinator.state.lock().owner.get(partition.0 as usize).copied().flatten();
        if owner == Some(self.id) { Ok(()) } else { Err(self.fenced()) }
    }

    fn fenced(&self) -> LogError {
        LogError::Fenced(format!("another member of group {} has it", self.coordinator.group))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.coordinator.change(|state| {
            state.members.remove(&self.id);
            state.disown(self.id);
            state.retarget();
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn partitions(numbers: &[u32]) -> Vec<Partition> {
        numbers.iter().copied().map(Partition).collect()
    }

    fn gained(numbers: &[u32]) -> Option<Assignment> {
        Some(Assignment::Gained(partitions(numbers)))
    }

    fn lost(numbers: &[u32]) -> Option<Assignment> {
        Some(Assignment::Lost(partitions(numbers)))
    }

    fn now(place: &Place) -> Option<Assignment> {
        place.next().now_or_never().map(|next| next.expect("not fenced"))
    }

    #[test]
    fn partitions_change_hands_only_after_their_loss_was_told() {
        let group = Coordinator::new("g", 4);
        let first = group.join();
        assert_eq!(now(&first), gained(&[0, 1, 2, 3]));
        let second = group.join();
        assert_eq!(now(&second), None, "the first has not been told yet");
        assert_eq!(now(&first), lost(&[2, 3]));
        assert_eq!(now(&second), gained(&[2, 3]));
        assert!(first.check_owner(Partition(2)).is_err());
        assert!(second.check_owner(Partition(2)).is_ok());
        drop(first);
        assert_eq!(now(&second), gained(&[0, 1]));
        assert_eq!(now(&second), None);
    }

    #[test]
    fn the_expelled_learn_late_and_come_back() {
        let group = Coordinator::new("g", 2);
        let (first, second) = (group.join(), group.join());
        assert_eq!(now(&first), gained(&[0]));
        assert_eq!(now(&second), gained(&[1]));
        assert!(group.expel(0));
        assert_eq!(now(&second), gained(&[0]), "at once, the first knows nothing yet");
        assert_eq!(now(&first), lost(&[0]));
        assert_eq!(now(&first), None);
        assert_eq!(now(&second), lost(&[1]));
        assert_eq!(now(&first), gained(&[1]));
        assert!(!group.expel(2));
    }

    #[test]
    fn the_fenced_stay_out() {
        let group = Coordinator::new("g", 2);
        let (first, second) = (group.join(), group.join());
        now(&first);
        assert!(group.fence(0));
        assert!(matches!(first.next().now_or_never(), Some(Err(LogError::Fenced(_)))));
        assert_eq!(now(&second), gained(&[0, 1]));
        drop(first);
        assert_eq!(now(&second), None);
    }

    #[test]
    fn a_lone_member_can_be_made_to_lose_and_regain() {
        let group = Coordinator::new("g", 2);
        let only = group.join();
        assert_eq!(now(&only), gained(&[0, 1]));
        group.reassign(&[1, 0]);
        assert_eq!(now(&only), lost(&[0, 1]));
        assert_eq!(now(&only), gained(&[0, 1]));
    }

    #[test]
    fn more_members_than_partitions_leave_some_waiting() {
        let group = Coordinator::new("g", 1);
        let (first, second) = (group.join(), group.join());
        assert_eq!(now(&first), gained(&[0]));
        assert_eq!(now(&second), None);
        drop(first);
        assert_eq!(now(&second), gained(&[0]));
    }
}
