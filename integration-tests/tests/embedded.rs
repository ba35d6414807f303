//! All stages in one process: a kill -9 under load, again and again, loses nothing that was acknowledged and stores
//! nothing twice; nor does a stop.

use std::sync::Arc;
use std::time::Duration;

use vivace_integration_tests::{
    Acknowledged, Checker, Load, LoadOptions, Vivace, VivaceOptions, all_stored_once, bounded,
};

const TEST_LIMIT: Duration = Duration::from_secs(180);
const PARTITIONS: u32 = 4;
const LOAD: LoadOptions = LoadOptions { senders: 3, spans: 200_000, spans_per_second: 10_000, seed: 100 };
const KILLS: u32 = 6;
const SAMPLE: usize = 100;
const SAMPLE_AT_THE_END: usize = 2_000;

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
        checker.check("all is sent", SAMPLE_AT_THE_END).await.expect("whole");
        vivace.sigterm().await.expect("it stops well");
        vivace.spawn().expect("it starts");
        vivace.wait_ready().await.expect("it is ready again");
        checker.check("stopped and started", SAMPLE_AT_THE_END).await.expect("whole");
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
        checker.check("stopped under load", SAMPLE_AT_THE_END).await.expect("whole");
        // A stop seals, stores and lists what is open: afterwards all is in blocks.
        vivace.sigterm().await.expect("it stops well");
        let store = vivace.store().expect("a store");
        all_stored_once(&store, &noted, PARTITIONS as usize).await.expect("stored once");
    })
    .await;
}
