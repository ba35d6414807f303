use std::time::Duration;

use object_store::ObjectStoreExt;
use prost::Message;
use tokio::time::Instant;
use tonic::Code;
use vivace_ledger::EntryBody;
use vivace_ledger::faults::Faults;
use vivace_log::Log;
use vivace_model::{Offset, Partition, Spread, UnixNanos};
use vivace_proto::otlp::trace::{Span, TracesData};
use vivace_proto::owners::Owner;

use crate::Config;
use crate::testing::{P, Rig, config, record, record_of, span, value};

#[tokio::test(start_paused = true)]
async fn records_become_listed_blocks_and_the_commit_follows() {
    let rig = Rig::start(config()).await;
    rig.append_spans(0..10).await;
    let state = rig.listed(10).await;
    let [block] = state.live() else { panic!("one block expected: {state:?}") };
    assert_eq!((block.rows, block.traces, block.spread, block.level), (10, 1, Spread::UNKNOWN, 0));
    assert_eq!((block.offsets.start, block.offsets.end), (Offset(0), Offset(10)));
    assert_eq!(block.start_min, UnixNanos(1_780_000_000_000_000_000));
    let file = rig.store.inner().head(&block.path()).await.unwrap();
    assert_eq!(file.size, block.bytes);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.committed(), Some(Offset(10)));
    let hints = rig.handle.records(&rig.topics.ledger, P);
    assert_eq!(hints[0].value, r#"{"partition":0,"sequence":1}"#);
}

/// What a block says is what pruning goes by, so it must be right for every record in it.
#[tokio::test(start_paused = true)]
async fn a_block_says_how_its_records_were_spread_if_all_were_alike() {
    for (spreads, expected) in [
        (["1", "1"], Spread::all(1)),
        (["1/1", "1/1"], Spread { partition_count: 1, shard_size: 1 }),
        (["1", "2"], Spread::UNKNOWN),
        (["1", "nonsense"], Spread::UNKNOWN),
    ] {
        let rig = Rig::start(config()).await;
        let records = (0..10).map(|number| {
            let mut record = record(&[number]);
            let spread = spreads[usize::from(number == 7)];
            record.headers.push((Spread::HEADER.to_owned(), spread.into()));
            record
        });
        rig.append(records.collect()).await;
        let state = rig.listed(10).await;
        assert_eq!(state.live()[0].spread, expected, "{spreads:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_in_is_searchable_at_once_and_only_from_boundaries() {
    let rig = Rig::start(config()).await;
    rig.append_spans(0..6).await;
    assert_eq!(rig.consumed(0, 6).await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(rig.ask_for("other", 0).await.unwrap(), (vec![], 6), "no spans, but complete through 6");
    for inside in [1, 5, 6, 7] {
        assert_eq!(rig.ask(inside).await.unwrap_err().code(), Code::FailedPrecondition, "{inside}");
    }
    rig.append_spans(6..13).await;
    rig.listed(13).await;
    assert_eq!(rig.ask(0).await.unwrap().0.len(), 13, "kept for readers with an older View");
    assert_eq!(rig.ask(13).await.unwrap(), (vec![], 13));
    rig.append_spans(13..15).await;
    assert_eq!(rig.consumed(13, 15).await, [13, 14]);
    assert_eq!(rig.consumed(0, 15).await.len(), 15);
    tokio::time::sleep(Config::default().recent_retention + Duration::from_secs(1)).await;
    assert_eq!(rig.ask(0).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(rig.ask(13).await.unwrap(), (vec![13, 14], 15));
}

#[tokio::test(start_paused = true)]
async fn little_traffic_is_sealed_by_age() {
    let rig = Rig::start(config()).await;
    rig.append_spans(0..1).await;
    rig.consumed(0, 1).await;
    tokio::time::sleep(config().block_age_max - Duration::from_secs(1)).await;
    assert_eq!(rig.state().await.sequence(), 0);
    rig.listed(1).await;
    tokio::time::sleep(config().block_age_max * 3).await;
    assert_eq!(rig.state().await.sequence(), 1, "nothing new, no entry");
}

#[tokio::test(start_paused = true)]
async fn one_entry_lists_the_blocks_of_all_tenants() {
    let rig = Rig::start(config()).await;
    let of = |tenant, number| record_of(value(vec![span(number)]), tenant);
    rig.append((0..5).flat_map(|n| [of(Some("a"), n), of(None, n)]).collect()).await;
    let state = rig.listed(10).await;
    assert_eq!(state.sequence(), 1);
    let mut blocks: Vec<_> =
        state.live().iter().map(|block| (block.tenant.to_string(), block.rows)).collect();
    blocks.sort();
    assert_eq!(blocks, [("a".into(), 5), ("single-tenant".into(), 5)]);
    assert_eq!(
        rig.ask_for("a", 0).await.unwrap().0,
        [0, 1, 2, 3, 4],
        "equal spans of two tenants are two spans"
    );
}

#[tokio::test(start_paused = true)]
async fn spans_sent_again_are_stored_once_while_their_original_is_held() {
    let rig = Rig::start(config()).await;
    rig.append(vec![record(&[1, 2]), record(&[2, 3]), record(&[1, 2])]).await;
    assert_eq!(rig.consumed(0, 3).await, [1, 2, 3]);
    rig.append_spans(10..17).await;
    rig.listed(10).await;
    rig.append(vec![record(&[1]), record(&[4])]).await;
    assert_eq!(rig.consumed(10, 12).await, [4], "the original is listed, but still held");
    tokio::time::sleep(config().recent_retention + config().block_age_max).await;
    rig.listed(12).await;
    tokio::time::sleep(config().recent_retention).await;
    rig.append(vec![record(&[1])]).await;
    assert_eq!(rig.consumed(12, 13).await, [1], "its original is in a block only; compaction drops it");
    assert_eq!(rig.metrics.duplicates.get(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_put_aside_and_named() {
    let rig = Rig::start(config()).await;
    let broken = Span { name: "\u{1}".into(), ..span(8) };
    let mut bad_name = value(vec![span(7), broken]).to_vec();
    let at = bad_name.iter().rposition(|byte| *byte == 1).unwrap();
    bad_name[at] = 0xff;
    rig.append(vec![
        record(&[0]),
        record_of(value(vec![span(1)]), Some("no/tenant")),
        record_of(vec![0xff; 20].into(), Some("a")),
        record_of(vec![0; 65 << 10].into(), None),
        record_of(bad_name.into(), None),
        record_of(bytes::Bytes::new(), None),
        record(&[2]),
    ])
    .await;
    rig.append_spans(10..17).await;
    let state = rig.listed(14).await;
    assert_eq!(rig.ask(0).await.unwrap().0, [0, 2, 7, 10, 11, 12, 13, 14, 15, 16]);
    let rejected = rig.rejected();
    let text =
        |index: usize, name| String::from_utf8(rejected[index].header(name).unwrap().to_vec()).unwrap();
    assert_eq!((0..4).map(|index| text(index, "offset")).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    assert_eq!((text(0, "x-scope-orgid"), text(0, "partition")), ("no/tenant".into(), "0".into()));
    assert_eq!(text(0, "topic"), "vivace.spans");
    assert!(text(0, "reason").contains("unsupported character"), "{}", text(0, "reason"));
    assert_eq!(rejected[1].value, vec![0xff; 20]);
    assert!(text(2, "reason").contains("larger than 64KiB"), "{}", text(2, "reason"));
    let EntryBody::Ingested { rejected: named, .. } = &rig.entries().await[0].body else { panic!() };
    let named: Vec<_> = named.iter().map(|rejected| (rejected.offset.0, rejected.spans)).collect();
    assert_eq!(named, [(1, 0), (2, 0), (3, 0), (4, 1)]);
    assert_eq!(rejected.len(), 4);
    assert!(TracesData::decode(rejected[0].value.clone()).is_ok());
    assert_eq!(state.live()[0].rows, 10);
}

#[tokio::test(start_paused = true)]
async fn rejected_records_are_durable_before_the_entry_is_written() {
    let rig = Rig::start(Config { rows_max: 1, ..config() }).await;
    rig.consumed(0, 0).await;
    rig.handle.set_faults(vivace_log::memory::Faults { append_refused: 1.0, ..Default::default() });
    let faultless = rig.log.append(&rig.topics.spans, vec![record(&[1])]).await;
    assert!(faultless.is_err(), "the log refuses everything");
    rig.handle.set_faults(vivace_log::memory::Faults::default());
    rig.append(vec![record_of(vec![0xff].into(), None), record(&[1])]).await;
    rig.handle.set_faults(vivace_log::memory::Faults { append_refused: 1.0, ..Default::default() });
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(rig.state().await.sequence(), 0);
    assert!(rig.readiness.state().unwrap_err().contains("rejected records"));
    rig.handle.set_faults(vivace_log::memory::Faults::default());
    rig.listed(2).await;
    assert_eq!(rig.rejected().len(), 1);
    assert_eq!(rig.readiness.state(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_stop_stores_what_is_open_and_takes_the_announcement_back() {
    let mut rig = Rig::start(config()).await;
    rig.append_spans(0..3).await;
    rig.consumed(0, 3).await;
    let owners = rig.handle.records(&rig.topics.owners, Partition(0));
    let owner = Owner::from_value(&owners[0].value).unwrap().unwrap();
    assert_eq!((owner.partition, owner.address.as_str(), owner.start), (0, "here:1", 0));
    rig.stop().await;
    assert_eq!(rig.state().await.end(), Offset(3));
    assert_eq!(rig.committed(), Some(Offset(3)));
    let owners = rig.handle.records(&rig.topics.owners, Partition(0));
    assert_eq!(owners.last().unwrap().key.as_deref(), Some(&b"vivace.spans/0"[..]));
    assert!(owners.last().unwrap().value.is_empty());
    assert_eq!(rig.ask(0).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_the_store_is_down_ends_soon_and_loses_nothing() {
    let mut rig = Rig::start(config()).await;
    rig.append_spans(0..3).await;
    rig.consumed(0, 3).await;
    rig.store.set_faults(Faults::OUTAGE);
    let begun = Instant::now();
    rig.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(rig.committed(), None, "nothing was listed, so nothing is committed");
    rig.store.set_faults(Faults::NONE);
    rig.run();
    assert_eq!(rig.consumed(0, 3).await, [0, 1, 2]);
    rig.stop().await;
    assert_eq!((rig.stored().await, rig.committed()), (vec![0, 1, 2], Some(Offset(3))));
}
