use std::time::Duration;

use object_store::ObjectStoreExt;
use tonic::Status;
use vivace_ledger::{EntryBody, Proposal};
use vivace_log::NewRecord;
use vivace_model::Offset;

use super::fixture::{Fixture, LEDGER, Options, SPANS, TRACE_HEX, home, part, span, traces};
use crate::Config;

/// After so long without a question, queriers have given up what they read of the log for it.
const TAIL_GONE: Duration = Duration::from_secs(15);

/// No waiting for owners that will not come.
fn impatient() -> Options {
    let querier = vivace_querier::Config { owner_wait: Duration::ZERO, ..Default::default() };
    Options { querier, ..Options::default() }
}

async fn status(fixture: &Fixture) -> (u16, String) {
    let answer = fixture.get(&format!("/api/traces/{TRACE_HEX}"), &[]).await;
    (answer.status.as_u16(), answer.text())
}

#[tokio::test(start_paused = true)]
async fn a_view_that_is_too_old_is_refreshed() {
    let fixture = Fixture::new(impatient()).await;
    fixture.append(home(), &[traces(vec![span("a", 1)]), traces(vec![span("b", 2)])]).await;
    assert_eq!(fixture.names().await, ["a", "b"], "from the log");
    // Someone ingests and the log forgets; the frontend has not heard of it.
    fixture.ingest(home(), 1, &traces(vec![span("a", 1)])).await;
    fixture.handle.truncate(SPANS, home(), Offset(1));
    assert_eq!(fixture.names().await, ["a", "b"]);
    assert_eq!(fixture.metrics.stale_views.get(), 0, "the querier still has what it read of the log");
    tokio::time::sleep(TAIL_GONE).await;
    assert_eq!(fixture.names().await, ["a", "b"]);
    assert_eq!(fixture.metrics.stale_views.get(), 1);
    assert_eq!(fixture.names().await, ["a", "b"]);
    assert_eq!(fixture.metrics.stale_views.get(), 1, "the fresh View stays");
}

#[tokio::test]
async fn an_ingester_ahead_of_the_view_makes_it_refresh() {
    let fixture = Fixture::new(impatient()).await;
    fixture.own(home()).await;
    fixture.append(home(), &[traces(vec![span("a", 1)]), traces(vec![span("b", 2)])]).await;
    fixture.ingest(home(), 1, &traces(vec![span("a", 1)])).await;
    fixture.ingester.answer(|from| match from {
        1 => Ok(part(vec![span("b", 2)], 2)),
        _ => Err(Status::failed_precondition("offset is older than what is held")),
    });
    assert_eq!(fixture.names().await, ["a", "b"]);
    assert_eq!(*fixture.ingester.asked.lock(), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn an_ingester_that_never_agrees_is_left_aside() {
    let fixture = Fixture::new(impatient()).await;
    fixture.own(home()).await;
    fixture.append(home(), &[traces(vec![span("a", 1)])]).await;
    fixture.ingester.answer(|_| Err(Status::failed_precondition("offset is no boundary")));
    assert_eq!(fixture.names().await, ["a"]);
    assert_eq!(fixture.ingester.asked.lock().len(), 3);
}

#[tokio::test]
async fn a_block_that_was_replaced_and_deleted_makes_the_view_refresh() {
    let fixture = Fixture::new(impatient()).await;
    let old = fixture.ingest(home(), 1, &traces(vec![span("a", 1)])).await;
    fixture.refresh().await;
    let chain = fixture.chain(home());
    let state = chain.load().await.unwrap();
    let gone = EntryBody::Expired { blocks: vec![old.id] };
    chain.append(&state, &Proposal::new(gone, [9; 16])).await.unwrap();
    fixture.store.delete(&old.path()).await.unwrap();
    assert_eq!(fixture.names().await, [""; 0]);
    assert_eq!(fixture.metrics.stale_views.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_block_that_is_lost_ends_as_an_error_and_not_as_nothing() {
    let fixture = Fixture::new(impatient()).await;
    let block = fixture.ingest(home(), 1, &traces(vec![span("a", 1)])).await;
    fixture.refresh().await;
    fixture.store.delete(&block.path()).await.unwrap();
    let (code, text) = status(&fixture).await;
    assert_eq!(code, 500);
    assert!(text.contains(block.path().as_ref()), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_hint_makes_the_view_fresh() {
    let fixture = Fixture::new(impatient()).await;
    fixture.ingest(home(), 1, &traces(vec![span("a", 1)])).await;
    let hint = format!(r#"{{"partition":{},"sequence":1}}"#, home());
    for value in ["no hint".to_owned(), hint] {
        let record = NewRecord { partition: home(), key: None, headers: vec![], value: value.into() };
        fixture.log.append(LEDGER, vec![record]).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(fixture.views.current().end(home()), Offset(1));
    assert_eq!(fixture.names().await, ["a"]);
    assert_eq!(fixture.metrics.stale_views.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_hint_the_view_is_refreshed_regularly() {
    let fixture = Fixture::new(impatient()).await;
    fixture.ingest(home(), 1, &traces(vec![span("a", 1)])).await;
    tokio::time::sleep(Config::default().view_refresh + Duration::from_millis(10)).await;
    assert_eq!(fixture.views.current().end(home()), Offset(1));
}

#[tokio::test(start_paused = true)]
async fn a_query_that_takes_too_long_fails() {
    let querier = vivace_querier::Config { owner_timeout: Duration::from_secs(3600), ..Default::default() };
    let config = Config { query_timeout: Duration::from_secs(3), ..Config::default() };
    let fixture = Fixture::new(Options { config, querier, ..Options::default() }).await;
    fixture.own(home()).await;
    let (code, text) = status(&fixture).await;
    assert_eq!((code, text.as_str()), (504, "query was not answered within 3s"));
}

#[tokio::test(start_paused = true)]
async fn more_queries_or_bytes_than_the_limits_are_refused() {
    let config = Config { queries_max: 1, ..Config::default() };
    let fixture = Fixture::new(Options { config, ..Options::default() }).await;
    fixture.own(home()).await;
    {
        let mut first = std::pin::pin!(status(&fixture));
        assert!(futures::poll!(&mut first).is_pending());
        assert_eq!(status(&fixture).await.0, 429);
        assert_eq!(fixture.metrics.queries_running.get(), 1);
    }
    // The first client has gone away, and its query with it.
    assert_eq!(fixture.metrics.queries_running.get(), 0);
    fixture.ingester.answer(|_| Ok(part(vec![], 0)));
    assert_eq!(status(&fixture).await.0, 404);
}

#[tokio::test]
async fn nothing_is_answered_before_the_ledger_was_read() {
    let fixture = Fixture::new(Options { not_started: true, ..Options::default() }).await;
    let (code, text) = status(&fixture).await;
    assert_eq!(code, 503);
    assert!(text.contains("starting"), "{text}");
}
