use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Status};
use vivace_log::memory::Faults;
use vivace_model::Offset;
use vivace_proto::internal::RecentSource;
use vivace_proto::internal::trace_job::Source;

use super::fixture::{FakeIngester, Fixture, PARTITION, SPANS, TRACE, end, part};
use crate::Config;

const WAIT: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn the_owner_answers() {
    let ingester = FakeIngester::new(|_, _| Ok(vec![part("a", 5), part("b", 5)]));
    let fixture = Fixture::new(Config::default(), &[("local", &ingester)]).await;
    fixture.announce(Some("local")).await;
    let started = Instant::now();
    let answered = fixture.recent(2).await.unwrap();
    assert_eq!(answered.names, ["a", "b"]);
    assert_eq!((answered.through, answered.metrics.spans), (5, 2));
    assert_eq!(started.elapsed(), Duration::ZERO);
    let asked = ingester.asked.lock()[0].clone();
    assert_eq!((asked.tenant.as_str(), asked.partition, asked.from_offset), ("single-tenant", 3, 2));
    assert_eq!(asked.trace_id, TRACE);
}

#[tokio::test(start_paused = true)]
async fn a_stale_view_is_passed_on() {
    let ingester = FakeIngester::new(|_, _| Err(Status::failed_precondition("offset 2 is no boundary")));
    let fixture = Fixture::new(Config::default(), &[("local", &ingester)]).await;
    fixture.announce(Some("local")).await;
    let status = fixture.recent(2).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("offset 2 is no boundary"), "{}", status.message());
    assert_eq!(ingester.questions(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_an_owner_the_log_is_read_from_exactly_the_asked_offset() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    fixture.append(&[&[(7, "a")], &[(7, "b")], &[(8, "other")], &[(7, "c"), (8, "other")]]).await;
    let started = Instant::now();
    let answered = fixture.recent(1).await.unwrap();
    assert_eq!((answered.names, answered.through), (vec!["b".into(), "c".into()], 4));
    assert_eq!(started.elapsed(), WAIT, "a new owner may come");

    fixture.append(&[&[(7, "d")]]).await;
    let started = Instant::now();
    let answered = fixture.recent(3).await.unwrap();
    assert_eq!((answered.names, answered.through), (vec!["c".into(), "d".into()], 5));
    assert_eq!(started.elapsed(), Duration::ZERO, "nobody came for long enough");
    let answered = fixture.recent(5).await.unwrap();
    assert_eq!((answered.names.len(), answered.through), (0, 5));
}

#[tokio::test(start_paused = true)]
async fn the_wait_ends_when_a_new_owner_comes() {
    let old = FakeIngester::new(|_, _| Err(Status::not_found("not mine")));
    let new = FakeIngester::new(|_, _| Ok(vec![part("new", 0)]));
    let fixture = Fixture::new(Config::default(), &[("old", &old), ("new", &new)]).await;
    fixture.announce(Some("old")).await;
    let started = Instant::now();
    let (answered, ()) = tokio::join!(fixture.recent(0), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        fixture.announce(None).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        fixture.announce(Some("new")).await;
    });
    assert_eq!(answered.unwrap().names, ["new"]);
    assert!(started.elapsed() < WAIT, "{:?}", started.elapsed());
    assert_eq!((old.questions(), new.questions()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_does_not_answer_is_replaced_by_the_log() {
    for code in [Code::Unavailable, Code::NotFound, Code::ResourceExhausted, Code::Unknown, Code::Internal] {
        let ingester = FakeIngester::new(move |_, _| Err(Status::new(code, "no")));
        let fixture = Fixture::new(Config::default(), &[("local", &ingester)]).await;
        fixture.announce(Some("local")).await;
        fixture.append(&[&[(7, "a")]]).await;
        for _ in 0..2 {
            let answered = fixture.recent(0).await.unwrap();
            assert_eq!((answered.names, answered.through), (vec!["a".into()], 1), "{code:?}");
        }
        assert_eq!(ingester.questions(), 2, "it is asked each time");
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_hangs_or_sends_nothing_counts_as_gone() {
    let hangs = FakeIngester::slow(Duration::from_secs(3600), |_, _| Ok(vec![part("late", 1)]));
    let silent = FakeIngester::new(|_, _| Ok(vec![]));
    let torn = FakeIngester::new(|_, _| Ok(vec![part("x", 1), part("y", 2)]));
    for ingester in [hangs, silent, torn] {
        let fixture = Fixture::new(Config::default(), &[("local", &ingester)]).await;
        fixture.announce(Some("local")).await;
        fixture.append(&[&[(7, "a")]]).await;
        let answered = fixture.recent(0).await.unwrap();
        assert_eq!(answered.names, ["a"]);
    }
}

/// What the owner has may be less than what was acknowledged: only the end of the log tells.
#[tokio::test(start_paused = true)]
async fn without_the_end_of_the_log_there_is_no_answer_unless_that_is_set() {
    let ingester = FakeIngester::new(|_, _| Ok(vec![part("a", 1)]));
    let fixture = Fixture::new(Config::default(), &[("local", &ingester)]).await;
    fixture.announce(Some("local")).await;
    fixture.append(&[&[(7, "a")], &[(7, "b")]]).await;
    let faults = Faults { watermarks_failed: 1.0, ..Faults::default() };
    fixture.handle.set_faults(faults);
    let started = Instant::now();
    let status = fixture.recent(0).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{}", status.message());
    assert!(started.elapsed() <= Config::default().log_end_wait, "{:?}", started.elapsed());
    let (answered, ()) = tokio::join!(fixture.recent(0), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        fixture.handle.set_faults(Faults::default());
    });
    assert_eq!(answered.unwrap().names, ["a", "b"], "the log was back in time");

    let config = Config { answer_without_log: true, ..Config::default() };
    let fixture = Fixture::new(config, &[("local", &ingester)]).await;
    fixture.announce(Some("local")).await;
    fixture.handle.set_faults(faults);
    assert_eq!(fixture.recent(0).await.unwrap().names, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_nobody_listens_on_is_replaced_by_the_log() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    fixture.append(&[&[(7, "a")]]).await;
    for address in ["127.0.0.1:1", "not an address"] {
        fixture.announce(Some(address)).await;
        assert_eq!(fixture.recent(0).await.unwrap().names, ["a"], "{address}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_truncated_makes_the_view_stale() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    fixture.append(&[&[(7, "a")], &[(7, "b")], &[(7, "c")]]).await;
    fixture.handle.truncate(SPANS, PARTITION, Offset(2));
    assert_eq!(fixture.recent(1).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(fixture.recent(2).await.unwrap().names, ["c"]);

    // What was read before still is an answer; what is gone beyond it is not.
    fixture.append(&[&[(7, "d")], &[(7, "e")], &[(7, "f")]]).await;
    fixture.handle.truncate(SPANS, PARTITION, Offset(4));
    assert_eq!(fixture.recent(2).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(fixture.recent(4).await.unwrap().names, ["e", "f"]);
    assert_eq!(fixture.recent(5).await.unwrap().names, ["f"]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_behind_is_asked_again() {
    let ingester = FakeIngester::new(|number, _| match number {
        0 | 1 => Ok(vec![part("early", 1)]),
        _ => Ok(vec![part("whole", 2)]),
    });
    let fixture = Fixture::new(Config::default(), &[("local", &ingester)]).await;
    fixture.announce(Some("local")).await;
    fixture.append(&[&[(7, "a")], &[(7, "b")]]).await;
    let answered = fixture.recent(0).await.unwrap();
    assert_eq!((answered.names, answered.through), (vec!["whole".into()], 2));
    assert_eq!(ingester.questions(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_an_owner_lacks_for_long_comes_from_the_log() {
    let ingester = FakeIngester::new(|_, _| Ok(vec![part("held", 1)]));
    let fixture = Fixture::new(Config::default(), &[("local", &ingester)]).await;
    fixture.announce(Some("local")).await;
    fixture.append(&[&[(7, "a")], &[(7, "b")], &[(7, "c")]]).await;
    let started = Instant::now();
    let answered = fixture.recent(0).await.unwrap();
    assert_eq!(answered.names, ["held", "b", "c"]);
    assert_eq!(Offset(answered.through), end(&fixture).await);
    assert!(started.elapsed() <= Config::default().catch_up_wait, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_owner_can_be_left_aside() {
    let ingester = FakeIngester::new(|_, _| Ok(vec![part("never", 9)]));
    let fixture = Fixture::new(Config::default(), &[("local", &ingester)]).await;
    fixture.announce(Some("local")).await;
    fixture.append(&[&[(7, "a")]]).await;
    let source = RecentSource { partition: PARTITION.0, from_offset: 0, log_only: true };
    let answered = fixture.run(Source::Recent(source)).await.unwrap();
    assert_eq!((answered.names, ingester.questions()), (vec!["a".into()], 0));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_cut_and_said() {
    let fixture =
        Fixture::new(Config { job_bytes_max: vivace_model::ByteSize(150), ..Config::default() }, &[]).await;
    // Spans that differ: one that is sent again counts once.
    let names = ["a", "b", "c"].map(|letter| letter.repeat(70));
    fixture.append(&[&[(7, &names[0])], &[(7, &names[1])], &[(7, &names[2])]]).await;
    let answered = fixture.recent(0).await.unwrap();
    assert_eq!(answered.names, names[..1]);
    assert!(answered.metrics.truncated);
}
