//! Records that make work fail are put aside, alone; what panics otherwise starts over.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tonic::Code;
use vivace_ledger::EntryBody;
use vivace_log::NewRecord;
use vivace_model::{ErrorKind, Offset, OffsetRange, Partition};
use vivace_proto::otlp::trace::Span;
use vivace_runtime::{FailPointHook, hook_fail_points};

use crate::testing::{P, Rig, config, record, record_of, span, value};
use crate::{Config, FAIL_POINTS, Random, ReplayRequest};

/// What is in a record that makes work fail.
const MARKER: &[u8] = b"poison";

fn poison(number: u64) -> NewRecord {
    record_of(value(vec![Span { name: "poison".into(), ..span(number) }]), None)
}

fn has_marker(data: &[u8]) -> bool {
    data.windows(MARKER.len()).any(|window| window == MARKER)
}

/// Makes that step panic for records with the marker.
fn strike(point: &'static str) -> FailPointHook {
    hook_fail_points(FAIL_POINTS, move |name, data| name == point && data.is_some_and(has_marker))
}

/// Records of these spans, of which some are poison.
fn records(numbers: std::ops::Range<u64>, bad: &[u64]) -> Vec<NewRecord> {
    numbers.map(|number| if bad.contains(&number) { poison(number) } else { record(&[number]) }).collect()
}

fn without(numbers: std::ops::Range<u64>, bad: &[u64]) -> Vec<u64> {
    numbers.filter(|number| !bad.contains(number)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_at_any_step_is_put_aside_alone_and_the_partition_goes_on() {
    for point in ["ingester.decoding", "ingester.sealing", "ingester.encoding"] {
        let bad = [3, 17, 18];
        let hook = strike(point);
        let mut rig = Rig::start(config()).await;
        rig.append(records(0..40, &bad)).await;
        rig.listed(40).await;
        assert_eq!(rig.stored().await, without(0..40, &bad), "{point}");
        let quarantined = rig.quarantined();
        assert_eq!(quarantined.keys().copied().collect::<Vec<_>>(), bad, "{point}");
        for reason in quarantined.values() {
            assert!(reason.starts_with("quarantined: ") && reason.contains(point), "{reason}");
        }
        let mut named = Vec::new();
        for entry in rig.entries().await {
            let EntryBody::Ingested { rejected, .. } = entry.body else { panic!("{entry:?}") };
            assert!(rejected.iter().all(|rejected| rejected.is_quarantined()));
            named.extend(rejected.iter().map(|rejected| rejected.offset.0));
        }
        assert_eq!(named, bad, "{point}");
        assert!(rig.tasks.try_join_next().is_none(), "the ingester goes on");
        let (partition, line) = rig.shared().status.partitions().remove(0);
        assert_eq!((partition, line.as_str()), (P, "serving; 3 records quarantined, the last at offset 18"));
        assert_eq!(rig.readiness.state(), Ok(()));
        assert_eq!(rig.metrics.rejected_of("quarantined"), 3);
        assert!(rig.metrics.panics.get() >= 2 * 3, "{point}");
        drop(hook);
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn quarantined_records_are_taken_in_again_after_a_mend_each_once() {
    let hook = strike("ingester.encoding");
    let rig = Rig::start(config()).await;
    let mut all = records(0..20, &[3, 17]);
    all.push(record_of(vec![0xff; 20].into(), None));
    rig.append(all).await;
    rig.append_spans(21..30).await;
    rig.listed(30).await;
    let plan = rig.replayer().readmit(None, true).await.unwrap();
    assert_eq!(plan.readmitted, [(P, Offset(3)), (P, Offset(17))], "not what is no OTLP");
    assert_eq!(
        rig.stored().await,
        [without(0..20, &[3, 17]), (21..30).collect()].concat(),
        "nothing was changed"
    );
    drop(hook);
    assert_eq!(rig.replayer().readmit(Some(P), false).await.unwrap().readmitted, plan.readmitted);
    rig.listed(32).await;
    assert_eq!(rig.stored().await, without(0..30, &[20]));
    let again = rig.replayer().readmit(None, false).await.unwrap();
    assert_eq!((again.readmitted, again.before), (vec![], 2));
    assert_eq!(rig.replayer().readmit(Some(Partition(1)), false).await.unwrap().before, 0);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_still_fails_is_quarantined_again() {
    let hook = strike("ingester.decoding");
    let rig = Rig::start(config()).await;
    rig.append(records(0..10, &[3])).await;
    rig.listed(10).await;
    for end in [11, 12] {
        let again = rig.replayer().readmit(None, false).await.unwrap();
        assert_eq!(again.readmitted, [(P, Offset(if end == 11 { 3 } else { end - 2 }))]);
        rig.listed(end).await;
    }
    drop(hook);
    rig.replayer().readmit(None, false).await.unwrap();
    rig.listed(13).await;
    assert_eq!(rig.stored().await, (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_replay_puts_aside_again_what_was_quarantined_and_gives_up_nothing_else() {
    for point in ["ingester.decoding", "ingester.sealing", "ingester.encoding"] {
        let marker = Rc::new(Cell::new("poison"));
        let sought = Rc::clone(&marker);
        let _hook = hook_fail_points(FAIL_POINTS, move |name, data| {
            let sought = sought.get().as_bytes();
            name == point
                && data.is_some_and(|data| data.windows(sought.len()).any(|window| window == sought))
        });
        let rig = Rig::start(config()).await;
        rig.append(records(0..20, &[3])).await;
        rig.listed(20).await;
        let offsets = OffsetRange::new(Offset(0), Offset(20));
        let (keep_missing, with_redacted, abandon) = (false, false, vec![]);
        let reason = "a test".into();
        let request = ReplayRequest { partition: P, offsets, keep_missing, abandon, with_redacted, reason };
        assert_eq!(rig.replayer().replay(&request).await.unwrap().rejected, 1, "{point}");
        assert_eq!(rig.stored().await, without(0..20, &[3]), "{point}");
        // Now another one fails, too, which was stored once.
        marker.set("span 1");
        let before = rig.state().await;
        let refused = rig.replayer().replay(&request).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{point}");
        assert_eq!(rig.state().await, before, "{point}");
        assert_eq!(rig.stored().await, without(0..20, &[3]), "{point}");
        marker.set("no such text");
        assert_eq!(rig.replayer().replay(&request).await.unwrap().rejected, 0, "{point}");
        assert_eq!(rig.stored().await, (0..20).collect::<Vec<_>>(), "{point}");
        rig.entries().await;
    }
}

#[tokio::test(start_paused = true)]
async fn other_partitions_and_later_records_are_as_if_nothing_was() {
    let _hook = strike("ingester.sealing");
    let rig = Rig::start(Config { rows_max: 1000, ..config() }).await;
    rig.append(records(0..500, &[499])).await;
    rig.listed(500).await;
    rig.append_spans(500..1500).await;
    rig.listed(1500).await;
    assert_eq!(rig.stored().await, without(0..1500, &[499]));
    let blocks = rig.state().await.live().len();
    assert!(blocks < 25, "{blocks} blocks: sets are as large as ever after the search");
}

#[tokio::test(start_paused = true)]
async fn recent_data_is_exact_or_refused_while_a_record_is_looked_for() {
    for point in ["ingester.decoding", "ingester.sealing"] {
        let _hook = strike(point);
        let rig = Rig::start(config()).await;
        rig.append(records(0..25, &[12])).await;
        let mut refused = 0;
        loop {
            let from = rig.state().await.end().0;
            match rig.ask(from).await {
                Ok((numbers, through)) => {
                    let through_all: Vec<_> = (from..through).collect();
                    let without: Vec<_> = without(from..through, &[12]);
                    assert!(
                        numbers == without || numbers == through_all,
                        "{point}: {from} to {through}: {numbers:?}"
                    );
                    if through == 25 && rig.state().await.end() > Offset(12) {
                        break;
                    }
                }
                Err(status) => {
                    let expected = [Code::NotFound, Code::Unavailable, Code::FailedPrecondition];
                    assert!(expected.contains(&status.code()), "{status:?}");
                    refused += 1;
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(refused > 0, "it never started over");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_has_nothing_to_do_with_records_is_told_and_tried_again() {
    let broken = Rc::new(Cell::new(true));
    let is_broken = Rc::clone(&broken);
    let hook = hook_fail_points(FAIL_POINTS, move |name, _| name == "ingester.listing" && is_broken.get());
    let mut rig = Rig::start(config()).await;
    rig.append_spans(0..10).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(rig.state().await.end(), Offset(0));
    let problem = rig.readiness.state().unwrap_err();
    assert!(problem.contains("panicked: fail point ingester.listing"), "{problem}");
    let panics = rig.metrics.panics.get();
    assert!((10..100).contains(&panics), "{panics} panics: it waits between attempts");
    broken.set(false);
    rig.listed(10).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(rig.readiness.state(), Ok(()));
    assert!(rig.rejected().is_empty());
    drop(hook);
    rig.stop().await;
}

/// Steps on a set of records, whose failure may be the fault of one of them.
const SET_POINTS: [&str; 3] = ["ingester.sealed", "ingester.uploading", "ingester.uploaded"];

/// Panics at any step, most often in a storm, together with poison.
fn storm(seed: u64, point: &'static str) -> FailPointHook {
    let random = Random::seeded(seed);
    let (mut passes, mut in_a_row) = (0_u32, 0);
    hook_fail_points(FAIL_POINTS, move |name, data| {
        if let Some(data) = data {
            return name == point && has_marker(data);
        }
        passes += 1;
        if name == "ingester.listed" {
            in_a_row = 0;
        }
        let chance = u64::from_le_bytes(random.bytes()) % 100;
        let panics = passes < 400 && chance < 15;
        if panics && SET_POINTS.contains(&name) {
            // What strikes the same record three times in a row cannot be told from its fault.
            in_a_row += 1;
            return in_a_row <= 2;
        }
        panics
    })
}

#[tokio::test(start_paused = true)]
async fn whatever_panics_every_good_span_is_stored_once_and_poison_alone_is_put_aside() {
    for seed in 0..30 {
        let random = Random::seeded(seed);
        let chosen = |below: u64| u64::from_le_bytes(random.bytes()) % below;
        let point = ["ingester.decoding", "ingester.sealing", "ingester.encoding"][chosen(3) as usize];
        let bad: BTreeSet<u64> = (0..chosen(4)).map(|_| chosen(120)).collect();
        let bad: Vec<u64> = bad.into_iter().collect();
        let hook = storm(seed, point);
        let mut rig = Rig::start(Config { rows_max: 20, ..config() }).await;
        for start in (0..120).step_by(12) {
            rig.append(records(start..start + 12, &bad)).await;
            tokio::time::sleep(Duration::from_millis(chosen(3000))).await;
        }
        rig.listed(120).await;
        assert_eq!(rig.stored().await, without(0..120, &bad), "seed {seed}, {point}");
        assert_eq!(rig.quarantined().into_keys().collect::<Vec<_>>(), bad, "seed {seed}, {point}");
        assert!(rig.tasks.try_join_next().is_none(), "seed {seed}: the ingester goes on");
        assert!(rig.metrics.panics.get() > 0, "seed {seed}: nothing ever panicked");
        rig.entries().await;
        drop(hook);
        rig.stop().await;
    }
}
