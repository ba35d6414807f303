use std::future::{pending, ready};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::*;

const LONG: Duration = Duration::from_secs(600);

/// What happened, in order.
type Story = Arc<Mutex<Vec<String>>>;

/// A task that waits to be stopped and then needs a few turns of the scheduler to finish.
fn tell(story: &Story, name: &'static str) -> impl FnOnce(CancellationToken) -> TaskFuture + Send + 'static {
    let story = Arc::clone(story);
    move |stop| {
        Box::pin(async move {
            stop.cancelled().await;
            story.lock().push(format!("{name} asked"));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            story.lock().push(format!("{name} done"));
            Ok(())
        })
    }
}

type TaskFuture = std::pin::Pin<Box<dyn Future<Output = Result<(), io::Error>> + Send>>;

#[tokio::test]
async fn phases_stop_one_after_the_other() {
    let story = Story::default();
    let mut tasks = Supervisor::new(LONG);
    tasks.spawn_ordered(2, "querier", tell(&story, "querier"));
    tasks.spawn_ordered(1, "ingester", tell(&story, "ingester"));
    tasks.spawn("distributor", tell(&story, "distributor"));
    tasks.run_until(ready(())).await.unwrap();
    let wanted =
        ["distributor asked", "distributor done", "ingester asked", "ingester done", "querier asked"];
    assert_eq!(story.lock()[..5], wanted);
}

#[tokio::test]
async fn a_failing_task_stops_the_rest_and_is_named() {
    let story = Story::default();
    let mut tasks = Supervisor::new(LONG);
    tasks.spawn("listener", tell(&story, "listener"));
    tasks.spawn_ordered(1, "store", |_stop| async { Err(io::Error::other("bucket is gone")) });
    let error = tasks.run_until(pending()).await.unwrap_err();
    assert_eq!(chain(&error), "task store failed: bucket is gone");
    assert_eq!(*story.lock(), ["listener asked", "listener done"]);
}

#[tokio::test]
async fn a_panic_is_named_with_its_message() {
    let story = Story::default();
    let mut tasks = Supervisor::new(LONG);
    tasks.spawn("listener", tell(&story, "listener"));
    tasks.spawn("builder", |_stop| async {
        assert_eq!(1 + 1, 3, "arithmetic");
        Ok::<(), io::Error>(())
    });
    let error = tasks.run_until(pending()).await.unwrap_err();
    assert!(
        matches!(&error, SupervisorError::Panicked { name, message }
        if name == "builder" && message.contains("arithmetic")),
        "{error}"
    );
    assert_eq!(*story.lock(), ["listener asked", "listener done"]);
}

#[tokio::test]
async fn a_panic_before_the_first_await_is_named_too() {
    let mut tasks = Supervisor::new(LONG);
    tasks.spawn("maker", |_stop| -> TaskFuture { panic!("no future") });
    let error = tasks.run_until(pending()).await.unwrap_err();
    assert_eq!(error.to_string(), "task maker panicked: no future");
}

#[tokio::test]
async fn a_task_that_just_returns_is_an_error() {
    let mut tasks = Supervisor::new(LONG);
    tasks.spawn("consumer", |_stop| async { Ok::<(), io::Error>(()) });
    let error = tasks.run_until(pending()).await.unwrap_err();
    assert_eq!(error.to_string(), "task consumer ended without being asked to");
}

#[tokio::test]
async fn a_failure_while_stopping_is_reported_and_later_phases_still_drain() {
    let story = Story::default();
    let mut tasks = Supervisor::new(LONG);
    tasks.spawn("distributor", |stop| async move {
        stop.cancelled().await;
        Err(io::Error::other("log is gone"))
    });
    tasks.spawn_ordered(1, "ingester", tell(&story, "ingester"));
    let error = tasks.run_until(ready(())).await.unwrap_err();
    assert_eq!(chain(&error), "task distributor failed: log is gone");
    assert_eq!(*story.lock(), ["ingester asked", "ingester done"]);
}

#[tokio::test]
async fn what_outlives_the_grace_period_is_aborted_and_named() {
    let (dropped, was_dropped) = oneshot::channel::<()>();
    let mut tasks = Supervisor::new(Duration::from_millis(20));
    tasks.spawn("stubborn", |_stop| async move {
        let _guard = dropped;
        pending::<Result<(), io::Error>>().await
    });
    tasks.spawn("obedient", |stop| async move {
        stop.cancelled().await;
        Ok::<(), io::Error>(())
    });
    tasks.spawn_ordered(1, "never asked", |stop| async move {
        stop.cancelled().await;
        Ok::<(), io::Error>(())
    });
    let error = tasks.run_until(ready(())).await.unwrap_err();
    assert_eq!(error.to_string(), "aborted after the grace period of 20ms: never asked, stubborn");
    assert!(was_dropped.await.is_err(), "the sender went with the task");
}

#[tokio::test]
async fn draining_is_told_before_any_task_is_asked() {
    let mut tasks = Supervisor::new(LONG);
    let draining = tasks.draining();
    let seen = draining.clone();
    tasks.spawn("listener", |stop| async move {
        stop.cancelled().await;
        if seen.is_cancelled() { Ok(()) } else { Err(io::Error::other("too late")) }
    });
    assert!(!draining.is_cancelled());
    tasks.run_until(ready(())).await.unwrap();
}
