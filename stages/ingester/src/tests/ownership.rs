use std::time::Duration;

use tonic::Code;
use vivace_ledger::{EntryBody, Proposal};
use vivace_model::{Offset, OffsetRange};

use crate::Config;
use crate::testing::{P, Rig, config, wait_for};

fn range(start: u64, end: u64) -> OffsetRange {
    OffsetRange::new(Offset(start), Offset(end))
}

/// What another ingester would write, without blocks.
async fn list_elsewhere(rig: &Rig, start: u64, end: u64) {
    let body =
        EntryBody::Ingested { offsets: range(start, end), blocks: vec![], rejected: vec![], last: None };
    let proposal = Proposal::new(body, [start as u8; 16]);
    rig.chain().append(&rig.state().await, &proposal).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_nothing_and_doubles_nothing() {
    let mut rig = Rig::start(config()).await;
    rig.append_spans(0..13).await;
    rig.listed(13).await;
    rig.append_spans(13..16).await;
    rig.consumed(13, 16).await;
    rig.run();
    assert_eq!(rig.consumed(13, 16).await, [13, 14, 15]);
    rig.append_spans(16..30).await;
    rig.listed(30).await;
    assert_eq!(rig.state().await.live().iter().map(|block| block.rows).sum::<u64>(), 30);
    rig.entries().await;
}

#[tokio::test(start_paused = true)]
async fn when_another_listed_our_offsets_ours_are_dropped() {
    let rig = Rig::start(config()).await;
    rig.append_spans(0..6).await;
    rig.consumed(0, 6).await;
    list_elsewhere(&rig, 0, 4).await;
    rig.append_spans(6..10).await;
    wait_for("a conflict", async || (rig.metrics.conflicts.get() == 1).then_some(())).await;
    assert_eq!(rig.consumed(4, 10).await, [4, 5, 6, 7, 8, 9]);
    rig.append_spans(10..14).await;
    rig.listed(14).await;
    let entries = rig.entries().await;
    assert_eq!(entries[1].body.offsets(), Some(range(4, 14)));
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_knows_more_makes_the_ingester_look_at_the_ledger() {
    let rig = Rig::start(config()).await;
    rig.append_spans(0..6).await;
    rig.consumed(0, 6).await;
    list_elsewhere(&rig, 0, 6).await;
    assert_eq!(rig.ask(6).await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(rig.consumed(6, 6).await.is_empty());
    assert_eq!(rig.metrics.conflicts.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn entries_that_do_not_move_the_end_are_no_conflict() {
    let rig = Rig::start(config()).await;
    rig.append_spans(0..10).await;
    let state = rig.listed(10).await;
    rig.append_spans(10..15).await;
    rig.consumed(10, 15).await;
    let body = EntryBody::Expired { blocks: vec![state.live()[0].id] };
    rig.chain().append(&state, &Proposal::new(body, [9; 16])).await.unwrap();
    rig.append_spans(15..20).await;
    let state = rig.listed(20).await;
    assert_eq!((state.sequence(), rig.metrics.conflicts.get()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lost_partition_is_dropped_at_once() {
    let rig = Rig::start(config()).await;
    rig.append_spans(0..6).await;
    rig.consumed(0, 6).await;
    // A second member takes the only partition.
    assert!(rig.handle.drop_member(&rig.topics.spans, &config().group, 0));
    let log: &dyn vivace_log::Log = &*rig.log;
    let mut other = log.join(&rig.topics.spans, &config().group).await.unwrap();
    assert!(matches!(other.next().await.unwrap(), vivace_log::Assignment::Gained(gained) if gained == [P]));
    wait_for("the loss", async || rig.ask(0).await.err().filter(|error| error.code() == Code::NotFound))
        .await;
    rig.append_spans(6..20).await;
    tokio::time::sleep(config().block_age_max * 2).await;
    assert_eq!((rig.state().await.sequence(), rig.committed()), (0, None));
    drop(other);
    assert_eq!(rig.listed(20).await.sequence(), 1, "given back, it starts at the end of the chain");
}

#[tokio::test(start_paused = true)]
async fn deleted_records_are_noted_as_lost() {
    let mut rig = Rig::prepare(config()).await;
    rig.append_spans(0..8).await;
    rig.handle.truncate(&rig.topics.spans, P, Offset(5));
    rig.run();
    assert_eq!(rig.consumed(5, 8).await, [5, 6, 7]);
    assert_eq!(rig.entries().await[0].body, EntryBody::Lost { offsets: range(0, 5) });
    assert_eq!(rig.metrics.lost_offsets.get(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_in_before_a_gap_is_stored_before_it_is_noted() {
    let rig = Rig::start(config()).await;
    rig.append_spans(0..4).await;
    rig.consumed(0, 4).await;
    // Both happen before the ingester gets to read.
    rig.handle.set_faults(vivace_log::memory::Faults {
        read_delay_max: Duration::from_secs(9),
        ..Default::default()
    });
    rig.append_spans(4..5).await;
    rig.consumed(0, 5).await;
    rig.append_spans(5..9).await;
    rig.handle.truncate(&rig.topics.spans, P, Offset(7));
    rig.append_spans(9..12).await;
    rig.listed(12).await;
    let offsets: Vec<_> = rig.entries().await.iter().map(|entry| entry.body.offsets().unwrap()).collect();
    assert_eq!(offsets, [range(0, 5), range(5, 7), range(7, 12)]);
    assert_eq!(rig.metrics.lost_offsets.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_does_not_fit_the_ledger_is_refused() {
    let mut rig = Rig::prepare(config()).await;
    list_elsewhere(&rig, 0, 100).await;
    rig.append_spans(0..20).await;
    rig.run();
    let problem = wait_for("unreadiness", async || {
        rig.readiness.state().err().filter(|e| e.contains("not the topic that was ingested"))
    })
    .await;
    assert!(problem.contains("ledger ends at offset 100"), "{problem}");
    tokio::time::sleep(config().block_age_max * 2).await;
    assert_eq!(rig.state().await.sequence(), 1);
    rig.append_spans(20..105).await;
    assert_eq!(rig.consumed(100, 105).await.len(), 5, "repaired, it goes on");
    assert_eq!(rig.readiness.state(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn one_who_is_thrown_out_ends() {
    let mut rig = Rig::start(config()).await;
    rig.append_spans(0..6).await;
    rig.consumed(0, 6).await;
    assert!(rig.handle.fence_member(&rig.topics.spans, &config().group, 0));
    let error = rig.tasks.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), vivace_model::ErrorKind::Fenced);
    assert_eq!(rig.ask(0).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_in_time_even_if_nothing_can_be_stored() {
    let mut rig = Rig::start(Config { drain_max: Duration::from_secs(5), ..config() }).await;
    rig.append_spans(0..3).await;
    rig.consumed(0, 3).await;
    rig.store.set_faults(vivace_ledger::faults::Faults::OUTAGE);
    let started = tokio::time::Instant::now();
    rig.stop().await;
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    assert_eq!((rig.state().await.sequence(), rig.committed()), (0, None));
}
