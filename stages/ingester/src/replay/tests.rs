use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStoreExt;
use tokio::task::JoinSet;
use vivace_ledger::EntryBody;
use vivace_ledger::faults::Faults;
use vivace_log::Log;
use vivace_log::memory::MemoryLog;
use vivace_model::{ByteSize, ErrorKind, Offset, OffsetRange};

use super::ReplayRequest;
use crate::Config;
use crate::testing::{P, Rig, config, record, record_of, wait_for};

const ALL: OffsetRange = OffsetRange { start: Offset(0), end: Offset(u64::MAX) };

fn range(start: u64, end: u64) -> OffsetRange {
    OffsetRange { start: Offset(start), end: Offset(end) }
}

fn request(offsets: OffsetRange) -> ReplayRequest {
    ReplayRequest {
        partition: P,
        offsets,
        keep_missing: false,
        abandon: vec![],
        with_redacted: false,
        reason: "a test".into(),
    }
}

fn keeping(offsets: OffsetRange) -> ReplayRequest {
    ReplayRequest { keep_missing: true, ..request(offsets) }
}

/// An ingester that has listed the spans `0..30` in three blocks.
async fn three_blocks() -> Rig {
    let rig = Rig::start(config()).await;
    for start in [0, 10, 20] {
        rig.append_spans(start..start + 10).await;
        rig.listed(start + 10).await;
    }
    rig
}

async fn check_numbers(rig: &Rig, end: u64) {
    check_numbers_are(rig, &(0..end).collect::<Vec<_>>()).await;
}

async fn check_numbers_are(rig: &Rig, numbers: &[u64]) {
    assert_eq!(rig.stored().await, numbers);
    rig.entries().await;
}

#[tokio::test(start_paused = true)]
async fn a_part_is_replaced_while_ingest_goes_on() {
    let rig = three_blocks().await;
    let old = rig.state().await.live().to_vec();
    let plan = rig.replayer().plan(&request(range(12, 13))).await.unwrap();
    assert_eq!((plan.offsets, plan.inputs.len(), plan.generation), (range(10, 20), 1, 1));
    assert_eq!(rig.state().await.sequence(), 3, "a plan changes nothing");
    let done = rig.replayer().replay(&request(range(12, 13))).await.unwrap();
    assert_eq!((done.sequence, done.blocks.len()), (4, 1));
    check_numbers(&rig, 30).await;
    let state = rig.state().await;
    assert_eq!((state.generation(), state.end(), state.kept().len()), (1, Offset(30), 1));
    assert_eq!(state.live().iter().filter(|block| old.contains(block)).count(), 2);
    rig.store.inner().head(&state.kept()[0].path()).await.unwrap();
    rig.append_spans(30..40).await;
    rig.listed(40).await;
    check_numbers(&rig, 40).await;
    assert_eq!(rig.metrics.conflicts.get(), 0, "the ingester goes on without losing its work");
}

#[tokio::test(start_paused = true)]
async fn what_the_topic_lacks_is_refused_or_kept() {
    let rig = three_blocks().await;
    rig.handle.truncate(&rig.topics.spans, P, Offset(15));
    let refused = rig.replayer().replay(&request(ALL)).await.unwrap_err();
    assert!(refused.to_string().contains("--keep-missing"), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let done = rig.replayer().replay(&keeping(ALL)).await.unwrap();
    assert_eq!(done.plan.offsets, range(20, 30), "a block that is cut by the loss stays whole");
    check_numbers(&rig, 30).await;
    // A block whose file and records are gone is given up; else queries would fail for ever.
    let lost =
        rig.state().await.live().iter().find(|block| block.offsets.start == Offset(0)).cloned().unwrap();
    rig.store.inner().delete(&lost.path()).await.unwrap();
    let done = rig.replayer().replay(&keeping(range(0, 5))).await.unwrap();
    assert_eq!((done.plan.abandoned.len(), done.plan.inputs.len(), done.blocks.len()), (1, 0, 0));
    assert_eq!(rig.stored().await, (10..30).collect::<Vec<_>>());
    rig.entries().await;
    let nothing = rig.replayer().replay(&keeping(range(0, 5))).await.unwrap_err();
    assert!(nothing.to_string().contains("nothing to replay"), "{nothing}");
}

#[tokio::test(start_paused = true)]
async fn an_empty_bucket_is_filled_from_the_topic() {
    let few = Config { fetch_bytes_max: ByteSize(1000), ..config() };
    let mut rig = Rig::prepare(few).await;
    rig.append_spans(0..35).await;
    rig.handle.truncate(&rig.topics.spans, P, Offset(5));
    let done = rig.replayer().replay(&request(ALL)).await.unwrap();
    assert_eq!((done.plan.offsets, rig.state().await.totals().lost_offsets), (range(5, 35), 5));
    assert!(done.blocks.len() >= 2, "memory is bounded: {}", done.blocks.len());
    rig.run();
    rig.append_spans(35..45).await;
    rig.listed(45).await;
    assert_eq!(rig.stored().await, (5..45).collect::<Vec<_>>());
    rig.entries().await;
}

#[tokio::test(start_paused = true)]
async fn rejected_records_that_nobody_has_seen_are_put_aside() {
    let mut rig = Rig::start(config()).await;
    rig.append(vec![record_of(vec![0xff; 9].into(), None)]).await;
    rig.listed(1).await;
    rig.stop().await;
    rig.append(vec![record(&[1]), record_of(vec![0xff; 9].into(), None)]).await;
    let done = rig.replayer().replay(&request(ALL)).await.unwrap();
    assert_eq!((done.plan.offsets, done.rejected), (range(0, 3), 2));
    let offsets: Vec<_> =
        rig.rejected().iter().map(|record| record.header("offset").unwrap().to_vec()).collect();
    assert_eq!(offsets, [b"0".to_vec(), b"2".to_vec()], "the first was put aside when it was ingested");
    check_numbers_are(&rig, &[1]).await;
}

#[tokio::test(start_paused = true)]
async fn times_are_found_in_the_topic() {
    let mut rig = Rig::prepare(config()).await;
    let mut times = Vec::new();
    let clock = Arc::clone(&rig.clock);
    let log = MemoryLog::with_clock(1, Arc::<vivace_model::ManualClock>::clone(&clock));
    for spec in rig.topics.specs() {
        log.ensure_topic(&spec).await.unwrap();
    }
    rig.handle = log.handle();
    rig.log = log;
    for number in 0..20 {
        times.push(vivace_model::Clock::now(&*clock));
        rig.append_spans(number..number + 1).await;
        clock.advance(Duration::from_secs(10));
    }
    let replayer = rig.replayer();
    for (number, time) in (0..).zip(&times) {
        assert_eq!(replayer.offset_at(P, *time).await.unwrap(), Offset(number));
    }
    assert_eq!(replayer.offset_at(P, vivace_model::Clock::now(&*clock)).await.unwrap(), Offset(20));
}

/// Replays of random ranges, while an ingester takes in, over a store with faults: every record is counted once.
#[tokio::test(start_paused = true)]
async fn replays_race_with_ingest_and_lose_nothing() {
    let mut all = 0;
    for seed in 0..20_u64 {
        let rig = Rig::start(config()).await;
        rig.store.set_faults(Faults { error_before: 0.05, error_after: 0.05, ..Faults::NONE });
        let mut replays = JoinSet::new();
        for turn in 0..3 {
            let replayer = rig.replayer();
            replays.spawn(async move {
                let (mut done, mut from) = (0, seed * 7 + turn * 13);
                for _ in 0..6 {
                    tokio::time::sleep(Duration::from_millis(40 + turn * 30)).await;
                    from = (from * 31 + 17) % 60;
                    match replayer.replay(&request(range(from, from + 25))).await {
                        Ok(_) => done += 1,
                        Err(error) => {
                            assert!(error.kind() != ErrorKind::Corrupt, "SEED={seed}: {error:?}");
                        }
                    }
                }
                done
            });
        }
        for start in (0..60).step_by(3) {
            rig.append_spans(start..start + 3).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let done: u64 = replays.join_all().await.into_iter().sum();
        rig.store.set_faults(Faults::NONE);
        rig.listed(60).await;
        check_numbers(&rig, 60).await;
        assert!(done > 0, "SEED={seed}: no replay");
        all += done;
    }
    assert!(all > 20 * 3, "only {all} replays were done");
}

#[tokio::test(start_paused = true)]
async fn a_topic_made_anew_is_refused_until_it_is_named() {
    let mut rig = three_blocks().await;
    rig.stop().await;
    assert!(rig.state().await.last().is_some());
    let same = rig.replayer().new_topic(P, "x", false).await.unwrap_err();
    assert!(same.to_string().contains("same topic"), "{same}");
    // The topic is deleted and made anew, and grows past the chain's end: only the record before it tells.
    let log = MemoryLog::new(2);
    for spec in rig.topics.specs() {
        log.ensure_topic(&spec).await.unwrap();
    }
    rig.handle = log.handle();
    rig.log = log;
    rig.append_spans(100..135).await;
    rig.run();
    let refused =
        wait_for("refusal", async || rig.readiness.state().err().filter(|e| e.contains("--new-topic")));
    assert!(refused.await.contains("not the one that was ingested"));
    assert_eq!(rig.state().await.sequence(), 3, "nothing of it is taken for what was stored long ago");
    let refused = rig.replayer().replay(&request(ALL)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let (sequence, end) = rig.replayer().new_topic(P, "the cluster was lost", false).await.unwrap();
    assert_eq!((sequence, end), (4, Offset(0)));
    rig.listed(35).await;
    let expected: Vec<_> = (0..30).chain(100..135).collect();
    assert_eq!(rig.stored().await, expected);
    assert_eq!(rig.readiness.state(), Ok(()));
    // Old blocks have offsets of another topic, which no replay touches.
    let done = rig.replayer().replay(&request(ALL)).await.unwrap();
    assert_eq!((done.plan.offsets, rig.stored().await), (range(0, 35), expected));
    assert!(matches!(rig.entries().await[3].body, EntryBody::Recreated { generation: 1, .. }));
}
