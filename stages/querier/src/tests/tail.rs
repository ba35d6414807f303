//! The log's tail, while a partition has no owner.

use std::sync::Arc;
use std::time::Duration;

use vivace_log::memory::Faults;
use vivace_memory::{Governor, Part, Shares};
use vivace_model::ByteSize;

use super::fixture::{FakeIngester, Fixture, part};
use crate::Config;

/// Longer than a tail is kept that nobody asks for.
const IDLE: Duration = Duration::from_secs(12);

fn no_wait() -> Config {
    Config { owner_wait: Duration::ZERO, ..Config::default() }
}

/// Spans of the trace that are asked for, one in each of so many records, beside some of another.
async fn fill(fixture: &Fixture, from: usize, count: usize) {
    for number in from..from + count {
        let (name, other) = (format!("span {number}"), format!("{number:05}{}", "x".repeat(20_000)));
        fixture.append(&[&[(7, &name), (8, &other)]]).await;
    }
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    let mut names: Vec<_> = range.map(|number| format!("span {number}")).collect();
    names.sort();
    names
}

async fn asked(fixture: &Fixture, from: u64) -> Vec<String> {
    let mut answered = fixture.recent(from).await.unwrap().names;
    answered.sort();
    answered
}

#[tokio::test(start_paused = true)]
async fn questions_share_one_tail_and_each_gets_its_own_range() {
    let memory = Governor::unlimited();
    let fixture = Fixture::within(Arc::clone(&memory), no_wait(), &[]).await;
    fill(&fixture, 0, 40).await;
    let read = || fixture.metrics.log_bytes.get();
    let (all, some, last) = tokio::join!(asked(&fixture, 0), asked(&fixture, 13), asked(&fixture, 39));
    assert_eq!((all, some, last), (names(0..40), names(13..40), names(39..40)));
    let once = read();
    for from in [0, 7, 39, 40] {
        assert_eq!(asked(&fixture, from).await, names(from as usize..40));
    }
    assert_eq!(read(), once, "it was read once");
    fill(&fixture, 40, 10).await;
    let (all, some) = tokio::join!(asked(&fixture, 0), asked(&fixture, 45));
    assert_eq!((all, some), (names(0..50), names(45..50)));
    assert!(read() > once && read() < once * 3 / 2, "only what is new was read: {} after {once}", read());
    assert!(memory.used(Part::Tail) > 0);
}

#[tokio::test(start_paused = true)]
async fn a_tail_is_given_up_when_nobody_asks_or_an_owner_answers() {
    let memory = Governor::unlimited();
    let ingester = FakeIngester::new(|_, _| Ok(vec![part("owner", 40)]));
    let fixture = Fixture::within(Arc::clone(&memory), no_wait(), &[("local", &ingester)]).await;
    fill(&fixture, 0, 40).await;
    assert_eq!(asked(&fixture, 0).await, names(0..40));
    assert!(memory.used(Part::Tail) > 0);
    tokio::time::sleep(IDLE).await;
    assert_eq!(memory.used(Part::Tail), 0);
    assert_eq!(asked(&fixture, 0).await, names(0..40));
    assert!(memory.used(Part::Tail) > 0);
    fixture.announce(Some("local")).await;
    assert_eq!(asked(&fixture, 0).await, ["owner"]);
    assert_eq!(memory.used(Part::Tail), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tail_beyond_its_limit_is_looked_into_segment_by_segment() {
    // 200 records of 20 KB, a share of 1 MiB, and passing readers beside it.
    let (tail_max, records) = (1 << 20, 200);
    let config = Config { search_recent_bytes_max: ByteSize(2 * tail_max), ..no_wait() };
    let memory = Governor::unlimited();
    let fixture = Fixture::within(Arc::clone(&memory), config, &[]).await;
    fill(&fixture, 0, records).await;
    for _ in 0..2 {
        let (all, some) = tokio::join!(asked(&fixture, 0), asked(&fixture, 20));
        assert_eq!((all, some), (names(0..records), names(20..records)));
    }
    // A fetch and what it is decoded into may pass the limit; and two readers pass by.
    assert!(memory.used(Part::Tail) < 4 << 20, "{}", memory.used(Part::Tail));
    assert!(memory.peak(Part::Tail) < 13 << 20, "{}", memory.peak(Part::Tail));
    // A later View: what it has no use for makes room for what it has.
    assert_eq!(asked(&fixture, 170).await, names(170..records));
    let read = fixture.metrics.log_bytes.get();
    assert_eq!(asked(&fixture, 170).await, names(170..records));
    assert_eq!(fixture.metrics.log_bytes.get(), read, "now it fits");
    assert_eq!(asked(&fixture, 3).await, names(3..records), "an earlier View still gets all of it");
}

#[tokio::test(start_paused = true)]
async fn spans_sent_again_count_once_also_beyond_the_limit() {
    let config = Config { search_recent_bytes_max: ByteSize(1 << 20), ..no_wait() };
    let fixture = Fixture::within(Governor::unlimited(), config, &[]).await;
    fill(&fixture, 0, 100).await;
    fill(&fixture, 0, 100).await;
    assert_eq!(asked(&fixture, 0).await, names(0..100));
}

#[tokio::test(start_paused = true)]
async fn where_memory_is_short_questions_wait_and_then_say_so() {
    let size = 6 << 20;
    let memory = Governor::new(Shares::exact(size, &[(Part::Tail, size, 0), (Part::Answers, 1 << 20, 0)]));
    let fixture = Fixture::within(Arc::clone(&memory), no_wait(), &[]).await;
    fill(&fixture, 0, 60).await;
    let other = memory.reserve(Part::Tail, 5 << 20).unwrap();
    let status = fixture.recent(0).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{}", status.message());
    assert!(status.message().contains("tail"), "{}", status.message());
    drop(other);
    tokio::time::sleep(IDLE).await;
    assert_eq!(asked(&fixture, 0).await, names(0..60));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_goes_away_while_the_log_is_read_leaves_no_hole() {
    let fixture = Fixture::within(Governor::unlimited(), no_wait(), &[]).await;
    fill(&fixture, 0, 200).await;
    // Work runs in place here, so a question is only ever interrupted where it waits for the log.
    let read_delay_max = Duration::from_millis(20);
    fixture.handle.set_faults(Faults { read_delay_max, ..Faults::default() });
    let mut gone_early = 0;
    for polls in 1..20 {
        let mut gone = Box::pin(asked(&fixture, 0));
        let mut answered = false;
        for _ in 0..polls {
            answered = futures::poll!(&mut gone).is_ready();
            if answered {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(gone);
        gone_early += usize::from(!answered);
        assert_eq!(asked(&fixture, 0).await, names(0..200), "after {polls} polls");
        tokio::time::sleep(IDLE).await;
    }
    assert!(gone_early > 0, "all were answered before they went away");
}
