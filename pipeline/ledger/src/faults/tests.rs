use object_store::PutMode;

use super::*;
use crate::testing::paused;

fn path(number: u64) -> Path {
    Path::from(format!("a/{number}"))
}

async fn create(store: &FaultyStore, number: u64) -> Result<PutResult> {
    store.put_opts(&path(number), "content".into(), PutOptions::from(PutMode::Create)).await
}

async fn exists(store: &FaultyStore, number: u64) -> bool {
    store.inner().head(&path(number)).await.is_ok()
}

async fn listed(store: &FaultyStore) -> Vec<Path> {
    store.list(Some(&Path::from("a"))).map_ok(|object| object.location).try_collect().await.unwrap()
}

#[test]
fn faults_do_what_they_say() {
    paused(async {
        let store = FaultyStore::new(1, Faults { error_before: 1.0, ..Faults::NONE });
        create(&store, 1).await.unwrap_err();
        assert!(!exists(&store, 1).await);

        store.set_faults(Faults { error_after: 1.0, ..Faults::NONE });
        create(&store, 2).await.unwrap_err();
        assert!(exists(&store, 2).await);

        store.set_faults(Faults { repeated: 1.0, ..Faults::NONE });
        assert!(matches!(create(&store, 3).await, Err(Error::AlreadyExists { .. })));
        assert!(exists(&store, 3).await);

        store.set_faults(Faults { cut: 1.0, ..Faults::NONE });
        store.get(&path(3)).await.unwrap().bytes().await.unwrap_err();

        store.set_faults(Faults::NONE);
        assert_eq!(store.get(&path(3)).await.unwrap().bytes().await.unwrap(), "content");
        assert!(matches!(create(&store, 3).await, Err(Error::AlreadyExists { .. })));
        store.delete(&path(3)).await.unwrap();
        assert!(!exists(&store, 3).await);
        let struck = store.struck();
        assert_eq!((struck.errors_before, struck.errors_after, struck.repeated, struck.cut), (1, 1, 1, 1));
    });
}

#[test]
fn late_puts_land_in_their_time_unless_someone_was_faster() {
    paused(async {
        let late_max = Duration::from_secs(10);
        let store = FaultyStore::new(1, Faults { late: 1.0, late_max, ..Faults::NONE });
        create(&store, 1).await.unwrap_err();
        create(&store, 2).await.unwrap_err();
        store.set_faults(Faults::NONE);
        store.put(&path(2), "faster".into()).await.unwrap();
        assert!(!exists(&store, 1).await);
        tokio::time::sleep(late_max).await;
        assert_eq!(listed(&store).await, [path(1), path(2)]);
        assert_eq!(store.get(&path(2)).await.unwrap().bytes().await.unwrap(), "faster");
    });
}

#[test]
fn stale_listings_show_the_state_before() {
    paused(async {
        let store = FaultyStore::new(1, Faults::NONE);
        create(&store, 1).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        store.set_faults(Faults { stale: 1.0, stale_max: Duration::from_secs(30), ..Faults::NONE });
        create(&store, 2).await.unwrap();
        store.delete(&path(1)).await.unwrap();
        assert_eq!(listed(&store).await, [path(1)]);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(listed(&store).await, [path(2)]);
    });
}

#[test]
fn uploads_in_parts_fail_too() {
    paused(async {
        let store = FaultyStore::new(1, Faults::NONE);
        let mut upload = store.put_multipart(&path(1)).await.unwrap();
        upload.put_part("one".into()).await.unwrap();
        store.set_faults(Faults { error_before: 1.0, ..Faults::NONE });
        upload.put_part("two".into()).await.unwrap_err();
        upload.complete().await.unwrap_err();
        assert!(!exists(&store, 1).await);
        store.put_multipart(&path(1)).await.unwrap_err();
    });
}

#[test]
fn a_seed_repeats_and_seeds_differ() {
    let run = |seed| {
        paused(async {
            let store = FaultyStore::new(seed, Faults::ROUGH);
            let mut outcomes = Vec::new();
            for number in 0..200 {
                let outcome = create(&store, number).await.map(drop).map_err(|error| error.to_string());
                outcomes.push((outcome, Instant::now()));
            }
            let began = outcomes[0].1;
            let times = outcomes.into_iter().map(|(outcome, at)| (outcome, at - began)).collect::<Vec<_>>();
            (times, store.struck())
        })
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let struck = run(1).1;
    assert!(struck.errors_before > 0 && struck.errors_after > 0 && struck.late > 0 && struck.repeated > 0);
}
