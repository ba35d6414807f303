//! Checks of consumer groups.

use std::collections::BTreeSet;

use vivace_model::{Offset, Partition};

use super::{Subject, within};
use crate::{Assignment, Membership};

const PARTITIONS: u32 = 4;

/// A member and what it was told that it has.
struct Member {
    membership: Box<dyn Membership>,
    has: BTreeSet<Partition>,
}

impl Member {
    async fn join(subject: &Subject, topic: &str) -> Self {
        let membership = within(subject.log.join(topic, &format!("{}.group", subject.prefix))).await;
        Self { membership: membership.expect("a group can be joined"), has: BTreeSet::new() }
    }

    async fn hear(&mut self) {
        match self.membership.next().await.expect("the group is not lost") {
            Assignment::Gained(partitions) => {
                assert!(!partitions.is_empty(), "a change says something");
                for partition in partitions {
                    assert!(self.has.insert(partition), "{partition} was gained twice");
                }
            }
            Assignment::Lost(partitions) => {
                assert!(!partitions.is_empty(), "a change says something");
                for partition in partitions {
                    assert!(self.has.remove(&partition), "{partition} was lost without having been gained");
                }
            }
        }
    }

    async fn hear_until(&mut self, count: usize) {
        while self.has.len() != count {
            within(self.hear()).await;
        }
    }
}

fn all() -> BTreeSet<Partition> {
    (0..PARTITIONS).map(Partition).collect()
}

/// Listens to both until they share all partitions evenly.
async fn share(first: &mut Member, second: &mut Member) {
    let half = PARTITIONS as usize / 2;
    while first.has.len() != half || second.has.len() != half || !first.has.is_disjoint(&second.has) {
        within(async {
            tokio::select! {
                () = first.hear() => {}
                () = second.hear() => {}
            }
        })
        .await;
    }
    assert_eq!(first.has.union(&second.has).copied().collect::<BTreeSet<_>>(), all());
}

/// A lone member has everything; two share it; who leaves gives back.
///
/// # Panics
/// If not.
pub async fn groups_share_partitions(subject: &Subject) {
    let topic = subject.topic("shared", PARTITIONS).await;
    let mut first = Member::join(subject, &topic).await;
    first.hear_until(PARTITIONS as usize).await;
    assert_eq!(first.has, all());
    let mut second = Member::join(subject, &topic).await;
    share(&mut first, &mut second).await;
    within(second.membership.leave()).await;
    first.hear_until(PARTITIONS as usize).await;
    assert_eq!(first.has, all());
}

/// Members commit what is theirs; a member that is dropped is gone, and one that joins later gets all.
///
/// # Panics
/// If not.
pub async fn members_come_and_go(subject: &Subject) {
    let topic = subject.topic("come-and-go", PARTITIONS).await;
    subject.fill(&topic, 2, 10).await;
    for round in 1..=2 {
        let mut member = Member::join(subject, &topic).await;
        member.hear_until(PARTITIONS as usize).await;
        let committed = within(member.membership.commit(Partition(2), Offset(round * 5))).await;
        committed.expect("an offset can be committed");
        if round == 1 {
            drop(member);
        } else {
            within(member.membership.leave()).await;
        }
    }
}
