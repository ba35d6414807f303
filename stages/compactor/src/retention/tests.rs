use std::time::Duration;

use vivace_block::{BlockConfig, DuplicateFilter, OpenBlock, trace_runs};
use vivace_model::scan::Projection;
use vivace_proto::otlp::trace::Status;

use super::*;
use crate::testing::{Ending, NOW, block, days, spans};

fn ago(time: Duration) -> UnixNanos {
    UnixNanos(NOW.0 - u64::try_from(time.as_nanos()).unwrap())
}

/// Kept for 3 days; errors 10, slow ones 20, of the shop 30.
fn classes() -> Retention {
    Retention {
        keep: Some(days(3)),
        errors: Some(days(10)),
        slow: Some((Duration::from_secs(5), days(20))),
        matching: Some((TraceFilter::new(r#"{ name = "shop" }"#).unwrap(), days(30))),
    }
}

#[test]
fn blocks_are_over_when_the_longest_time_is() {
    let of = |retention: Retention, age| retention.is_over(&block(1).ending(ago(age)), NOW);
    assert!(!of(Retention::default(), days(1000)), "for ever");
    let plain = Retention { keep: Some(days(3)), ..Retention::default() };
    assert!(!of(plain.clone(), days(3)) && of(plain, days(4)));
    assert!(!of(classes(), days(30)) && of(classes(), days(31)));
}

#[test]
fn a_block_is_due_once_for_each_class() {
    let due = |level, created: u64, age: u64| {
        let block = BlockMeta { level, created: ago(days(age - created)), ..block(1).ending(ago(days(age))) };
        classes().is_due(&block, NOW)
    };
    assert!(!due(0, 0, 3), "nothing goes yet");
    assert!(due(0, 0, 4) && due(0, 0, 11));
    assert!(due(0, 4, 5), "an ingester never judges");
    assert!(!due(1, 4, 5) && !due(1, 4, 10));
    assert!(due(1, 4, 11) && !due(2, 11, 15) && due(2, 11, 21));
}

#[test]
fn clocks_of_senders_do_not_keep_blocks_for_ever() {
    let future = BlockMeta { end_max: UnixNanos(u64::MAX), ..block(1).ending(ago(days(50))) };
    assert!(classes().is_over(&future, NOW));
}

/// Traces of an age, each judged by its own classes.
#[test]
fn the_longest_class_of_a_trace_counts() {
    let judged = |age: u64| {
        let start = ago(days(age)).0;
        let mut data = spans(&[(1, start), (2, start), (3, start), (4, start)]);
        let all = &mut data.resource_spans[0].scope_spans[0].spans;
        all[1].status = Some(Status { code: ERROR, message: String::new() });
        all[2].end_time_unix_nano = start + 5_000_000_000;
        all[3].name = "shop".into();
        let mut block = OpenBlock::new(TenantId::default(), &BlockConfig::default());
        block.append(&prost::Message::encode_to_vec(&data), &mut DuplicateFilter::new(1));
        let everything = Projection {
            fixed: [vivace_block::schema::TRACE_ID, START_TIME, DURATION_NANOS, STATUS_CODE, "name"].into(),
            ..Projection::default()
        };
        let batch = block.scan(&everything, None).unwrap();
        let judge = Judge { retention: classes(), now: NOW, end_max: UnixNanos(u64::MAX) };
        judge.keep(&batch, &trace_runs(&batch).unwrap()).unwrap()
    };
    assert_eq!(judged(2), [true; 4]);
    assert_eq!(judged(4), [false, true, true, true]);
    assert_eq!(judged(11), [false, false, true, true]);
    assert_eq!(judged(21), [false, false, false, true]);
    assert_eq!(judged(31), [false; 4]);
}

#[test]
fn only_what_may_be_old_is_judged() {
    let young = Arc::new(block(1).ending(ago(days(1))));
    assert!(Judge::of(classes(), &[Arc::clone(&young)], NOW).is_none());
    let old = Arc::new(BlockMeta { start_min: ago(days(4)), ..block(2).ending(ago(days(1))) });
    assert!(Judge::of(classes(), &[young, old], NOW).is_some());
}

#[test]
fn a_tenant_has_its_own_times_in_place_of_the_settings() {
    let own = RetentionOverrides {
        keep: Some(days(1)),
        errors: Some(Duration::ZERO),
        slow: Some(SlowTraces { min: Duration::from_secs(2), keep: days(7) }),
        matching: None,
    };
    let retention = classes().overridden(&own).unwrap();
    assert_eq!(retention.keep, Some(days(1)));
    assert_eq!(retention.errors, None, "no longer than the others");
    assert_eq!(retention.slow, Some((Duration::from_secs(2), days(7))));
    assert_eq!(retention.matching.map(|(_, keep)| keep), classes().matching.map(|(_, keep)| keep));
    let wrong = MatchingTraces { query: "{ name = ".into(), keep: days(9) };
    let wrong = RetentionOverrides { matching: Some(wrong), ..RetentionOverrides::default() };
    let error = Retention::default().overridden(&wrong).unwrap_err();
    assert!(error.contains("{ name = "), "{error}");
}
