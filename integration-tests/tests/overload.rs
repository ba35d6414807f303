//! More than can be taken: too many requests, a full disk, a bucket that does not answer, queries that take all
//! processors. Memory stays within its budget, senders are told to come again, nothing acknowledged is lost, reads go
//! on, and all heals by itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio::time::sleep;
use vivace_integration_tests::{
    Acknowledged, Checker, Load, LoadOptions, Prober, Requests, S3Proxy, S3Server, Sender, SmallDisk,
    Trouble, Vivace, VivaceOptions, all_stored_once, bounded, eventually, read_ledger,
};
use vivace_model::{Clock, SystemClock};
use vivace_probe::{Config, Tally};

const TEST_LIMIT: Duration = Duration::from_secs(240);
const LIMIT: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 4;
const SAMPLE: usize = 50;

/// What an ingester may hold, and the whole process: with its code, caches, requests and what the allocator keeps.
const BUDGET: &str = "64MiB";
const PROCESS_BYTES_MAX: u64 = 640 << 20;

/// A process with little memory for everything.
fn frugal() -> VivaceOptions {
    VivaceOptions::embedded()
        .partitions(PARTITIONS)
        .blocks_every(Duration::from_secs(1))
        .set("VIVACE_INGESTER_MEMORY_BYTES_MAX", BUDGET)
        .set("VIVACE_DISTRIBUTOR_REQUEST_BYTES_MAX", "1MiB")
        .set("VIVACE_DISTRIBUTOR_INFLIGHT_BYTES_MAX", "4MiB")
        .set("VIVACE_LOG_SEGMENT_BYTES", "4MiB")
        .set("VIVACE_COMPACTOR_INPUT_ROWS_MAX", "50000")
}

fn probing(vivace: &Vivace) -> Prober {
    let config = Config {
        otlp: vivace.otlp_grpc(),
        api: vivace.api(),
        traces_per_second: 20.0,
        rounds_max: 1000,
        patience: LIMIT,
        missing_after: Duration::from_secs(15),
        ..Config::default()
    };
    Prober::start(config).expect("it starts")
}

/// Waits until that much more happened than in `before`.
async fn until(prober: &Prober, before: Tally, what: &str, done: impl Fn(Tally, Tally) -> bool) {
    let progress = eventually(LIMIT, || async {
        let now = prober.tally();
        ensure!(done(before, now), "{what}: {before:?} then {now:?}");
        Ok(())
    });
    progress.await.unwrap_or_else(|error| panic!("{error:#}"));
    prober.right().expect("no answer was wrong");
    eprintln!("overload: {what}: {:?}", prober.tally());
}

fn memory_is_bounded(vivace: &mut Vivace) {
    let (now, most) = vivace.process().expect("it runs").memory_bytes().expect("Linux tells");
    eprintln!("overload: {} MiB in use, {} MiB at most", now >> 20, most >> 20);
    assert!(most < PROCESS_BYTES_MAX, "{most} bytes of memory");
}

/// After a stop everything is in blocks: no less than was acknowledged, no more than was sent.
async fn stored_is_acknowledged(store: &Arc<dyn ObjectStore>, tally: Tally) {
    let spans_each = u64::from(Config::default().spans_per_trace);
    let chains = read_ledger(store).await.expect("sound chains");
    let rows: u64 = chains.values().map(|chain| chain.rows).sum();
    let allowed = tally.acknowledged * spans_each..=tally.sent * spans_each;
    assert!(allowed.contains(&rows), "{rows} spans are stored, not {allowed:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary"]
async fn more_load_than_it_takes_is_pushed_back() {
    bounded(TEST_LIMIT, async {
        // A log that takes its time, on machines of any speed.
        let options = frugal().set("VIVACE_FAIL_POINTS", "distributor.appending=sleep(100)");
        let mut vivace = Vivace::start(options).await.expect("vivace starts");
        let noted = Arc::new(Acknowledged::default());
        let mut checker = Checker::new(vivace.client(), Arc::clone(&noted));
        // As fast as they can, and far more at once than may be in work.
        let load = LoadOptions { senders: 64, spans: 250_000, spans_per_second: 10_000_000, seed: 7 };
        let mut load = Load::start(&vivace.otlp_grpc(), &noted, load).expect("the load starts");
        load.reached(0.5).await.expect("spans go in");
        checker.check("under overload", SAMPLE).await.expect("whole");
        load.finished().await.expect("everything is acknowledged in the end");
        memory_is_bounded(&mut vivace);
        let refusals = noted.refusals();
        eprintln!("overload: refused with {refusals:?}");
        assert!(refusals.get("ResourceExhausted").is_some_and(|times| *times > 0), "{refusals:?}");
        checker.check("afterwards", SAMPLE).await.expect("whole");
        let store = vivace.store().expect("a store");
        all_stored_once(&store, &noted, PARTITIONS as usize).await.expect("stored once");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary and root"]
async fn a_full_disk_refuses_spans_and_heals() {
    bounded(TEST_LIMIT, async {
        let disk = SmallDisk::mount(48).expect("a small disk");
        let data = disk.path().join("data");
        let options = frugal().set("VIVACE_DATA_DIR", data.display().to_string());
        let mut vivace = Vivace::start(options).await.expect("vivace starts");
        let prober = probing(&vivace);
        until(&prober, prober.tally(), "all is well", |before, now| {
            now.found_by_search > before.found_by_search + 40 && now.counts > before.counts
        })
        .await;

        let before = prober.tally();
        let refused = eventually(LIMIT, || async {
            // Again and again, since what was stored makes room in the log.
            disk.fill()?;
            let now = prober.tally();
            ensure!(now.refused > before.refused + 20, "not refused: {now:?}");
            Ok(())
        });
        refused.await.expect("spans are refused");
        let output = vivace.process().expect("it runs").output();
        assert!(output.contains("No space left on device"), "the log says why");
        until(&prober, prober.tally(), "reads go on while the disk is full", |before, now| {
            now.found_again > before.found_again + 40 && now.counts > before.counts + 5
        })
        .await;

        disk.free().expect("it was full");
        until(&prober, prober.tally(), "it heals", |before, now| {
            now.found_by_search > before.found_by_search + 60 && now.counts > before.counts
        })
        .await;
        let tally = prober.finish().await.expect("no answer was wrong");
        vivace.sigterm().await.expect("it stops well");
        let store: Arc<dyn ObjectStore> =
            Arc::new(LocalFileSystem::new_with_prefix(data.join("store")).expect("a store"));
        stored_is_acknowledged(&store, tally).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary and root"]
async fn a_full_store_lets_spans_wait_in_the_log() {
    bounded(TEST_LIMIT, async {
        let disk = SmallDisk::mount(16).expect("a small disk");
        let url = format!("file://{}", disk.path().display());
        let mut vivace = Vivace::start(frugal().set("VIVACE_STORAGE_URL", url)).await.expect("vivace starts");
        let prober = probing(&vivace);
        let grown = |before: Tally, now: Tally| {
            now.found_by_search > before.found_by_search + 60
                && now.found_again > before.found_again + 40
                && now.counts > before.counts + 5
        };
        until(&prober, prober.tally(), "all is well", grown).await;
        disk.fill().expect("it has little room");
        until(&prober, prober.tally(), "spans are taken and found while nothing can be stored", grown).await;
        let output = vivace.process().expect("it runs").output();
        assert!(output.contains("cannot upload a block"), "the log says what is wrong");
        disk.free().expect("it was full");
        until(&prober, prober.tally(), "it heals", grown).await;
        let tally = prober.finish().await.expect("no answer was wrong");
        vivace.sigterm().await.expect("it stops well");
        let store: Arc<dyn ObjectStore> =
            Arc::new(LocalFileSystem::new_with_prefix(disk.path()).expect("a store"));
        stored_is_acknowledged(&store, tally).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary and S3"]
async fn a_bucket_that_does_not_answer_stops_fetching_before_memory_is_full() {
    bounded(TEST_LIMIT, async {
        let s3 = S3Server::start().await.expect("the server starts");
        let front = S3Proxy::start(&s3.endpoint()).await.expect("a proxy");
        let options = frugal()
            .set_all(&S3Server::environment_at(&format!("http://{}", front.address())))
            .set("VIVACE_STORAGE_URL", s3.url("vivace"));
        let mut vivace = Vivace::start(options).await.expect("vivace starts");
        let noted = Arc::new(Acknowledged::default());
        let mut checker = Checker::new(vivace.client(), Arc::clone(&noted));
        let load = LoadOptions { senders: 4, spans: 300_000, spans_per_second: 30_000, seed: 9 };
        let mut load = Load::start(&vivace.otlp_grpc(), &noted, load).expect("the load starts");
        load.reached(0.05).await.expect("spans go in");
        front.set(Requests::BlockPuts, Trouble::Silent);
        load.reached(0.5).await.expect("the log takes spans all the same");
        checker.check("the bucket takes nothing", SAMPLE).await.expect("whole");
        load.finished().await.expect("the log takes spans all the same");
        sleep(Duration::from_secs(2)).await;
        assert!(front.troubled() > 0, "blocks were to be stored");
        memory_is_bounded(&mut vivace);
        front.clear();
        let store = s3.store("vivace").expect("a store");
        all_stored_once(&store, &noted, PARTITIONS as usize).await.expect("stored once");
        checker.check("the bucket is back", SAMPLE).await.expect("whole");
        memory_is_bounded(&mut vivace);
    })
    .await;
}

/// Spans with long values, each another one, for which each byte leads a pattern to another state.
fn with_long_values(spans: u64, rng: &mut ChaCha8Rng) -> ExportTraceServiceRequest {
    let spans = (0..spans).map(|_| {
        let text: String = (0..2048).map(|_| if rng.random_bool(0.5) { 'u' } else { 'v' }).collect();
        let value = Some(AnyValue { value: Some(Value::StringValue(text)) });
        let start = SystemClock.now().0;
        Span {
            trace_id: rng.random::<[u8; 16]>().to_vec(),
            span_id: rng.random::<[u8; 8]>().to_vec(),
            name: "op".to_owned(),
            start_time_unix_nano: start,
            end_time_unix_nano: start + 1000,
            attributes: vec![KeyValue { key: "user.id".to_owned(), value, ..KeyValue::default() }],
            ..Span::default()
        }
    });
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }
}

/// A search for values that match any of these patterns; status and text of its answer.
async fn search(vivace: &Vivace, pattern: &str, patterns: usize) -> (u16, String) {
    let tests: Vec<_> = (0..patterns).map(|number| format!("span.user.id =~ `{pattern}{number}`")).collect();
    let query = format!("{{ {} }}", tests.join(" || "));
    let url = reqwest::Url::parse_with_params(&format!("{}/api/search", vivace.api()), [("q", query)]);
    let answer = reqwest::get(url.expect("an address")).await.expect("it answers");
    (answer.status().as_u16(), answer.text().await.expect("the answer is whole"))
}

async fn page(vivace: &Vivace, path: &str) -> String {
    let answer = reqwest::get(format!("{}{path}", vivace.api())).await.expect("it answers");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.text().await.expect("the answer is whole")
}

async fn busy_threads(vivace: &Vivace) -> u64 {
    let metrics = page(vivace, "/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("vivace_query_threads_busy "));
    line.and_then(|count| count.parse::<f64>().ok()).expect("the metric is there") as u64
}

/// Queries that would compute for minutes hold all threads that there are for queries: probes, metrics and senders are
/// answered all the same, and before the queries are.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary"]
async fn queries_of_many_patterns_stop_nobody_else() {
    bounded(TEST_LIMIT, async {
        let options = VivaceOptions::embedded()
            .partitions(PARTITIONS)
            .set("VIVACE_QUERIER_JOB_CPU_MAX", "10s")
            .set("VIVACE_INGESTER_ANSWER_CPU_MAX", "10s")
            .set("VIVACE_QUERY_FRONTEND_QUERY_TIMEOUT", "2m");
        let vivace = Arc::new(Vivace::start(options).await.expect("vivace starts"));
        let noted = Arc::new(Acknowledged::default());
        let mut sender = Sender::new(&vivace.otlp_grpc(), &noted).expect("an address");
        let mut rng = ChaCha8Rng::seed_from_u64(15);
        for _ in 0..8 {
            sender.send(with_long_values(500, &mut rng)).await.expect("acknowledged");
        }
        let (status, text) = search(&vivace, "(u|.){0,800}", 100).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("more than 32 MiB once compiled"), "{text}");

        let mut heavy = JoinSet::new();
        for _ in 0..2 {
            let vivace = Arc::clone(&vivace);
            heavy.spawn(async move { search(&vivace, ".*u.{200}", 60).await });
        }
        let begun = eventually(LIMIT, || async {
            ensure!(busy_threads(&vivace).await > 0, "the queries have not begun");
            Ok(())
        });
        begun.await.expect("they do");
        for _ in 0..8 {
            page(&vivace, "/live").await;
            page(&vivace, "/ready").await;
            page(&vivace, "/metrics").await;
            sender.send(with_long_values(10, &mut rng)).await.expect("acknowledged");
        }
        assert!(heavy.try_join_next().is_none(), "all others were answered first");
        while let Some(answered) = heavy.join_next().await {
            let (status, text) = answered.expect("no panic");
            assert_eq!(status, 422, "{text}");
            assert!(text.contains("processor time"), "{text}");
        }
        let ended = eventually(LIMIT, || async {
            ensure!(busy_threads(&vivace).await == 0, "threads still work for what was answered");
            Ok(())
        });
        ended.await.expect("they end");
        assert_eq!(search(&vivace, "[uv]+", 1).await.0, 200);
    })
    .await;
}
