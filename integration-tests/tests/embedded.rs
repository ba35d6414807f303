//! All stages in one process: a kill -9 under load, again and again, loses nothing that was acknowledged and stores
//! nothing twice; nor does a stop. And a huge trace comes back.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use vivace_integration_tests::{
    Acknowledged, Checker, Load, LoadOptions, Sender, Vivace, VivaceOptions, all_stored_once, bounded,
    read_ledger,
};

const TEST_LIMIT: Duration = Duration::from_secs(180);
const PARTITIONS: u32 = 4;
const LOAD: LoadOptions = LoadOptions { senders: 3, spans: 200_000, spans_per_second: 10_000, seed: 100 };
const KILLS: u32 = 6;

/// Traces that are asked for at each step, and at the end.
const SAMPLE: usize = 100;
const ALL: usize = usize::MAX;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary"]
async fn kill_9_under_load_loses_nothing_acknowledged() {
    bounded(TEST_LIMIT, async {
        // Young blocks, so that kills hit every moment of their making.
        let options = VivaceOptions::embedded().partitions(PARTITIONS).blocks_every(Duration::from_secs(1));
        let mut vivace = Vivace::start(options).await.expect("vivace starts");
        let noted = Arc::new(Acknowledged::default());
        let mut checker = Checker::new(vivace.client(), Arc::clone(&noted));
        let mut load = Load::start(&vivace.otlp_grpc(), &noted, LOAD).expect("the load starts");
        for kill in 1..=KILLS {
            load.reached(f64::from(kill) / f64::from(KILLS + 1)).await.expect("spans go in");
            vivace.sigkill().expect("it ran");
            vivace.spawn().expect("it starts");
            vivace.wait_ready().await.expect("it is ready again");
            checker.check(&format!("killed {kill} times"), SAMPLE).await.expect("whole");
        }
        load.finished().await.expect("everything is acknowledged");
        checker.check("all is sent", SAMPLE).await.expect("whole");
        vivace.sigterm().await.expect("it stops well");
        vivace.spawn().expect("it starts");
        vivace.wait_ready().await.expect("it is ready again");
        checker.check("stopped and started", ALL).await.expect("whole");
        let store = vivace.store().expect("a store");
        all_stored_once(&store, &noted, PARTITIONS as usize).await.expect("stored once");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary"]
async fn a_stop_under_load_loses_nothing_acknowledged() {
    bounded(TEST_LIMIT, async {
        let options = VivaceOptions::embedded().partitions(PARTITIONS);
        let mut vivace = Vivace::start(options).await.expect("vivace starts");
        let noted = Arc::new(Acknowledged::default());
        let load = LoadOptions { spans: 40_000, ..LOAD };
        let mut load = Load::start(&vivace.otlp_grpc(), &noted, load).expect("the load starts");
        load.reached(0.5).await.expect("spans go in");
        vivace.sigterm().await.expect("it stops well");
        vivace.spawn().expect("it starts");
        vivace.wait_ready().await.expect("it is ready again");
        load.finished().await.expect("everything is acknowledged");
        let mut checker = Checker::new(vivace.client(), Arc::clone(&noted));
        checker.check("stopped under load", ALL).await.expect("whole");
        // A stop seals, stores and lists what is open: afterwards all is in blocks.
        vivace.sigterm().await.expect("it stops well");
        let store = vivace.store().expect("a store");
        all_stored_once(&store, &noted, PARTITIONS as usize).await.expect("stored once");
    })
    .await;
}

/// Small blocks become few while spans come in, a kill in the middle of it included; answers stay what they are.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary"]
async fn blocks_are_merged_and_answers_stay() {
    bounded(TEST_LIMIT, async {
        let options = VivaceOptions::embedded()
            .partitions(2)
            .blocks_every(Duration::from_millis(500))
            .set("VIVACE_COMPACTOR_INPUTS_MIN", "3")
            .set("VIVACE_COMPACTOR_LOOK_EVERY", "1s")
            .set("VIVACE_COMPACTOR_SETTLE_AFTER", "3s");
        let mut vivace = Vivace::start(options).await.expect("vivace starts");
        let noted = Arc::new(Acknowledged::default());
        let mut checker = Checker::new(vivace.client(), Arc::clone(&noted));
        let load = LoadOptions { spans: 100_000, ..LOAD };
        let mut load = Load::start(&vivace.otlp_grpc(), &noted, load).expect("the load starts");
        load.reached(0.5).await.expect("spans go in");
        vivace.sigkill().expect("it ran");
        vivace.spawn().expect("it starts");
        vivace.wait_ready().await.expect("it is ready again");
        checker.check("killed once", SAMPLE).await.expect("whole");
        load.finished().await.expect("everything is acknowledged");
        checker.check("all is sent", SAMPLE).await.expect("whole");
        let store = vivace.store().expect("a store");
        loop {
            let chains = read_ledger(&store).await.expect("sound chains");
            if chains.values().all(|chain| chain.entries > 5 && chain.live.len() <= 2) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        checker.check("merged", ALL).await.expect("whole");
        vivace.sigterm().await.expect("it stops well");
        all_stored_once(&store, &noted, 2).await.expect("stored once");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary"]
async fn a_trace_of_100_000_spans_comes_back() {
    bounded(TEST_LIMIT, async {
        let options = VivaceOptions::embedded().partitions(PARTITIONS);
        let mut vivace = Vivace::start(options).await.expect("vivace starts");
        let noted = Arc::new(Acknowledged::default());
        let mut sender = Sender::new(&vivace.otlp_grpc(), &noted).expect("an address");
        for first in (1..=100_000).step_by(1000) {
            let spans = (first..first + 1000).map(huge_trace_span).collect();
            let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
            let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
            sender.send(ExportTraceServiceRequest { resource_spans }).await.expect("acknowledged");
        }
        let mut checker = Checker::new(vivace.client(), Arc::clone(&noted));
        checker.check("in recent data", ALL).await.expect("whole");
        vivace.sigterm().await.expect("it stops well");
        vivace.spawn().expect("it starts");
        vivace.wait_ready().await.expect("it is ready again");
        checker.check("in blocks", ALL).await.expect("whole");
    })
    .await;
}

fn huge_trace_span(number: u64) -> Span {
    Span {
        trace_id: vec![7; 16],
        span_id: number.to_be_bytes().to_vec(),
        parent_span_id: if number == 1 { Vec::new() } else { number.div_ceil(10).to_be_bytes().to_vec() },
        name: format!("span {}", number % 100),
        start_time_unix_nano: 1_767_225_600_000_000_000 + number,
        end_time_unix_nano: 1_767_225_600_000_000_000 + number * 2,
        ..Span::default()
    }
}
