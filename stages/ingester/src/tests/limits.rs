use std::time::Duration;

use vivace_ledger::faults::Faults;
use vivace_log::NewRecord;
use vivace_model::ByteSize;
use vivace_proto::otlp::trace::Span;

use crate::Config;
use crate::testing::{Rig, config, record_of, span, value, wait_for};

/// A record of one span of about 10 KiB.
fn fat(number: u64) -> NewRecord {
    let name = format!("{number} ").repeat(10 << 10).chars().take(10 << 10).collect();
    record_of(value(vec![Span { name, ..span(number) }]), None)
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_does_not_answer_stops_fetching_and_loses_nothing() {
    let small = Config {
        rows_max: 1_000_000,
        memory_bytes_max: ByteSize::mib(2),
        fetch_bytes_max: ByteSize::kib(64),
        ..config()
    };
    let memory_max = small.memory_bytes_max.as_usize();
    let rig = Rig::start(small).await;
    rig.consumed(0, 0).await;
    rig.store.set_faults(Faults::OUTAGE);
    for batch in 0..10 {
        rig.append((batch * 60..(batch + 1) * 60).map(fat).collect()).await;
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    let (_, through) = rig.ask(0).await.unwrap();
    assert!((10..400).contains(&through), "fetching must have paused, but went on to {through}");
    let taken = rig.metrics.bytes.get() as usize;
    assert!(taken < 2 * memory_max, "{taken} bytes taken in");
    let problem = rig.readiness.state().unwrap_err();
    assert!(problem.contains("cannot upload a block"), "{problem}");
    rig.store.heal().await;
    let state = rig.listed(600).await;
    assert_eq!(state.live().iter().map(|block| block.rows).sum::<u64>(), 600);
    assert_eq!(rig.readiness.state(), Ok(()));
    assert!(state.sequence() < 30, "{} entries: cut too small", state.sequence());
}

#[tokio::test(start_paused = true)]
async fn listed_spans_go_before_the_retention_when_memory_is_short() {
    let small = Config {
        rows_max: 1_000_000,
        memory_bytes_max: ByteSize::mib(2),
        recent_retention: Duration::from_secs(100_000),
        ..config()
    };
    let rig = Rig::start(small).await;
    for batch in 0..20 {
        rig.append((batch * 60..(batch + 1) * 60).map(fat).collect()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    rig.listed(1200).await;
    let oldest = wait_for("an oldest boundary", async || {
        for entry in rig.entries().await {
            let start = entry.body.offsets().unwrap().start.0;
            if rig.ask(start).await.is_ok() {
                return Some(start);
            }
        }
        None
    })
    .await;
    assert!(oldest > 600, "everything from {oldest} on is still held");
}

#[tokio::test(start_paused = true)]
async fn full_sets_that_wait_stop_fetching() {
    let rig = Rig::start(Config { sealing_max: 2, fetch_bytes_max: ByteSize(1), ..config() }).await;
    rig.consumed(0, 0).await;
    rig.store.set_faults(Faults::OUTAGE);
    rig.append_spans(0..100).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(rig.ask(0).await.unwrap().1, 30, "two sets on their way and a full one");
    rig.store.heal().await;
    rig.append_spans(100..110).await;
    rig.listed(110).await;
}

#[tokio::test(start_paused = true)]
async fn sets_wait_in_order_while_fetching_goes_on() {
    let rig = Rig::start(config()).await;
    rig.consumed(0, 0).await;
    rig.store.set_faults(Faults { slow: 1.0, slow_max: Duration::from_secs(20), ..Faults::NONE });
    rig.append_spans(0..10).await;
    rig.consumed(0, 10).await;
    rig.append_spans(10..15).await;
    assert_eq!(rig.consumed(0, 15).await.len(), 15);
    assert_eq!(rig.state().await.sequence(), 0, "still being stored");
    rig.append_spans(15..20).await;
    rig.listed(20).await;
    rig.entries().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_answer_is_asked_again() {
    let rig = Rig::start(config()).await;
    rig.append_spans(0..4).await;
    rig.consumed(0, 4).await;
    rig.handle.set_faults(vivace_log::memory::Faults { read_failed: 1.0, ..Default::default() });
    rig.append_spans(4..10).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(rig.ask(0).await.unwrap().1, 4);
    assert!(rig.readiness.state().unwrap_err().contains("cannot read the topic"));
    rig.handle.set_faults(vivace_log::memory::Faults::default());
    rig.listed(10).await;
    assert_eq!(rig.readiness.state(), Ok(()));
}
