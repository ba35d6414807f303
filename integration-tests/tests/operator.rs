//! The operator's commands on a real process: its buckets are proven, built anew and redacted; its topics grow.

use std::sync::Arc;
use std::time::Duration;

use vivace_integration_tests::{
    Acknowledged, Checker, Load, LoadOptions, Vivace, VivaceOptions, all_stored_once, bounded, read_ledger,
};

const TEST_LIMIT: Duration = Duration::from_secs(180);
const LOAD: LoadOptions = LoadOptions { senders: 3, spans: 20_000, spans_per_second: 10_000, seed: 7 };
const ALL: usize = usize::MAX;

/// Runs a command, which has to end with that code, and gives what it printed.
async fn run(vivace: &Vivace, arguments: &[&str], code: i32) -> String {
    let output = vivace.operate(arguments).await.expect("it runs");
    assert_eq!(output.status.code(), Some(code), "vivace {}", arguments.join(" "));
    String::from_utf8(output.stdout).expect("text")
}

async fn restart(vivace: &mut Vivace) {
    vivace.spawn().expect("it starts");
    vivace.wait_ready().await.expect("it is ready again");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary"]
async fn a_damaged_bucket_is_found_and_built_anew() {
    bounded(TEST_LIMIT, async {
        let options = VivaceOptions::embedded().partitions(2).blocks_every(Duration::from_secs(1));
        let mut vivace = Vivace::start(options).await.expect("vivace starts");
        let noted = Arc::new(Acknowledged::default());
        let load = Load::start(&vivace.otlp_grpc(), &noted, LOAD).expect("the load starts");
        load.finished().await.expect("everything is acknowledged");
        run(&vivace, &["audit"], 0).await;
        vivace.sigterm().await.expect("it stops well");
        let report = run(&vivace, &["audit", "--deep", "--log", "true", "--json"], 0).await;
        assert!(report.contains(r#""verdict": "clean""#));
        let files = run(&vivace, &["blocks", "--files"], 0).await;
        assert!(run(&vivace, &["blocks", "--duckdb"], 0).await.starts_with("read_parquet(['/"));
        std::fs::remove_file(files.lines().next().expect("a block")).expect("it is there");
        assert!(run(&vivace, &["audit"], 1).await.contains("its file is missing"));
        run(&vivace, &["replay", "--partition", "all", "--dry-run"], 0).await;
        run(&vivace, &["audit"], 1).await;
        run(&vivace, &["replay", "--partition", "all", "--reason", "a test"], 0).await;
        let report = run(&vivace, &["audit", "--deep"], 0).await;
        assert!(report.contains("generation 1") && report.contains("are kept"), "{report}");
        run(&vivace, &["replay", "--partition", "all", "--discard-old"], 0).await;
        run(&vivace, &["audit", "--deep"], 0).await;
        restart(&mut vivace).await;
        let mut checker = Checker::new(vivace.client(), Arc::clone(&noted));
        checker.check("built anew", ALL).await.expect("whole");
        let store = vivace.store().expect("a store");
        all_stored_once(&store, &noted, 2).await.expect("stored once");
        let trace = noted.sample(1, 1)[0].to_string();
        let before: u64 = read_ledger(&store).await.expect("whole").values().map(|chain| chain.rows).sum();
        run(&vivace, &["redact", "--trace-id", &trace], 0).await;
        run(&vivace, &["redact", "--trace-id", &trace, "--yes", "--grace", "0s"], 0).await;
        let left = run(&vivace, &["redact", "--trace-id", &trace], 0).await;
        assert!(left.contains("0 spans in 0 blocks"), "{left}");
        let after: u64 = read_ledger(&store).await.expect("whole").values().map(|chain| chain.rows).sum();
        assert!(after < before);
        run(&vivace, &["audit", "--deep"], 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary"]
async fn more_partitions_lose_no_trace() {
    bounded(TEST_LIMIT, async {
        let options = VivaceOptions::embedded().partitions(2).blocks_every(Duration::from_secs(1));
        let mut vivace = Vivace::start(options).await.expect("vivace starts");
        let noted = Arc::new(Acknowledged::default());
        let load = Load::start(&vivace.otlp_grpc(), &noted, LOAD).expect("the load starts");
        load.finished().await.expect("everything is acknowledged");
        // Some records are in blocks, others only in the topic.
        vivace.sigkill().expect("it ran");
        vivace.reconfigure(|options| options.partitions(5));
        vivace.spawn().expect("it starts");
        vivace.wait_ready().await.expect_err("growing is not allowed yet");
        vivace.reconfigure(|options| options.set("VIVACE_TOPICS_GROW", "true"));
        restart(&mut vivace).await;
        let load = LoadOptions { seed: 1_000, ..LOAD };
        let load = Load::start(&vivace.otlp_grpc(), &noted, load).expect("the load starts");
        load.finished().await.expect("everything is acknowledged");
        let mut checker = Checker::new(vivace.client(), Arc::clone(&noted));
        checker.check("grown", ALL).await.expect("whole");
        vivace.sigterm().await.expect("it stops well");
        restart(&mut vivace).await;
        checker.check("grown and started again", ALL).await.expect("whole");
        let store = vivace.store().expect("a store");
        all_stored_once(&store, &noted, 5).await.expect("stored once");
        run(&vivace, &["audit", "--deep"], 0).await;
        vivace.sigterm().await.expect("it stops well");
        vivace.reconfigure(|options| options.partitions(3));
        vivace.spawn().expect("it starts");
        vivace.wait_ready().await.expect_err("partitions cannot be taken away");
    })
    .await;
}
