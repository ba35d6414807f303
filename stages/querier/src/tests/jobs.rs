use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tonic::{Code, Request};
use vivace_block::{BlockConfig, Description, DuplicateFilter, OpenBlock, write_block};
use vivace_model::{Offset, OffsetRange, Spread, TenantId, UnixNanos};
use vivace_proto::internal::querier_server::Querier as _;
use vivace_proto::internal::trace_job::Source;
use vivace_proto::internal::{BlockRef, BlocksSource, RecentSource, TraceJob};
use vivace_runtime::hook_fail_points;

use super::fixture::{Fixture, PARTITION, encoded};
use crate::{Config, FAIL_POINTS};

/// A block of these spans, stored.
async fn store(fixture: &Fixture, path: &str, spans: &[(u8, &str)]) -> BlockRef {
    let config = BlockConfig::default();
    let tenant = TenantId::default();
    let mut open = OpenBlock::new(tenant.clone(), &config);
    assert_eq!(open.append(&encoded(spans), &mut DuplicateFilter::new(1)).spans, spans.len());
    let sealed = open.seal();
    let description = Description {
        tenant,
        partition: PARTITION,
        spread: Spread::all(4),
        offsets: OffsetRange::new(Offset(0), Offset(1)),
        level: 0,
        created: UnixNanos(1),
    };
    let file: Bytes = write_block(&sealed, &description, &config).unwrap();
    let bytes = file.len() as u64;
    fixture.store.put(&Path::from(path), PutPayload::from(file)).await.unwrap();
    BlockRef { path: path.into(), bytes, rows: spans.len() as u64 }
}

#[tokio::test]
async fn a_trace_is_found_in_blocks() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    let first = store(&fixture, "blocks/1", &[(7, "a"), (8, "other"), (7, "b")]).await;
    let second = store(&fixture, "blocks/2", &[(8, "other")]).await;
    let third = store(&fixture, "blocks/3", &[(7, "c")]).await;
    let blocks = vec![first, second, third];
    let mut answered = fixture.run(Source::Blocks(BlocksSource { blocks })).await.unwrap();
    answered.names.sort();
    assert_eq!(answered.names, ["a", "b", "c"]);
    let metrics = answered.metrics;
    assert_eq!((metrics.blocks_inspected, metrics.blocks_skipped, metrics.spans), (3, 1, 3));
    assert!(metrics.bytes_read > 0);
}

#[tokio::test]
async fn a_job_that_panics_is_an_internal_error_that_names_the_block_and_holds_nothing() {
    let fixture = Fixture::new(Config { jobs_max: 1, jobs_waiting_max: 0, ..Config::default() }, &[]).await;
    let good = store(&fixture, "blocks/good", &[(7, "a")]).await;
    let bad = store(&fixture, "blocks/bad", &[(7, "b")]).await;
    let hook =
        hook_fail_points(FAIL_POINTS, |_, data| data.is_some_and(|data| data.ends_with(b"blocks/bad")));
    for _ in 0..3 {
        let blocks = vec![good.clone(), bad.clone()];
        let status = fixture.run(Source::Blocks(BlocksSource { blocks })).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("a job over blocks/bad: panicked"), "{}", status.message());
        let blocks = vec![good.clone()];
        assert_eq!(fixture.run(Source::Blocks(BlocksSource { blocks })).await.unwrap().names, ["a"]);
    }
    assert_eq!(fixture.querier.panics_and_running(), (3, 0));
    drop(hook);
    let blocks = vec![bad];
    assert_eq!(fixture.run(Source::Blocks(BlocksSource { blocks })).await.unwrap().names, ["b"]);
}

#[tokio::test]
async fn a_block_that_is_gone_makes_the_view_stale() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    let kept = store(&fixture, "blocks/1", &[(7, "a")]).await;
    let gone = BlockRef { path: "blocks/gone".into(), ..kept.clone() };
    let status = fixture.run(Source::Blocks(BlocksSource { blocks: vec![kept, gone] })).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("blocks/gone"), "{}", status.message());
}

#[tokio::test]
async fn a_damaged_block_is_an_error_of_its_own() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    let block = store(&fixture, "blocks/1", &[(7, "a")]).await;
    let rubbish = vec![0; usize::try_from(block.bytes).unwrap()];
    fixture.store.put(&Path::from("blocks/1"), PutPayload::from(rubbish)).await.unwrap();
    let status = fixture.run(Source::Blocks(BlocksSource { blocks: vec![block] })).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
}

#[tokio::test]
async fn jobs_that_cannot_be_understood_are_refused() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    let source = Some(Source::Blocks(BlocksSource::default()));
    let right = TraceJob { tenant: "a".into(), trace_id: vec![1; 16], bytes_max: 0, source };
    fixture.querier.trace(Request::new(right.clone())).await.map(drop).unwrap();
    for wrong in [
        TraceJob { source: None, ..right.clone() },
        TraceJob { tenant: "a/b".into(), ..right.clone() },
        TraceJob { trace_id: vec![1; 15], ..right.clone() },
    ] {
        let status = fixture.querier.trace(Request::new(wrong)).await.map(drop).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}

#[tokio::test(start_paused = true)]
async fn more_jobs_than_the_limit_are_refused_until_one_has_gone_out() {
    let config = Config { jobs_max: 1, jobs_waiting_max: 1, ..Config::default() };
    let fixture = Fixture::new(config, &[]).await;
    let source = || Source::Recent(RecentSource { partition: PARTITION.0, from_offset: 0, log_only: true });
    let first = fixture.start(source()).await.unwrap();
    let waiting = fixture.start(source());
    let mut waiting = std::pin::pin!(waiting);
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(fixture.start(source()).await.map(drop).unwrap_err().code(), Code::ResourceExhausted);
    drop(first);
    drop(waiting.await.unwrap());
    drop(fixture.start(source()).await.unwrap());
}
